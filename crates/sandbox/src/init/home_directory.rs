//! The home directories of an image's users.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat};

use crate::os::open_resolved::open_resolved;

/// The largest part of the file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The home directory of a user in the sandbox's /etc/passwd. Pid 1 calls it, whose root is the
/// sandbox's.
pub(crate) fn of_user(uid: u32) -> Option<OsString> {
    // The file is the image's own, so it may be anything. Opening it must not block.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let root = rustix::fs::openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let file = open_resolved(root, c"etc/passwd", flags, inside).ok()?;
    if FileType::from_raw_mode(fstat(&file).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    File::from(file)
        .take(MAX_BYTES)
        .read_to_end(&mut text)
        .ok()?;
    find(&text, uid).map(OsString::from_vec)
}

/// The home directory of the first user with the id, if it is an absolute path.
fn find(text: &[u8], uid: u32) -> Option<Vec<u8>> {
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        let [_, _, id, _, _, home, ..] = fields.as_slice() else {
            return None;
        };
        let id: u32 = std::str::from_utf8(id).ok()?.parse().ok()?;
        let is_usable = home.starts_with(b"/") && !home.contains(&0);
        (id == uid && is_usable).then(|| home.to_vec())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_user_with_the_id_counts() {
        let text =
            b"# comment\nroot:x:0:0:root:/root:/bin/sh\nbad:x:1000\nempty:x:1000:1000:::/bin/sh\n\
                     app:x:1000:1000:,,,:/home/app:/bin/sh\nsame:x:1000:1000::/other:\n";
        assert_eq!(find(text, 0).as_deref(), Some(&b"/root"[..]));
        assert_eq!(find(text, 1000).as_deref(), Some(&b"/home/app"[..]));
        assert_eq!(find(text, 1), None);
        assert_eq!(find(b"", 0), None);
    }
}
