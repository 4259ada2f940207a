//! Docker's own credentials, from `config.json` and the credential helpers that it names.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use tokio::io::AsyncWriteExt as _;

use contree_paths::expand_home;
use contree_registry::{Login, RegistryHost, SecretString};

/// Longest wait for a credential helper. Some ask the user.
const HELPER_TIMEOUT: Duration = Duration::from_secs(15);
/// Docker's key for Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// User name that marks the secret as a refresh token.
const TOKEN_USER: &str = "<token>";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: BTreeMap<String, DockerLogin>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase", default)]
struct DockerLogin {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Returns the path of Docker's configuration file.
fn config_path() -> Option<PathBuf> {
    let folder = match std::env::var_os("DOCKER_CONFIG").filter(|value| !value.is_empty()) {
        Some(folder) => expand_home(folder, std::env::home_dir)
            .inspect_err(|error| tracing::warn!("DOCKER_CONFIG: {error}"))
            .ok()?,
        None => std::env::home_dir()?.join(".docker"),
    };
    Some(folder.join("config.json"))
}

/// Finds Docker's login for a registry. An unreadable configuration counts as none, with a warning.
pub(super) async fn docker_login(registry: &RegistryHost) -> Option<Login> {
    let path = config_path()?;
    let text = match tokio::fs::read(&path).await {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!("cannot read {}: {error}", path.display());
            return None;
        }
    };
    let config: DockerConfig = match serde_json::from_slice(&text) {
        Ok(config) => config,
        Err(_) => {
            // The parser's message could contain part of a secret.
            tracing::warn!(
                "{} is not a valid Docker configuration; its credentials are ignored",
                path.display()
            );
            return None;
        }
    };
    let key = |key: &str| RegistryHost::from_docker_key(key).is_ok_and(|host| host == *registry);
    let helper = config
        .cred_helpers
        .iter()
        .find(|(host, _)| key(host))
        .map(|(_, helper)| helper.as_str());
    if let Some(name) = helper.or(config.creds_store.as_deref()) {
        let server = config
            .auths
            .keys()
            .find(|known| key(known))
            .map(String::as_str)
            .unwrap_or(if registry == &RegistryHost::hub() {
                HUB_KEY
            } else {
                registry.as_str()
            });
        if let Some(login) = run_helper(name, server).await {
            return Some(login);
        }
    }
    let entry = config.auths.into_iter().find(|(host, _)| key(host))?.1;
    entry.login()
}

impl DockerLogin {
    fn login(self) -> Option<Login> {
        if let Some(token) = self.identitytoken.filter(|token| !token.is_empty()) {
            return Some(Login::Identity(SecretString::new(token)));
        }
        if let Some(auth) = self.auth.filter(|auth| !auth.is_empty()) {
            let decoded = STANDARD.decode(auth.trim()).ok()?;
            let decoded = String::from_utf8(decoded).ok()?;
            let (username, secret) = decoded.split_once(':')?;
            return Some(Login::password(username, secret.trim_end_matches('\0')));
        }
        Some(Login::password(self.username?, self.password?))
    }
}

/// Runs `docker-credential-NAME get` for a server.
async fn run_helper(name: &str, server: &str) -> Option<Login> {
    let is_valid = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if name.is_empty() || !is_valid {
        tracing::warn!("Docker's configuration names an invalid credential helper; it is ignored");
        return None;
    }
    let program = format!("docker-credential-{name}");
    let output = async {
        let mut child = tokio::process::Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            let request = format!("{server}\n");
            match stdin.write_all(request.as_bytes()).await {
                // The helper ended without reading its input; its exit status tells the rest.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
                written => written?,
            }
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(HELPER_TIMEOUT, output).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            tracing::warn!("cannot run {program}: {error}");
            return None;
        }
        Err(_) => {
            tracing::warn!(
                "{program} did not answer within {} s",
                HELPER_TIMEOUT.as_secs()
            );
            return None;
        }
    };
    if !output.status.success() {
        // Helpers fail if they have no credentials for the server.
        return None;
    }
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout).ok()?;
    Some(if answer.username == TOKEN_USER {
        Login::Identity(SecretString::new(answer.secret))
    } else {
        Login::password(answer.username, answer.secret)
    })
}
