//! Handler of `push_image`: pushes images to registries, OCI layouts and archives.

use uuid::Uuid;

use super::import::local_path_of;
use crate::tools::image::resolve;
use crate::tools::operation::{StartedOperation, failure_of, wait_for_end, waiting_call};
use crate::tools::output_cut::OutputCut;
use crate::tools::paths::local_path;
use crate::tools::results::{Operation, PushImage};
use crate::tools::{Context, ToolError, params, registry_login};
use crate::types::{PushRequest, Registry, RegistryCredentials};
use crate::{Client, Error, OperationStatus};
use contree_registry::push::local_path::split_new_name;
use contree_registry::{Login, Reference, RegistryHost, check};

/// Seconds after which a push fails.
const TIMEOUT_SECONDS: u64 = 24 * 3600;

/// Pushes an image and waits for the end unless `wait` is false.
pub(super) async fn push(
    arguments: params::PushImage,
    cx: &Context,
) -> Result<PushImage, ToolError> {
    let params::PushImage {
        image,
        registry_url,
        squash,
        wait,
    } = arguments;
    let client = cx.client().await?;
    let text = registry_url.trim();
    let (url, credentials) = match local_path_of(text) {
        Some(path) => (local_target(text, path, cx)?, None),
        None => (text.to_owned(), credentials(text, client, cx).await?),
    };
    let uuid = resolve(client, &image).await?;
    let request = PushRequest {
        registry: Registry {
            url: url.clone(),
            credentials,
        },
        squash: Some(squash),
        compression: None,
        timeout: i64::try_from(TIMEOUT_SECONDS).ok(),
    };
    cx.watcher().progress(&format!("pushing to {url}"));
    if !client.has_extension("push").await? {
        let pushed = cx
            .unless_cancelled(async {
                let pushed = client.push(uuid, request).await;
                pushed.map_err(|error| with_login_hint(error, &url))
            })
            .await?;
        return Ok(PushImage {
            operation_id: None,
            pushed: Some(pushed.into()),
        });
    }
    start(client, cx, uuid, request, wait).await
}

/// Starts the operation and follows it.
async fn start(
    client: &Client,
    cx: &Context,
    image: Uuid,
    request: PushRequest,
    wait: bool,
) -> Result<PushImage, ToolError> {
    let url = request.registry.url.clone();
    let request = async { client.start_push(image, request).await };
    let (operation, id) = StartedOperation::start(client, cx, request, |id| *id)
        .await
        .map_err(|error| {
            ToolError::from(error).safe_to_repeat(
                "The push may be running nevertheless; a repeat sends only what is missing.",
            )
        })?;
    let time = std::time::Duration::from_secs(TIMEOUT_SECONDS);
    let follow = async {
        let record = wait_for_end(client, id, time, Some(cx)).await?;
        Ok(Operation::of_record(record, &OutputCut::of(cx, id, None)))
    };
    let Some(ended) = operation.finish(wait, follow, waiting_call).await? else {
        return Ok(PushImage {
            operation_id: Some(id.to_string()),
            pushed: None,
        });
    };
    if ended.status != OperationStatus::Success.as_str() {
        let hint = match local_path_of(&url) {
            Some(_) => {
                "Check the path: `oci-layout:DIR` is a directory of its own, and `docker-archive:FILE` a new file.".to_owned()
            }
            None => login_hint(&url),
        };
        return Err(failure_of(&ended).with_hint(hint));
    }
    Ok(PushImage {
        operation_id: None,
        pushed: ended.push,
    })
}

fn login_hint(url: &str) -> String {
    let registry = RegistryHost::from_reference(url)
        .map_or_else(|_| url.to_owned(), |registry| registry.to_string());
    format!(
        "Check the reference. If the registry requires credentials, store those of a user who may push with `registry_auth(registry_url={registry:?}, …)`, and push again: only what is missing is sent."
    )
}

fn with_login_hint(error: Error, url: &str) -> ToolError {
    let is_registry = matches!(error, Error::Registry(_));
    let error = ToolError::from(error);
    if is_registry {
        return error.with_hint(login_hint(url));
    }
    error
}

/// Checks a local target. The engine gets the real path, so that a link changed meanwhile cannot
/// redirect it.
fn local_target(url: &str, path: &str, cx: &Context) -> Result<String, ToolError> {
    if !cx.session().is_local() {
        return Err(ToolError::invalid(format!(
            "`{url}` is on this machine, where only the embedded engine writes images; this server uses another backend"
        ))
        .with_hint("Push the image to a registry."));
    }
    let (scheme, _) = url.split_once(':').unwrap_or_default();
    let whole = local_path("registry_url", path)?;
    let (target, name) = split_new_name(&whole.to_string_lossy());
    let real = cx
        .session()
        .local_access()
        .new_path("registry_url", &target)?;
    let name = name.map(|name| format!(":{name}")).unwrap_or_default();
    let resolved = format!("{}{name}", real.display());
    // Appended to the real path, the same name could select another file.
    if name.contains("..") || split_new_name(&resolved).0 != real {
        return Err(ToolError::invalid(format!(
            "`registry_url`: `{}` is not a valid image name for {}; leave it out or use another one",
            name.trim_start_matches(':'),
            target.display()
        )));
    }
    Ok(format!("{scheme}:{resolved}"))
}

/// Finds the credentials for a push and checks them with the registry. Without stored ones, the
/// push is anonymous.
async fn credentials(
    url: &str,
    client: &Client,
    cx: &Context,
) -> Result<Option<RegistryCredentials>, ToolError> {
    let registry = match url.parse::<Reference>() {
        Ok(reference) => reference.host().clone(),
        Err(_) => RegistryHost::from_reference(url)?,
    };
    let Some(login) = registry_login::stored(cx, client, &registry).await else {
        return Ok(None);
    };
    cx.watcher()
        .progress(&format!("checking the credentials for {registry}"));
    if let Err(error) = check(cx.session().registry_clients(), &registry, &login).await {
        if error.is_rejection() {
            return Err(ToolError::from(error).with_hint(login_hint(url)));
        }
        // The backend may reach the registry although this machine does not.
        tracing::warn!("cannot check the credentials for {registry}: {error}");
    }
    match login {
        Login::Password { username, secret } => Ok(Some(RegistryCredentials {
            username: Some(username),
            password: Some(secret.expose().to_owned()),
        })),
        Login::Identity(_) => Err(ToolError::no_login(format!(
            "Docker stores only a refresh token for {registry}, which pushes cannot use"
        ))
        .with_hint(login_hint(url))),
    }
}
