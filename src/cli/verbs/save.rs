//! `contree save`: writes an image to a file or a directory.

use std::path::{Path, PathBuf};

use clap::Args;
use contree_error_codes::ErrorCode;
use contree_registry::push::local_path::split_new_name;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::push::{own_name, push, show};

/// Endings of compressed archives, which are not written.
const COMPRESSED: [&str; 5] = ["gz", "tgz", "zst", "xz", "bz2"];

/// Write an image to a file for `docker load`, or to an OCI layout
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree save work:1 work.tar     an archive for `docker load` and `contree images import`
  contree save work:1 layout/      an OCI layout; images in it share their layers

A path that is a directory, or ends with a slash, is a layout. The name inside is the tag.")]
pub(in crate::cli) struct Save {
    /// A tag, a UUID or the beginning of one, or @N
    #[arg(add = complete::values(Known::Images))]
    image: String,
    /// A new file, or a directory
    #[arg(value_name = "FILE|DIR")]
    target: PathBuf,
    /// Name of the image in the file or the directory; default: its tag
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Write all layers as one
    #[arg(long)]
    squash: bool,
}

impl Save {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        if !cx.is_local() {
            return Err(VerbError::Usage(
                "only the embedded engine writes images to files; use `contree push`, or `contree export` for the files alone"
                    .to_owned(),
            ));
        }
        check_target(&self.target)?;
        let image = cx.image(&self.image).await?;
        let name = match self.name {
            Some(name) => Some(name),
            None => own_name(cx, &self.image, image).await?,
        };
        let url = target_url(&self.target, name.as_deref())?;
        let pushed = push(cx, image, url, None, self.squash).await?;
        show(cx, image, &self.target.display().to_string(), &pushed)
    }
}

/// Refuses a file that exists, and `-`.
fn check_target(target: &Path) -> Result<(), VerbError> {
    if target == Path::new("-") {
        return Err(VerbError::Usage(
            "an archive is written to a file alone, not to standard output; give a path such as image.tar"
                .to_owned(),
        ));
    }
    if target.is_file() {
        return Err(VerbError::WithCode(
            ErrorCode::PushTargetUnusable,
            format!(
                "{} exists; remove it, or give another path",
                target.display()
            ),
        ));
    }
    Ok(())
}

/// The target of a push for a path and a name.
fn target_url(target: &Path, name: Option<&str>) -> Result<String, VerbError> {
    let text = target.to_str().ok_or_else(|| {
        VerbError::Usage(format!(
            "the path {} is not UTF-8; choose another one",
            target.display()
        ))
    })?;
    let is_directory = text.ends_with('/') || target.is_dir();
    let ending = target.extension().and_then(|ending| ending.to_str());
    if !is_directory && ending.is_some_and(|ending| COMPRESSED.contains(&ending)) {
        return Err(VerbError::Usage(format!(
            "{text}: archives are written without compression; give a name that ends with .tar, and compress it afterwards"
        )));
    }
    let scheme = if is_directory {
        "oci-layout"
    } else {
        "docker-archive"
    };
    let path = std::path::absolute(target).map_err(VerbError::file(target))?;
    let path = path.to_string_lossy().trim_end_matches('/').to_owned();
    let whole = match name {
        Some(name) => format!("{path}:{name}"),
        None => path.clone(),
    };
    if split_new_name(&whole).0 != Path::new(&path) {
        return Err(VerbError::Usage(format!(
            "the path {path} and the name {} cannot be told apart; choose another path without a colon",
            name.unwrap_or_default()
        )));
    }
    Ok(format!("{scheme}:{whole}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_layout_or_an_archive() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display().to_string();
        let url = |name: &str| target_url(&folder.path().join(name), Some("app:1")).unwrap();
        assert_eq!(url("a.tar"), format!("docker-archive:{root}/a.tar:app:1"));
        assert_eq!(url("new/"), format!("oci-layout:{root}/new:app:1"));
        assert_eq!(url("."), format!("oci-layout:{root}:app:1"));
        assert!(target_url(&folder.path().join("a.tar.gz"), None).is_err());
        assert!(target_url(&folder.path().join("a:b"), Some("c")).is_err());
    }
}
