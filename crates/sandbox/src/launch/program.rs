//! The program that runs as init: a sealed in-memory copy of this one.
//!
//! The copy prevents processes inside from reaching the engine's program file through the init.
//! Replacing that file while the engine runs also changes nothing. One copy is made per process and
//! program.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

use super::error::LaunchError;
use super::unavailable::Unavailable;
use crate::error::Error;
use crate::init;
use crate::options::StoreOptions;
use crate::os::error::{CallContext, OsError};

/// F_SEAL_EXEC of Linux 6.3, which rustix does not name.
const SEAL_EXEC: SealFlags = SealFlags::from_bits_retain(0x20);

static COPIES: Mutex<Vec<(PathBuf, OwnedFd)>> = Mutex::new(Vec::new());

/// The path through which the copy is executed.
pub(super) fn executable_path(options: &StoreOptions) -> Result<PathBuf, Error> {
    let original = match &options.init_program {
        Some(program) => program.clone(),
        None if init::can_start_itself() => PathBuf::from("/proc/self/exe"),
        None => {
            let setting = match &options.init_program_setting {
                Some(own) => format!("StoreOptions::init_program ({own})"),
                None => "StoreOptions::init_program".into(),
            };
            return Err(LaunchError::SharedLibrary { setting }.into());
        }
    };
    let mut copies = COPIES.lock().unwrap_or_else(PoisonError::into_inner);
    let number = match copies.iter().find(|(path, _)| *path == original) {
        Some((_, memfd)) => memfd.as_raw_fd(),
        None => {
            let memfd = copy(&original)?;
            let number = memfd.as_raw_fd();
            copies.push((original, memfd));
            number
        }
    };
    Ok(PathBuf::from(format!("/proc/self/fd/{number}")))
}

/// The program's name in errors.
pub(super) fn display_name(options: &StoreOptions) -> String {
    match &options.init_program {
        Some(program) => program.display().to_string(),
        None => std::env::current_exe()
            .map_or_else(|_| "this program".into(), |path| path.display().to_string()),
    }
}

fn copy(original: &Path) -> Result<OwnedFd, Error> {
    if original.starts_with("/proc") && !Path::new("/proc/self").exists() {
        return Err(Unavailable::NoProc.into());
    }
    let mut source = File::open(original)
        .context_path("open", original)
        .map_err(LaunchError::Os)?;
    let mut memfd = File::from(create()?);
    std::io::copy(&mut source, &mut memfd)
        .context_path("copy into memory", original)
        .map_err(LaunchError::Os)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    match fcntl_add_seals(&memfd, seals | SEAL_EXEC) {
        Err(Errno::INVAL) => fcntl_add_seals(&memfd, seals),
        other => other,
    }
    .context("seal the init's copy")
    .map_err(LaunchError::Os)?;
    // Reopen it read-only: some kernels refuse to execute a file that is open for writing.
    let path = format!("/proc/self/fd/{}", memfd.as_raw_fd());
    Ok(File::open(&path)
        .context_path("open", &path)
        .map_err(LaunchError::Os)?
        .into())
}

fn create() -> Result<OwnedFd, Error> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = match memfd_create(c"contree-init", flags | MemfdFlags::EXEC) {
        // Kernels before 6.3 do not know the flag.
        Err(Errno::INVAL) => memfd_create(c"contree-init", flags),
        other => other,
    };
    memfd.map_err(|error| match error {
        Errno::ACCESS => Unavailable::MemfdNoexec.into(),
        other => LaunchError::Os(OsError::new("make an in-memory file", other)).into(),
    })
}

#[cfg(test)]
mod tests {
    use rustix::fs::fcntl_get_seals;

    use super::*;

    #[test]
    fn the_copy_of_the_program_is_sealed() {
        let copy = copy(Path::new("/proc/self/exe")).unwrap();
        let seals = fcntl_get_seals(&copy).unwrap();
        let wanted = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        assert!(seals.contains(wanted), "{seals:?}");
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        let refused = File::options()
            .write(true)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"x"));
        assert!(refused.is_err());
    }
}
