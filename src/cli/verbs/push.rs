//! `contree push`: sends an image to a registry.

use std::path::Path;

use clap::Args;
use contree_error_codes::ErrorCode;
use contree_registry::push::local_path::split_new_name;
use serde::Serialize;
use uuid::Uuid;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::local_image::{LocalImage, is_local_scheme};
use super::progress::Progress;
use super::registry::stored_login;
use super::rows::print_record;
use super::session_state::EntryRef;
use crate::cli::output::{print, print_message};
use crate::cli::units::size;
use crate::events::Payload;
use crate::tools::one_line;
use crate::types::{PushRequest, PushResult, Registry, RegistryCredentials};
use crate::{CancelOnDrop, OperationStatus};

/// Seconds after which a push fails.
const TIMEOUT_SECONDS: i64 = 24 * 3600;

/// Push an image to a registry
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree push work:1 ghcr.io/owner/work:1
  contree push @ localhost:5000/work:1 --squash    all layers as one

Blobs that the registry has are not sent again. `contree login REGISTRY` stores the login, and logins
of `docker login` count too. `oci-layout:DIR` and `docker-archive:FILE` are also targets, as for
`contree save`.")]
pub(in crate::cli) struct Push {
    /// A tag, a UUID or the beginning of one, or @N
    #[arg(add = complete::values(Known::Images))]
    image: String,
    /// Reference, such as ghcr.io/owner/work:1
    reference: String,
    /// Push all layers as one
    #[arg(long)]
    squash: bool,
}

/// Schemes of the targets on this machine.
const WRITTEN_SCHEMES: [&str; 3] = ["oci-layout", "oci", "docker-archive"];

/// A push as JSON.
#[derive(Serialize)]
struct PushRecord<'a> {
    image_uuid: Uuid,
    target: &'a str,
    digest: &'a str,
    blobs_sent: u64,
    blobs_present: u64,
    bytes_sent: u64,
}

impl Push {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let reference = self.reference.trim();
        let is_local = is_local_scheme(reference);
        if let Some(local) = LocalImage::find(reference) {
            return Err(local.ambiguity(reference));
        }
        let mut url = match (is_local, reference.contains("://")) {
            (true, _) => local_url(cx, reference)?,
            (false, true) => reference.to_owned(),
            (false, false) => format!("docker://{reference}"),
        };
        let image = cx.image(&self.image).await?;
        if is_local
            && let Some((_, path)) = url.split_once(':')
            && split_new_name(path).1.is_none()
            && let Some(name) = own_name(cx, &self.image, image).await?
        {
            url = format!("{url}:{name}");
        }
        let login = match is_local {
            true => None,
            false => stored_login(cx, &url).await,
        };
        let credentials = login.map(|(username, password)| RegistryCredentials {
            username: Some(username),
            password: Some(password),
        });
        let pushed = push(cx, image, url, credentials, self.squash).await?;
        show(cx, image, reference, &pushed)
    }
}

/// The absolute form of a target on this machine.
///
/// # Errors
/// If the backend is elsewhere, or nothing can be written in such a form.
fn local_url(cx: &VerbContext, reference: &str) -> Result<String, VerbError> {
    if !cx.is_local() {
        return Err(VerbError::Usage(format!(
            "`{reference}` is on this machine, and only the embedded engine writes images to files; push it to a registry, or use `contree export` for the files alone"
        )));
    }
    let (scheme, path) = reference.split_once(':').unwrap_or_default();
    if !WRITTEN_SCHEMES.contains(&scheme) {
        return Err(VerbError::Usage(format!(
            "no image is written as `{scheme}:`; `oci-layout:DIR`, `docker-archive:FILE` and `contree save IMAGE FILE|DIR` write one, and `contree export` writes the files alone"
        )));
    }
    let path = super::import::absolute(Path::new(path.strip_prefix("//").unwrap_or(path)))?;
    Ok(format!("{scheme}:{path}"))
}

/// The tag by which the user named the image, else a tag of it.
pub(super) async fn own_name(
    cx: &VerbContext,
    given: &str,
    image: Uuid,
) -> Result<Option<String>, VerbError> {
    let tags = cx.tags().await?;
    let given = given.strip_prefix("tag:").unwrap_or(given);
    if EntryRef::parse(given).is_none() && tags.iter().any(|tag| tag == given) {
        return Ok(Some(given.to_owned()));
    }
    Ok(cx.client.image(image).info().await?.tag)
}

/// Shows the result of a push.
pub(super) fn show(
    cx: &VerbContext,
    image: Uuid,
    target: &str,
    pushed: &PushResult,
) -> Result<u8, VerbError> {
    if cx.format.is_json() {
        let record = PushRecord {
            image_uuid: image,
            target,
            digest: &pushed.digest,
            blobs_sent: pushed.blobs_sent,
            blobs_present: pushed.blobs_present,
            bytes_sent: pushed.bytes_sent,
        };
        print_record(cx.format, &record)?;
        return Ok(0);
    }
    print(&format!("{target} {}\n", one_line(&pushed.digest)))?;
    print_message(format_args!(
        "sent {} blobs with {}; {} were there",
        pushed.blobs_sent,
        size(pushed.bytes_sent),
        pushed.blobs_present
    ));
    Ok(0)
}

/// Sends an image to a target, and shows the progress. A signal cancels it.
pub(super) async fn push(
    cx: &VerbContext,
    image: Uuid,
    url: String,
    credentials: Option<RegistryCredentials>,
    squash: bool,
) -> Result<PushResult, VerbError> {
    let request = PushRequest {
        registry: Registry {
            url: url.clone(),
            credentials,
        },
        squash: Some(squash),
        compression: None,
        timeout: Some(TIMEOUT_SECONDS),
    };
    let progress = Progress::spinner(&format!("sending to {url}"));
    if !cx.client.has_extension("push").await? {
        return cx.unless_interrupted(cx.client.push(image, request)).await;
    }
    let operation = cx
        .unless_interrupted(cx.client.start_push(image, request))
        .await?;
    let guard = CancelOnDrop::new(&cx.client, operation);
    let followed = cx.client.outcome(operation, |event| {
        if let Payload::Stdout(chunk) = &event.payload
            && let Some(line) = String::from_utf8_lossy(&chunk.bytes).lines().last()
        {
            progress.say(line);
        }
    });
    cx.unless_interrupted(followed).await?;
    guard.disarm();
    let ended = super::operations::record(cx, operation).await?;
    match (ended.status, ended.x_push) {
        (Some(OperationStatus::Success), Some(result)) => Ok(result),
        (status, _) => {
            let status = status.map(|status| status.to_string()).unwrap_or_default();
            let reason = ended.error.unwrap_or(status);
            let hint = match url.contains("://") {
                true => {
                    "check the reference; `contree login REGISTRY` stores the login of a user who may push"
                }
                false => "check the path, which must be a new file, or a directory for a layout",
            };
            let code = ended.x_code.and_then(|code| code.parse().ok());
            let code = code.unwrap_or(ErrorCode::OperationFailed);
            Err(VerbError::WithCode(code, format!("{reason}; {hint}")))
        }
    }
}
