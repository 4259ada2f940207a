//! The mapping of ids inside a sandbox to ids of this machine.
//!
//! A store keeps the map it was made with, because its layers' files belong to the mapped ids.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::protocol::boot::ChargedUser;

pub(crate) mod pick;
pub(crate) mod record;
pub(crate) mod remedy;
mod subordinate;
pub(crate) mod write;

/// The number of ids of a full range.
pub(crate) const RANGE: u32 = 65_536;

/// The number of users in a sandbox: many or one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapKind {
    /// 65,536 ids: images with users and groups work.
    Range,
    /// Only uid 0 and gid 0 exist inside.
    Single,
}

/// The process that writes the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MapWriter {
    /// The engine, because it is root.
    Root,
    /// newuidmap and newgidmap, for the ids of /etc/subuid and /etc/subgid.
    Helper,
    /// The engine, for its own id.
    Own,
}

/// A mapping of `count` consecutive ids from `inside` to those from `outside`.
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

/// The id map of a store's sandboxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    kind: MapKind,
    writer: MapWriter,
    /// The user who made the store.
    engine: u32,
    uids: Vec<Extent>,
    gids: Vec<Extent>,
    /// The reason for a single id instead of a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl IdMap {
    /// Returns true if only uid 0 and gid 0 exist inside.
    pub fn is_single(&self) -> bool {
        self.kind == MapKind::Single
    }

    /// The number of users in a sandbox: many or one.
    pub fn kind(&self) -> MapKind {
        self.kind
    }

    /// The uid and gid of this machine to which the inner root is mapped.
    pub fn root_owner(&self) -> (u32, u32) {
        let first = |extents: &[Extent]| extents.first().map_or(0, |extent| extent.outside);
        (first(&self.uids), first(&self.gids))
    }

    /// The reason for a single id, if the map has only one.
    pub fn why_single(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// A line for users: the number of ids, the first one, and what maps them.
    pub fn describe(&self) -> String {
        self.to_string()
    }

    /// The user who made the store.
    pub(crate) fn engine(&self) -> u32 {
        self.engine
    }

    /// Returns true if this machine's root made the store. Its files then belong to other ids than
    /// the engine's.
    pub(crate) fn files_have_other_owner(&self) -> bool {
        self.writer == MapWriter::Root
    }

    /// The ids to which the kernel can charge resources of a sandbox.
    pub(crate) fn charged_user(&self) -> ChargedUser {
        match self.uids.first() {
            Some(extent) if self.writer == MapWriter::Root => ChargedUser::Separate {
                first: extent.outside,
                count: extent.count,
            },
            _ => ChargedUser::Engine,
        }
    }

    /// The first id and the number of ids, if this machine's root made the store.
    fn block_of_root(&self) -> Option<(u32, u32)> {
        let extent = self.uids.first()?;
        (self.writer == MapWriter::Root).then_some((extent.outside, extent.count))
    }

    /// Returns true if files of layers may belong to ids over which the engine has no rights.
    pub(crate) fn exceeds_engine_rights(&self) -> bool {
        self.writer == MapWriter::Helper
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (uid, _) = self.root_owner();
        match (self.kind, self.writer) {
            (MapKind::Range, MapWriter::Helper) => {
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
