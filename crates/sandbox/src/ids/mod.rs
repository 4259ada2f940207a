//! Which ids of this machine the ids inside a sandbox stand for.
//!
//! A store is made with one map and keeps it: its layers' files are owned by the mapped ids.

use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) mod pick;
pub(crate) mod remedy;
pub(crate) mod write;

/// How many ids a full range has.
pub(crate) const RANGE: u32 = 65_536;

/// Whether a sandbox has many users or one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapKind {
    /// 65,536 ids: images with users and groups work.
    Range,
    /// Only uid 0 and gid 0 exist inside.
    Single,
}

/// Who may write the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Writer {
    /// The engine, because it is root.
    Root,
    /// newuidmap and newgidmap, for the ids of /etc/subuid and /etc/subgid.
    Helper,
    /// The engine, for its own id.
    Own,
}

/// A run of ids: `count` ids from `inside` stand for those from `outside`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Extent {
    inside: u32,
    outside: u32,
    count: u32,
}

impl Extent {
    fn end(self) -> u64 {
        u64::from(self.outside) + u64::from(self.count)
    }
}

/// The ids of a store's sandboxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    kind: MapKind,
    writer: Writer,
    /// The user who made the store.
    engine: u32,
    uids: Vec<Extent>,
    gids: Vec<Extent>,
    /// Why it is a single id, where a range was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl IdMap {
    /// Whether only uid 0 and gid 0 exist inside.
    pub fn single(&self) -> bool {
        self.kind == MapKind::Single
    }

    /// Whether sandboxes have many users or one.
    pub fn kind(&self) -> MapKind {
        self.kind
    }

    /// The uid and gid of this machine that root inside stands for.
    pub fn root_owner(&self) -> (u32, u32) {
        let first = |extents: &[Extent]| extents.first().map_or(0, |extent| extent.outside);
        (first(&self.uids), first(&self.gids))
    }

    /// Why there is only a single id, where there is.
    pub fn why_single(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// One line for people: how many ids, from where, mapped by whom.
    pub fn describe(&self) -> String {
        self.to_string()
    }

    /// The user who made the store.
    pub(crate) fn engine(&self) -> u32 {
        self.engine
    }

    /// Whether root on this machine made the store, whose files then belong to other ids than the engine's.
    pub(crate) fn foreign_owner(&self) -> bool {
        self.writer == Writer::Root
    }

    /// Whether some files of layers belong to ids that the engine has no rights over.
    pub(crate) fn beyond_engine(&self) -> bool {
        self.writer == Writer::Helper
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (uid, _) = self.root_owner();
        match (self.kind, self.writer) {
            (MapKind::Range, Writer::Helper) => {
                let subordinate: u32 = self.uids.iter().skip(1).map(|extent| extent.count).sum();
                let first = self.uids.get(1).map_or(0, |extent| extent.outside);
                write!(
                    f,
                    "uid {uid} and {subordinate} subordinate ids from {first}, mapped by newuidmap"
                )
            }
            (MapKind::Range, _) => write!(f, "{RANGE} ids from {uid}"),
            (MapKind::Single, _) => {
                write!(f, "the single id {uid}")?;
                match &self.why {
                    Some(why) => write!(f, " ({why})"),
                    None => Ok(()),
                }
            }
        }
    }
}
