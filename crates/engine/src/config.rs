//! Settings of the engine, and their environment variables.

use std::env::VarError;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use contree_paths::expand_home;

use crate::egress::{EgressRule, EgressSettings, NetworkMode, ProxyVariables, TransparentNetwork};
use crate::error::{EngineError, SettingError};
use crate::shared_memory::SharedMemorySize;

/// Days for which the program `contree-mcp` keeps unused images, uploaded files and records of
/// operations. `CONTREE_RETENTION_DAYS` overrides it.
pub const RETENTION_DAYS: u32 = 30;

/// Settings of the embedded engine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LocalConfig {
    /// The directory of images, layers, files and records. Created with mode 0700 if missing.
    pub data_dir: PathBuf,
    /// The directory below which the engine creates a directory with mode 0700 for its socket.
    /// `None`: `$XDG_RUNTIME_DIR`, else the system's directory for temporary files.
    pub runtime_dir: Option<PathBuf>,
    /// A program that links this crate and is started as a sandbox's first process. It is needed
    /// only where the crate is part of a shared library, such as an extension module of an
    /// interpreter. Any other program starts itself.
    pub init_program: Option<PathBuf>,
    /// The most sandboxes that run at once. Further ones wait as PENDING.
    pub max_concurrency: usize,
    /// The most images that are imported at once. Further imports wait as PENDING.
    pub max_imports: usize,
    /// Whether images may be imported from paths of this machine (`oci-layout:`, `docker-archive:`,
    /// `rootfs:`). They are read with this process's rights, so an engine that others can reach
    /// must not allow it.
    pub local_imports: bool,
    /// The most bytes of an imported image's unpacked files.
    pub import_bytes: u64,
    /// The most entries of an imported image, of all layers that the import unpacks together.
    pub import_entries: u64,
    /// The most commands that may wait; a further request gets 429. The number is lower where the
    /// system allows too few open files.
    pub max_pending: usize,
    /// The network of commands that ask for one, which they do by default.
    pub network: NetworkMode,
    /// With [`NetworkMode::Proxy`]: the network of programs that do not know the proxy.
    pub transparent_network: TransparentNetwork,
    /// With [`NetworkMode::Proxy`]: the hosts that commands may reach. Empty: every public address.
    pub egress_allow: Vec<EgressRule>,
    /// With [`NetworkMode::Proxy`]: hosts that commands may not reach. It overrides `egress_allow`.
    pub egress_deny: Vec<EgressRule>,
    /// Whether ports of sandboxes may be published at `127.0.0.1` of this machine. The default is
    /// not to, because every program and user of this machine can reach a published port.
    pub publish: bool,
    /// Whether commands trust the certificate authorities that this machine trusts, in addition to
    /// those of the image. The image does not keep them.
    pub trust_host_ca: bool,
    /// The size of `/dev/shm` in sandboxes. `None`: half of the sandbox's memory limit.
    pub shm_size: Option<SharedMemorySize>,
    /// Days after which unused images without a tag, uploaded files and records of operations are
    /// removed, once a day and in the background. 0: never. `None`: `CONTREE_RETENTION_DAYS`, else
    /// never.
    pub retention_days: Option<u32>,
    /// Whether the engine raises this process's limit of open descriptors (`RLIMIT_NOFILE`) to
    /// 65,536, or to the hard limit if that is lower. The default is not to: the limit holds for
    /// the whole process, and child processes inherit it.
    ///
    /// A running command takes about twelve descriptors. If there are too few, the engine refuses
    /// further commands with 429 and runs those that it has accepted one after the other.
    pub raise_descriptor_limit: bool,
}

impl FromStr for NetworkMode {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        match text {
            "proxy" => Ok(Self::Proxy),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            other => Err(SettingError::Network(other.to_owned()).into()),
        }
    }
}

impl FromStr for TransparentNetwork {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            other => Err(SettingError::TransparentNetwork(other.to_owned()).into()),
        }
    }
}

impl From<&Path> for LocalConfig {
    /// Settings with a data directory and defaults for the rest.
    fn from(data_dir: &Path) -> Self {
        Self::new(data_dir)
    }
}

impl From<PathBuf> for LocalConfig {
    /// Settings with a data directory and defaults for the rest.
    fn from(data_dir: PathBuf) -> Self {
        Self::new(data_dir)
    }
}

impl From<&str> for LocalConfig {
    /// Settings with a data directory and defaults for the rest.
    fn from(data_dir: &str) -> Self {
        Self::new(data_dir)
    }
}

impl LocalConfig {
    /// Settings with a data directory and defaults for the rest.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            data_dir: data_dir.into(),
            runtime_dir: None,
            init_program: None,
            max_concurrency: (cores * 4).max(8),
            max_imports: 5,
            local_imports: true,
            import_bytes: 64 << 30,
            import_entries: 2_000_000,
            network: NetworkMode::default(),
            transparent_network: TransparentNetwork::default(),
            egress_allow: Vec::new(),
            egress_deny: Vec::new(),
            publish: false,
            trust_host_ca: false,
            shm_size: None,
            max_pending: 10_000,
            retention_days: None,
            raise_descriptor_limit: false,
        }
    }

    /// Changes these settings to the defaults of the program `contree-mcp`, which has its process
    /// to itself:
    ///
    /// - it raises the limit of open descriptors;
    /// - it removes what was not used for [`RETENTION_DAYS`] days, unless `retention_days` or
    ///   `CONTREE_RETENTION_DAYS` says otherwise.
    #[must_use]
    pub fn for_own_process(mut self) -> Self {
        self.raise_descriptor_limit = true;
        self.retention_days = Some(self.retention().unwrap_or(RETENTION_DAYS));
        self
    }

    /// Reads settings from the environment:
    ///
    /// - the data directory: `CONTREE_DATA_DIR`, else `contree` in `XDG_DATA_HOME`, else
    ///   `~/.local/share/contree`;
    /// - the network: `CONTREE_NETWORK` (`proxy`, `host` or `none`);
    /// - the network of programs that do not know the proxy: `CONTREE_TRANSPARENT_NETWORK` (`auto`
    ///   or `off`);
    /// - egress rules, separated by commas: `CONTREE_EGRESS_ALLOW` and `CONTREE_EGRESS_DENY`;
    /// - whether ports may be published: `CONTREE_PUBLISH` (`allow` or `deny`);
    /// - trust in this machine's certificate authorities: `CONTREE_TRUST_HOST_CA` (`true` or
    ///   `false`);
    /// - the size of `/dev/shm`: `CONTREE_SHM_SIZE`, such as `512m`.
    ///
    /// A path may begin with `~/`.
    ///
    /// # Errors
    /// [`EngineError::NoDataDirectory`] if no variable names a data directory, and
    /// [`EngineError::Setting`] if another variable cannot be read.
    pub fn from_env() -> Result<Self, EngineError> {
        let path = |name: &'static str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.map(|value| expand_variable(name, value)).transpose()
        };
        let text = |name: &'static str| match std::env::var(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(SettingError::NotText(name)),
        };
        let data_dir = match path("CONTREE_DATA_DIR")? {
            Some(path) => path,
            None => match path("XDG_DATA_HOME") {
                Ok(Some(base)) => base.join("contree"),
                Ok(None) | Err(_) => home()
                    .ok_or(EngineError::NoDataDirectory)?
                    .join(".local/share/contree"),
            },
        };
        let mut config = Self::new(data_dir);
        if let Some(mode) = text("CONTREE_NETWORK")? {
            config.network = mode.parse()?;
        }
        if let Some(mode) = text("CONTREE_TRANSPARENT_NETWORK")? {
            config.transparent_network = mode.parse()?;
        }
        let rules = |name| {
            let list = text(name)?.unwrap_or_default();
            EgressRule::parse_list(&list).map_err(SettingError::from)
        };
        config.egress_allow = rules("CONTREE_EGRESS_ALLOW")?;
        config.egress_deny = rules("CONTREE_EGRESS_DENY")?;
        if let Some(value) = text("CONTREE_PUBLISH")? {
            config.publish = Self::parse_publish(&value)?;
        }
        if let Some(value) = text(TRUST_HOST_CA)? {
            config.trust_host_ca =
                flag(&value).ok_or_else(|| SettingError::Flag(TRUST_HOST_CA, value.clone()))?;
        }
        if let Some(size) = text("CONTREE_SHM_SIZE")? {
            config.shm_size = Some(size.parse()?);
        }
        Ok(config)
    }

    /// Parses the value of `CONTREE_PUBLISH` or `--publish`: `allow` or `deny`.
    ///
    /// # Errors
    /// [`EngineError::Setting`] for any other value.
    pub fn parse_publish(text: &str) -> Result<bool, EngineError> {
        match text {
            "allow" => Ok(true),
            "deny" => Ok(false),
            other => Err(SettingError::Publish(other.to_owned()).into()),
        }
    }

    /// Days after which unused data is removed; none if neither a setting nor
    /// `CONTREE_RETENTION_DAYS` says so. If the variable is not a number, nothing is removed, so
    /// that the user can still correct it.
    pub(super) fn retention(&self) -> Option<u32> {
        let variable = || {
            match std::env::var("CONTREE_RETENTION_DAYS") {
            Ok(text) if !text.trim().is_empty() => Some(text.trim().parse().unwrap_or_else(|_| {
                tracing::warn!(
                    "CONTREE_RETENTION_DAYS is `{}`, so nothing is removed: give a whole number of days from 0, such as 30",
                    text.escape_debug()
                );
                0
            })),
            Err(VarError::NotUnicode(_)) => {
                tracing::warn!("CONTREE_RETENTION_DAYS is not text, so nothing is removed");
                Some(0)
            }
            Ok(_) | Err(VarError::NotPresent) => None,
        }
        };
        self.retention_days.or_else(variable)
    }

    /// The directory below which the socket's directory is created.
    pub(super) fn socket_parent(&self) -> PathBuf {
        let user = rustix::process::geteuid().as_raw();
        self.runtime_dir
            .clone()
            .or_else(|| {
                std::env::var_os("XDG_RUNTIME_DIR")
                    .and_then(|path| expand_home(path, home).ok())
                    .filter(|path| is_runtime_directory(path, user))
            })
            .unwrap_or_else(std::env::temp_dir)
    }

    /// The settings of the sandboxes' network. This machine's own proxies come from the
    /// environment.
    pub(super) fn egress_settings(&self) -> EgressSettings {
        EgressSettings {
            network: self.network,
            transparent: self.transparent_network,
            allow: self.egress_allow.clone(),
            deny: self.egress_deny.clone(),
            max_sandboxes: self.max_concurrency,
            machine: proxy_variables(),
            trust_host_ca: self.trust_host_ca,
            named_certificates: named_certificates(),
            side_directory: SIDE_DIRECTORY.to_owned(),
        }
    }

    /// The options of the layer store.
    pub(super) fn store_options(&self) -> contree_sandbox::StoreOptions {
        let mut options = contree_sandbox::StoreOptions::default();
        options.init_program.clone_from(&self.init_program);
        options.init_program_setting = Some("LocalConfig::init_program".into());
        options.directory_setting = Some("CONTREE_DATA_DIR".into());
        options.directories = vec!["files".into(), "events".into()];
        options.side_directory = SIDE_DIRECTORY.into();
        options
    }
}

/// The home directory of this process's user.
fn home() -> Option<PathBuf> {
    std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
}

/// Expands a leading `~` in the value of a variable with a path.
fn expand_variable(name: &'static str, value: OsString) -> Result<PathBuf, SettingError> {
    expand_home(value, home).map_err(|source| SettingError::Home { name, source })
}

/// The directory of side files below `/dev` in sandboxes.
const SIDE_DIRECTORY: &str = "contree";

/// The variable for [`LocalConfig::trust_host_ca`].
const TRUST_HOST_CA: &str = "CONTREE_TRUST_HOST_CA";

/// Variables with which users name the certificates of this machine to other programs.
const CERTIFICATE_VARIABLES: [&str; 4] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
];

/// A yes or no as text.
fn flag(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The files of certificates that variables of this process name.
fn named_certificates() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = CERTIFICATE_VARIABLES
        .iter()
        .filter_map(std::env::var_os)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .collect();
    files.sort();
    files.dedup();
    files
}

/// The variables of this process that name proxies.
fn proxy_variables() -> ProxyVariables {
    let names = ProxyVariables::NAMES
        .into_iter()
        .flat_map(|name| [name.to_owned(), name.to_uppercase()]);
    ProxyVariables {
        set: names
            .filter_map(|name| std::env::var(&name).ok().map(|value| (name, value)))
            .collect(),
        cgi: std::env::var_os("REQUEST_METHOD").is_some(),
    }
}

/// Returns whether a runtime directory belongs to `user`. After `su` or `sudo`, the environment may
/// name the directory of another user.
fn is_runtime_directory(path: &Path, user: u32) -> bool {
    // The address of a socket is text.
    path.is_absolute()
        && path.to_str().is_some()
        && std::fs::metadata(path).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_directory_of_another_user_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let user = rustix::process::geteuid().as_raw();
        assert!(is_runtime_directory(directory.path(), user));
        assert!(!is_runtime_directory(directory.path(), user + 1));
        assert!(!is_runtime_directory(&directory.path().join("none"), user));
        assert!(!is_runtime_directory(Path::new("run"), user));
    }
}
