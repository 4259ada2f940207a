//! Building the command of a run.

use std::{collections::BTreeMap, fmt, marker::PhantomData, pin::Pin, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use uuid::Uuid;

use super::{
    content::Content,
    image::Image,
    output::{Changes, Discard, Keep, Output},
    program::{Program, program_methods},
    running::Running,
    text::ToText,
};
use crate::{Error, types};

/// Number of files that are uploaded at once.
const CONCURRENT_UPLOADS: usize = 8;

/// A command to run on an image. Awaiting it runs it to its end.
///
/// - Dropping the future before its end cancels the run on the backend, at whatever point: a run
///   whose start is not answered yet is cancelled as soon as it is.
/// - [`spawn`](Self::spawn) returns a handle while the command runs.
/// - [`detach`](Self::detach) starts a run that continues by itself.
///
/// ```no_run
/// # async fn example(base: contree::Image) -> Result<(), contree::Error> {
/// let built = base.shell("make").env("CI", 1).cwd("/src").await?.ok()?;
/// println!("{}", built.stdout.text()?);
/// built.image.exec("/src/app", ["--version"]).discard().await?.ok()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a command runs when it is awaited, spawned or detached"]
pub struct Command<C: Changes = Keep> {
    image: Image,
    pub(super) program: Program,
    timeout: Option<Duration>,
    files: Vec<(String, Content)>,
    /// Files that are uploaded already.
    uploaded: BTreeMap<String, types::InstanceFile>,
    options: Options,
    changes: PhantomData<C>,
}

/// The options of a sandbox that are seldom set.
#[derive(Debug, Default)]
struct Options {
    hostname: Option<String>,
    network: Option<bool>,
    keep_env: bool,
    keep_cwd: bool,
    max_layer_bytes: Option<u64>,
    limits: Option<types::EngineLimits>,
    allowed_hosts: Vec<String>,
    ports: Vec<u16>,
}

impl Image {
    /// A command for the image's shell, with the image's environment.
    pub fn shell(&self, script: impl ToText) -> Command {
        Command::new(self.clone(), Program::new(script, true))
    }

    /// A program with its arguments. Its environment is that of the command alone.
    pub fn exec<I>(&self, program: impl ToText, args: I) -> Command
    where
        I: IntoIterator,
        I::Item: ToText,
    {
        self.command(program).args(args)
    }

    /// A program without arguments yet; [`args`](Command::args) adds some.
    pub fn command(&self, program: impl ToText) -> Command {
        Command::new(self.clone(), Program::new(program, false))
    }
}

impl<C: Changes> Command<C> {
    fn new(image: Image, program: Program) -> Self {
        Self {
            image,
            program,
            timeout: None,
            files: Vec::new(),
            uploaded: BTreeMap::new(),
            options: Options::default(),
            changes: PhantomData,
        }
    }

    /// Runs the command on another image.
    pub(super) fn on(mut self, image: Image) -> Self {
        self.image = image;
        self
    }

    program_methods!();

    /// Sets the time after which the command is killed with all its processes, rounded up to
    /// seconds. The default and the maximum are those of the backend.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Places a file in the sandbox before the command starts. `path` is absolute.
    pub fn file(mut self, path: impl ToText, content: impl Into<Content>) -> Self {
        if let Some(path) = self.program.take(path.to_text()) {
            self.files.push((path, content.into()));
        }
        self
    }

    /// Places files in the sandbox before the command starts, given as pairs of path and content.
    pub fn files<I, P, T>(mut self, files: I) -> Self
    where
        I: IntoIterator<Item = (P, T)>,
        P: ToText,
        T: Into<Content>,
    {
        for (path, content) in files {
            self = self.file(path, content);
        }
        self
    }

    /// Places the files of an uploaded directory below `path` before the command starts.
    #[cfg(feature = "sync")]
    pub fn tree(mut self, path: impl ToText, tree: &super::Tree) -> Self {
        if let Some(path) = self.program.take(path.to_text()) {
            self.uploaded.extend(tree.files_below(&path));
        }
        self
    }

    /// Sets the host name in the sandbox.
    pub fn hostname(mut self, name: impl ToText) -> Self {
        self.options.hostname = self.program.take(name.to_text());
        self
    }

    /// Sets whether the sandbox has a network; the default is that of the backend.
    pub fn network(mut self, enabled: bool) -> Self {
        self.options.network = Some(enabled);
        self
    }

    /// Lets the sandbox reach only these hosts, as rules of the form `HOST[:PORT]`. Hosts that the
    /// backend denies stay denied. Only an embedded engine can do so.
    pub fn allow_hosts<I>(mut self, hosts: I) -> Self
    where
        I: IntoIterator,
        I::Item: ToText,
    {
        for host in hosts {
            if let Some(host) = self.program.take(host.to_text()) {
                self.options.allowed_hosts.push(host);
            }
        }
        self
    }

    /// Saves the variables of the command in the resulting image.
    pub fn keep_env(mut self) -> Self {
        self.options.keep_env = true;
        self
    }

    /// Saves the directory of the command in the resulting image.
    pub fn keep_cwd(mut self) -> Self {
        self.options.keep_cwd = true;
        self
    }

    /// Sets how many bytes the command may write to its filesystem. Beyond it, the run fails.
    pub fn max_layer_bytes(mut self, bytes: u64) -> Self {
        self.options.max_layer_bytes = Some(bytes);
        self
    }

    /// Limits the memory of the sandbox, in bytes. Only an embedded engine can do so.
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.limits().memory_bytes = Some(bytes);
        self
    }

    /// Limits the processor time of the sandbox, in processors. Only an embedded engine can do so.
    pub fn max_cpus(mut self, cpus: f64) -> Self {
        self.limits().cpus = Some(cpus);
        self
    }

    /// Limits the processes and threads of the sandbox. Only an embedded engine can do so.
    pub fn max_processes(mut self, count: u64) -> Self {
        self.limits().processes = Some(count);
        self
    }

    /// Makes a TCP port of the sandbox reachable at `127.0.0.1` of the engine's machine, from the
    /// start of the command. [`Client::published_ports`](crate::Client::published_ports) has its
    /// address there. Only an embedded engine can do so.
    pub fn publish(mut self, port: u16) -> Self {
        self.options.ports.push(port);
        self
    }

    fn limits(&mut self) -> &mut types::EngineLimits {
        self.options.limits.get_or_insert(types::EngineLimits {
            cpus: None,
            memory_bytes: None,
            processes: None,
        })
    }

    /// Starts the command, and returns a handle of the run. Dropping the handle cancels the run.
    ///
    /// # Errors
    /// If the backend refuses or cannot be reached. If [`Error::is_unconfirmed`], the command may
    /// be running.
    pub async fn spawn(self) -> Result<Running<C>, Error> {
        let client = self.image.client().clone();
        let request = self.request().await?;
        Running::start(client, request).await
    }

    /// Starts the command and leaves it to the backend. The run continues when this process ends,
    /// unless the backend is an engine in this process.
    ///
    /// [`Client::attach`](crate::Client::attach) returns a handle of the run. Dropping the future
    /// of this method before its end still cancels the run.
    ///
    /// # Errors
    /// The errors of [`spawn`](Self::spawn).
    pub async fn detach(self) -> Result<Uuid, Error> {
        let client = self.image.client().clone();
        let mut request = self.request().await?;
        // The list of runs then distinguishes this one from a run whose client is gone.
        if client.has_extension("live").await? {
            request.x_detached = Some(true);
        }
        Ok(Running::<C>::start(client, request).await?.detach())
    }

    /// Uploads the files, and returns the request.
    async fn request(mut self) -> Result<types::InstanceSpawnRequest, Error> {
        self.program.check()?;
        let client = self.image.client();
        let image = self.image.reference()?.clone();
        let uploads = stream::iter(self.files).map(|(path, content)| async move {
            Ok::<_, Error>((path, content.upload(client).await?))
        });
        let mut files = self.uploaded;
        files.extend(
            uploads
                .buffered(CONCURRENT_UPLOADS)
                .try_collect::<Vec<_>>()
                .await?,
        );
        let Options {
            hostname,
            network,
            keep_env,
            keep_cwd,
            max_layer_bytes,
            limits,
            allowed_hosts,
            ports,
        } = self.options;
        if !allowed_hosts.is_empty() && !client.has_extension("network").await? {
            return Err(Error::Unsupported(
                "this service cannot limit the hosts of one run; leave allow_hosts out, or disable its network",
            ));
        }
        let mut request: types::InstanceSpawnRequest = types::InstanceSpawnRequest::builder()
            .image(image)
            .command(std::mem::take(&mut self.program.command))
            .try_into()
            .map_err(|error: types::error::ConversionError| {
                Error::InvalidArgument(error.to_string())
            })?;
        request.shell = Some(self.program.shell);
        request.disposable = Some(C::DISPOSABLE);
        request.args = std::mem::take(&mut self.program.args);
        request.env = self.program.environment();
        request.cwd = self.program.cwd.take();
        request.uid = self.program.uid.map(u64::from);
        request.gid = self.program.gid.map(u64::from);
        request.stdin = self.program.input().await?;
        request.truncate_output_at = self.program.output_limit();
        request.files = files;
        request.timeout = self.timeout.map(seconds).transpose()?;
        request.hostname = hostname;
        request.networking = network.map(|enabled| types::InstanceNetworking {
            enabled: Some(enabled),
        });
        request.preserve_env = keep_env.then_some(true);
        request.preserve_cwd = keep_cwd.then_some(true);
        request.resources_limits = max_layer_bytes.map(|bytes| types::InstanceResourcesLimits {
            max_layer_bytes: Some(bytes),
        });
        request.x_limits = limits;
        request.x_network = (!allowed_hosts.is_empty()).then_some(types::RunNetwork {
            allow_hosts: allowed_hosts,
        });
        request.x_ports = ports.into_iter().map(Into::into).collect();
        request.x_terminal = self.program.terminal.take();
        Ok(request)
    }
}

impl Command<Keep> {
    /// Drops the changes of the command, so that no image is made.
    pub fn discard(self) -> Command<Discard> {
        Command {
            image: self.image,
            program: self.program,
            timeout: self.timeout,
            files: self.files,
            uploaded: self.uploaded,
            options: self.options,
            changes: PhantomData,
        }
    }
}

/// A time limit in whole seconds, rounded up.
pub(super) fn seconds(timeout: Duration) -> Result<i64, Error> {
    if timeout.is_zero() {
        return Err(Error::InvalidArgument(
            "a time-out of 0 s would kill the command at once; give a longer one".to_owned(),
        ));
    }
    let begun = u64::from(timeout.subsec_nanos() > 0);
    let seconds = timeout.as_secs().saturating_add(begun);
    Ok(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// Runs the command to its end.
///
/// Its result is an error if the run failed or was cancelled. A command that exits with another
/// status than 0 is not an error; see [`Output::ok`](crate::RunOutput::ok).
impl<C: Changes> IntoFuture for Command<C> {
    type Output = Result<Output<C::Image>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.spawn().await?.wait().await })
    }
}

impl<C: Changes> fmt::Debug for Command<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values of variables may be secrets.
        f.debug_struct("Command")
            .field("image", &self.image)
            .field("command", &self.program.command)
            .field("args", &self.program.args)
            .field("env", &self.program.env.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_are_rounded_up() {
        for (given, expected) in [(1, 1), (999, 1), (1000, 1), (1001, 2), (60_000, 60)] {
            assert_eq!(seconds(Duration::from_millis(given)).unwrap(), expected);
        }
        assert!(seconds(Duration::ZERO).is_err());
        assert_eq!(seconds(Duration::MAX).unwrap(), i64::MAX);
    }
}
