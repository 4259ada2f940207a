//! `contree ls`, `cat`, `grep`, `cp` and `export`: the files of an image, without a sandbox.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use contree_error_codes::ErrorCode;
use uuid::Uuid;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::progress::Progress;
use super::rows::print_record;
use super::session_state::join;
use crate::cli::output::{print, print_json, print_message};
use crate::cli::process::ProcessError;
use crate::types::{FileItem, InspectImageGrepCase};
use crate::{Error, FileReader};

/// A path of an image: `PATH`, or `IMAGE:/PATH`.
struct ImagePath {
    image: Uuid,
    path: String,
}

impl VerbContext {
    /// The image and the absolute path that an argument names.
    async fn image_path(&self, text: &str) -> Result<ImagePath, VerbError> {
        // A tag may have colons, so the path begins at the last `:/`.
        if !text.starts_with('/')
            && let Some(at) = text.rfind(":/")
        {
            return Ok(ImagePath {
                image: self.image(&text[..at]).await?,
                path: join(None, &text[at + 1..]),
            });
        }
        let state = self.state().await?;
        Ok(ImagePath {
            image: self.current_image(&state).await?,
            path: join(state.cwd.as_deref(), text),
        })
    }
}

/// List files of an image
#[derive(Args, Debug)]
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
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
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

/// Print a file of an image
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree cat /etc/os-release
  contree cat base:/etc/passwd | head -1    of another image")]
pub(in crate::cli) struct Cat {
    /// PATH or IMAGE:/PATH
    #[arg(add = complete::values(Known::Images))]
    path: String,
}

impl Cat {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let at = cx.image_path(&self.path).await?;
        let mut content = cx.client.image(at.image).fs().open(&at.path).await?;
        if !std::io::stdout().is_terminal() {
            return copy_to_stdout(cx, &mut content).await;
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = cx.next_chunk(&mut content).await? {
            bytes.extend_from_slice(&chunk);
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) if !text.contains('\0') => print(text)?,
            _ => {
                return Err(VerbError::Missing(
                    ErrorCode::NotText,
                    format!(
                        "{} is not text; save it with `contree cp {} FILE`, or use a pipe",
                        at.path, self.path
                    ),
                ));
            }
        }
        Ok(0)
    }
}

impl VerbContext {
    async fn next_chunk(
        &self,
        content: &mut FileReader,
    ) -> Result<Option<bytes::Bytes>, VerbError> {
        self.unless_interrupted(async { content.next().await.transpose() })
            .await
    }
}

/// Copies to standard output. A closed reader ends it with the status of SIGPIPE.
async fn copy_to_stdout(cx: &VerbContext, content: &mut FileReader) -> Result<u8, VerbError> {
    while let Some(chunk) = cx.next_chunk(content).await? {
        let written = std::io::stdout().lock().write_all(&chunk);
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(141),
            Err(error) => return Err(ProcessError::Output(error).into()),
        }
    }
    std::io::stdout()
        .lock()
        .flush()
        .map_err(ProcessError::Output)?;
    Ok(0)
}

/// How a search treats upper and lower case.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Case {
    #[default]
    Sensitive,
    Insensitive,
    Smart,
}

/// Search the files of an image
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree grep TODO /app --glob '*.py'
  contree grep -C 2 root base:/etc    in another image, with two lines around

Exit status: 0 if a line matches, else 1.")]
pub(in crate::cli) struct Grep {
    /// A regular expression
    pattern: String,
    /// PATH or IMAGE:/PATH; default: the session's directory
    paths: Vec<String>,
    /// Only files with such a name
    #[arg(long)]
    glob: Vec<String>,
    /// At most N matches of a file
    #[arg(long, value_name = "N")]
    max_count: Option<u64>,
    /// At most N matches; default: 1000
    #[arg(long, value_name = "N")]
    max_total: Option<u64>,
    /// Upper and lower case; `smart` ignores them unless the pattern has an upper-case letter
    #[arg(long, value_enum, default_value_t)]
    case: Case,
    /// Lines before a match
    #[arg(short = 'B', long, visible_alias = "before-context", value_name = "N")]
    before: Option<u64>,
    /// Lines after a match
    #[arg(short = 'A', long, visible_alias = "after-context", value_name = "N")]
    after: Option<u64>,
    /// Lines before and after a match
    #[arg(short = 'C', long, value_name = "N")]
    context: Option<u64>,
    /// Print the API's answer as JSON
    #[arg(long)]
    raw: bool,
}

impl Grep {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let mut image = None;
        let mut paths = Vec::new();
        let default = [".".to_owned()];
        let given = if self.paths.is_empty() {
            &default[..]
        } else {
            &self.paths
        };
        for text in given {
            let at = cx.image_path(text).await?;
            if image.is_some_and(|image| image != at.image) {
                return Err(VerbError::Usage(
                    "a search has one image; give paths of one".to_owned(),
                ));
            }
            image = Some(at.image);
            paths.push(at.path);
        }
        let Some(image) = image else {
            return Err(VerbError::Usage("a search has a path".to_owned()));
        };
        let mut request = cx
            .client
            .inspect_image_grep()
            .image_uuid(image)
            .pattern(vec![self.pattern])
            .path(paths)
            .case(match self.case {
                Case::Sensitive => InspectImageGrepCase::Sensitive,
                Case::Insensitive => InspectImageGrepCase::Insensitive,
                Case::Smart => InspectImageGrepCase::Smart,
            });
        if !self.glob.is_empty() {
            request = request.glob(self.glob);
        }
        if let Some(count) = self.max_count {
            request = request.max_count(count);
        }
        if let Some(count) = self.max_total {
            request = request.max_total(count);
        }
        if let Some(lines) = self.before.or(self.context) {
            request = request.before(lines);
        }
        if let Some(lines) = self.after.or(self.context) {
            request = request.after(lines);
        }
        let found = request.send().await.map_err(Error::from)?.into_inner();
        let status = u8::from(found.matches.is_empty());
        if self.raw {
            print_json(&format!("{}\n", serde_json::to_string(&found)?))?;
            return Ok(status);
        }
        if cx.format.is_json() {
            for line in &found.matches {
                print_record(cx.format, line)?;
            }
            return Ok(status);
        }
        let mut text = String::new();
        for line in &found.matches {
            let mark = if line.type_ == "context" { '-' } else { ':' };
            let content = line.line_text.trim_end_matches(['\n', '\r']);
            text.push_str(&format!(
                "{}{mark}{}{mark}{content}\n",
                line.path, line.line_number
            ));
        }
        print(&text)?;
        if found.truncated {
            print_message("there are more matches; --max-total N shows more");
        }
        Ok(status)
    }
}

/// Copy a file or a directory of an image to this machine
#[derive(Args, Debug)]
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

impl Cp {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
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
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        if self.file.is_none() && std::io::stdout().is_terminal() {
            return Err(VerbError::Usage(
                "an archive is no text for a terminal; give -F FILE, or use a pipe".to_owned(),
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
            let mut output = Packed::new(std::io::stdout(), is_plain);
            let copied = copy(cx, &mut archive, &mut output, &progress).await?;
            return match copied.and_then(|()| output.finish().map(drop)) {
                Ok(()) => Ok(0),
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(141),
                Err(error) => Err(ProcessError::Output(error).into()),
            };
        };
        // A failed export leaves an existing file as it is.
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let new = tempfile::NamedTempFile::new_in(directory).map_err(VerbError::file(directory))?;
        let mut output = Packed::new(new, is_plain);
        let copied = copy(cx, &mut archive, &mut output, &progress).await?;
        let new = copied
            .and_then(|()| output.finish())
            .map_err(VerbError::file(path))?;
        drop(progress);
        readable(new.path()).map_err(VerbError::file(path))?;
        new.persist(path)
            .map_err(|error| VerbError::file(path)(error.error))?;
        Ok(0)
    }
}

/// Gives the file the permissions of a new one, since temporary files are private.
#[cfg(unix)]
fn readable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Copies an archive. The outer error is the backend's, the inner one that of the output.
async fn copy<W: std::io::Write>(
    cx: &VerbContext,
    archive: &mut FileReader,
    output: &mut Packed<W>,
    progress: &Progress,
) -> Result<std::io::Result<()>, VerbError> {
    while let Some(chunk) = cx.next_chunk(archive).await? {
        progress.add(chunk.len());
        if let Err(error) = output.write_all(&chunk) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

/// An archive that is written plainly or with gzip.
enum Packed<W: std::io::Write> {
    Plain(W),
    Gzip(Box<flate2::write::GzEncoder<W>>),
}

impl<W: std::io::Write> Packed<W> {
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
