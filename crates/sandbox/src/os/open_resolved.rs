//! Opens paths that the kernel resolves within limits.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// How often a path is resolved before the caller gets EAGAIN. Each attempt takes microseconds,
/// and fails only if a rename or a mount falls into it.
const MAX_ATTEMPTS: usize = 1_000;

/// Opens `path` below `directory` as `resolve` allows (openat2(2)).
///
/// The kernel answers EAGAIN if any process of the machine renames or mounts something while `..`
/// is resolved, since it cannot tell whether the path stays inside. The path is then resolved
/// again.
///
/// # Errors
///
/// Returns the errors of openat2(2), and EAGAIN only after [`MAX_ATTEMPTS`].
#[allow(
    clippy::disallowed_methods,
    reason = "this is the function that resolves again"
)]
pub(crate) fn open_resolved(
    directory: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let open = || rustix::fs::openat2(&directory, path, flags, Mode::empty(), resolve);
    for _ in 1..MAX_ATTEMPTS {
        match open() {
            Err(Errno::AGAIN) => std::thread::yield_now(),
            result => return result,
        }
    }
    open()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::CWD;

    use super::*;

    #[test]
    fn renames_elsewhere_do_not_disturb() {
        let renamed = tempfile::tempdir().unwrap();
        let names = ["one", "other"].map(|name| renamed.path().join(name));
        std::fs::write(&names[0], "").unwrap();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, root.path(), flags, Mode::empty()).unwrap();
        let path = "a/b/../../a/../c";
        std::fs::write(root.path().join("c"), "").unwrap();
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    std::fs::rename(&names[0], &names[1]).unwrap();
                    std::fs::rename(&names[1], &names[0]).unwrap();
                }
            });
            let resolve = ResolveFlags::IN_ROOT;
            let result = (0..10_000)
                .try_for_each(|_| open_resolved(&directory, path, flags, resolve).map(drop));
            is_done.store(true, Ordering::Relaxed);
            assert_eq!(result, Ok(()));
        });
    }
}
