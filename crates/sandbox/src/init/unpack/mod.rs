//! Unpacking a tar archive into a new layer.
//!
//! The archive is what somebody else made. Everything is made relative to descriptors of directories that were resolved beneath the
//! layer without following a symbolic link, so that nothing outside of it can be meant, whatever the archive says.

mod layer;
mod make;
mod whiteout;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat};

use super::stage1;
use super::{During, changed, view};
use crate::protocol::{Reply, Request, UnpackBoot};
use crate::step::Step;
use crate::tar::{Archive, MemberKind, TarError};
use crate::unpack::Unpacked;
use crate::wire;

use layer::Layer;

/// How much of a path is shown in an error.
const SHOWN: usize = 300;

/// Unpacks one archive, which comes through a descriptor, and says how that went.
pub(super) fn serve(
    socket: &OwnedFd,
    store: &OwnedFd,
    boot: &UnpackBoot,
) -> Result<(), stage1::Error> {
    let below = match boot.lowers.is_empty() {
        true => None,
        false => Some(view::mount(store, &boot.lowers, boot.old_mount)?),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = openat(store, &boot.target, flags, Mode::empty()).during(Step::Upper)?;
    wire::send(socket, &Reply::Ready, &[])?;
    let (Request::Unpack, files) = wire::receive::<Request>(socket, None)? else {
        return Err(stage1::Error::Lost);
    };
    let [source] = wire::exactly(files)?;
    let reply = match unpack(File::from(source), root, below, boot) {
        Ok(unpacked) => Reply::Unpacked(unpacked),
        Err(refused) => Reply::Refused { reason: refused.0 },
    };
    wire::send(socket, &reply, &[])?;
    Ok(())
}

/// Why an archive is not unpacked, as a sentence.
struct Refused(String);

impl From<TarError> for Refused {
    fn from(error: TarError) -> Self {
        Self(error.to_string())
    }
}

impl Refused {
    /// A call to the kernel that failed on a path of the archive.
    fn on(what: &str, path: &[u8], error: impl Into<std::io::Error>) -> Self {
        Self(format!("{what} {}: {}", shown(path), error.into()))
    }

    fn path(path: &[u8], why: &str) -> Self {
        Self(format!("the archive's member {} {why}", shown(path)))
    }
}

/// A path for people: bounded, without control characters.
fn shown(path: &[u8]) -> String {
    let cut = path.len().min(SHOWN);
    let more = if cut < path.len() { "..." } else { "" };
    format!("`{}{more}`", path[..cut].escape_ascii())
}

fn unpack(
    source: File,
    root: OwnedFd,
    below: Option<OwnedFd>,
    boot: &UnpackBoot,
) -> Result<Unpacked, Refused> {
    let mut archive = Archive::new(source);
    let mut layer = Layer::new(root, below, boot.single)?;
    let mut done = Unpacked::default();
    let mut room = boot.limits.bytes;
    while let Some(member) = archive.next_member()? {
        done.entries += 1;
        if done.entries > boot.limits.entries {
            return Err(Refused(format!(
                "the archive has more than {} members",
                boot.limits.entries
            )));
        }
        if member.kind == MemberKind::File {
            if member.length() > room {
                return Err(Refused(format!(
                    "the image would be larger than the bound on its size: {} asks for {} bytes, and {room} are left",
                    shown(&member.path),
                    member.length()
                )));
            }
            room -= member.length();
        }
        layer.member(&member, &mut archive, &mut done)?;
    }
    layer.finish()?;
    // Zeros at the end, and whatever follows them: the sender's checksum is over all of it.
    let mut rest = archive.into_inner();
    let mut buffer = vec![0; 64 * 1024];
    while rest.read(&mut buffer).map_err(TarError::from)? > 0 {}
    done.bytes = changed::size(layer.root())
        .map_err(|error| Refused(format!("measure the layer: {error}")))?;
    Ok(done)
}
