//! Starts commands.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Resource;
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::terminals::Terminals;
use super::{home_directory, limits};
use crate::os::sys::{self, CStringArray, Fork};
use crate::os::terminal::TerminalSize;
use crate::protocol::spec::Command;
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};
use crate::protocol::wire::payload;

/// The search path if the request has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The first number for temporary duplicates, above every descriptor that the child still needs.
const FIRST_DUPLICATE: i32 = 64;
const ERROR_PIPE: i32 = 3;

/// The terminals of the sandbox, and the size of the one that a command gets.
pub(crate) type RequestedTerminal<'a> = (&'a Terminals, TerminalSize);

/// Starts the command that a memfd describes. Returns its process id and the engine's ends of its
/// three standard streams, or its terminal.
pub(crate) fn start(
    description: OwnedFd,
    terminal: Option<RequestedTerminal<'_>>,
    groups: bool,
    descriptors: u64,
) -> Result<(i32, Vec<OwnedFd>), StepFailure> {
    let command: Command = payload::read(description).at_step(Step::Request)?;
    let prepared = PreparedCommand::new(&command, groups, descriptors).at_step(Step::Request)?;
    // The command's user owns its pipes or terminal, so that the command can reopen /dev/stdout.
    sys::set_file_ids(command.uid, command.gid);
    let streams = match terminal {
        None => pipes().at_step(Step::Pipes),
        Some((terminals, size)) => on_terminal(terminals, size).at_step(Step::Terminal),
    };
    sys::set_file_ids(0, 0);
    let (theirs, ours) = streams?;
    let (error_in, error_out) = pipe_with(PipeFlags::CLOEXEC).at_step(Step::Pipes)?;
    let pid = match sys::fork().at_step(Step::Fork)? {
        Fork::Parent(pid) => pid,
        Fork::Child => {
            let (step, errno) = prepared.run_in_child(&theirs, &error_out);
            let mut report = [0; 8];
            report[0] = step.code();
            report[4..].copy_from_slice(&errno.raw_os_error().to_ne_bytes());
            // SAFETY: run_in_child has put the error pipe there, unless it failed at that step.
            let pipe = unsafe {
                std::os::fd::BorrowedFd::borrow_raw(if step == Step::Streams {
                    error_out.as_raw_fd()
                } else {
                    ERROR_PIPE
                })
            };
            let _ = rustix::io::write(pipe, &report);
            sys::exit_now(127);
        }
    };
    drop((theirs, error_out));
    let mut report = [0; 8];
    match rustix::io::retry_on_intr(|| rustix::io::read(&error_in, &mut report)) {
        Ok(8) => {
            let _ = sys::wait(pid, true);
            let [code, _, _, _, errno @ ..] = report;
            Err(Errno::from_raw_os_error(i32::from_ne_bytes(errno))).at_step(Step::from_code(code))
        }
        // The program runs: exec has closed the pipe. If the child was killed before, it is reaped
        // like any other.
        _ => Ok((pid, ours)),
    }
}

/// The command's ends of its standard streams.
enum StandardStreams {
    /// One pipe for each.
    Pipes([OwnedFd; 3]),
    /// The same terminal for all.
    Terminal(OwnedFd),
}

impl StandardStreams {
    fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        match self {
            Self::Pipes(pipes) => pipes.each_ref().map(AsFd::as_fd),
            Self::Terminal(terminal) => [terminal.as_fd(); 3],
        }
    }
}

/// Makes three pipes: the command's ends and the engine's.
fn pipes() -> Result<(StandardStreams, Vec<OwnedFd>), Errno> {
    let (stdin, to_stdin) = pipe_with(PipeFlags::CLOEXEC)?;
    let (from_stdout, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (from_stderr, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((
        StandardStreams::Pipes([stdin, stdout, stderr]),
        vec![to_stdin, from_stdout, from_stderr],
    ))
}

/// Makes a terminal: the command's side and the engine's.
fn on_terminal(
    terminals: &Terminals,
    size: TerminalSize,
) -> Result<(StandardStreams, Vec<OwnedFd>), Errno> {
    let (theirs, ours) = terminals.make(size)?;
    Ok((StandardStreams::Terminal(theirs), vec![ours.into()]))
}

/// A command with everything allocated before the fork.
struct PreparedCommand {
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    directory: CString,
    uid: u32,
    gid: u32,
    groups: bool,
    descriptors: u64,
}

impl PreparedCommand {
    fn new(command: &Command, groups: bool, descriptors: u64) -> Result<Self, Errno> {
        let mut arguments = vec![text(command.program.clone())?];
        for argument in &command.args {
            arguments.push(text(argument.clone())?);
        }
        let mut environment = Vec::with_capacity(command.env.len());
        for (name, value) in &command.env {
            let mut line = name.clone();
            line.push("=");
            line.push(value);
            environment.push(text(line)?);
        }
        if let Some(default) = &command.default_home
            && !command.env.iter().any(|(name, _)| name == "HOME")
        {
            let mut line = OsString::from("HOME=");
            line.push(
                home_directory::of_user(command.uid)
                    .as_ref()
                    .unwrap_or(default),
            );
            environment.push(text(line)?);
        }
        Ok(Self {
            candidates: candidates(command)?,
            arguments,
            environment,
            directory: text(command.cwd.clone().into_os_string())?,
            uid: command.uid,
            gid: command.gid,
            groups,
            descriptors,
        })
    }

    /// Turns the forked child into the command. Returns only on failure, with the failed step.
    fn run_in_child(&self, streams: &StandardStreams, error_pipe: &OwnedFd) -> (Step, Errno) {
        match self.configure(streams, error_pipe) {
            Err(failed) => failed,
            Ok(()) => (Step::Execute, self.execute()),
        }
    }

    fn configure(
        &self,
        streams: &StandardStreams,
        error_pipe: &OwnedFd,
    ) -> Result<(), (Step, Errno)> {
        // Pid 1 has default actions for all signals and blocks one.
        sys::block_signals(&[]);
        let _ = rustix::process::setsid();
        connect(streams, error_pipe).map_err(|errno| (Step::Streams, errno))?;
        if matches!(streams, StandardStreams::Terminal(_)) {
            // This process leads a new session, whose terminal becomes the one that it has now.
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
                .map_err(|errno| (Step::Terminal, errno))?;
        }
        // Pid 1 itself keeps a higher limit, so that it can always pass descriptors.
        limits::lower(Resource::Nofile, self.descriptors).map_err(|errno| (Step::Limits, errno))?;
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let change = || {
            if self.groups {
                set_thread_groups(&[])?;
            }
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_res_uid(uid, uid, uid)
        };
        change().map_err(|errno| (Step::ChangeUser, errno))?;
        rustix::process::chdir(self.directory.as_c_str())
            .map_err(|errno| (Step::ChangeDirectory, errno))
    }

    fn execute(&self) -> Errno {
        let arguments = CStringArray::new(self.arguments.iter().map(CString::as_c_str));
        let environment = CStringArray::new(self.environment.iter().map(CString::as_c_str));
        let mut error = Errno::NOENT;
        for candidate in &self.candidates {
            match sys::execute(candidate, &arguments, &environment) {
                Errno::NOENT | Errno::NOTDIR => {}
                // A later directory may have the program. If none has, this says more than "not
                // found".
                Errno::ACCESS => error = Errno::ACCESS,
                other => return other,
            }
        }
        error
    }
}

/// Moves the streams to 0 to 2 and the error pipe to 3, and closes everything else.
fn connect(streams: &StandardStreams, error_pipe: &OwnedFd) -> Result<(), Errno> {
    let mut duplicates = Vec::with_capacity(4);
    for fd in streams
        .descriptors()
        .into_iter()
        .chain([error_pipe.as_fd()])
    {
        duplicates.push(rustix::io::fcntl_dupfd_cloexec(fd, FIRST_DUPLICATE)?);
    }
    for (number, fd) in (0..).zip(&duplicates) {
        sys::dup_onto(fd.as_raw_fd(), number)?;
    }
    std::mem::forget(duplicates);
    sys::close_range(ERROR_PIPE.unsigned_abs() + 1, u32::MAX)?;
    // SAFETY: the descriptor was put there just now.
    let pipe = unsafe { std::os::fd::BorrowedFd::borrow_raw(ERROR_PIPE) };
    rustix::io::fcntl_setfd(pipe, rustix::io::FdFlags::CLOEXEC)
}

fn text(value: OsString) -> Result<CString, Errno> {
    CString::new(value.into_vec()).map_err(|_| Errno::INVAL)
}

/// The paths to try, as execvp does with the PATH of the request.
fn candidates(command: &Command) -> Result<Vec<CString>, Errno> {
    let program = command.program.as_bytes();
    if program.is_empty() {
        return Err(Errno::NOENT);
    }
    if program.contains(&b'/') {
        return Ok(vec![text(command.program.clone())?]);
    }
    let path = command.env.iter().rev().find(|(name, _)| name == "PATH");
    let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_bytes());
    path.split(|&byte| byte == b':')
        .map(|directory| {
            let directory: &[u8] = if directory.is_empty() {
                b"."
            } else {
                directory
            };
            let joined = [directory, b"/", program].concat();
            CString::new(joined).map_err(|_| Errno::INVAL)
        })
        .collect()
}
