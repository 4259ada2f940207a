//! Creating clients: from the environment, from a profile, and from settings.

use std::{fmt, time::Duration};

use crate::{
    Backend, Client, Error, RetryPolicy,
    config::{Environment, Flags, ProfileFiles, SelectedBackend, select_backend},
};

impl Client {
    /// Creates a client of the backend that the environment selects, as the program `contree-mcp`
    /// does.
    ///
    /// - `CONTREE_URL`, `CONTREE_TOKEN` and `CONTREE_PROJECT` name a service. With the feature
    ///   `profiles`, the profile files of the other Contree clients do so too, and
    ///   `CONTREE_PROFILE` names the profile.
    /// - If none of them is set, the embedded engine of the feature `engine` is started.
    /// - `CONTREE_BACKEND` is `auto`, `cloud` or `local`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if values are missing or invalid; the message says which.
    /// [`Error::Engine`] if the embedded engine cannot start.
    pub async fn from_env() -> Result<Self, Error> {
        from_settings(&Flags::default()).await
    }

    /// Creates a client of the service that a profile names. Other values come from the
    /// environment, as for [`from_env`](Self::from_env).
    ///
    /// # Errors
    /// The errors of [`from_env`](Self::from_env), and if there is no such profile.
    #[cfg(feature = "profiles")]
    pub async fn from_profile(name: impl Into<String>) -> Result<Self, Error> {
        from_settings(&Flags {
            profile: Some(name.into()),
            ..Flags::default()
        })
        .await
    }

    /// Settings of a new client.
    ///
    /// ```
    /// # fn example() -> Result<(), contree::Error> {
    /// let client = contree::Client::builder()
    ///     .url("https://contree.example/sandboxes")
    ///     .token("secret")
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// # example().unwrap();
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }
}

async fn from_settings(flags: &Flags) -> Result<Client, Error> {
    let invalid = |error: &dyn fmt::Display| Error::InvalidArgument(error.to_string());
    let environment = Environment::of_process();
    environment.check().map_err(|error| invalid(&error))?;
    #[cfg(not(feature = "profiles"))]
    if environment.get("CONTREE_PROFILE").is_some() {
        return Err(Error::InvalidArgument(
            "CONTREE_PROFILE is set, but this program reads no profiles; enable the feature `profiles` of the crate `contree`"
                .to_owned(),
        ));
    }
    let files = ProfileFiles::load(&environment);
    let selection = select_backend(flags, &environment, &files);
    match selection.backend.map_err(|error| invalid(&error))? {
        SelectedBackend::Cloud(cloud) => Client::connect(cloud.backend()?),
        SelectedBackend::Local => local().await,
    }
}

/// Starts the embedded engine with the settings of the environment.
#[cfg(all(feature = "engine", target_os = "linux"))]
async fn local() -> Result<Client, Error> {
    let config = contree_engine::LocalConfig::from_env();
    let config = config.map_err(|error| Error::InvalidArgument(error.to_string()))?;
    Client::local(config).await
}

#[cfg(not(all(feature = "engine", target_os = "linux")))]
async fn local() -> Result<Client, Error> {
    Err(Error::InvalidArgument(
        "no service is configured, and this program has no embedded engine; set CONTREE_URL and CONTREE_TOKEN, or \
         enable the feature `engine` of the crate `contree` on Linux"
            .to_owned(),
    ))
}

/// Settings of a new client, from [`Client::builder`].
#[derive(Clone, Default)]
#[must_use = "a client is created by `build`"]
pub struct ClientBuilder {
    url: Option<String>,
    token: Option<String>,
    project: Option<String>,
    connect_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    call_timeout: Option<Duration>,
    retry: Option<RetryPolicy>,
}

impl ClientBuilder {
    /// Sets the base URL of the service, `https://HOST/…` or `unix:PATH`.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// Sets the token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets the project. IAM tokens need one; JWT tokens must not have one.
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// Sets the time limit for opening a connection; the default is 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// Sets the idle timeout of answers and streams; see [`Backend::with_idle_timeout`].
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Sets the time limit of a call with all its retries; see [`Backend::with_call_timeout`].
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = Some(timeout);
        self
    }

    /// Sets how failed requests are repeated.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Creates the client; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the URL is missing, or a value cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        let url = self.url.ok_or_else(|| {
            Error::InvalidArgument(
                "a client needs the URL of a service; set it with `url`, or use `Client::from_env`"
                    .to_owned(),
            )
        })?;
        let mut backend = Backend::new(&url)?;
        if let Some(token) = self.token {
            backend = backend.with_token(token);
        }
        if let Some(project) = self.project {
            backend = backend.with_project(project);
        }
        if let Some(timeout) = self.connect_timeout {
            backend = backend.with_connect_timeout(timeout);
        }
        if let Some(timeout) = self.idle_timeout {
            backend = backend.with_idle_timeout(timeout);
        }
        if let Some(timeout) = self.call_timeout {
            backend = backend.with_call_timeout(timeout);
        }
        if let Some(retry) = self.retry {
            backend = backend.with_retry(retry);
        }
        Client::connect(backend)
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("token", &self.token.as_ref().map(|_| "<hidden>"))
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}
