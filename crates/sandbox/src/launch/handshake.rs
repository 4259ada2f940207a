//! Starts an init and waits until it is ready or has carried out its task.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::classify::{explain, map_error, plain_error};
use super::error::LaunchError;
use super::program;
use crate::error::Error;
use crate::ids::IdMap;
use crate::ids::record::RecordError;
use crate::ids::write::MapError;
use crate::layer_error::layer_error;
use crate::options::StoreOptions;
use crate::os::error::CallContext;
use crate::os::poll::wait_readable;
use crate::protocol::boot::{Boot, INIT_NAME};
use crate::protocol::reply::Reply;
use crate::protocol::request::FirstStageRequest;
use crate::protocol::step_failure::StepFailure;
use crate::protocol::wire::{self, WireError, payload};
use crate::store::error::StoreError;
use crate::store::layout::StoreLayout;

/// The time-out for the program's first message. A program that is not our init sends none.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// The time-out from the first message until the sandbox is set up. Setup takes milliseconds,
/// unless the machine is overloaded.
const SETUP_TIMEOUT: Duration = Duration::from_secs(30);
/// The time-out for the end of a process after SIGKILL. Only a process that is stuck in the kernel
/// takes longer.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// An init process and the connection to it. Dropping the value kills the process and waits.
#[derive(Debug)]
pub(crate) struct InitProcess {
    child: Mutex<Child>,
    /// Unlike a process id, a pidfd never refers to another process after the init is gone.
    pidfd: OwnedFd,
    socket: OwnedFd,
}

/// The init's report of the sandbox that it has set up.
#[derive(Debug, Default)]
pub(crate) struct SetupResult {
    /// The side files that exist, as indices into the request.
    pub(crate) side_files: Vec<usize>,
    /// The directories that were missing, as indices into the request.
    pub(crate) directories: Vec<usize>,
    /// The sockets of the sandbox's network, as the init passes them.
    pub(crate) network_sockets: Vec<OwnedFd>,
    /// The reason why packets are not intercepted, although that was requested.
    pub(crate) interception_refusal: Option<String>,
}

impl InitProcess {
    /// Starts an init, which sets up what `boot` describes.
    pub(crate) fn start(store: &StoreLayout, boot: &Boot) -> Result<Self, Error> {
        Self::start_with_files(store, boot, &[]).map(|(init, _)| init)
    }

    /// Starts an init with `boot` and passes it open files.
    pub(crate) fn start_with_files(
        store: &StoreLayout,
        boot: &Boot,
        files: &[BorrowedFd<'_>],
    ) -> Result<(Self, SetupResult), Error> {
        Self::start_with_map(
            store.options(),
            store.id_map(),
            store.directory(),
            boot,
            files,
        )
        .map_err(|error| match error {
            StartError::Step(failure) => explain(store, failure),
            StartError::Map(error) => map_error(store.id_map(), &error, store.options()),
            StartError::Other(error) => error,
        })
    }

    fn start_with_map(
        options: &StoreOptions,
        map: &IdMap,
        store: BorrowedFd<'_>,
        boot: &Boot,
        files: &[BorrowedFd<'_>],
    ) -> Result<(Self, SetupResult), StartError> {
        let init = Self::spawn(options).map_err(StartError::Other)?;
        match init.receive(Instant::now() + HELLO_TIMEOUT) {
            Ok((Reply::Hello, _)) => {}
            Ok((Reply::Failed(failure), _)) => return Err(StartError::Step(failure)),
            _ => {
                let program = program::display_name(options);
                return Err(StartError::Other(LaunchError::NotInit { program }.into()));
            }
        }
        let deadline = Instant::now() + SETUP_TIMEOUT;
        let description = payload::write(boot)?;
        let files = [&[store, description.as_fd()], files].concat();
        wire::send(&init.socket, &FirstStageRequest::Boot, &files)?;
        match init.receive(deadline)? {
            (Reply::NeedMap, _) => {}
            (reply, _) => return Err(start_error(reply)),
        }
        map.write(init.pid()).map_err(StartError::Map)?;
        wire::send(&init.socket, &FirstStageRequest::Mapped, &[])?;
        match init.receive(deadline)? {
            (Reply::Ready, _) => Ok((init, SetupResult::default())),
            (
                Reply::Up {
                    side_files,
                    directories,
                    interception_refusal,
                },
                network_sockets,
            ) => {
                let result = SetupResult {
                    side_files,
                    directories,
                    network_sockets,
                    interception_refusal,
                };
                Ok((init, result))
            }
            // Files placed before the start count towards the limit too.
            (
                Reply::TreeGone {
                    excess: Some(excess),
                },
                _,
            ) => {
                let limit = match boot {
                    Boot::Sandbox(sandbox) => sandbox.max_layer_bytes,
                    _ => None,
                };
                Err(StartError::Other(layer_error(
                    excess,
                    limit.unwrap_or_default(),
                )))
            }
            (reply, _) => Err(start_error(reply)),
        }
    }

    fn spawn(options: &StoreOptions) -> Result<Self, Error> {
        let program = program::executable_path(options)?;
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .context("make a socket pair")?;
        // A stuck init must not block the engine.
        sockopt::set_socket_timeout(&ours, sockopt::Timeout::Send, Some(SETUP_TIMEOUT))
            .context("set up the socket pair")?;
        let child = Command::new(program)
            .arg0(INIT_NAME)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the init of a sandbox")?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("open the init's pidfd")?;
        Ok(Self {
            child: Mutex::new(child),
            pidfd,
            socket: ours,
        })
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    pub(crate) fn receive(&self, deadline: Instant) -> Result<(Reply, Vec<OwnedFd>), WireError> {
        wire::receive(&self.socket, Some(deadline))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .id()
    }

    /// Kills the init. The kernel then ends everything in its sandbox.
    pub(crate) fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Waits until the init is gone. Returns false at the deadline.
    pub(crate) fn wait(&self, deadline: Instant) -> bool {
        let gone = wait_readable(self.pidfd.as_fd(), Some(deadline)).is_ok();
        if gone {
            // If the host program ignores SIGCHLD, the kernel has already reaped the child.
            let _ = self
                .child
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .wait();
        }
        gone
    }
}

impl Drop for InitProcess {
    fn drop(&mut self) {
        self.kill();
        self.wait(Instant::now() + KILL_TIMEOUT);
    }
}

/// The error of an init that did not become ready.
enum StartError {
    Step(StepFailure),
    Map(MapError),
    Other(Error),
}

impl From<WireError> for StartError {
    fn from(error: WireError) -> Self {
        Self::Other(match error {
            WireError::TimedOut => Error::TimedOut("start"),
            WireError::Closed => Error::Gone,
            other => other.into(),
        })
    }
}

fn start_error(reply: Reply) -> StartError {
    match reply {
        Reply::Failed(failure) => StartError::Step(failure),
        _ => StartError::Other(Error::Gone),
    }
}

/// Picks the id map of a new store in `directory`. A map that needs a set-user-id helper is tested;
/// if it cannot be written, the map has a single id.
pub(crate) fn pick_map(options: &StoreOptions, directory: &Path) -> Result<IdMap, StoreError> {
    let map = IdMap::pick(&options.id_record, directory).map_err(record_error)?;
    if !map.exceeds_engine_rights() {
        return Ok(map);
    }
    Ok(match probe(options, &map) {
        Err(StartError::Map(error)) => IdMap::map_with_single_id(error.to_string()),
        // Any other failure would also occur with a single id.
        _ => map,
    })
}

fn record_error(error: RecordError) -> StoreError {
    let remedy = error.remedy().into();
    match error {
        RecordError::Os(error) => error.into(),
        RecordError::Damaged { path, reason } => StoreError::Damaged {
            path,
            reason,
            remedy,
        },
    }
}

/// Checks that the ids of `map` can be mapped on this machine now.
pub(crate) fn try_map(options: &StoreOptions, map: &IdMap) -> Result<(), Error> {
    match probe(options, map) {
        Ok(()) => Ok(()),
        Err(StartError::Map(error)) => Err(map_error(map, &error, options)),
        Err(StartError::Step(failure)) => Err(plain_error(failure)),
        Err(StartError::Other(error)) => Err(error),
    }
}

fn probe(options: &StoreOptions, map: &IdMap) -> Result<(), StartError> {
    let root = rustix::fs::open("/", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context_path("open", "/")
        .map_err(|error| StartError::Other(error.into()))?;
    InitProcess::start_with_map(options, map, root.as_fd(), &Boot::Probe, &[]).map(drop)
}
