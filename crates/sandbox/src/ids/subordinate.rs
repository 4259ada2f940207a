//! The subordinate ids of an ordinary user, from /etc/subuid and /etc/subgid.

use std::fs;

use super::{Extent, IdMap, MapKind, MapWriter, RANGE};
use crate::os::programs::find_program;
use crate::os::users::user_name;

/// The reason why an ordinary user has no full range of subordinate ids.
#[derive(Debug, thiserror::Error)]
pub(super) enum SubordinateIdsError {
    #[error("{0} is not installed")]
    NotInstalled(&'static str),
    #[error("{file} grants {user} fewer than {} ids", RANGE - 1)]
    TooFew { file: &'static str, user: String },
}

/// Maps the user's own id and its subordinate ids.
pub(super) fn map_with_subordinate_ids(uid: u32, gid: u32) -> Result<IdMap, SubordinateIdsError> {
    for helper in ["newuidmap", "newgidmap"] {
        if find_program(helper).is_none() {
            return Err(SubordinateIdsError::NotInstalled(helper));
        }
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let names = [user_name(&passwd, uid), Some(uid.to_string())];
    let extents = |file: &'static str, own: u32| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let granted =
            entries(&text).filter(|(owner, ..)| names.iter().flatten().any(|name| name == owner));
        collect_extents(own, granted.map(|(_, start, count)| (start, count))).ok_or_else(|| {
            SubordinateIdsError::TooFew {
                file,
                user: names[0].clone().unwrap_or_else(|| "this user".into()),
            }
        })
    };
    Ok(IdMap {
        kind: MapKind::Range,
        writer: MapWriter::Helper,
        engine: uid,
        uids: extents("/etc/subuid", uid)?,
        gids: extents("/etc/subgid", gid)?,
        why: None,
    })
}

/// Maps the user's own id to 0, followed by granted ids up to a full range. Returns `None` if they
/// do not suffice.
fn collect_extents(own: u32, granted: impl Iterator<Item = (u32, u32)>) -> Option<Vec<Extent>> {
    let mut extents = vec![Extent {
        inside: 0,
        outside: own,
        count: 1,
    }];
    let mut inside = 1;
    for (outside, count) in granted {
        let count = count.min(RANGE - inside);
        if count > 0 {
            extents.push(Extent {
                inside,
                outside,
                count,
            });
            inside += count;
        }
    }
    (inside == RANGE).then_some(extents)
}

/// The well-formed lines of a subuid file: owner, first id, count.
pub(super) fn entries(text: &str) -> impl Iterator<Item = (&str, u32, u32)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let entry = (
            fields.next()?,
            fields.next()?.parse().ok()?,
            fields.next()?.parse().ok()?,
        );
        fields.next().is_none().then_some(entry)
    })
}

/// The first id after every granted range in the given files; 100,000, the usual start, if none
/// is granted.
pub(crate) fn first_free<'a>(files: impl Iterator<Item = &'a str>) -> u64 {
    files
        .flat_map(entries)
        .map(|(_, first, count)| u64::from(first) + u64::from(count))
        .fold(100_000, u64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposed_range_is_not_granted_yet() {
        assert_eq!(first_free([""].into_iter()), 100_000);
        let files = [
            "a:100000:65536\n# a remark\n",
            "a:100000:65536\nb:300000:10\n",
        ];
        assert_eq!(first_free(files.into_iter()), 300_010);
    }

    #[test]
    fn subordinate_ids_follow_the_users_own_id() {
        let extents = collect_extents(1001, [(100_000, 65_536)].into_iter()).unwrap();
        assert_eq!(extents.len(), 2);
        assert_eq!(
            (extents[1].inside, extents[1].outside, extents[1].count),
            (1, 100_000, 65_535)
        );
        assert!(collect_extents(1001, [(100_000, 1000)].into_iter()).is_none());
    }

    #[test]
    fn subuid_lines_that_are_not_well_formed_are_skipped() {
        let found: Vec<_> =
            entries("ann:100000:65536\n# bob:1\nbob:x:1\n\ncid:1:2:3\n7:5:6\n").collect();
        assert_eq!(found, [("ann", 100_000, 65_536), ("7", 5, 6)]);
    }
}
