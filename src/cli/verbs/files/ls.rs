//! `contree ls`: lists files of an image.

use clap::Args;

use super::super::complete::{self, Known};
use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::rows::print_record;
use crate::Error;
use crate::cli::habits::without_effect;
use crate::cli::output::print;
use crate::types::FileItem;

/// List files of an image
#[derive(Args, Debug)]
#[command(arg = without_effect("long", Some('l')), arg = without_effect("all", Some('a')))]
#[command(after_help = "\
Examples:
  contree ls /etc              of the session's image; default: the session's directory
  contree ls python:3.12:/usr  of another image")]
pub(in crate::cli) struct Ls {
    /// PATH or IMAGE:/PATH
    #[arg(default_value = ".", hide_default_value = true, add = complete::values(Known::Images))]
    path: String,
}

impl Ls {
    pub(in crate::cli::verbs) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let at = cx.image_path(&self.path).await?;
        let request = cx
            .client
            .inspect_image_file()
            .image_uuid(at.image)
            .path(&at.path);
        let files = request
            .send()
            .await
            .map_err(Error::from)?
            .into_inner()
            .files;
        if cx.format.is_json() {
            for file in &files {
                print_record(cx.format, file)?;
            }
        } else {
            print(&files.iter().map(long_line).collect::<String>())?;
        }
        Ok(0)
    }
}

/// A file in the form of `ls -l`, which is that of the official command line.
fn long_line(file: &FileItem) -> String {
    let kind = if file.is_dir {
        'd'
    } else if file.is_symlink {
        'l'
    } else if file.is_fifo {
        'p'
    } else if file.is_socket {
        's'
    } else {
        '-'
    };
    let bits = u32::try_from(file.mode & 0o7777).unwrap_or_default();
    let time = chrono::DateTime::from_timestamp(file.mtime, 0).unwrap_or_default();
    let name = crate::tools::one_line(&file.path);
    let target = match file.is_symlink {
        true => format!(" -> {}", crate::tools::one_line(&file.symlink_to)),
        false => String::new(),
    };
    format!(
        "{kind}{} {:>3} {:<8} {:<8} {:>10} {} {name}{target}\n",
        permissions(bits),
        file.nlink,
        file.owner.to_string(),
        file.group.to_string(),
        file.size,
        time.format("%Y-%m-%d %H:%M")
    )
}

/// Permission bits as `rwxr-xr-x`.
fn permissions(bits: u32) -> String {
    let mut text = String::with_capacity(9);
    for (shift, special, set, clear) in [
        (6, 0o4000, 's', 'S'),
        (3, 0o2000, 's', 'S'),
        (0, 0o1000, 't', 'T'),
    ] {
        let three = bits >> shift;
        text.push(if three & 4 != 0 { 'r' } else { '-' });
        text.push(if three & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & special != 0, three & 1 != 0) {
            (true, true) => set,
            (true, false) => clear,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_have_the_form_of_ls() {
        for (bits, text) in [
            (0o755, "rwxr-xr-x"),
            (0o4711, "rws--x--x"),
            (0o1777, "rwxrwxrwt"),
            (0o2640, "rw-r-S---"),
        ] {
            assert_eq!(permissions(bits), text);
        }
    }
}
