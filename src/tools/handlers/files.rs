//! Handlers for files: uploading and sending, downloading, and reading in images.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::Client;
use crate::client::NewFileMode;
use crate::store::uploads;
use crate::sync;
use crate::tools::directory_download::DirectoryDownload;
use crate::tools::image_cache::ImageSearch;
use crate::tools::output::boundary;
use crate::tools::paths::{local_path, names_directory, path_in_image};
use crate::tools::results::{
    Apply, Download, DownloadSource, FileEntry, Grep, GrepMatch, ListFiles, ReadFile, Rsync, Upload,
};
use crate::tools::rsync::ToolHost;
use crate::tools::{
    Context, FilesTools, Handlers, ToolError, apply, image, image_cache, params, rsync, saved_file,
};
use crate::types::{FileItem, FileResponse, GrepResult};

/// Maximum number of bytes of matches in one answer.
const MAX_MATCH_BYTES: usize = 64 * 1024;
/// Maximum number of bytes of one line.
const MAX_LINE_BYTES: usize = 1000;

impl FilesTools for Handlers {
    async fn upload(&self, arguments: params::Upload, cx: &Context) -> Result<Upload, ToolError> {
        let params::Upload {
            path,
            mut content,
            mut content_base64,
        } = arguments;
        // Some clients fill in every argument, so an empty text counts only if there is no other.
        let not_empty = |text: &String| !text.is_empty();
        let has_source = path.is_some()
            || content.as_ref().is_some_and(not_empty)
            || content_base64.as_ref().is_some_and(not_empty);
        if has_source {
            content = content.filter(not_empty);
            content_base64 = content_base64.filter(not_empty);
        } else if content.is_some() {
            content_base64 = None;
        }
        let content = match (path, content, content_base64) {
            (Some(path), None, None) => UploadSource::Path(local_path("path", &path)?),
            (None, Some(text), None) => UploadSource::Bytes(text.into_bytes()),
            (None, None, Some(text)) => UploadSource::Bytes(decode_base64(&text)?),
            _ => {
                return Err(ToolError::invalid(
                    "`upload` needs exactly one of `path`, `content` and `content_base64`",
                ));
            }
        };
        let client = cx.client().await?;
        let uploaded = match content {
            UploadSource::Path(path) => upload_path(&path, client, cx).await,
            UploadSource::Bytes(bytes) => {
                let stored = cx.unless_cancelled(client.upload_bytes(bytes.into()));
                stored.await.map(|stored| (stored, false))
            }
        };
        let (stored, executable) = uploaded
            .map_err(|error| error.safe_to_repeat("The file may be stored nevertheless."))?;
        let (backend, sha256) = (client.backend().identity(), stored.sha256.clone());
        let uuid = stored.uuid.to_string();
        let written = cx.session().store().write(move |c| {
            uploads::insert(c, &backend, &sha256, &uuid)?;
            uploads::set_executable(c, &backend, &sha256, executable)
        });
        if let Err(error) = written.await {
            tracing::warn!("cannot record an upload: {error}");
        }
        Ok(stored.into())
    }

    async fn rsync(&self, arguments: params::Rsync, cx: &Context) -> Result<Rsync, ToolError> {
        let sent = rsync::rsync(arguments, cx).await;
        sent.map_err(|error| error.safe_to_repeat("Some of the files may be stored."))
    }

    async fn grep(&self, arguments: params::Grep, cx: &Context) -> Result<Grep, ToolError> {
        let params::Grep {
            image,
            pattern,
            path,
            glob,
            max_count,
            max_total,
            case,
        } = arguments;
        let search = ImageSearch {
            image: &image,
            pattern: &pattern,
            path: &path_in_image(path.as_deref().unwrap_or("/")),
            glob: glob.as_deref(),
            max_count,
            max_total,
            case,
        };
        let found = image_cache::grep(cx, &search).await?;
        Ok(grep_result(&search, found))
    }

    async fn download(
        &self,
        arguments: params::Download,
        cx: &Context,
    ) -> Result<Download, ToolError> {
        let params::Download {
            image,
            path,
            destination,
            executable,
            overwrite,
        } = arguments;
        let is_directory = names_directory(&destination);
        let mut destination = local_path("destination", &destination)?;
        let path = path_in_image(&path);
        let directory = DirectoryDownload {
            image: image.clone(),
            path: path.clone(),
            destination: destination.clone(),
            overwrite,
        };
        let access = cx.session().local_access();
        let name = Path::new(&path).file_name();
        // Judged first, so that a refusal does not reveal whether a directory exists.
        let refusal = access.check_destination("destination", &destination).err();
        if let Some(refusal) = refusal {
            let inside = name.map(|name| destination.join(name));
            let is_allowed = |inside| access.check_destination("destination", inside).is_ok();
            if !inside.as_deref().is_some_and(is_allowed) {
                return Err(refusal);
            }
        }
        if is_directory || destination.is_dir() {
            if directory.is_directory(cx).await? {
                return directory.save(cx).await;
            }
            let name = name.ok_or_else(|| {
                ToolError::invalid("`path` names no file; give the path of a file in the image")
            })?;
            destination.push(name);
        }
        let destination = access.destination("destination", &destination)?;
        let client = cx.client().await?;
        let size = cx
            .unless_cancelled(async {
                let image = image::resolve(client, &image).await?;
                let mode = match executable {
                    true => NewFileMode::BeforeUmask(0o755),
                    false => saved_file::mode(cx, image, &path, destination.replaced_mode).await,
                };
                Ok::<_, ToolError>(
                    client
                        .download_to(image, &path, &destination.path, mode)
                        .await?,
                )
            })
            .await
            // Errors show the user's path instead of the path through the open directory.
            .map_err(|error| error.with_path_replaced(&destination.path, &destination.shown));
        let size = match size {
            Ok(size) => size,
            Err(error) if error.is_refused_by_backend() && directory.is_directory(cx).await? => {
                return directory.save(cx).await;
            }
            Err(error) => return Err(error),
        };
        Ok(Download {
            success: true,
            source: DownloadSource { image, path },
            destination: destination.shown.display().to_string(),
            size,
            executable,
            replaced: destination.replaced_mode.is_some(),
            ..Download::default()
        })
    }

    async fn apply(&self, arguments: params::Apply, cx: &Context) -> Result<Apply, ToolError> {
        apply::apply(arguments, cx).await
    }

    async fn list_files(
        &self,
        arguments: params::ListFiles,
        cx: &Context,
    ) -> Result<ListFiles, ToolError> {
        let params::ListFiles {
            image,
            path,
            offset,
            limit,
        } = arguments;
        let path = path_in_image(&path);
        let list = image_cache::list(cx, &image, &path).await?;
        let count = list.len() as u64;
        let end = offset.saturating_add(limit);
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        let take = usize::try_from(limit).unwrap_or(usize::MAX);
        let files = list
            .into_iter()
            .skip(skip)
            .take(take)
            .map(|item| file_entry(&path, item))
            .collect();
        let next = (end < count).then(|| next_call("list_files", &image, &path, end, limit));
        Ok(ListFiles {
            path,
            count,
            files,
            next,
        })
    }

    async fn read_file(
        &self,
        arguments: params::ReadFile,
        cx: &Context,
    ) -> Result<ReadFile, ToolError> {
        let params::ReadFile {
            image,
            path,
            offset,
            limit,
        } = arguments;
        let path = path_in_image(&path);
        let part = image_cache::read(cx, &image, &path, offset, limit).await?;
        let whole = part.offset + part.bytes.len() as u64 >= part.size;
        let (content, encoding, used) = encode_content(&part.bytes, whole);
        let end = part.offset + used as u64;
        let next = (end < part.size).then(|| next_call("read_file", &image, &path, end, limit));
        Ok(ReadFile {
            path,
            content,
            encoding: encoding.into(),
            bytes_size: part.size,
            offset: Some(part.offset).filter(|offset| *offset > 0),
            next,
        })
    }
}

/// Uploads a local file if access is allowed. Also returns whether the file is executable.
async fn upload_path(
    path: &Path,
    client: &Client,
    cx: &Context,
) -> Result<(FileResponse, bool), ToolError> {
    let opened = cx.session().local_access().open("path", path)?;
    if !opened.metadata.is_file() {
        return Err(ToolError::unusable_file(format!(
            "{} is not a regular file; only regular files can be uploaded",
            path.display()
        )));
    }
    let failed = |error| ToolError::local_file(path, error);
    let host = ToolHost::new(cx, &client.backend().identity());
    let file = opened.file.try_clone().map_err(failed)?;
    let hashed = contree_tasks::blocking(move || sync::digest(&file, &host));
    let (sha256, size) = hashed
        .await
        .map_err(|error| ToolError::internal("hashing failed", error))?
        .map_err(failed)?;
    // Reads the file that was hashed, even if another file has replaced it by now.
    let file = opened.file;
    let open = move || {
        use std::io::Seek as _;
        let mut file = file.try_clone()?;
        file.rewind()?;
        Ok(file)
    };
    let stored = client.upload_with_hash(open, path, &sha256, size, true);
    let stored = cx.unless_cancelled(stored).await?;
    Ok((stored, sync::executable(&opened.metadata)))
}

/// The content to upload.
enum UploadSource {
    Path(PathBuf),
    Bytes(Vec<u8>),
}

fn decode_base64(text: &str) -> Result<Vec<u8>, ToolError> {
    let text: String = text.split_ascii_whitespace().collect();
    STANDARD
        .decode(text)
        .map_err(|error| ToolError::invalid_because("`content_base64` is not base64", error))
}

/// Converts matches, as many as fit into one answer.
fn grep_result(search: &ImageSearch<'_>, found: GrepResult) -> Grep {
    let (mut matches, mut bytes, mut cut) = (Vec::new(), 0, false);
    let count = found.matches.len();
    for found in found.matches {
        let mut line = found.line_text;
        line.truncate(line.trim_end_matches(['\n', '\r']).len());
        if line.len() > MAX_LINE_BYTES {
            let end = boundary(line.as_bytes(), MAX_LINE_BYTES);
            line.truncate(end);
            line.push('…');
        }
        bytes += line.len() + found.path.len() + 32;
        if bytes > MAX_MATCH_BYTES {
            cut = true;
            break;
        }
        matches.push(GrepMatch {
            path: found.path,
            line_number: u64::try_from(found.line_number).unwrap_or_default(),
            line_text: line,
        });
    }
    let next = (cut || found.truncated).then(|| {
        if cut || count as u64 >= search.max_total {
            format!(
                "there are more matches; narrow the search, for example grep(image={}, pattern={}, path=…, glob=…, max_count=1)",
                quoted(search.image),
                quoted(search.pattern)
            )
        } else {
            "the search stopped early; narrow it with path, glob or max_count".to_owned()
        }
    });
    Grep {
        path: search.path.to_owned(),
        patterns: vec![search.pattern.to_owned()],
        truncated: cut || found.truncated,
        matches,
        next,
    }
}

/// Returns the call that continues where an answer ends.
fn next_call(tool: &str, image: &str, path: &str, offset: u64, limit: u64) -> String {
    format!(
        "{tool}(image={}, path={}, offset={offset}, limit={limit})",
        quoted(image),
        quoted(path)
    )
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn file_entry(directory: &str, item: FileItem) -> FileEntry {
    let kind = match () {
        () if item.is_symlink => "symlink",
        () if item.is_dir => "directory",
        () if item.is_regular => "file",
        () => "other",
    };
    FileEntry {
        path: format!("{}/{}", directory.trim_end_matches('/'), item.path),
        name: item.path,
        kind: kind.into(),
        size: u64::try_from(item.size).unwrap_or_default(),
        mode: Some(format!("{:04o}", item.mode & 0o7777)),
        target: Some(item.symlink_to).filter(|target| !target.is_empty()),
    }
}

/// Encodes bytes as text if they are UTF-8, else as base64. Text is cut between characters.
///
/// Also returns the encoding and the number of encoded bytes.
fn encode_content(bytes: &[u8], whole: bool) -> (String, &'static str, usize) {
    let used = if whole {
        bytes.len()
    } else {
        boundary(bytes, bytes.len())
    };
    match std::str::from_utf8(&bytes[..used]) {
        // A range shorter than its first character would encode nothing as text, so that the next
        // call would repeat it.
        Ok(text) if !text.contains('\0') && (used > 0 || bytes.is_empty()) => {
            (text.to_owned(), "utf-8", used)
        }
        _ => (STANDARD.encode(bytes), "base64", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_other_bytes_are_base64() {
        assert_eq!(
            encode_content("a€".as_bytes(), true),
            ("a€".into(), "utf-8", 4)
        );
        assert_eq!(
            encode_content(&"a€".as_bytes()[..3], false),
            ("a".into(), "utf-8", 1)
        );
        assert_eq!(
            encode_content(&[0xff, 0x61], true),
            ("/2E=".into(), "base64", 2)
        );
        assert_eq!(encode_content(b"a\0b", true), ("YQBi".into(), "base64", 3));
        assert_eq!(encode_content(b"", true), (String::new(), "utf-8", 0));
    }

    #[test]
    fn the_next_call_is_quoted_for_direct_use() {
        assert_eq!(
            next_call("t", "tag:a", "/b\"c", 5, 10),
            r#"t(image="tag:a", path="/b\"c", offset=5, limit=10)"#
        );
    }
}
