//! The images of steps that were built before.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cli::verbs::context::VerbContext;
use crate::cli::verbs::error::VerbError;
use crate::dockerfile::Action;
use crate::store::build_steps::{self, BuildStep};
use crate::sync::hex;
use crate::{Error, ImageRef};

/// Part of every key. It changes when a new version makes another image of the same step.
const VERSION: u32 = 2;

/// The settings of an image that the next steps need.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ImageConfig {
    pub(super) env: BTreeMap<String, String>,
    pub(super) cwd: String,
}

/// All that the result of a step depends on.
#[derive(Debug, Serialize)]
pub(super) enum StepKey<'a> {
    /// An action on an image, with the hash of the copied files or the image that has them.
    Step {
        parent: Uuid,
        action: &'a Action,
        files: Option<String>,
    },
    /// The settings of an image.
    Config(Uuid),
    /// The image without files.
    Scratch,
    /// An image of a registry by its digest.
    Reference(&'a str),
}

impl StepKey<'_> {
    fn hash(&self) -> Result<String, VerbError> {
        let text = serde_json::to_vec(&(VERSION, self))?;
        Ok(hex(digest(&SHA256, &text).as_ref()))
    }
}

/// Finds the image of a step, with its settings. Returns none if the backend no longer has it.
///
/// # Errors
/// If the store or the backend fails.
pub(super) async fn find(
    cx: &VerbContext,
    key: &StepKey<'_>,
) -> Result<Option<(Uuid, Option<ImageConfig>)>, VerbError> {
    let (backend, key) = (cx.backend(), key.hash()?);
    let store = cx.tools.store();
    let found = store.read(move |c| build_steps::find(c, &backend, &key));
    let Some(step) = found.await? else {
        return Ok(None);
    };
    let Ok(image) = step.image.parse::<Uuid>() else {
        return Ok(None);
    };
    match cx.client.resolve(&ImageRef::Uuid(image)).await {
        Ok(_) => {}
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let config = step
        .config
        .and_then(|text| serde_json::from_str(&text).ok());
    Ok(Some((image, config)))
}

fn is_gone(error: &Error) -> bool {
    error.is_not_found() || error.status().is_some_and(|status| status.as_u16() == 410)
}

/// Records the image of a step.
///
/// # Errors
/// If the store fails.
pub(super) async fn record(
    cx: &VerbContext,
    key: &StepKey<'_>,
    image: Uuid,
    config: Option<&ImageConfig>,
) -> Result<(), VerbError> {
    let (backend, key) = (cx.backend(), key.hash()?);
    let step = BuildStep {
        image: image.to_string(),
        config: config.map(serde_json::to_string).transpose()?,
    };
    let store = cx.tools.store();
    let written = store.write(move |c| build_steps::insert(c, &backend, &key, &step));
    Ok(written.await?)
}
