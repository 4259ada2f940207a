//! Importing images from registries.

use crate::tools::operation::{StartedOperation, ended, failed, waiting_call};
use crate::tools::paths::local_path;
use crate::tools::results::ImportImage;
use crate::tools::{Context, ToolError, params, registry_login};
use crate::types::{ImageImportRequest, Registry, RegistryCredentials};
use crate::{Client, OperationStatus};
use contree_registry::{Login, Reference, RegistryHost, check};

/// What an import asks for in addition to the time of the import itself.
const GRACE: u64 = 30;

/// Imports an image and waits for it, unless told otherwise.
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
    let credentials = match local_form(&url) {
        Some(path) => {
            if !cx.session().is_local() {
                return Err(ToolError::invalid(format!(
                    "`{url}` is on this machine, and only the embedded engine in this process takes what is here"
                ))
                .with_hint(
                    "Push it to a registry that the backend reaches, and import it from there.",
                ));
            }
            let place = local_path("registry_url", path)?;
            let archive = untagged(&place);
            let resolved = cx.session().local().resolved("registry_url", &archive)?;
            // The engine is to open what was judged, and not what a link leads to by then.
            let (scheme, _) = url.split_once(':').unwrap_or_default();
            let named = place.to_string_lossy();
            let tag = &named[archive.to_string_lossy().len()..];
            let whole = format!("{}{tag}", resolved.display());
            // With the place it really is at, the same text may name another one.
            if tag.split('/').any(|part| part == "..") || untagged(whole.as_ref()) != resolved {
                return Err(ToolError::invalid(format!(
                    "`registry_url`: `{}` is no name of an image in {}",
                    tag.trim_start_matches(':'),
                    archive.display()
                )));
            }
            url = format!("{scheme}:{whole}");
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
    let start = async { Ok::<_, ToolError>(client.import_image().body(request).send().await?) };
    let (operation, started) =
        StartedOperation::start(client, cx, start, |started| started.uuid).await?;
    let time = std::time::Duration::from_secs(timeout.saturating_add(GRACE));
    let id = started.uuid;
    let follow = async { Ok(ended(client, id, time, Some(cx)).await?.into()) };
    let Some(ended) = operation.finish(wait, follow, waiting_call).await? else {
        return Ok(ImportImage {
            operation_id: Some(id.to_string()),
            ended: None,
        });
    };
    if ended.status == OperationStatus::Failed.as_str() {
        return Err(failed(&ended).with_hint(
            "Check the reference; if the registry wants credentials, `registry_token_obtain` and `registry_auth` store them.",
        ));
    }
    Ok(ImportImage {
        operation_id: None,
        ended: Some(ended),
    })
}

/// The path of a form that means this machine, such as `oci-layout:PATH`.
fn local_form(url: &str) -> Option<&str> {
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

/// The path without a name behind it, as the engine splits them: the longest path that is there counts.
fn untagged(path: &std::path::Path) -> std::path::PathBuf {
    let text = path.to_string_lossy();
    let mut end = text.len();
    loop {
        let before = std::path::Path::new(&text[..end]);
        if before.exists() {
            return before.to_owned();
        }
        match text[..end].rfind(':') {
            Some(colon) => end = colon,
            None => return path.to_owned(),
        }
    }
}

/// The credentials to import with, tried before they are used; none if anonymous access is accepted.
async fn credentials(
    url: &str,
    anonymous: bool,
    client: &Client,
    cx: &Context,
) -> Result<Option<RegistryCredentials>, ToolError> {
    // The registry that the backend will take it for; a bare name is one of Docker Hub.
    let registry = match url.parse::<Reference>() {
        Ok(reference) => reference.host().clone(),
        Err(_) => RegistryHost::from_reference(url)?,
    };
    let login = registry_login::stored(cx, client, &registry).await;
    let how = format!(
        "`registry_token_obtain(registry_url={:?})` shows where to make a token and `registry_auth` stores it; or import \
         without credentials: `import_image(registry_url={url:?}, \
         i_accept_that_anonymous_access_might_be_rate_limited=true)`.",
        registry.as_str()
    );
    let Some(login) = login else {
        if anonymous {
            return Ok(None);
        }
        return Err(
            ToolError::no_login(format!("there are no credentials for {registry}")).with_hint(how),
        );
    };
    cx.watcher()
        .progress(&format!("checking the credentials for {registry}"));
    if let Err(error) = check(cx.session().registries(), &registry, &login).await {
        if !error.is_rejection() {
            // The backend may reach it although we do not.
            tracing::warn!("cannot check the credentials: {error}");
        } else if anonymous {
            cx.watcher()
                .progress("the credentials are no longer good; going on without");
            return Ok(None);
        } else {
            return Err(ToolError::from(error).with_hint(how));
        }
    }
    match login {
        Login::Password { username, secret } => Ok(Some(RegistryCredentials {
            username: Some(username),
            password: Some(secret.expose().to_owned()),
        })),
        Login::Identity(_) if anonymous => Ok(None),
        Login::Identity(_) => Err(ToolError::no_login(format!(
            "Docker has only a refresh token for {registry}, which an import cannot use"
        ))
        .with_hint(how)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_this_machine_are_told_from_registries() {
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
            assert_eq!(local_form(url), path, "{url}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a:b");
        std::fs::write(&path, "").unwrap();
        let named = std::path::PathBuf::from(format!("{}:x:1", path.display()));
        assert_eq!(untagged(&named), path);
        assert_eq!(untagged(&path), path);
    }
}
