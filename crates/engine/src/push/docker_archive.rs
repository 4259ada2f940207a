//! Writes an image as an archive of the form that `docker save` writes.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use contree_registry::Digest;
use contree_sandbox::tar::{END_OF_ARCHIVE, EntryType, TarHeader, padding};
use serde::Serialize;

use super::error::PushError;
use super::pack::ScratchBlob;

/// The bytes that are written at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// An entry of `manifest.json`.
#[derive(Serialize)]
struct ArchivedImage {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags")]
    tags: Vec<String>,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// Writes the new archive `path` with this configuration and these layers, the bottom first. It
/// appears when it is complete. Returns its size. Blocks.
pub(super) fn write(
    path: &Path,
    name: Option<&str>,
    config: &[u8],
    layers: &[ScratchBlob],
) -> Result<u64, PushError> {
    if path.symlink_metadata().is_ok() {
        return Err(PushError::Exists(path.to_owned()));
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = PushError::write(path);
    // The file has no name until it is complete, so a killed push leaves nothing.
    let file = tempfile::tempfile_in(directory).map_err(&failed)?;
    let manifest = ArchivedImage {
        config: format!("{}.json", Digest::of(config).hex()),
        tags: name.map(str::to_owned).into_iter().collect(),
        layers: layers.iter().map(layer_name).collect(),
    };
    let manifest = serde_json::to_vec(&[&manifest]).map_err(PushError::Configuration)?;
    let write = || -> io::Result<u64> {
        let mut archive = ArchiveFile(BufWriter::with_capacity(CHUNK_BYTES, &file));
        let mut written: Vec<String> = Vec::new();
        for layer in layers {
            let name = layer_name(layer);
            // Two layers with the same files are one member.
            if written.contains(&name) {
                continue;
            }
            archive.member(&name, layer.layer.size, File::open(&layer.path)?)?;
            written.push(name);
        }
        let config_name = format!("{}.json", Digest::of(config).hex());
        archive.member(&config_name, config.len() as u64, config)?;
        archive.member("manifest.json", manifest.len() as u64, manifest.as_slice())?;
        archive.0.write_all(&END_OF_ARCHIVE)?;
        archive.0.flush()?;
        drop(archive);
        file.sync_all()?;
        Ok(file.metadata()?.len())
    };
    let size = write().map_err(&failed)?;
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = rustix::fs::linkat(
        rustix::fs::CWD,
        nameless.as_str(),
        rustix::fs::CWD,
        path,
        rustix::fs::AtFlags::SYMLINK_FOLLOW,
    );
    match link {
        Ok(()) => Ok(size),
        Err(rustix::io::Errno::EXIST) => Err(PushError::Exists(path.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

fn layer_name(layer: &ScratchBlob) -> String {
    format!("{}.tar", layer.layer.digest.hex())
}

struct ArchiveFile<'a>(BufWriter<&'a File>);

impl ArchiveFile<'_> {
    fn member(&mut self, name: &str, size: u64, content: impl io::Read) -> io::Result<()> {
        let mut header = Vec::new();
        TarHeader {
            path: name.as_bytes(),
            kind: EntryType::File { size },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            user: "",
            group: "",
            attributes: &[],
        }
        .write(&mut header);
        self.0.write_all(&header)?;
        if io::copy(&mut content.take(size), &mut self.0)? != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.write_all(&END_OF_ARCHIVE[..padding(size)])
    }
}
