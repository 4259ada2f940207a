//! Unpacks a tar archive into a new layer.
//!
//! The archive is untrusted. Every file is made relative to descriptors of directories that were
//! resolved beneath the layer without following a symbolic link. So no member can affect a file
//! outside the layer.

mod error;
mod layer;
mod make;
mod path;
mod whiteout;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use self::error::{UnpackError, display_path};
use self::layer::{Layer, MOUNT_POINTS};
use crate::init::error::InitError;
use crate::init::setup::overlay;
use crate::os::free_space::FileSystemSpace;
use crate::os::tree::disk_use;
use crate::protocol::boot::UnpackBoot;
use crate::protocol::reply::Reply;
use crate::protocol::request::FirstStageRequest;
use crate::protocol::step::Step;
use crate::protocol::step_failure::StepContext;
use crate::protocol::unpack::UnpackReport;
use crate::protocol::wire;
use crate::tar::{Archive, Member, MemberKind, TarError};

/// Unpacks one archive, which comes through a descriptor, and reports the result.
pub(crate) fn serve(socket: &OwnedFd, store: &OwnedFd, boot: &UnpackBoot) -> Result<(), InitError> {
    let below = match boot.lowers.is_empty() {
        true => None,
        false => Some(overlay::mount_read_only(
            store,
            &boot.lowers,
            boot.old_mount,
        )?),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = openat(store, &boot.target, flags, Mode::empty()).at_step(Step::Upper)?;
    wire::send(socket, &Reply::Ready, &[])?;
    let (FirstStageRequest::Unpack, files) = wire::receive::<FirstStageRequest>(socket, None)?
    else {
        return Err(InitError::Lost);
    };
    let [source] = wire::exact_files(files)?;
    let reply = match unpack(File::from(source), root, below, boot) {
        Ok(unpacked) => Reply::Unpacked(unpacked),
        Err(error) => Reply::Refused { reason: error.0 },
    };
    wire::send(socket, &reply, &[])?;
    Ok(())
}

fn unpack(
    source: File,
    root: OwnedFd,
    below: Option<OwnedFd>,
    boot: &UnpackBoot,
) -> Result<UnpackReport, UnpackError> {
    let mut archive = Archive::new(source);
    let mut layer = Layer::new(root, below, boot.single)?;
    let mut report = UnpackReport::default();
    let mut room = boot.limits.bytes;
    while let Some(member) = archive.next_member()? {
        report.entries += 1;
        if member.kind == MemberKind::File {
            if member.length() > room {
                return Err(UnpackError(format!(
                    "the image would be larger than the bound on its size: {} asks for {} bytes, and {room} are left",
                    display_path(&member.path),
                    member.length()
                )));
            }
            room -= member.length();
        }
        check_free_space(&layer, &member)?;
        layer.member(&member, &mut archive, &mut report)?;
        report.implied_directories = layer.implied_directories();
        if report.counted_entries() > boot.limits.entries {
            return Err(UnpackError(format!(
                "the archive has more than {} members, with the directories that it implies: that is what its lower layers leave \
                 of the most that an import may have",
                boot.limits.entries
            )));
        }
    }
    layer.finish()?;
    // Read the trailing zeros and anything after them: the sender's checksum covers all bytes.
    let mut rest = archive.into_inner();
    let mut buffer = vec![0; 64 * 1024];
    while rest.read(&mut buffer).map_err(TarError::from)? > 0 {}
    report.bytes = disk_use(layer.root())
        .map_err(|error| UnpackError(format!("measure the layer: {error}")))?
        .bytes;
    Ok(report)
}

/// Checks that a member leaves some space to other programs.
fn check_free_space(layer: &Layer, member: &Member) -> Result<(), UnpackError> {
    let space = FileSystemSpace::read(layer.root())
        .map_err(|error| UnpackError::call("read the free space for", &member.path, error))?;
    let needed = match (member.kind, &member.sparse) {
        (MemberKind::File, None) => member.length(),
        (MemberKind::File, Some(sparse)) => sparse.pieces.iter().map(|piece| piece.1).sum(),
        _ => 0,
    };
    let bytes = space.bytes();
    if bytes.free < bytes.floor.saturating_add(needed) {
        return Err(UnpackError(format!(
            "the data directory's file system has {} bytes left, {} needs {needed}, and imports leave {} free: free space there",
            bytes.free,
            display_path(&member.path),
            bytes.floor
        )));
    }
    match space.inodes() {
        Some(inodes) if inodes.is_below_floor() => Err(UnpackError(format!(
            "the data directory's file system has {} inodes left, and imports leave {} free: remove files there",
            inodes.free, inodes.floor
        ))),
        _ => Ok(()),
    }
}

impl Layer {
    /// Makes one member.
    fn member(
        &mut self,
        member: &Member,
        archive: &mut Archive<File>,
        report: &mut UnpackReport,
    ) -> Result<(), UnpackError> {
        let path = path::clean(&member.path)?;
        if whiteout::is_aufs_data(&path) {
            if member.kind != MemberKind::File || !whiteout::is_in_link_store(&path) {
                return Ok(());
            }
            self.has_link_store = true;
        } else if let Some(name) = path::file_name(&path).strip_prefix(whiteout::PREFIX) {
            return whiteout::apply(self, &path, name);
        }
        if MOUNT_POINTS.contains(&path.as_slice()) && member.kind != MemberKind::Directory {
            return Err(UnpackError::member(&path, "must be a directory"));
        }
        match member.kind {
            MemberKind::Device => {
                report.devices += 1;
                self.left_out_devices.insert(&path)
            }
            MemberKind::Directory => self.make_directory(&path, member, report),
            _ if path.is_empty() => Err(UnpackError::member(
                &member.path,
                "is the root but not a directory",
            )),
            MemberKind::File => self.make_file(&path, member, archive, report),
            MemberKind::Symlink => self.make_symlink(&path, member, report),
            MemberKind::Fifo => self.make_fifo(&path, member, report),
            MemberKind::Hardlink => {
                let target = path::clean(&member.link).map_err(|_| {
                    UnpackError::member(&path, "is a hard link that leads out of the image")
                })?;
                self.make_link(&path, &target, report)
            }
        }
    }

    /// Finishes the layer after the last member.
    fn finish(&mut self) -> Result<(), UnpackError> {
        self.restore_time();
        if self.has_link_store {
            whiteout::remove_link_store(self)?;
        }
        if self.root_opaque {
            whiteout::hide_all(self)?;
        }
        if self.below.is_none() {
            for name in MOUNT_POINTS {
                match mkdirat(self.root(), name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(UnpackError::call("make", name, error)),
                }
            }
        }
        Ok(())
    }
}
