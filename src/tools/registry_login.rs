//! The login that an import uses for a registry.

use super::Context;
use crate::Client;
use crate::store::{credentials, docker};
use contree_registry::{Host, Login};

/// The credentials for a registry: those stored by `registry_auth`, else Docker's.
pub(super) async fn stored(cx: &Context, client: &Client, registry: &Host) -> Option<Login> {
    let backend = client.backend().identity();
    let key = registry.clone();
    let found = cx
        .session()
        .store()
        .read(move |c| credentials::find(c, &backend, &key))
        .await;
    match found {
        Ok(Some(login)) => return Some(login),
        Ok(None) => {}
        Err(error) => tracing::warn!("cannot look up credentials: {error}"),
    }
    docker::login(registry).await
}
