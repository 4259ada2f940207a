//! The connection between a sandbox and its init.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::Error;
use crate::launch::classify::plain_error;
use crate::launch::handshake::InitProcess;
use crate::layer_error::layer_error;
use crate::os::usage::Usage;
use crate::protocol::layer_limit::LayerExcess;
use crate::protocol::reply::Reply;
use crate::protocol::request::Pid1Request;
use crate::protocol::spec::Exit;
use crate::protocol::step_failure::StepFailure;
use crate::protocol::wire::{self, WireError};

/// The time-out for starting a command or sending a signal. Both take about a millisecond, unless
/// the machine is overloaded.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The connection to the init, which matches replies with requests.
#[derive(Debug)]
pub(super) struct Connection {
    init: InitProcess,
    state: Mutex<ConnectionState>,
}

#[derive(Debug, Default)]
struct ConnectionState {
    last_request: u32,
    /// The senders for requests that wait for an answer, by request. They and `exits` are dropped
    /// when the sandbox is gone.
    waiting: HashMap<u32, Sender<RequestOutcome>>,
    /// The senders for running commands, by command.
    exits: HashMap<u32, oneshot::Sender<Exit>>,
    /// The resources that the process tree used, once pid 1 has ended it normally.
    usage: Option<Usage>,
    tree_gone: bool,
    /// The reason, if the watcher of the writable layer killed the sandbox.
    excess: Option<LayerExcess>,
    /// The first failure that ended the sandbox, if the init reported one.
    failure: Option<StepFailure>,
    closed: bool,
}

/// The outcome of a request to pid 1.
#[derive(Debug)]
pub(super) enum RequestOutcome {
    Started {
        pid: i32,
        /// The engine's ends of its three pipes, or its terminal.
        streams: Vec<OwnedFd>,
        exit: oneshot::Receiver<Exit>,
    },
    NotStarted(StepFailure),
    /// A connection has begun on this socket.
    Connecting(OwnedFd),
    Done {
        errno: i32,
    },
}

impl Connection {
    pub(super) fn new(init: InitProcess) -> Self {
        Self {
            init,
            state: Mutex::default(),
        }
    }

    pub(super) fn init(&self) -> &InitProcess {
        &self.init
    }

    /// Sends a request with a new number and waits for its outcome. Errors name it by `action`.
    pub(super) fn request<'a>(
        &self,
        action: &'static str,
        message: impl FnOnce(u32) -> (Pid1Request, Option<BorrowedFd<'a>>),
    ) -> Result<(u32, RequestOutcome), Error> {
        let (sender, receiver) = mpsc::channel();
        let id = {
            let mut state = self.state();
            if state.closed {
                return Err(state.end_error());
            }
            state.last_request += 1;
            let id = state.last_request;
            state.waiting.insert(id, sender);
            id
        };
        let (request, file) = message(id);
        let files: Vec<_> = file.into_iter().collect();
        if let Err(error) = wire::send(self.init.socket(), &request, &files) {
            self.state().waiting.remove(&id);
            return Err(match error {
                WireError::Closed => self.state().end_error(),
                other => other.into(),
            });
        }
        match receiver.recv_timeout(ANSWER_TIMEOUT) {
            Ok(outcome) => Ok((id, outcome)),
            Err(RecvTimeoutError::Disconnected) => Err(self.state().end_error()),
            Err(RecvTimeoutError::Timeout) => {
                self.init.kill();
                Err(Error::TimedOut(action))
            }
        }
    }

    /// The resources that the sandbox used, once it has ended normally.
    ///
    /// # Errors
    /// - The errors of [`LayerExcess`] if it was killed for exceeding `max_layer_bytes` or for a
    ///   full disk.
    /// - [`Error::Setup`] if the init reported a failure.
    /// - [`Error::Gone`] if it died otherwise.
    pub(super) fn result(&self, max_layer_bytes: Option<u64>) -> Result<Usage, Error> {
        let mut state = self.state();
        if let (Some(excess), Some(limit)) = (state.excess, max_layer_bytes) {
            return Err(layer_error(excess, limit));
        }
        match state.usage.take() {
            Some(usage) if state.tree_gone => Ok(usage),
            _ => Err(state.end_error()),
        }
    }

    /// Distributes the init's messages until the process tree is gone.
    pub(super) fn read_replies(&self) {
        while let Ok((reply, files)) = wire::receive(self.init.socket(), None) {
            if !self.handle_reply(reply, files) {
                break;
            }
        }
        let mut state = self.state();
        state.closed = true;
        state.waiting.clear();
        state.exits.clear();
    }

    /// Handles one message. Returns false if it is the last one.
    fn handle_reply(&self, reply: Reply, files: Vec<OwnedFd>) -> bool {
        let mut state = self.state();
        let (id, outcome) = match reply {
            Reply::Started { id, pid } => {
                let (sender, exit) = oneshot::channel();
                state.exits.insert(id, sender);
                let started = RequestOutcome::Started {
                    pid,
                    streams: files,
                    exit,
                };
                (id, started)
            }
            Reply::Connecting { request } => {
                let Ok([socket]) = wire::exact_files(files) else {
                    return false;
                };
                (request, RequestOutcome::Connecting(socket))
            }
            Reply::NotStarted { id, failure } => (id, RequestOutcome::NotStarted(failure)),
            Reply::Done { request, errno } => (request, RequestOutcome::Done { errno }),
            Reply::Exited { id, exit } => {
                if let Some(sender) = state.exits.remove(&id) {
                    // The caller may have dropped the receiver.
                    let _ = sender.send(exit);
                }
                return true;
            }
            Reply::Finished { usage } => {
                state.usage = Some(usage);
                return true;
            }
            Reply::Failed(failure) => {
                state.failure.get_or_insert(failure);
                return true;
            }
            Reply::TreeGone { excess } => {
                state.tree_gone = true;
                state.excess = excess;
                return false;
            }
            _ => return false,
        };
        if let Some(sender) = state.waiting.remove(&id) {
            let _ = sender.send(outcome);
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionState {
    /// The error of a sandbox that has ended: the failure that the init reported, if there is one.
    fn end_error(&self) -> Error {
        self.failure.clone().map_or(Error::Gone, plain_error)
    }
}
