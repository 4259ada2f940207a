//! Writes the id map of a process that has just made its user namespace.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Extent, IdMap, Writer};
use crate::os::poll::wait_readable;
use crate::os::programs::find_program;

/// The error of writing an id map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum MapError {
    /// newuidmap or newgidmap is missing, refuses or hangs.
    #[error("{program} {answer}")]
    Helper {
        program: &'static str,
        answer: String,
    },
    /// The kernel refuses.
    #[error("write {file}: {error}")]
    Refused { file: String, error: String },
}

/// The time-out for newuidmap and newgidmap, which may query a directory server.
const PATIENCE: Duration = Duration::from_secs(10);

impl IdMap {
    /// Writes the id map of process `pid`.
    pub(crate) fn write(&self, pid: u32) -> Result<(), MapError> {
        match self.writer {
            Writer::Helper => {
                run("newuidmap", pid, &self.uids)?;
                run("newgidmap", pid, &self.gids)
            }
            Writer::Own => {
                put(format!("/proc/{pid}/setgroups"), "deny")?;
                put(format!("/proc/{pid}/uid_map"), &lines(&self.uids))?;
                put(format!("/proc/{pid}/gid_map"), &lines(&self.gids))
            }
            Writer::Root => {
                put(format!("/proc/{pid}/uid_map"), &lines(&self.uids))?;
                put(format!("/proc/{pid}/gid_map"), &lines(&self.gids))
            }
        }
    }
}

fn put(file: String, text: &str) -> Result<(), MapError> {
    fs::write(&file, text).map_err(|error| MapError::Refused {
        file,
        error: error.to_string(),
    })
}

fn lines(extents: &[Extent]) -> String {
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

fn run(program: &'static str, pid: u32, extents: &[Extent]) -> Result<(), MapError> {
    let fail = |answer: String| MapError::Helper { program, answer };
    let path = find_program(program).ok_or_else(|| fail("is no longer installed".into()))?;
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
        .map_err(|error| fail(format!("cannot be run: {error}")))?;
    let said = match child
        .stderr
        .take()
        .map(|stderr| read_until(stderr, Instant::now() + PATIENCE))
    {
        Some(Ok(said)) => said,
        None => String::new(),
        Some(Err(_)) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(fail("does not finish in time".into()));
        }
    };
    let status = child.wait().map_err(|error| fail(error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    let said = said
        .lines()
        .next()
        .unwrap_or("no message")
        .trim()
        .to_owned();
    Err(fail(format!("refused: {said}")))
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
