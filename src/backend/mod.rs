//! The backend that a client connects to: address, credentials, timeouts and retry policy.
//!
//! The client and the configuration both build on this module, so it depends on neither.

mod retry_policy;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use http::HeaderValue;
use url::{Host, Url};

pub(crate) use retry_policy::Delays;
pub use retry_policy::RetryPolicy;

use crate::Error;

/// The address, credentials, timeouts and retry policy of a client.
///
/// The address is `https://HOST/…`, `http://` to this machine, or `unix:PATH`. The `Debug` output
/// and the errors of a backend never show the token.
///
/// Three time limits bound every call:
/// [`with_connect_timeout`](Self::with_connect_timeout),
/// [`with_idle_timeout`](Self::with_idle_timeout) and
/// [`with_call_timeout`](Self::with_call_timeout). Two more bound the wait for an operation:
/// [`with_queue_timeout`](Self::with_queue_timeout) and
/// [`with_run_grace`](Self::with_run_grace).
///
/// ```
/// use contree::Backend;
///
/// let backend = Backend::new("https://contree.example/sandboxes")?.with_token("secret");
/// assert_eq!(backend.identity(), "https://contree.example/sandboxes");
/// assert!(!format!("{backend:?}").contains("secret"));
/// assert!(Backend::new("http://contree.example").is_err());
/// # Ok::<(), contree::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Backend {
    address: Address,
    token: Option<String>,
    project: Option<String>,
    identity: Option<String>,
    /// The path to connect to instead of a unix socket's own path.
    socket: Option<PathBuf>,
    timeouts: Timeouts,
    /// Length in bytes of the longest accepted answer in JSON.
    answer_limit: usize,
    retry: RetryPolicy,
}

/// The default length in bytes of the longest accepted answer in JSON.
///
/// The largest answer is the record of a run. Two streams of 10 MiB in base64 take 27 MiB.
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;

/// The longest time limit that counts. A longer one could not be added to a point in time.
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The time limits of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// The limit for opening a connection.
    pub(crate) connect: Duration,
    /// The limit for the silence of a backend.
    pub(crate) idle: Duration,
    /// The limit for a call with all its retries.
    pub(crate) call: Duration,
    /// The limit for an operation to start.
    pub(crate) queue: Duration,
    /// The limit for an operation to end after its own time limit.
    pub(crate) grace: Duration,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A URL without trailing slashes and without the API version (`/v1`).
    Http(Url),
    Unix(PathBuf),
}

impl Backend {
    /// Creates a backend at `url`, without credentials.
    ///
    /// A trailing slash or `/v1` is ignored, since the client adds `/v1` itself.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for:
    /// - an invalid URL,
    /// - a URL that would send credentials unencrypted to another machine,
    /// - a URL with a user or password, which would end up in logs: use
    ///   [`with_token`](Self::with_token).
    pub fn new(url: &str) -> Result<Self, Error> {
        Ok(Self {
            address: Address::parse(url)?,
            token: None,
            project: None,
            identity: None,
            socket: None,
            timeouts: Timeouts {
                connect: Duration::from_secs(10),
                idle: Duration::from_secs(90),
                call: Duration::from_secs(120),
                queue: Duration::from_secs(24 * 3600),
                grace: Duration::from_secs(120),
            },
            answer_limit: ANSWER_LIMIT,
            retry: RetryPolicy::default(),
        })
    }

    /// Sets the token, which is sent as `Authorization: Bearer`.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets the project. IAM tokens need one; JWT tokens must not have one.
    #[must_use]
    pub fn with_project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// Sets the name of this backend in records of its images and files; the default is its URL.
    ///
    /// An embedded engine needs it: its socket path changes with every start, its store does not.
    #[must_use]
    pub fn with_identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Sets another path that leads to the unix socket. Users see the socket's own path.
    #[allow(dead_code, reason = "used by the embedded engine, which is a feature")]
    pub(crate) fn with_socket(mut self, path: &Path) -> Self {
        self.socket = Some(path.to_owned());
        self
    }

    /// Sets the time limit for opening a connection; the default is 10 s.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.connect = timeout.min(MAX_TIMEOUT);
        self
    }

    /// Sets the idle timeout of answers and streams; the default is 90 s.
    ///
    /// If the backend sends nothing for that time, the connection counts as broken. The same holds
    /// if it sends less than 8 KiB of a file, of an archive or of one event in that time. For an
    /// upload, it is the longest time without progress.
    #[must_use]
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.idle = timeout.min(MAX_TIMEOUT);
        self
    }

    /// Sets the time limit of a call with all its retries; the default is 120 s.
    ///
    /// The delays that the backend asks for with `Retry-After` are added to it. A call that returns
    /// a stream ends when the stream begins. Uploads have no such limit, since their time depends
    /// on their size.
    #[must_use]
    pub fn with_call_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.call = timeout.min(MAX_TIMEOUT);
        self
    }

    /// Sets how long the client waits for an operation to start; the default is 24 hours.
    ///
    /// An operation may have to wait until others have ended.
    #[must_use]
    pub fn with_queue_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.queue = timeout;
        self
    }

    /// Sets how long the client waits for the end of an operation after the operation's own time
    /// limit; the default is 120 s.
    ///
    /// A backend ends an operation at its time limit. If the operation is still running after this
    /// time, [`Client::run`](crate::Client::run), [`Client::outcome`](crate::Client::outcome),
    /// [`Client::follow`](crate::Client::follow) and [`Client::wait`](crate::Client::wait) return
    /// [`Error::WaitTimedOut`].
    #[must_use]
    pub fn with_run_grace(mut self, grace: Duration) -> Self {
        self.timeouts.grace = grace;
        self
    }

    /// Sets the length in bytes of the longest answer in JSON that the client accepts; the default
    /// is 32 MiB.
    ///
    /// Each call may hold as much in memory. Files, archives and events are streams, and this limit
    /// does not apply to them.
    #[must_use]
    pub fn with_answer_limit(mut self, bytes: usize) -> Self {
        self.answer_limit = bytes;
        self
    }

    /// Sets how failed requests are repeated.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// The name that tells this backend's images and files from those of other backends.
    ///
    /// It is the identity if one is set, else the URL and the project.
    pub fn identity(&self) -> String {
        match (&self.identity, &self.project) {
            (Some(identity), _) => identity.clone(),
            (None, Some(project)) => format!("{}#{project}", self.url()),
            (None, None) => self.url(),
        }
    }

    /// The URL, in the form that [`new`](Self::new) accepts.
    pub fn url(&self) -> String {
        match &self.address {
            Address::Http(url) => url.as_str().trim_end_matches('/').to_owned(),
            Address::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// The project, if one is set.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// Whether a token is set.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The path that leads to the unix socket, if it is not the address itself.
    #[cfg_attr(not(unix), allow(dead_code, reason = "only unix has such sockets"))]
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    pub(crate) fn answer_limit(&self) -> usize {
        self.answer_limit
    }

    pub(crate) fn retry(&self) -> &RetryPolicy {
        &self.retry
    }

    /// The credentials as headers, marked as sensitive so that no log shows them.
    pub(crate) fn credentials(&self) -> Result<Credentials, Error> {
        let header = |what: &str, value: String| {
            let mut header = HeaderValue::try_from(value).map_err(|_| {
                Error::InvalidArgument(format!(
                    "the {what} contains a character that an HTTP header cannot carry, perhaps a line end: remove it"
                ))
            })?;
            header.set_sensitive(true);
            Ok::<_, Error>(header)
        };
        let authorization = self
            .token
            .as_ref()
            .map(|token| header("token", format!("Bearer {token}")));
        let project = self
            .project
            .as_ref()
            .map(|project| header("project", project.clone()));
        Ok(Credentials {
            authorization: authorization.transpose()?,
            project: project.transpose()?,
        })
    }
}

/// The headers that authenticate a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) project: Option<HeaderValue>,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| format_args!("<hidden>"));
        f.debug_struct("Backend")
            .field("url", &self.url())
            .field("token", &token)
            .field("project", &self.project)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Address {
    fn parse(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = Path::new(path);
            return if path.is_absolute() {
                Ok(Self::Unix(path.to_owned()))
            } else {
                Err(invalid_url("`unix:` needs an absolute path"))
            };
        }
        // The error never quotes the URL, which may contain a password.
        let mut url = Url::parse(text)
            .map_err(|error| invalid_url(&format!("not a URL ({error}): give `https://HOST/…`")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid_url(
                "it carries a user or password: pass the token separately",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid_url("it has a query or fragment: remove it"));
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => {
                return Err(invalid_url(
                    "`http://` would send the token unencrypted to another machine: use `https://`",
                ));
            }
            other => {
                return Err(invalid_url(&format!(
                    "`{other}:` is not supported: use `https://` or `unix:PATH`"
                )));
            }
        }
        let path = url.path().trim_end_matches('/');
        let path = path
            .strip_suffix("/v1")
            .unwrap_or(path)
            .trim_end_matches('/')
            .to_owned();
        url.set_path(&path);
        Ok(Self::Http(url))
    }
}

fn invalid_url(why: &str) -> Error {
    Error::InvalidArgument(format!("the backend's URL cannot be used: {why}"))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_normalised() {
        for (given, url) in [
            ("https://h.example", "https://h.example"),
            ("https://H.example/", "https://h.example"),
            ("https://h.example/a/b/", "https://h.example/a/b"),
            ("https://h.example/a/v1/", "https://h.example/a"),
            ("https://h.example:443/v1", "https://h.example"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:80/x", "http://[::1]/x"),
            ("http://localhost:1", "http://localhost:1"),
            ("unix:/run/a b.sock", "unix:/run/a b.sock"),
        ] {
            assert_eq!(Backend::new(given).unwrap().url(), url);
        }
    }

    #[test]
    fn unsafe_urls_are_refused_and_not_quoted() {
        for bad in [
            "http://h.example",
            "http://10.0.0.1",
            "http://localhost.example",
            "https://user:hunter2@h.example",
            "https://hunter2@h.example",
            "https://h.example/?token=hunter2",
            "ftp://h.example",
            "unix:relative",
            "h.example:hunter2",
            "",
        ] {
            let error = Backend::new(bad).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_identity_is_url_and_project_unless_set() {
        let backend = Backend::new("https://h.example/").unwrap();
        assert_eq!(backend.identity(), "https://h.example");
        let backend = backend.with_project("p");
        assert_eq!(backend.identity(), "https://h.example#p");
        assert_eq!(backend.with_identity("store").identity(), "store");
    }

    #[test]
    fn a_token_with_a_line_end_is_refused_without_showing_it() {
        let backend = Backend::new("https://h.example")
            .unwrap()
            .with_token("hunter2\n");
        let error = backend.credentials().unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(!format!("{backend:?}").contains("hunter2"));
    }
}
