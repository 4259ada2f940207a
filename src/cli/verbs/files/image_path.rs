//! Resolves arguments that name files of images.

use uuid::Uuid;

use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::session_state::{EntryRef, join};

/// A path of an image: `PATH`, or `IMAGE:/PATH`.
pub(super) struct ImagePath {
    pub(super) image: Uuid,
    pub(super) path: String,
}

impl VerbContext {
    /// The image and the absolute path that an argument names.
    pub(super) async fn image_path(&self, text: &str) -> Result<ImagePath, VerbError> {
        // A tag may have colons, so the path begins at the last `:/`.
        if !text.starts_with('/')
            && let Some(at) = text.rfind(":/")
        {
            return Ok(ImagePath {
                image: self.image(&text[..at]).await?,
                path: join(None, &text[at + 1..]),
            });
        }
        if EntryRef::parse(text).is_some() {
            return Err(VerbError::Usage(format!(
                "`{text}` names an image without a path; give one, as in `{text}:/etc`"
            )));
        }
        let state = self.state().await?;
        Ok(ImagePath {
            image: self.current_image(&state).await?,
            path: join(state.cwd.as_deref(), text),
        })
    }
}
