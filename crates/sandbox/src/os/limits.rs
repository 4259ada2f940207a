//! Limits of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Enough descriptors for every realistic number of concurrent sandboxes. A far higher limit slows
/// down programs that close every descriptor they might have.
const MAX_DESCRIPTORS: u64 = 65_536;

/// Raises this process's limit of open descriptors to 65,536, or to its hard limit if that is
/// lower. Returns the limit in force.
///
/// A program that starts sandboxes calls this first:
///
/// - A sandbox holds about twelve descriptors, so 100 sandboxes exceed the usual limit of 1,024.
/// - The kernel passes descriptors for a process only while fewer than this limit are in flight for
///   its user. One command of an ordinary user may keep 1,021 in flight.
///
/// A refusal by the kernel is not an error.
pub fn raise_descriptor_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(MAX_DESCRIPTORS, |maximum| maximum.min(MAX_DESCRIPTORS));
    if current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum,
        };
        let _ = setrlimit(Resource::Nofile, raised);
    }
    descriptor_limit()
}

/// The most descriptors that this process may have open.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
