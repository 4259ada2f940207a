//! `contree cp`: copies files of an image to this machine.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::complete::{self, Known};
use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::progress::Progress;
use super::stream::copy_to_stdout;
use crate::cli::habits::without_effect;
use crate::cli::output::print_message;

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
        let progress = Progress::spinner(&format!("copying {}", at.path));
        if is_file {
            cx.unless_interrupted(files.download(&at.path, &destination))
                .await?;
            return Ok(0);
        }
        let unpacked = cx
            .unless_interrupted(files.unpack(&at.path, &destination))
            .await?;
        drop(progress);
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
        Ok(0)
    }
}
