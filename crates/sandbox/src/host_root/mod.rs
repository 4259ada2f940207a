//! A small root file system made of this machine's own programs.
//!
//! Sandboxes can run on it before any image is downloaded. It has a shell and the usual tools,
//! copied at their own paths with the loaders and libraries they need, and a generated `/etc`. Only
//! public files of the distribution are copied. Making it needs no privilege and runs no program.

mod closure;
mod elf;
mod etc;
mod host;
mod libraries;
mod plan;
mod program_lists;
mod programs;
#[cfg(test)]
mod tests;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use self::host::Host;
use self::plan::Plan;
use self::programs::ProgramCollector;
use self::write::RootWriter;

/// The report of [`build`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostReport {
    /// The number of files, without directories, links and further names of a file.
    pub files: u64,
    /// The bytes in those files. A file system that shares blocks stores less.
    pub bytes: u64,
    /// The programs and files that were left out, each with the reason.
    pub skipped: Vec<(String, String)>,
}

/// The error of making the root.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The destination is not empty.
    #[error("cannot copy this machine's programs to {path}: the directory is not empty")]
    NotEmpty {
        /// The destination.
        path: PathBuf,
    },
    /// No shell can be copied, so no command would run.
    #[error(
        "cannot make an image of this machine's programs: /bin/sh: {reason}; import an image instead"
    )]
    NoShell {
        /// The reason why the shell cannot be copied.
        reason: String,
    },
    /// A program was replaced before it was copied, for example by a system upgrade.
    #[error(
        "{path} changed while this machine's programs were copied; try again when no upgrade is running"
    )]
    Changed {
        /// The file of the host.
        path: PathBuf,
    },
    /// A file system call failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The path of the action.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}

/// Fills the empty directory `destination` with a root file system of this machine's own programs.
/// The files belong to `owner` (uid, gid), or else to the calling user.
///
/// The result depends only on the host's files. Set-user-id and set-group-id bits are dropped, and
/// files that are not readable by everyone are not copied. After an error the caller removes the
/// incomplete directory.
///
/// # Errors
/// [`HostError`]: the directory is not empty, there is no shell, or the file system refused. A
/// program that cannot be copied is not an error but listed in [`HostReport::skipped`].
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
    let (plan, mut report) = make_plan(host)?;
    let written = RootWriter::new(host, destination, owner).write(&plan)?;
    report.files = written.files;
    report.bytes = written.bytes;
    Ok(report)
}

/// Returns the bytes of the files that [`build`] would copy. A file with several names counts for
/// each of them.
///
/// # Errors
/// [`HostError::NoShell`] if there is no shell to copy.
pub fn bytes() -> Result<u64, HostError> {
    make_plan(&Host::new(Path::new("/"))).map(|(plan, _)| plan.bytes())
}

fn make_plan(host: &Host) -> Result<(Plan, HostReport), HostError> {
    let mut plan = Plan::default();
    let mut report = HostReport::default();
    let directories = programs::directories();
    ProgramCollector::new(host, &directories, &mut plan, &mut report.skipped).collect();
    etc::add(&mut plan);
    match report.skipped.iter().find(|(program, _)| program == "sh") {
        Some((_, reason)) => Err(HostError::NoShell {
            reason: reason.clone(),
        }),
        None => Ok((plan, report)),
    }
}
