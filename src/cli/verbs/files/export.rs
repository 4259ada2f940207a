//! `contree export`: writes the files of an image as an archive.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::super::complete::{self, Known};
use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::exit_status::CLOSED;
use super::super::progress::Progress;
use super::super::rows::print_record;
use crate::FileReader;
use crate::cli::process::ProcessError;
use crate::client::{NewFile, NewFileMode};

/// Write the files of an image as a tar archive
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree export -F rootfs.tar.gz      the whole image
  contree export /etc | tar -tzf -     a part, to a pipe")]
pub(in crate::cli) struct Export {
    /// PATH or IMAGE:/PATH; default: the whole image
    #[arg(default_value = "/", hide_default_value = true, add = complete::values(Known::Images))]
    path: String,
    /// File to write; default: standard output
    #[arg(short = 'F', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Write a plain tar archive; the default for a FILE that ends with .tar
    #[arg(long)]
    decompress: bool,
}

impl Export {
    pub(in crate::cli::verbs) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        if self.file.is_none() && std::io::stdout().is_terminal() {
            return Err(VerbError::Usage(
                "an archive cannot be shown on a terminal; give -F FILE, or use a pipe".to_owned(),
            ));
        }
        let at = cx.image_path(&self.path).await?;
        let mut archive = cx.client.image(at.image).fs().archive(&at.path).await?;
        let is_plain = self.decompress
            || self
                .file
                .as_ref()
                .is_some_and(|file| file.extension().is_some_and(|name| name == "tar"));
        let progress = Progress::bytes(None, "exporting");
        let Some(path) = &self.file else {
            let mut output = ArchiveOutput::new(std::io::stdout(), is_plain);
            let copied = copy(cx, &mut archive, &mut output, &progress).await?;
            return match copied.and_then(|()| output.finish().map(drop)) {
                Ok(()) => Ok(0),
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(CLOSED),
                Err(error) => Err(ProcessError::Output(error).into()),
            };
        };
        // A failed export leaves an existing file as it is.
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let new = NewFile::create(directory, NewFileMode::default());
        let new = new.map_err(VerbError::file(directory))?;
        let writer = new.writer().map_err(VerbError::file(directory))?;
        let mut output = ArchiveOutput::new(writer, is_plain);
        let copied = copy(cx, &mut archive, &mut output, &progress).await?;
        let written = copied
            .and_then(|()| output.finish())
            .map_err(VerbError::file(path))?;
        drop(progress);
        new.publish(path).map_err(VerbError::file(path))?;
        if cx.format.is_json() {
            let record = Exported {
                image_uuid: at.image,
                path: &at.path,
                file: std::path::absolute(path).map_err(VerbError::file(path))?,
                bytes: written.metadata().map_err(VerbError::file(path))?.len(),
                compressed: !is_plain,
            };
            print_record(cx.format, &record)?;
        }
        Ok(0)
    }
}

/// A written archive as JSON.
#[derive(Serialize)]
struct Exported<'a> {
    image_uuid: Uuid,
    path: &'a str,
    /// The absolute path on this machine.
    file: PathBuf,
    /// The size of the file.
    bytes: u64,
    compressed: bool,
}

/// Copies an archive. The outer error is the backend's, the inner one that of the output.
async fn copy<W: std::io::Write>(
    cx: &VerbContext,
    archive: &mut FileReader,
    output: &mut ArchiveOutput<W>,
    progress: &Progress,
) -> Result<std::io::Result<()>, VerbError> {
    while let Some(chunk) = cx.next_chunk(archive).await? {
        progress.add(chunk.len() as u64);
        if let Err(error) = output.write_all(&chunk) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

/// The output of an archive, plain or compressed with gzip.
enum ArchiveOutput<W: std::io::Write> {
    Plain(W),
    Gzip(Box<flate2::write::GzEncoder<W>>),
}

impl<W: std::io::Write> ArchiveOutput<W> {
    fn new(output: W, is_plain: bool) -> Self {
        match is_plain {
            true => Self::Plain(output),
            false => Self::Gzip(Box::new(flate2::write::GzEncoder::new(
                output,
                flate2::Compression::fast(),
            ))),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(output) => output.write_all(bytes),
            Self::Gzip(output) => output.write_all(bytes),
        }
    }

    fn finish(self) -> std::io::Result<W> {
        let mut output = match self {
            Self::Plain(output) => output,
            Self::Gzip(output) => output.finish()?,
        };
        output.flush()?;
        Ok(output)
    }
}
