//! Chooses the id map of a new store.

use std::fs;
use std::path::Path;

use super::record::{self, ClaimedIds, RecordError};
use super::subordinate::{entries, map_with_subordinate_ids};
use super::{Extent, IdMap, MapKind, MapWriter, RANGE};
use crate::os::error::{CallContext as _, OsError};

/// The block that earlier releases gave to every store of root. No new store gets it, because such
/// stores may not be in the record yet. It is above the ids of useradd (up to 600,100,000) and of
/// systemd's containers (up to 0x6fff_ffff).
const FORMER: u32 = 0x7000_0000;
/// The preferred blocks for stores of root.
const PREFERRED: u32 = FORMER + RANGE;
const PREFERRED_END: u32 = 0x7fff_0000;
const NOBODY: u32 = 65_534;

impl IdMap {
    /// Picks the best map for this user's store in `directory` without trying it. If it then fails,
    /// [`IdMap::map_with_single_id`] is the fallback.
    ///
    /// Root's ids are entered into `record`. Where it cannot be read or written, they are chosen at
    /// random.
    pub(crate) fn pick(record: &Path, directory: &Path) -> Result<Self, RecordError> {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        if uid == 0 {
            let allocations = IdAllocations::read();
            let random = random_block()?;
            let pick = |claimed: &ClaimedIds| map_of_root(&allocations, claimed, random);
            return match record::claim(record, directory, pick) {
                Err(RecordError::Os(_)) => Ok(pick(&ClaimedIds::default())),
                other => other,
            };
        }
        Ok(match map_with_subordinate_ids(uid, gid) {
            Ok(map) => map,
            Err(why) => single_id(uid, gid, why.to_string()),
        })
    }

    /// The fallback map of an ordinary user whose subordinate ids cannot be mapped.
    pub(crate) fn map_with_single_id(why: String) -> Self {
        single_id(
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
            why,
        )
    }
}

fn single_id(uid: u32, gid: u32, why: String) -> IdMap {
    let own = |outside| {
        vec![Extent {
            inside: 0,
            outside,
            count: 1,
        }]
    };
    IdMap {
        kind: MapKind::Single,
        writer: MapWriter::Own,
        engine: uid,
        uids: own(uid),
        gids: own(gid),
        why: Some(why),
    }
}

/// The ids that exist on this machine, and those that are allocated.
struct IdAllocations {
    uids: Vec<Extent>,
    gids: Vec<Extent>,
    allocated: Vec<(u64, u64)>,
}

impl IdAllocations {
    fn read() -> Self {
        let mut allocated = Vec::new();
        for file in ["/etc/subuid", "/etc/subgid"] {
            let text = fs::read_to_string(file).unwrap_or_default();
            allocated.extend(
                entries(&text).map(|(_, start, count)| {
                    (u64::from(start), u64::from(start) + u64::from(count))
                }),
            );
        }
        for file in ["/etc/passwd", "/etc/group"] {
            let text = fs::read_to_string(file).unwrap_or_default();
            let ids = text
                .lines()
                .filter_map(|line| line.split(':').nth(2)?.parse::<u64>().ok());
            allocated.extend(ids.map(|id| (id, id + 1)));
        }
        Self {
            uids: visible_ids("/proc/self/uid_map"),
            gids: visible_ids("/proc/self/gid_map"),
            allocated,
        }
    }

    fn is_free(&self, start: u32, count: u32) -> bool {
        let (from, to) = (u64::from(start), u64::from(start) + u64::from(count));
        let exists = |extents: &[Extent]| {
            extents
                .iter()
                .any(|e| u64::from(e.outside) <= from && to <= e.end())
        };
        exists(&self.uids)
            && exists(&self.gids)
            && !self
                .allocated
                .iter()
                .any(|&(start, end)| start < to && from < end)
    }
}

/// The ids that exist in this process's user namespace, as numbered inside it.
fn visible_ids(file: &str) -> Vec<Extent> {
    let text = fs::read_to_string(file).unwrap_or_else(|_| "0 0 4294967295".into());
    text.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            let (inside, _, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
            Some(Extent {
                inside: 0,
                outside: inside,
                count,
            })
        })
        .collect()
}

/// The first ids of all blocks for root, the best first.
fn blocks(next: u32) -> impl Iterator<Item = u32> {
    let step = RANGE as usize;
    let below = (RANGE..FORMER).rev().step_by(step).map(|id| id & !0xffff);
    (next..PREFERRED_END)
        .step_by(step)
        .chain((PREFERRED..next).step_by(step))
        .chain(below)
        .chain([FORMER])
}

/// A block chosen at random, so that engines without a common record rarely choose the same one.
fn random_block() -> Result<u32, OsError> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("get random numbers")?;
    let count = (PREFERRED_END - PREFERRED) / RANGE;
    Ok(PREFERRED + u32::from_ne_bytes(bytes) % count * RANGE)
}

/// The map of root with the next free block. Without claims, the search begins at `random`.
fn map_of_root(allocations: &IdAllocations, claimed: &ClaimedIds, random: u32) -> IdMap {
    let next = claimed
        .next
        .filter(|next| (PREFERRED..PREFERRED_END).contains(next))
        .map_or(random, |next| next & !0xffff);
    let is_free = |&start: &u32| allocations.is_free(start, RANGE);
    let block = claimed
        .own
        .filter(is_free)
        .or_else(|| blocks(next).find(|start| is_free(start) && !claimed.has(*start, RANGE)))
        // In a small namespace, stores rather share a block than have a single id each.
        .or_else(|| blocks(next).find(is_free));
    let Some(start) = block else {
        return map_of_root_with_one_id(allocations, claimed);
    };
    root_map(MapKind::Range, start, RANGE, None)
}

/// A map for a container whose user namespace has no second block. Its last unallocated id belongs
/// to no user.
fn map_of_root_with_one_id(allocations: &IdAllocations, claimed: &ClaimedIds) -> IdMap {
    let top = allocations
        .uids
        .iter()
        .map(|e| e.end())
        .max()
        .unwrap_or(u64::from(RANGE));
    let top = u32::try_from(top.min(u64::from(RANGE))).unwrap_or(RANGE);
    let why = format!("no block of {RANGE} ids is free in this user namespace");
    let is_free = |id: &u32| *id != NOBODY && allocations.is_free(*id, 1);
    let ids = || (1..top).rev();
    match claimed
        .own
        .filter(|id| (1..top).contains(id) && is_free(id))
        .or_else(|| ids().find(|id| is_free(id) && !claimed.has(*id, 1)))
        .or_else(|| ids().find(is_free))
    {
        Some(id) => root_map(MapKind::Single, id, 1, Some(why)),
        // This root has only its own id, like an ordinary user.
        None => single_id(0, 0, why),
    }
}

fn root_map(kind: MapKind, outside: u32, count: u32, why: Option<String>) -> IdMap {
    let extents = vec![Extent {
        inside: 0,
        outside,
        count,
    }];
    IdMap {
        kind,
        writer: MapWriter::Root,
        engine: 0,
        uids: extents.clone(),
        gids: extents,
        why,
    }
}

/// A map of root with this block, for tests.
#[cfg(test)]
pub(super) fn map_of_root_with_block(first: u32) -> IdMap {
    root_map(MapKind::Range, first, RANGE, None)
}

impl ClaimedIds {
    /// Returns true if another store has some of these ids.
    fn has(&self, first: u32, count: u32) -> bool {
        let (from, to) = (u64::from(first), u64::from(first) + u64::from(count));
        self.others
            .iter()
            .any(|&(start, end)| start < to && from < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocations(count: u32, allocated: &[(u64, u64)]) -> IdAllocations {
        let all = vec![Extent {
            inside: 0,
            outside: 0,
            count,
        }];
        IdAllocations {
            uids: all.clone(),
            gids: all,
            allocated: allocated.to_vec(),
        }
    }

    /// The map of root if the record gives no block to begin with, or that of the record.
    fn first_map(allocations: &IdAllocations, claimed: &ClaimedIds) -> IdMap {
        map_of_root(allocations, claimed, random_block().unwrap())
    }

    /// The claims of other stores, of which the newest ends before `next`.
    fn claimed(next: u32, others: &[u32]) -> ClaimedIds {
        let range = |&first: &u32| (u64::from(first), u64::from(first + RANGE));
        ClaimedIds {
            own: None,
            next: Some(next),
            others: others.iter().map(range).collect(),
        }
    }

    #[test]
    fn root_avoids_every_granted_block() {
        let start = u64::from(PREFERRED);
        let map = first_map(
            &allocations(
                u32::MAX,
                &[(start - 10, start + 10), (start + 65_536, start + 131_072)],
            ),
            &claimed(PREFERRED, &[]),
        );
        assert_eq!(map.kind(), MapKind::Range);
        assert_eq!(
            map.root_owner(),
            (PREFERRED + 2 * RANGE, PREFERRED + 2 * RANGE)
        );
    }

    #[test]
    fn each_store_of_root_gets_a_block_of_its_own() {
        let all = allocations(u32::MAX, &[]);
        let mut others = Vec::new();
        let mut next = PREFERRED_END - 2 * RANGE;
        for _ in 0..5 {
            let (first, _) = first_map(&all, &claimed(next, &others)).root_owner();
            assert!(!others.contains(&first) && first != FORMER, "{first}");
            others.push(first);
            next = first + RANGE;
        }
        // A store that was opened before gets the same block again.
        let mut again = claimed(next, &others[1..]);
        again.own = Some(others[0]);
        assert_eq!(first_map(&all, &again).root_owner().0, others[0]);
    }

    #[test]
    fn without_a_record_the_block_is_random_and_never_the_former_one() {
        let all = allocations(u32::MAX, &[]);
        let firsts: std::collections::HashSet<u32> = (0..64)
            .map(|_| first_map(&all, &ClaimedIds::default()).root_owner().0)
            .collect();
        assert!(firsts.len() > 32 && !firsts.contains(&FORMER), "{firsts:?}");
        assert!(firsts.iter().all(|first| first % RANGE == 0));
    }

    #[test]
    fn root_in_a_container_gets_one_high_id_and_never_its_own() {
        let map = first_map(
            &allocations(RANGE, &[(65_535, 65_536)]),
            &ClaimedIds::default(),
        );
        assert!(map.is_single());
        assert_eq!(map.root_owner(), (65_533, 65_533));
        assert!(map.why_single().is_some());
        let mut others = ClaimedIds::default();
        others.others.push((65_533, 65_534));
        let map = first_map(&allocations(RANGE, &[(65_535, 65_536)]), &others);
        assert_eq!(map.root_owner(), (65_532, 65_532));
    }

    #[test]
    fn root_of_a_namespace_with_one_id_is_an_ordinary_user() {
        let map = first_map(&allocations(1, &[]), &ClaimedIds::default());
        assert!(map.is_single() && !map.files_have_other_owner());
    }

    #[test]
    fn root_in_a_larger_namespace_finds_a_block_below() {
        let small = allocations(4 * RANGE, &[(200_000, 200_001)]);
        let map = first_map(&small, &ClaimedIds::default());
        assert_eq!(map.root_owner().0, 2 * RANGE);
        assert!(!map.is_single());
        let other = first_map(&small, &claimed(PREFERRED, &[2 * RANGE]));
        assert_eq!(other.root_owner().0, RANGE);
        // Rather a shared block than a single id.
        let third = first_map(&small, &claimed(PREFERRED, &[2 * RANGE, RANGE]));
        assert_eq!(third.kind(), MapKind::Range);
    }
}
