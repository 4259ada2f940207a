//! A second user namespace inside the first one, with the same ids.
//!
//! The kernel counts resources for each user of a namespace, and for the owner of the namespace in
//! the one outside. With many users inside, only a limit for the owner holds for a whole sandbox.
//! Between the two namespaces, the owner is charged for this sandbox alone.

use std::fs;
use std::io;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::UnshareFlags;

use super::limits::{self, CommandLimits};
use super::setup::procfs;
use crate::os::sys::{self, Fork};

/// Enters the second namespace. The limits of one user of the sandbox then hold for all its users
/// together. The caller becomes root in it.
pub(super) fn enter(limits: &CommandLimits) -> io::Result<()> {
    let maps = [
        ("uid_map", same_ids("uid_map")?),
        ("gid_map", same_ids("gid_map")?),
    ];
    let proc = open(
        "/proc",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // Where /proc is read-only, as in some containers, each user keeps a limit of its own.
    if procfs::limit_notifications(&proc).is_err() {
        return Ok(());
    }
    for &(resource, _, value) in &limits.shares {
        limits::lower(resource, value)?;
    }
    let (made, report) = pipe_with(PipeFlags::CLOEXEC)?;
    let process = std::process::id();
    // Only a process of the first namespace may write the maps of the second.
    let writer = match sys::fork()? {
        Fork::Child => {
            drop(report);
            let mut byte = [0];
            let written = rustix::io::read(&made, &mut byte) == Ok(1)
                && maps
                    .iter()
                    .all(|(file, map)| fs::write(format!("/proc/{process}/{file}"), map).is_ok());
            sys::exit_now(i32::from(!written));
        }
        Fork::Parent(writer) => writer,
    };
    drop(made);
    let entered = sys::unshare(UnshareFlags::NEWUSER)
        // While dumpable, the files of the maps belong to this process's user.
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::Dumpable))
        .and_then(|()| rustix::io::write(&report, &[1]));
    drop(report);
    let ended = sys::wait(writer, true)?;
    entered?;
    match ended {
        Some(ended) if ended.status == 0 => {
            Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
        }
        _ => Err(io::Error::other(
            "the ids of the inner namespace cannot be mapped",
        )),
    }
}

/// The map of a namespace inside this one in which all ids stay as they are.
fn same_ids(file: &str) -> io::Result<String> {
    let map = fs::read_to_string(format!("/proc/self/{file}"))?;
    format_same_ids(&map).ok_or_else(|| io::Error::from(Errno::INVAL))
}

fn format_same_ids(map: &str) -> Option<String> {
    map.lines()
        .map(|line| {
            let mut numbers = line.split_whitespace();
            let (inside, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
            Some(format!("{inside} {inside} {count}\n"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_map_follows_the_extents_of_the_outer_one() {
        let outer = "         0       1001          1\n         1     100000      65535\n";
        let inner = format_same_ids(outer).unwrap();
        assert_eq!(inner, "0 0 1\n1 1 65535\n");
        assert_eq!(format_same_ids("0 1001\n"), None);
    }
}
