//! Finds the login that an import uses for a registry.

use super::{Context, docker_login};
use crate::Client;
use crate::store::credentials;
use contree_registry::{Login, RegistryHost};

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
