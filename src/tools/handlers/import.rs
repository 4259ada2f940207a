//! Handler of `import_image`: imports images from registries and local files.

use crate::tools::operation::{
    OperationStart, StartedOperation, failure_of, wait_for_end, waiting_call,
};
use crate::tools::output_cut::OutputCut;
use crate::tools::paths::local_path;
use crate::tools::results::{ImportImage, Operation};
use crate::tools::{Context, ToolError, params, registry_login};
use crate::types::{ImageImportRequest, Registry, RegistryCredentials};
use crate::{Client, OperationKind, OperationStatus};
use contree_registry::{Login, Reference, RegistryHost, check};

/// Seconds to wait for the end in addition to the import's own timeout.
const GRACE_SECONDS: u64 = 30;

/// Imports an image and waits for the end unless `wait` is false.
pub(super) async fn import(
    arguments: params::ImportImage,
    cx: &Context,
) -> Result<ImportImage, ToolError> {
    let params::ImportImage {
        registry_url,
        tag,
        wait,
        timeout,
        i_accept_that_anonymous_access_might_be_rate_limited: anonymous,
    } = arguments;
    let client = cx.client().await?;
    let mut url = registry_url.trim().to_owned();
    let credentials = match local_path_of(&url) {
        Some(path) => {
            if !cx.session().is_local() {
                return Err(ToolError::invalid(format!(
                    "`{url}` is a file on this machine, which only the embedded engine can import; this server uses another backend"
                ))
                .with_hint(
                    "Push the image to a registry that the backend can reach, and import it from there.",
                ));
            }
            let path_with_name = local_path("registry_url", path)?;
            let archive = without_image_name(&path_with_name);
            let resolved = cx
                .session()
                .local_access()
                .resolved("registry_url", &archive)?;
            // The engine gets the checked path, so that a link changed meanwhile cannot redirect
            // it.
            let (scheme, _) = url.split_once(':').unwrap_or_default();
            let text = path_with_name.to_string_lossy();
            let suffix = &text[archive.to_string_lossy().len()..];
            let resolved_with_name = format!("{}{suffix}", resolved.display());
            // Appended to the real path, the same name could select another file.
            if suffix.split('/').any(|part| part == "..")
                || without_image_name(resolved_with_name.as_ref()) != resolved
            {
                return Err(ToolError::invalid(format!(
                    "`registry_url`: `{}` is not a valid image name in {}; leave the name out or use one without `..`",
                    suffix.trim_start_matches(':'),
                    archive.display()
                )));
            }
            url = format!("{scheme}:{resolved_with_name}");
            None
        }
        None => credentials(&url, anonymous, client, cx).await?,
    };
    let tag = tag.map(|tag| tag.strip_prefix("tag:").unwrap_or(&tag).to_owned());
    let request = ImageImportRequest {
        registry: Registry {
            url: url.clone(),
            credentials,
        },
        tag,
        timeout: i64::try_from(timeout).ok(),
    };
    cx.watcher().progress(&format!("importing {url}"));
    let start = OperationStart::now(OperationKind::ImageImport);
    let request = async { Ok(client.import_image().body(request).send().await?) };
    let (operation, started) = StartedOperation::start(client, cx, request, |started| started.uuid)
        .await
        .map_err(|error| {
            start.error_of_start(error, "This one is recognised by the time of its start.")
        })?;
    let time = std::time::Duration::from_secs(timeout.saturating_add(GRACE_SECONDS));
    let id = started.uuid;
    let follow = async {
        let record = wait_for_end(client, id, time, Some(cx)).await?;
        Ok(Operation::of_record(record, &OutputCut::of(cx, id, None)))
    };
    let Some(ended) = operation.finish(wait, follow, waiting_call).await? else {
        return Ok(ImportImage {
            operation_id: Some(id.to_string()),
            ended: None,
        });
    };
    if ended.status == OperationStatus::Failed.as_str() {
        let hint = if local_path_of(&url).is_some() {
            "Check the path and the form: `docker-archive:PATH` is a file of `docker save`, `oci-layout:PATH` a directory, and `rootfs:PATH` a tar archive of a root filesystem."
        } else {
            "Check the reference. If the registry requires credentials, get them with `registry_token_obtain` and store them with `registry_auth`."
        };
        return Err(failure_of(&ended).with_hint(hint));
    }
    Ok(ImportImage {
        operation_id: None,
        ended: Some(ended),
    })
}

/// Returns the path in a URL of a local file, such as `oci-layout:PATH`. `None` for registries.
pub(super) fn local_path_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once(':')?;
    let is_local = matches!(
        scheme,
        "oci-layout"
            | "oci-archive"
            | "docker-archive"
            | "docker-save"
            | "rootfs"
            | "tar"
            | "dir"
            | "file"
    ) || (scheme == "oci" && !rest.starts_with("//"));
    is_local.then(|| rest.strip_prefix("//").unwrap_or(rest))
}

/// Removes the image name at the end of a path. Like the engine, it takes the longest existing
/// path.
fn without_image_name(path: &std::path::Path) -> std::path::PathBuf {
    let text = path.to_string_lossy();
    let mut end = text.len();
    loop {
        let candidate = std::path::Path::new(&text[..end]);
        if candidate.exists() {
            return candidate.to_owned();
        }
        match text[..end].rfind(':') {
            Some(colon) => end = colon,
            None => return path.to_owned(),
        }
    }
}

/// Finds the credentials for an import and checks them with the registry. `None` means anonymous
/// access.
async fn credentials(
    url: &str,
    anonymous: bool,
    client: &Client,
    cx: &Context,
) -> Result<Option<RegistryCredentials>, ToolError> {
    // Resolves the registry as the backend does: a bare name belongs to Docker Hub.
    let registry = match url.parse::<Reference>() {
        Ok(reference) => reference.host().clone(),
        Err(_) => RegistryHost::from_reference(url)?,
    };
    let login = registry_login::stored(cx, client, &registry).await;
    let remedy = format!(
        "`registry_token_obtain(registry_url={:?})` shows where to create a token and `registry_auth` stores it. To import \
         without credentials, call `import_image(registry_url={url:?}, \
         i_accept_that_anonymous_access_might_be_rate_limited=true)`.",
        registry.as_str()
    );
    let Some(login) = login else {
        if anonymous {
            return Ok(None);
        }
        return Err(
            ToolError::no_login(format!("there are no stored credentials for {registry}"))
                .with_hint(remedy),
        );
    };
    cx.watcher()
        .progress(&format!("checking the credentials for {registry}"));
    if let Err(error) = check(cx.session().registry_clients(), &registry, &login).await {
        if !error.is_rejection() {
            // The backend may reach the registry although this machine does not.
            tracing::warn!("cannot check the credentials for {registry}: {error}");
        } else if anonymous {
            cx.watcher()
                .progress("the registry rejected the credentials; importing without them");
            return Ok(None);
        } else {
            return Err(ToolError::from(error).with_hint(remedy));
        }
    }
    match login {
        Login::Password { username, secret } => Ok(Some(RegistryCredentials {
            username: Some(username),
            password: Some(secret.expose().to_owned()),
        })),
        Login::Identity(_) if anonymous => Ok(None),
        Login::Identity(_) => Err(ToolError::no_login(format!(
            "Docker stores only a refresh token for {registry}, which imports cannot use"
        ))
        .with_hint(remedy)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_files_are_distinguished_from_registries() {
        for (url, path) in [
            ("oci-layout:/a/b:tag", Some("/a/b:tag")),
            ("docker-archive:/x.tar", Some("/x.tar")),
            ("oci:/a/b", Some("/a/b")),
            ("file:///a", Some("/a")),
            ("oci://ghcr.io/a", None),
            ("docker://a", None),
            ("alpine:3", None),
            ("localhost:5000/x", None),
            ("alpine", None),
        ] {
            assert_eq!(local_path_of(url), path, "{url}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a:b");
        std::fs::write(&path, "").unwrap();
        let named = std::path::PathBuf::from(format!("{}:x:1", path.display()));
        assert_eq!(without_image_name(&named), path);
        assert_eq!(without_image_name(&path), path);
    }
}
