//! Files of the writable layer that no longer have a name, found through the sandbox's processes.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::os::notifier::share_descriptors;
use crate::os::tree::DiskUse;

/// The tasks of a process that are asked for their pid namespace. The first may have ended.
const ASKED_TASKS: usize = 4;

/// The files without a name that the sandbox's processes hold.
#[derive(Debug, Default)]
pub(super) struct UnnamedFiles {
    pub usage: DiskUse,
    /// True if sockets of the sandbox hold descriptors that no process has received.
    pub in_flight: bool,
    counted: HashSet<u64>,
}

/// Finds the files on `device` that processes of the pid namespace hold without a name.
///
/// - Every thread may have a table of descriptors of its own.
/// - The first thread may have ended while others continue.
/// - A running program and a working directory may be deleted too.
///
/// It calls `proceed` at every file. If that returns false, the result is `None`.
pub(super) fn find(
    namespace: &Path,
    device: u64,
    mut proceed: impl FnMut() -> bool,
) -> Option<UnnamedFiles> {
    let mut found = UnnamedFiles::default();
    for process in entries(Path::new("/proc")) {
        let is_process = process
            .file_name()
            .and_then(|name| name.as_encoded_bytes().first())
            .is_some_and(u8::is_ascii_digit);
        if !is_process {
            continue;
        }
        if !proceed() {
            return None;
        }
        let tasks: Vec<PathBuf> = match pid_namespace(&process) {
            Ok(other) if other != namespace => continue,
            // A process outside, or pid 1, which has no such files.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
            _ => entries(&process.join("task")).collect(),
        };
        let is_inside = |task: &PathBuf| pid_namespace(task).is_ok_and(|other| other == namespace);
        if !tasks.iter().take(ASKED_TASKS).any(is_inside) {
            continue;
        }
        found.add(&process.join("exe"), device);
        let mut tables: Vec<i32> = Vec::new();
        for task in tasks {
            found.add(&task.join("cwd"), device);
            found.add(&task.join("root"), device);
            let Some(id) = task_id(&task) else { continue };
            // The set of counted files makes a second look at the same table harmless.
            let known = [tables.first(), tables.last()];
            if known
                .into_iter()
                .flatten()
                .any(|&table| share_descriptors(table, id))
            {
                continue;
            }
            tables.push(id);
            for file in entries(&task.join("fd")) {
                if !proceed() {
                    return None;
                }
                let is_socket = found.add(&file, device);
                if is_socket && let Some(number) = file.file_name() {
                    found.in_flight |= holds_descriptors(&task.join("fdinfo").join(number));
                }
            }
        }
    }
    Some(found)
}

impl UnnamedFiles {
    /// Counts a file if it has no name. Returns true if it is a socket.
    fn add(&mut self, link: &Path, device: u64) -> bool {
        // The link leads to the open file itself, whatever its path names now.
        let Ok(metadata) = fs::metadata(link) else {
            return false;
        };
        if is_unnamed(&metadata, device) && self.counted.insert(metadata.ino()) {
            self.usage.bytes += metadata.blocks() * 512;
            self.usage.inodes += 1;
        }
        metadata.file_type().is_socket()
    }
}

fn is_unnamed(metadata: &Metadata, device: u64) -> bool {
    metadata.nlink() == 0 && metadata.dev() == device
}

/// Returns true if descriptors wait in a socket's queue, or in the queues of connections that it
/// has not accepted.
fn holds_descriptors(fdinfo: &Path) -> bool {
    let Ok(text) = fs::read_to_string(fdinfo) else {
        return false;
    };
    text.lines()
        .filter_map(|line| line.strip_prefix("scm_fds:"))
        .any(|count| count.trim() != "0")
}

fn pid_namespace(task: &Path) -> io::Result<PathBuf> {
    fs::read_link(task.join("ns/pid"))
}

fn task_id(task: &Path) -> Option<i32> {
    task.file_name()?.to_str()?.parse().ok()
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn own_namespace() -> PathBuf {
        fs::read_link("/proc/self/ns/pid").unwrap()
    }

    fn unnamed_file(bytes: usize) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; bytes]).unwrap();
        file.sync_all().unwrap();
        file
    }

    #[test]
    fn a_file_of_a_thread_with_its_own_descriptors_is_found() {
        let (to_test, opened) = std::sync::mpsc::channel();
        let (to_thread, end) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            // SAFETY: the thread closes only files that it opened after this call.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }.unwrap();
            let file = unnamed_file(3 << 20);
            to_test.send(file.metadata().unwrap().dev()).unwrap();
            let _ = end.recv();
        });
        let device = opened.recv().unwrap();
        let found = find(&own_namespace(), device, || true).unwrap();
        assert!(found.usage.bytes >= 3 << 20, "{found:?}");
        drop(to_thread);
        thread.join().unwrap();
    }

    #[test]
    fn descriptors_in_a_sockets_queue_are_noticed() {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        let (ours, theirs) = UnixStream::pair().unwrap();
        let file = unnamed_file(1);
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [file.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
        let data = [std::io::IoSlice::new(b"x")];
        sendmsg(&ours, &data, &mut control, SendFlags::empty()).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&theirs);
        let fdinfo = PathBuf::from(format!("/proc/self/fdinfo/{number}"));
        assert!(holds_descriptors(&fdinfo));
        drop(file);
        assert!(find(&own_namespace(), 0, || true).unwrap().in_flight);
    }

    #[test]
    fn a_search_stops_when_it_may_not_proceed() {
        assert!(find(&own_namespace(), 0, || false).is_none());
    }
}
