//! The logins that imports and pushes use for registries: finding and storing them.

use super::{Context, ToolError, docker_login};
use crate::Client;
use crate::store::credentials;
use contree_registry::{CredentialCheck, Login, RegistryHost, check, token_page};

/// Finds the credentials for a registry: those that `registry_auth` stored, else Docker's.
pub(crate) async fn stored(
    cx: &Context,
    client: &Client,
    registry: &RegistryHost,
) -> Option<Login> {
    let backend = client.backend().identity();
    let key = registry.clone();
    let found = cx
        .session()
        .store()
        .read_durably(move |c| credentials::find(c, &backend, key.as_str()))
        .await;
    match found {
        Ok(Some(found)) => return Some(Login::password(found.username, found.secret)),
        Ok(None) => {}
        Err(error) => tracing::warn!("cannot read stored credentials: {error}"),
    }
    docker_login::docker_login(registry).await
}

/// A login that was stored.
pub(crate) struct LoginOutcome {
    pub(crate) registry: RegistryHost,
    pub(crate) check: CredentialCheck,
}

/// Checks the credentials for a registry with it, and stores them.
///
/// # Errors
/// If the registry refuses them. Nothing is stored then.
pub(crate) async fn log_in(
    cx: &Context,
    registry: RegistryHost,
    username: &str,
    secret: &str,
) -> Result<LoginOutcome, ToolError> {
    // Pasted text often has spaces and line ends around it.
    let username = username.trim().to_owned();
    let secret = secret.trim().to_owned();
    if username.is_empty() || secret.is_empty() || username.contains(':') {
        return Err(ToolError::invalid(
            "`username` and `token` must not be empty, and `username` must not contain a colon",
        ));
    }
    let login = Login::password(&username, &secret);
    let checked = tokio::select! {
        biased;
        () = cx.cancelled() => return Err(ToolError::cancelled("the call was cancelled; nothing was stored")),
        checked = check(cx.session().registry_clients(), &registry, &login) => checked,
    };
    let check = checked.map_err(|error| {
        let rejected = error.is_rejection();
        let error = ToolError::from(error);
        match token_page(&registry).filter(|_| rejected) {
            Some(page) => error.with_hint(format!(
                "Nothing was stored. At {}: {}.",
                page.url, page.instructions
            )),
            None => error.with_hint("Nothing was stored."),
        }
    })?;
    let backend = cx.client().await?.backend().identity();
    let key = registry.clone();
    let store = cx.session().store();
    store
        .write_durably(move |c| credentials::insert(c, &backend, key.as_str(), &username, &secret))
        .await?;
    Ok(LoginOutcome { registry, check })
}
