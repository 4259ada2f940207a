//! Writes the id map of a process that has just made its user namespace.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Extent, IdMap, MapWriter};
use crate::os::poll::wait_readable;
use crate::os::programs::find_program;

/// The error of writing an id map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum MapError {
    /// newuidmap or newgidmap is missing, refuses or hangs.
    #[error("{program} {problem}")]
    Helper {
        program: &'static str,
        problem: String,
    },
    /// The kernel refuses.
    #[error("write {file}: {error}")]
    Refused { file: String, error: String },
}

/// The time-out for newuidmap and newgidmap, which may query a directory server.
const HELPER_TIMEOUT: Duration = Duration::from_secs(10);

impl IdMap {
    /// Writes the id map of process `pid`.
    pub(crate) fn write(&self, pid: u32) -> Result<(), MapError> {
        match self.writer {
            MapWriter::Helper => {
                run_helper("newuidmap", pid, &self.uids)?;
                run_helper("newgidmap", pid, &self.gids)
            }
            MapWriter::Own => {
                write_file(format!("/proc/{pid}/setgroups"), "deny")?;
                write_file(format!("/proc/{pid}/uid_map"), &format_extents(&self.uids))?;
                write_file(format!("/proc/{pid}/gid_map"), &format_extents(&self.gids))
            }
            MapWriter::Root => {
                write_file(format!("/proc/{pid}/uid_map"), &format_extents(&self.uids))?;
                write_file(format!("/proc/{pid}/gid_map"), &format_extents(&self.gids))
            }
        }
    }
}

fn write_file(file: String, text: &str) -> Result<(), MapError> {
    fs::write(&file, text).map_err(|error| MapError::Refused {
        file,
        error: error.to_string(),
    })
}

fn format_extents(extents: &[Extent]) -> String {
    let mut text = String::new();
    for extent in extents {
        let _ = writeln!(
            text,
            "{} {} {}",
            extent.inside, extent.outside, extent.count
        );
    }
    text
}

fn run_helper(program: &'static str, pid: u32, extents: &[Extent]) -> Result<(), MapError> {
    let helper_error = |problem: String| MapError::Helper { program, problem };
    let path =
        find_program(program).ok_or_else(|| helper_error("is no longer installed".into()))?;
    let mut command = Command::new(path);
    command
        .arg(pid.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    for extent in extents {
        command
            .args([extent.inside, extent.outside, extent.count].map(|number| number.to_string()));
    }
    let mut child = command
        .spawn()
        .map_err(|error| helper_error(format!("cannot be run: {error}")))?;
    let message = match child
        .stderr
        .take()
        .map(|stderr| read_until(stderr, Instant::now() + HELPER_TIMEOUT))
    {
        Some(Ok(message)) => message,
        None => String::new(),
        Some(Err(_)) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(helper_error("does not finish in time".into()));
        }
    };
    let status = child
        .wait()
        .map_err(|error| helper_error(error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let message = message
        .lines()
        .next()
        .unwrap_or("no message")
        .trim()
        .to_owned();
    Err(helper_error(format!("refused: {message}")))
}

/// Reads the stream to its end, which comes with the end of the process.
fn read_until(mut stream: impl Read + AsFd, deadline: Instant) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        wait_readable(stream.as_fd(), Some(deadline))?;
        match stream.read(&mut buffer)? {
            0 => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
