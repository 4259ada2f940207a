//! A small true root made of this machine's own programs.
//!
//! It is what a sandbox runs on before anything was downloaded: a shell and the usual tools, copied at their own paths together with
//! the loaders and libraries they need, and an `/etc` of its own. Only public files of the distribution are copied, nothing else of the
//! host. Making it needs no privilege and runs no program.

mod closure;
mod elf;
mod etc;
mod host;
mod libraries;
mod plan;
mod programs;
#[cfg(test)]
mod tests;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use self::host::Host;
use self::plan::Plan;
use self::programs::Collector;
use self::write::Writer;

/// What [`build`] made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostReport {
    /// Files written, without directories, links and further names of a file.
    pub files: u64,
    /// Bytes in those files. A file system that shares blocks stores less.
    pub bytes: u64,
    /// Programs and files that were left out, each with the reason.
    pub skipped: Vec<(String, String)>,
}

/// Why the root could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The destination has something in it.
    #[error("cannot copy this machine's programs to {path}: the directory is not empty")]
    NotEmpty {
        /// The destination.
        path: PathBuf,
    },
    /// There is no shell that could be copied, so that no command would run.
    #[error(
        "cannot make an image of this machine's programs: /bin/sh: {reason}; import an image instead"
    )]
    NoShell {
        /// What is wrong with the shell.
        reason: String,
    },
    /// A program was replaced between looking at it and copying it, as by an upgrade of the system.
    #[error(
        "{path} changed while this machine's programs were copied; try again when no upgrade is running"
    )]
    Changed {
        /// The file of the host.
        path: PathBuf,
    },
    /// The file system refused something.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

/// Fills `destination`, an empty directory, with a root file system of this machine's own programs, owned by `owner` (uid, gid) or else
/// by the calling user.
///
/// What is written depends on the host's files alone. Set-user-id and set-group-id bits are dropped, and files that are not
/// readable by everyone are not copied. After an error the directory holds a part and is for the caller to remove.
///
/// # Errors
/// [`HostError`]: the directory is not empty, there is no shell, or the file system refused. A program that cannot be had is no error; it
/// is in [`HostReport::skipped`].
pub fn build(destination: &Path, owner: Option<(u32, u32)>) -> Result<HostReport, HostError> {
    build_from(&Host::new(Path::new("/")), destination, owner)
}

fn build_from(
    host: &Host,
    destination: &Path,
    owner: Option<(u32, u32)>,
) -> Result<HostReport, HostError> {
    let failed = |source| HostError::Io {
        action: "read",
        path: destination.to_owned(),
        source,
    };
    if fs::read_dir(destination).map_err(failed)?.next().is_some() {
        return Err(HostError::NotEmpty {
            path: destination.to_owned(),
        });
    }
    let mut plan = Plan::default();
    let mut report = HostReport::default();
    let directories = programs::directories();
    Collector::new(host, &directories, &mut plan, &mut report.skipped).collect();
    etc::add(&mut plan);
    if let Some((_, reason)) = report.skipped.iter().find(|(program, _)| program == "sh") {
        return Err(HostError::NoShell {
            reason: reason.clone(),
        });
    }
    let written = Writer::new(host, destination, owner).write(&plan)?;
    report.files = written.files;
    report.bytes = written.bytes;
    Ok(report)
}
