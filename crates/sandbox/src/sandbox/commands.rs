//! Starting commands in a sandbox, signals to them, and connections to its loopback interface.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use tokio::sync::oneshot;

use super::Sandbox;
use super::connection::RequestOutcome;
use crate::error::Error;
use crate::os::error::CallContext;
use crate::os::terminal::{Terminal, TerminalSize};
use crate::protocol::request::Pid1Request;
use crate::protocol::spec::{Command, Exit, Process, TerminalProcess};
use crate::protocol::wire::{self, payload};
use crate::spec_check::check_user;

impl Sandbox {
    /// Starts a command.
    ///
    /// # Errors
    /// [`Error::Exec`] with the failed step if the command cannot be started.
    pub fn exec(&self, command: &Command) -> Result<Process, Error> {
        let started = self.start_command(command, None)?;
        let [stdin, stdout, stderr] = wire::exact_files(started.streams)?;
        Ok(Process {
            id: started.id,
            pid: started.pid,
            stdin,
            stdout,
            stderr,
            exit: started.exit,
        })
    }

    /// Starts a command whose standard streams are a new terminal of the sandbox. It leads a
    /// session with this terminal, so job control works.
    ///
    /// # Errors
    /// [`Error::Exec`] with the failed step if the command cannot be started.
    pub fn exec_on_terminal(
        &self,
        command: &Command,
        size: TerminalSize,
    ) -> Result<TerminalProcess, Error> {
        let started = self.start_command(command, Some(size))?;
        let [terminal] = wire::exact_files(started.streams)?;
        Ok(TerminalProcess {
            id: started.id,
            pid: started.pid,
            terminal: Terminal::new(terminal),
            exit: started.exit,
        })
    }

    fn start_command(
        &self,
        command: &Command,
        terminal: Option<TerminalSize>,
    ) -> Result<StartedCommand, Error> {
        check_user(self.store.layout(), command.uid, command.gid)?;
        let description = payload::write(command)?;
        let (id, outcome) = self.connection.request("start the command", |id| {
            let request = Pid1Request::Exec { id, terminal };
            (request, Some(description.as_fd()))
        })?;
        match outcome {
            RequestOutcome::Started { pid, streams, exit } => Ok(StartedCommand {
                id,
                pid,
                streams,
                exit,
            }),
            RequestOutcome::NotStarted(failure) => Err(Error::Exec {
                step: failure.step,
                error: failure.cause.into(),
                program: command.program.clone(),
                directory: command.cwd.clone(),
            }),
            RequestOutcome::Done { .. } | RequestOutcome::Connecting(_) => Err(Error::Gone),
        }
    }

    /// Begins a TCP connection to a loopback address of the sandbox, made by its init. No route is
    /// made, and no address outside of the sandbox is reached.
    ///
    /// The socket does not block, and the connection may still be under way: it is established when
    /// the socket is writable without an error. The kernel keeps the sandbox's network until the
    /// socket is closed.
    ///
    /// # Errors
    /// - [`Error::Connect`] if nothing listens there, or the kernel refuses otherwise.
    /// - [`Error::Invalid`] if the address is not a loopback address.
    pub fn connect(&self, address: SocketAddr) -> Result<TcpStream, Error> {
        if !address.ip().is_loopback() {
            return Err(Error::Invalid(format!(
                "{address} is not a loopback address, and only those of the sandbox can be reached"
            )));
        }
        let request = |request| (Pid1Request::Connect { request, address }, None);
        match self.connection.request("connect inside", request)?.1 {
            RequestOutcome::Connecting(socket) => Ok(TcpStream::from(socket)),
            RequestOutcome::Done { errno } => Err(Error::Connect {
                address,
                error: std::io::Error::from_raw_os_error(errno),
            }),
            _ => Err(Error::Gone),
        }
    }

    /// Sends a signal to the process group of a command.
    ///
    /// # Errors
    /// [`Error::NoProcess`] if the command has ended.
    pub fn signal(&self, process: u32, signal: i32) -> Result<(), Error> {
        let request = |request| {
            let message = Pid1Request::Signal {
                request,
                process,
                signal,
            };
            (message, None)
        };
        match self.connection.request("send the signal", request)?.1 {
            RequestOutcome::Done { errno: 0 } => Ok(()),
            RequestOutcome::Done { errno: libc::ESRCH } => Err(Error::NoProcess(process)),
            RequestOutcome::Done { errno } => {
                let error = std::io::Error::from_raw_os_error(errno);
                Ok(Err::<(), _>(error).context(&format!("send signal {signal} to a command"))?)
            }
            _ => Err(Error::Gone),
        }
    }
}

/// A command that was started.
struct StartedCommand {
    id: u32,
    pid: i32,
    streams: Vec<OwnedFd>,
    exit: oneshot::Receiver<Exit>,
}
