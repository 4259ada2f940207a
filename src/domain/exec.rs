//! Further processes in the sandbox of a run.

use std::{fmt, pin::Pin, time::Duration};

use contree_error_codes::ErrorCode;
use uuid::Uuid;

use super::{
    cancel::{self, CancelGuard, CancelTarget},
    output::{Changes, captured, exit_status, failure, resources},
    program::{Program, program_methods},
    running::Running,
    start::pause_before_start,
    stdin::Stdin,
    text::ToText,
};
use crate::{
    CapturedStream, Client, Error, OutputPosition, ProcessOutput,
    events::Payload,
    output::{PartialOutput, RunOutput, Signal},
    types,
};

/// A further process for the sandbox of a run. Awaiting it runs it to its end.
///
/// Dropping the future before its end kills the process. The process also ends with the run.
#[must_use = "a process starts when it is awaited or spawned"]
pub struct Exec {
    client: Client,
    operation: Uuid,
    program: Program,
}

impl<C: Changes> Running<C> {
    /// A further program in the sandbox of this run.
    pub fn exec<I>(&self, program: impl ToText, args: I) -> Exec
    where
        I: IntoIterator,
        I::Item: ToText,
    {
        Exec::new(self, Program::new(program, false)).args(args)
    }

    /// A further shell command in the sandbox of this run.
    pub fn shell(&self, script: impl ToText) -> Exec {
        Exec::new(self, Program::new(script, true))
    }
}

impl Exec {
    fn new<C: Changes>(run: &Running<C>, program: Program) -> Self {
        Self {
            client: run.client().clone(),
            operation: run.id(),
            program,
        }
    }

    program_methods!();

    /// Starts the process, and returns a handle of it. It waits for the start of the run.
    ///
    /// # Errors
    /// If the backend refuses, such as for a run that has ended.
    pub async fn spawn(mut self) -> Result<Process, Error> {
        self.program.check()?;
        let spec = types::ExecSpec {
            env: self.program.environment(),
            stdin: self.program.input().await?,
            truncate_output_at: self.program.output_limit(),
            args: self.program.args,
            command: self.program.command,
            cwd: self.program.cwd,
            gid: self.program.gid.map(u64::from),
            shell: Some(self.program.shell),
            uid: self.program.uid.map(u64::from),
            x_terminal: self.program.terminal,
        };
        if spec.x_terminal.is_some() {
            self.client.check_terminal_extension().await?;
        }
        let (client, operation) = (self.client.clone(), self.operation);
        let start = async move { create(&client, operation, spec).await };
        let target = move |spid: &u64| CancelTarget::Process(operation, *spid);
        let (spid, guard) = cancel::start(&self.client, start, target).await?;
        Ok(Process {
            client: self.client,
            operation,
            spid,
            guard,
        })
    }
}

/// Starts a process once the run has started, and returns its number.
async fn create(client: &Client, operation: Uuid, spec: types::ExecSpec) -> Result<u64, Error> {
    loop {
        let request = client.operation_subprocess_create();
        let request = request.operation_id(operation).body(spec.clone());
        match request.send().await.map_err(Error::from) {
            Ok(created) => return Ok(created.into_inner().spid),
            Err(error) => pause_before_start(client, operation, error).await?,
        }
    }
}

/// Runs the process to its end.
impl IntoFuture for Exec {
    type Output = Result<RunOutput<()>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.spawn().await?.wait().await })
    }
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values of variables may be secrets.
        f.debug_struct("Exec")
            .field("operation", &self.operation)
            .field("command", &self.program.command)
            .field("args", &self.program.args)
            .finish_non_exhaustive()
    }
}

/// A further process in the sandbox of a run.
///
/// Dropping it kills the process, unless the process has ended or [`detach`](Self::detach) was
/// called. The process also ends with the run.
pub struct Process {
    client: Client,
    operation: Uuid,
    spid: u64,
    guard: CancelGuard,
}

impl Process {
    /// The number of the process in the run's events ([`Event::spid`](crate::events::Event::spid)).
    pub fn id(&self) -> u64 {
        self.spid
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The operation of the run.
    pub fn operation(&self) -> Uuid {
        self.operation
    }

    /// The standard input of a process with [`stdin_open`](Exec::stdin_open).
    pub fn stdin(&self) -> Stdin {
        Stdin::new(self.client.clone(), self.operation, self.spid)
    }

    /// Sends a signal to the process and to those that it has started in its process group.
    ///
    /// # Errors
    /// If the signal is unknown, or the run has ended. [`Error::is_unconfirmed`] if the answer was
    /// lost: the signal is not sent again.
    pub async fn signal<S>(&self, signal: S) -> Result<(), Error>
    where
        S: TryInto<Signal>,
        S::Error: Into<Error>,
    {
        let signal = signal.try_into().map_err(Into::into)?;
        cancel::send_signal(&self.client, self.operation, self.spid, signal).await
    }

    /// The output of the process after a position. If there is nothing new, this waits up to
    /// `wait` for new output or the end of the process.
    ///
    /// # Errors
    /// The errors of [`Client::read_output`].
    pub async fn read_output(
        &self,
        after: OutputPosition,
        wait: Duration,
    ) -> Result<ProcessOutput, Error> {
        let (client, operation) = (&self.client, self.operation);
        client.read_output(operation, self.spid, after, wait).await
    }

    /// Waits for the end of the process, and returns its output.
    ///
    /// # Errors
    /// [`Error::Operation`] if the run ends before the process.
    pub async fn wait(&self) -> Result<RunOutput<()>, Error> {
        let (mut stdout, mut stderr) = (CapturedStream::default(), CapturedStream::default());
        let mut events = self.client.follow(self.operation, None);
        while let Some(event) = futures_util::StreamExt::next(&mut events).await {
            let event = event?;
            match event.payload {
                Payload::Completion(completion) => {
                    self.guard.release();
                    let output = PartialOutput {
                        stdout: captured(stdout),
                        stderr: captured(stderr),
                    };
                    let reason = "the run ended before this process of its sandbox";
                    let reason = Some(reason.to_owned());
                    let code = Some(ErrorCode::SandboxGone);
                    let operation = self.operation;
                    return Err(failure(operation, completion.status, reason, code, output));
                }
                _ if event.spid != self.spid => {}
                Payload::Stdout(chunk) => stdout.push(&chunk),
                Payload::Stderr(chunk) => stderr.push(&chunk),
                Payload::Truncated(data) => match data.stream.as_str() {
                    "stdout" => stdout.mark_truncated(&data),
                    "stderr" => stderr.mark_truncated(&data),
                    _ => {}
                },
                Payload::Exit(exit) => {
                    self.guard.release();
                    let code = Some(exit.code).filter(|code| *code >= 0);
                    let signal = Some(exit.signal).filter(|signal| *signal > 0);
                    let duration = u64::try_from(exit.duration_ms).unwrap_or_default();
                    return Ok(RunOutput {
                        operation: self.operation,
                        status: exit_status(self.operation, code, signal, exit.timed_out)?,
                        stdout: captured(stdout),
                        stderr: captured(stderr),
                        image: (),
                        duration: Duration::from_millis(duration),
                        resources: Some(resources(&exit.resources)),
                    });
                }
                _ => {}
            }
        }
        Err(Error::Protocol(
            format!("the events of operation {} have no end", self.operation).into(),
        ))
    }

    /// Leaves the process to the run, and returns its number.
    pub fn detach(self) -> u64 {
        self.guard.release();
        self.spid
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("operation", &self.operation)
            .field("spid", &self.spid)
            .finish_non_exhaustive()
    }
}
