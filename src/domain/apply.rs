//! Applying the changes of an image to a local directory.

use std::{
    fmt,
    path::{Path, PathBuf},
    pin::Pin,
};

use super::{image::Image, image_files::ImageFiles, text::ToText, tree::Tree};
use crate::{
    Applied, Conflicts, Error,
    local_copy::{ApplyRequest, Base, WriteRules, apply},
};

/// The applying of an image's changes to a local directory. Awaiting it applies them.
#[must_use = "changes are applied when this is awaited"]
pub struct Apply {
    image: Image,
    /// The directory in the image, or the reason why it is invalid.
    path: Result<String, Error>,
    directory: PathBuf,
    base: Option<Image>,
    tree: Option<Tree>,
    conflicts: Conflicts,
    merge: bool,
    dry_run: bool,
}

impl ImageFiles {
    /// Applies what changed below a directory of the image to a local directory.
    ///
    /// Each file is compared in three versions: the base, the image, and the local directory. A
    /// file that changed in the image alone is written or removed. One that changed on both sides
    /// is a conflict. Then nothing is written, unless [`conflicts`](Apply::conflicts) says
    /// otherwise.
    ///
    /// The base is the image that this one was made from, unless [`base`](Apply::base),
    /// [`tree`](Apply::tree) or both give another one.
    ///
    /// Every file appears whole. If applying fails or is killed, a second call does the rest. It
    /// writes through no link, and makes no link that leads out of the directory.
    ///
    /// ```no_run
    /// # async fn example(client: contree::Client) -> Result<(), contree::Error> {
    /// let tree = client.upload_dir("./project").await?;
    /// let base = client.image("tag:rust");
    /// let fixed = base.shell("cargo fmt").cwd("/src").tree("/src", &tree).await?.ok()?.image;
    /// let applied = fixed.fs().apply("/src", "./project").base(&base).tree(&tree).await?;
    /// println!("{} files changed", applied.written.len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn apply(&self, path: impl ToText, directory: impl AsRef<Path>) -> Apply {
        Apply {
            image: self.image.clone(),
            path: path.to_text(),
            directory: directory.as_ref().to_owned(),
            base: None,
            tree: None,
            conflicts: Conflicts::default(),
            merge: false,
            dry_run: false,
        }
    }
}

impl Apply {
    /// Sets the image whose files the local directory had. With [`tree`](Self::tree), it is the
    /// image on which the sent files were placed.
    pub fn base(mut self, image: &Image) -> Self {
        self.base = Some(image.clone());
        self
    }

    /// Sets the sent files of the local directory as the base. With [`base`](Self::base), they lie
    /// over the files of that image. Otherwise, everything else in the image counts as added.
    pub fn tree(mut self, tree: &Tree) -> Self {
        self.tree = Some(tree.clone());
        self
    }

    /// Sets what happens to files that changed on both sides.
    pub fn conflicts(mut self, conflicts: Conflicts) -> Self {
        self.conflicts = conflicts;
        self
    }

    /// Sets whether texts that changed on both sides are merged, if the changes do not overlap.
    pub fn merge(mut self, merge: bool) -> Self {
        self.merge = merge;
        self
    }

    /// Sets whether nothing is written, and the result says what would be done.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    async fn send(self) -> Result<Applied, Error> {
        let client = self.image.client();
        let image = self.image.uuid().await?;
        let given = match &self.base {
            Some(base) => Some(base.uuid().await?),
            None => None,
        };
        let base = match (&self.tree, given) {
            (Some(tree), placed_on) => tree.to_base(placed_on),
            (None, Some(base)) => Base::Image(base),
            (None, None) => match client.recorded_parent(image).await? {
                Some(parent) => Base::Image(parent),
                None => {
                    return Err(Error::InvalidArgument(format!(
                        "it is not known from which image {image} was made; give the base with `base` or `tree`"
                    )));
                }
            },
        };
        let destination = tokio::fs::canonicalize(&self.directory).await;
        let request = ApplyRequest {
            image,
            path: self.path?,
            destination: destination.map_err(Error::io(&self.directory))?,
            base,
            conflicts: self.conflicts,
            merge: self.merge,
            dry_run: self.dry_run,
            rules: WriteRules::default(),
        };
        apply(client, request).await
    }
}

impl IntoFuture for Apply {
    type Output = Result<Applied, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl fmt::Debug for Apply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Apply")
            .field("image", &self.image)
            .field("directory", &self.directory)
            .field("base", &self.base)
            .field("tree", &self.tree)
            .finish_non_exhaustive()
    }
}
