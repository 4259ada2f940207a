//! The large part of a message, in a sealed memfd.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::WireError;

/// The largest payload that is read. Descriptions of commands and images stay far below it.
const MAX_PAYLOAD: u64 = 256 << 20;

/// Writes a value into a memfd and seals it against changes.
pub(crate) fn write<T: Serialize>(value: &T) -> Result<OwnedFd, WireError> {
    seal(&serde_json::to_vec(value)?)
}

/// Writes bytes into a memfd and seals it against changes.
pub(crate) fn seal(bytes: &[u8]) -> Result<OwnedFd, WireError> {
    let mut file = File::from(create_data()?);
    file.write_all(bytes)?;
    file.rewind()?;
    fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(file.into())
}

/// Reads a value that [`write`] wrote.
pub(crate) fn read<T: DeserializeOwned>(memfd: OwnedFd) -> Result<T, WireError> {
    let mut file = File::from(memfd);
    let length = file.metadata()?.len();
    if length > MAX_PAYLOAD {
        return Err(WireError::Truncated);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn create_data() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag; with vm.memfd_noexec=2 it is required.
    match memfd_create(c"contree-message", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create(c"contree-message", flags),
        other => other,
    }
}
