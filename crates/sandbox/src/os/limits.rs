//! Limits of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than any number of sandboxes at once needs; far larger limits slow programs down that close all they might have.
const ENOUGH: u64 = 65_536;

/// Raises this process's limit of open descriptors as far as it may, at most to 65,536. A sandbox holds half a dozen, so that
/// many at once pass the 1,024 that are usual. A refusal changes nothing and is no error. Answers the limit that holds.
pub fn raise_descriptor_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    if current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum,
        };
        let _ = setrlimit(Resource::Nofile, raised);
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
