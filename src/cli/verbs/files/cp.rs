//! `contree cp`: copies files of an image to this machine.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::super::complete::{self, Known};
use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::progress::Progress;
use super::super::rows::print_record;
use super::stream::copy_to_stdout;
use crate::ImageFiles;
use crate::cli::habits::without_effect;
use crate::cli::output::print_message;

/// The most directories whose files are added up for the progress.
const MAX_LISTED: u32 = 500;

/// Copy a file or a directory of an image to this machine
#[derive(Args, Debug)]
#[command(arg = without_effect("recursive", Some('r')).short_alias('a'))]
#[command(after_help = "\
Examples:
  contree cp /app/report.html .
  contree cp base:/etc ./etc    a directory of another image, into ./etc

To place local files in an image, use `contree run -F SRC:/DST`.")]
pub(in crate::cli) struct Cp {
    /// PATH or IMAGE:/PATH
    #[arg(add = complete::values(Known::Images))]
    path: String,
    /// A file or directory of this machine; `-` for standard output
    dest: PathBuf,
}

/// Whether a text is the path of an image, as `docker cp` takes one as its target.
fn names_image(dest: &Path) -> bool {
    let text = dest.to_string_lossy();
    !text.starts_with(['/', '.']) && text.contains(":/")
}

impl Cp {
    pub(in crate::cli::verbs) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        if names_image(&self.dest) {
            let path = self.path.trim_end_matches('/');
            let name = path.rsplit('/').next().unwrap_or(path);
            return Err(VerbError::Usage(format!(
                "an image never changes, so nothing is copied into {}; `contree run -F {path}:/DIR/{name} -- CMD` places a copy for a command, whose result is a new image",
                self.dest.display()
            )));
        }
        let at = cx.image_path(&self.path).await?;
        let files = cx.client.image(at.image).fs();
        if self.dest == Path::new("-") {
            return copy_to_stdout(cx, &mut files.open(&at.path).await?).await;
        }
        let name = at.path.rsplit('/').next().filter(|name| !name.is_empty());
        let is_file = files.exists(&at.path).await?;
        let ends_with_slash = self.dest.as_os_str().as_encoded_bytes().ends_with(b"/");
        let is_into = self.dest.is_dir() || ends_with_slash;
        let destination = match name {
            Some(name) if is_into => self.dest.join(name),
            _ => self.dest.clone(),
        };
        let progress = Arc::new(Progress::bytes(None, &format!("copying {}", at.path)));
        let shown = progress.clone();
        let mut copied = Copied {
            image_uuid: at.image,
            path: at.path.clone(),
            destination: std::path::absolute(&destination)
                .map_err(VerbError::file(&destination))?,
            files: 1,
            bytes: 0,
            skipped: 0,
        };
        if is_file {
            let observe = move |bytes, total| shown.set(bytes, total);
            let copy = files.download_observed(&at.path, &destination, observe);
            copied.bytes = cx.unless_interrupted(copy).await?;
            progress.finish();
            return copied.print(cx);
        }
        let observe = move |bytes| shown.add(bytes);
        let copy = files.unpack_observed(&at.path, &destination, observe);
        let unpacked = tokio::select! {
            biased;
            unpacked = cx.unless_interrupted(copy) => unpacked?,
            never = show_total(&files, &at.path, &progress) => match never {},
        };
        progress.finish();
        if unpacked.skipped_count > 0 {
            let first: Vec<String> = unpacked
                .skipped
                .iter()
                .take(3)
                .map(|path| path.display().to_string())
                .collect();
            print_message(format_args!(
                "{} paths were left out, since they lead out of the directory or are special files: {}",
                unpacked.skipped_count,
                first.join(", ")
            ));
        }
        copied.files = unpacked.files;
        copied.bytes = unpacked.bytes;
        copied.skipped = unpacked.skipped_count;
        copied.print(cx)
    }
}

/// The result of a copy as JSON.
#[derive(Serialize)]
struct Copied {
    image_uuid: Uuid,
    path: String,
    /// The absolute path on this machine.
    destination: PathBuf,
    files: u64,
    bytes: u64,
    /// The number of paths that were left out.
    skipped: u64,
}

impl Copied {
    fn print(&self, cx: &VerbContext) -> Result<u8, VerbError> {
        if cx.format.is_json() {
            print_record(cx.format, self)?;
        }
        Ok(0)
    }
}

/// Adds up the sizes of all files of a directory, while they are copied, and shows the sum. It
/// never ends by itself. Without a terminal, it does nothing.
async fn show_total(files: &ImageFiles, directory: &str, progress: &Progress) -> Infallible {
    if progress.is_shown()
        && let Some(total) = size_below(files, directory).await
    {
        progress.set_total(total);
    }
    std::future::pending().await
}

/// The size of all files below a directory; none if there are too many directories to ask for, or
/// one cannot be read.
async fn size_below(files: &ImageFiles, directory: &str) -> Option<u64> {
    let mut size = 0;
    let mut directories = vec![directory.to_owned()];
    for listed in 0.. {
        let Some(directory) = directories.pop() else {
            break;
        };
        if listed == MAX_LISTED {
            return None;
        }
        for entry in files.list(&directory).await.ok()? {
            if entry.is_dir() {
                directories.push(entry.path);
            } else if entry.is_file() {
                size += entry.size;
            }
        }
    }
    Some(size)
}
