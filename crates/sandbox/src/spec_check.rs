//! Checks of the descriptions that a caller gives.

use std::path::{Component, Path};

use crate::error::Error;
use crate::ids::{RANGE, remedy};
use crate::options::StoreOptions;
use crate::protocol::spec::{Network, SandboxSpec, SideFile, TemporaryLines};
use crate::store::layout::StoreLayout;

/// The kernel's limit on a host name, in bytes.
const MAX_HOSTNAME_BYTES: usize = 64;

/// Checks the description of a sandbox.
pub(crate) fn check_spec(store: &StoreLayout, spec: &SandboxSpec) -> Result<(), Error> {
    if spec.hostname.is_empty() || spec.hostname.len() > MAX_HOSTNAME_BYTES {
        return Err(Error::Invalid(format!(
            "a host name has 1 to {MAX_HOSTNAME_BYTES} bytes, this one has {}",
            spec.hostname.len()
        )));
    }
    check_side_files(store.options(), &spec.side_files)?;
    for wanted in &spec.temporary_lines {
        check_temporary_lines(wanted)?;
    }
    if spec.shared_memory_bytes == 0 {
        return Err(Error::Invalid("the size of /dev/shm is not 0".into()));
    }
    if spec.network == (Network::Listener { port: 0 }) {
        return Err(Error::Invalid("a listener needs a port".into()));
    }
    for directory in &spec.directories {
        check_path(&directory.path)?;
        check_user(store, directory.uid, directory.gid)?;
    }
    for change in &spec.changes {
        check_path(&change.path)?;
        check_user(store, change.uid, change.gid)?;
    }
    for file in &spec.files {
        check_path(&file.path)?;
        check_user(store, file.uid, file.gid)?;
    }
    Ok(())
}

fn check_side_files(options: &StoreOptions, files: &[SideFile]) -> Result<(), Error> {
    let plain = |name: &str| {
        !name.is_empty()
            && name.len() <= 64
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    if !plain(&options.side_directory) {
        return Err(Error::Invalid(format!(
            "`{}` cannot name the directory of side files",
            options.side_directory.escape_debug()
        )));
    }
    if files.len() > SideFile::MAX_COUNT {
        return Err(Error::Invalid(format!(
            "a sandbox takes at most {} side files, not {}",
            SideFile::MAX_COUNT,
            files.len()
        )));
    }
    for (index, file) in files.iter().enumerate() {
        if !plain(&file.name) || files[..index].iter().any(|other| other.name == file.name) {
            return Err(Error::Invalid(format!(
                "`{}` is not a valid side file name, or two side files have it",
                file.name.escape_debug()
            )));
        }
    }
    Ok(())
}

fn check_temporary_lines(wanted: &TemporaryLines) -> Result<(), Error> {
    check_path(&wanted.path)?;
    let is_line = |line: &String| !line.contains(['\n', '\0']);
    if wanted.lines.iter().all(is_line) {
        return Ok(());
    }
    Err(Error::Placement {
        path: wanted.path.clone(),
        reason: "a temporary line has a line break or a NUL byte".into(),
    })
}

fn check_path(path: &Path) -> Result<(), Error> {
    let refuse = |reason: &str| {
        Err(Error::Placement {
            path: path.to_owned(),
            reason: reason.into(),
        })
    };
    if !path.is_absolute() {
        return refuse("the path is not absolute");
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return refuse("the path has a NUL byte");
    }
    match path.components().nth(1) {
        Some(Component::Normal(first))
            if ["proc", "sys", "dev"].iter().any(|name| first == *name) =>
        {
            refuse("it leads into /proc, /sys or /dev, which are not part of the image")
        }
        _ => Ok(()),
    }
}

/// Checks that the user and group exist in the store's sandboxes.
pub(crate) fn check_user(store: &StoreLayout, uid: u32, gid: u32) -> Result<(), Error> {
    let map = store.id_map();
    let highest = if map.is_single() { 0 } else { RANGE - 1 };
    if uid.max(gid) <= highest {
        return Ok(());
    }
    let why = if map.is_single() {
        format!(
            "only uid 0 and gid 0 exist in sandboxes here; for others {}",
            remedy::instruction_for_range(store.options())
        )
    } else {
        format!("ids in a sandbox go up to {highest}")
    };
    Err(Error::Invalid(format!("user {uid}, group {gid}: {why}")))
}
