//! Docker's own credentials: `config.json`, and the helper programs that it names.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use tokio::io::AsyncWriteExt as _;

use contree_registry::{Login, RegistryHost, SecretString};

/// How long a helper may take: some ask the user.
const PATIENCE: Duration = Duration::from_secs(15);
/// The key of Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user that stands for "the secret is a refresh token".
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

/// Docker's configuration file.
fn config_path() -> Option<PathBuf> {
    let folder = match std::env::var_os("DOCKER_CONFIG").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => std::env::home_dir()?.join(".docker"),
    };
    Some(folder.join("config.json"))
}

/// The login that Docker has for a registry. What cannot be read counts as none, with a warning.
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
            // The parser's message could repeat a part of a secret.
            tracing::warn!("{} is not what Docker writes", path.display());
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
        if let Some(login) = ask(name, server).await {
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

/// Asks `docker-credential-NAME get`.
async fn ask(name: &str, server: &str) -> Option<Login> {
    let sane = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if name.is_empty() || !sane {
        tracing::warn!("Docker's configuration names no usable credential helper");
        return None;
    }
    let program = format!("docker-credential-{name}");
    let asked = async {
        let mut child = tokio::process::Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            let question = format!("{server}\n");
            match stdin.write_all(question.as_bytes()).await {
                // It knows what to say without being asked, or has nothing to say; its status tells.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
                written => written?,
            }
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            tracing::warn!("cannot run {program}: {error}");
            return None;
        }
        Err(_) => {
            tracing::warn!("{program} did not answer within {} s", PATIENCE.as_secs());
            return None;
        }
    };
    if !output.status.success() {
        // So it says that it has none.
        return None;
    }
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout).ok()?;
    Some(if answer.username == TOKEN_USER {
        Login::Identity(SecretString::new(answer.secret))
    } else {
        Login::password(answer.username, answer.secret)
    })
}
