//! Reads images from a local archive that `docker save` wrote.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use contree_sandbox::tar::{Archive, MemberKind, TarError};
use serde::Deserialize;

use super::archive_size::{ArchiveSize, SizeError};
use super::decompress::Decoder;
use super::local_file::{self, FileError};
use super::plan::{ArchiveLocation, ImportPlan, PlanError};
use super::tasks::ImportTasks;
use contree_registry::manifest::{self, MAX_DOCUMENT_BYTES, MAX_LAYERS, ManifestError};
use contree_registry::{Digest, Reference};

/// The member that lists the images.
const LIST: &str = "manifest.json";
/// The most members of an archive.
const MAX_MEMBERS: usize = 100_000;
/// The bytes of one write.
const CHUNK_BYTES: usize = 256 * 1024;
/// The most links to follow from one member to another.
const MAX_LINKS: usize = 8;

/// The reason why an archive cannot be imported.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    /// The archive cannot be read, or its decompressed copy cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not a tar archive, or it is damaged.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// It is damaged, or its compression is unknown.
    #[error("{} cannot be decompressed: {source}", path.display())]
    Decompress { path: PathBuf, source: io::Error },
    /// It is larger than an image may be once it is decompressed.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// It has too many members.
    #[error("it has more than {MAX_MEMBERS} members")]
    TooManyMembers,
    /// It lacks the list of images that `docker save` always writes.
    #[error("it is not an archive of `docker save`: it has no member {LIST}")]
    NoList,
    /// It lacks a member that its list of images names.
    #[error("it is incomplete: it has no member {0}, which its {LIST} names; save the image again")]
    NoMember(String),
    /// A member to be read into memory is too large.
    #[error("its member {0} is larger than {MAX_DOCUMENT_BYTES} bytes")]
    LargeMember(String),
    /// Its list of images is not valid.
    #[error("its manifest.json is not valid: {0}")]
    List(#[source] serde_json::Error),
    /// It has no image at all.
    #[error("it has no images")]
    Empty,
    /// No image in it has this name.
    #[error("it has no image `{name}`; {names}")]
    NoImage { name: String, names: String },
    /// It has several images, and the request names none of them.
    #[error("it has {count} images: name one, as in docker-archive:FILE:NAME:TAG; {names}")]
    Ambiguous { count: usize, names: String },
    /// The image has too many layers.
    #[error("it has {0} layers, and at most {MAX_LAYERS} are supported")]
    TooManyLayers(usize),
    /// The image's configuration is not valid, or it is for another platform.
    #[error(transparent)]
    Configuration(#[from] ManifestError),
    /// The manifest and the configuration of the image do not match.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The import is being stopped.
    #[error("the import was stopped")]
    Stopped,
}

/// An image in the archive's `manifest.json`.
#[derive(Deserialize)]
struct SavedImage {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    names: Option<Vec<String>>,
    #[serde(rename = "Layers", default)]
    layers: Vec<String>,
}

/// The positions of the members of an archive, by name.
struct ArchiveMembers {
    path: PathBuf,
    /// Offset and length of each regular file.
    files: HashMap<String, (u64, u64)>,
    /// The target of each hard or symbolic link.
    links: HashMap<String, String>,
}

/// Makes the plan of the image with this name, or of the only image if there is no name. A
/// compressed archive is decompressed into `scratch`, up to `limit` bytes and until `tasks` is
/// stopped.
pub(super) fn plan(
    path: &Path,
    name: Option<&str>,
    scratch: &Path,
    limit: u64,
    tasks: &ImportTasks,
) -> Result<ImportPlan, ArchiveError> {
    let (_, source_bytes) = local_file::open(path)?;
    let members = ArchiveMembers::read(&decompressed_path(path, scratch, limit, tasks)?)?;
    let list = members.read_member(LIST).map_err(|error| match error {
        ArchiveError::NoMember(_) => ArchiveError::NoList,
        other => other,
    })?;
    let mut images: Vec<SavedImage> = serde_json::from_slice(&list).map_err(ArchiveError::List)?;
    let known_names = || {
        let names: Vec<&str> = images
            .iter()
            .flat_map(|image| image.names.iter().flatten())
            .map(String::as_str)
            .take(20)
            .collect();
        if names.is_empty() {
            "its images have no names".to_owned()
        } else {
            format!("it has {}", names.join(", "))
        }
    };
    let index = match name {
        _ if images.is_empty() => return Err(ArchiveError::Empty),
        Some(name) => images
            .iter()
            .position(|image| image.has_name(name))
            .ok_or_else(|| ArchiveError::NoImage {
                name: name.to_owned(),
                names: known_names(),
            })?,
        None if images.len() == 1 => 0,
        None => {
            return Err(ArchiveError::Ambiguous {
                count: images.len(),
                names: known_names(),
            });
        }
    };
    let image = images.swap_remove(index);
    if image.layers.len() > MAX_LAYERS {
        return Err(ArchiveError::TooManyLayers(image.layers.len()));
    }
    let config = members.read_member(&image.config)?;
    let locations = image
        .layers
        .iter()
        .map(|layer| {
            let (offset, length) = members.find(layer)?;
            Ok(ArchiveLocation::File {
                path: members.path.clone(),
                offset,
                length,
                digest: None,
            })
        })
        .collect::<Result<_, ArchiveError>>()?;
    let image_config = manifest::parse_config(&config).map_err(ArchiveError::Configuration)?;
    let mut plan = ImportPlan::from_config(&Digest::of(&config), image_config, locations)?;
    plan.source_bytes = Some(source_bytes);
    Ok(plan)
}

impl SavedImage {
    fn has_name(&self, name: &str) -> bool {
        let full_name = |name: &str| {
            name.parse::<Reference>()
                .map(|reference| reference.to_string())
                .ok()
        };
        let wanted = full_name(name);
        self.names
            .iter()
            .flatten()
            .any(|known| known == name || (wanted.is_some() && full_name(known) == wanted))
    }
}

/// Returns the archive's own path, or that of a decompressed copy if it is compressed.
fn decompressed_path(
    path: &Path,
    scratch: &Path,
    limit: u64,
    tasks: &ImportTasks,
) -> Result<PathBuf, ArchiveError> {
    let (file, length) = local_file::open(path)?;
    let failed = |source| ArchiveError::Decompress {
        path: path.to_owned(),
        source,
    };
    let mut decoder = Decoder::new(BufReader::new(file)).map_err(failed)?;
    if decoder.is_plain() {
        return Ok(path.to_owned());
    }
    let unpacked = scratch.join("archive.tar");
    let not_written = FileError::write(&unpacked);
    let mut output = File::create_new(&unpacked).map_err(&not_written)?;
    let mut size = ArchiveSize::new(length, limit);
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        if tasks.is_stopped() {
            return Err(ArchiveError::Stopped);
        }
        let read = match decoder.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        size.add(read as u64)?;
        output.write_all(&buffer[..read]).map_err(&not_written)?;
    }
    output.flush().map_err(&not_written)?;
    Ok(unpacked)
}

impl ArchiveMembers {
    fn read(path: &Path) -> Result<Self, ArchiveError> {
        let (file, _) = local_file::open(path)?;
        let mut archive = Archive::new(BufReader::with_capacity(1 << 20, file));
        let mut members = Self {
            path: path.to_owned(),
            files: HashMap::new(),
            links: HashMap::new(),
        };
        while let Some(member) = archive.next_member()? {
            if members.files.len() + members.links.len() >= MAX_MEMBERS {
                return Err(ArchiveError::TooManyMembers);
            }
            let name = resolve_name(&String::from_utf8_lossy(&member.path), "");
            let link = String::from_utf8_lossy(&member.link);
            match member.kind {
                MemberKind::File if member.sparse.is_none() => {
                    members.files.insert(name, (member.offset, member.size));
                }
                MemberKind::Symlink => {
                    let directory = name
                        .rsplit_once('/')
                        .map_or("", |(directory, _)| directory)
                        .to_owned();
                    members.links.insert(name, resolve_name(&link, &directory));
                }
                MemberKind::Hardlink => {
                    members.links.insert(name, resolve_name(&link, ""));
                }
                _ => {}
            }
        }
        Ok(members)
    }

    /// Finds the offset and length of a member, following links.
    fn find(&self, name: &str) -> Result<(u64, u64), ArchiveError> {
        let mut current = resolve_name(name, "");
        for _ in 0..MAX_LINKS {
            if let Some(found) = self.files.get(&current) {
                return Ok(*found);
            }
            match self.links.get(&current) {
                Some(next) => current.clone_from(next),
                None => break,
            }
        }
        Err(ArchiveError::NoMember(name.to_owned()))
    }

    /// Reads a member into memory.
    fn read_member(&self, name: &str) -> Result<Vec<u8>, ArchiveError> {
        let (offset, length) = self.find(name)?;
        if length > MAX_DOCUMENT_BYTES as u64 {
            return Err(ArchiveError::LargeMember(name.to_owned()));
        }
        let (mut file, _) = local_file::open(&self.path)?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.take(length).read_to_end(&mut bytes))
            .map_err(FileError::read(&self.path))?;
        Ok(bytes)
    }
}

/// Resolves a name in `directory`, relative to the root of the archive. The result is only
/// looked up among the archive's members, and is never a path of this machine.
fn resolve_name(name: &str, directory: &str) -> String {
    let mut parts: Vec<&str> = directory
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn archive(members: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder
                .append_data(&mut header, name, content.as_bytes())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn error_of(bytes: &[u8], name: Option<&str>, scratch: &Path) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saved.tar");
        std::fs::write(&path, bytes).unwrap();
        match plan(&path, name, scratch, 1 << 30, &ImportTasks::default()) {
            Ok(_) => panic!("it is valid"),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn decompressing_ends_when_the_import_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saved.tar.gz");
        std::fs::write(&path, gzip(&archive(&[("manifest.json", "[]")]))).unwrap();
        let tasks = ImportTasks::default();
        tasks.stop_all().await;
        let planned = plan(&path, None, folder.path(), 1 << 30, &tasks);
        assert!(matches!(planned, Err(ArchiveError::Stopped)));
    }

    #[test]
    fn a_disk_that_cannot_be_written_is_not_reported_as_unreadable() {
        let packed = gzip(&archive(&[("manifest.json", "[]")]));
        let error = error_of(&packed, None, Path::new("/nowhere"));
        assert!(
            error.starts_with("cannot write /nowhere/archive.tar: "),
            "{error}"
        );
        // A damaged archive is not a disk error.
        let scratch = tempfile::tempdir().unwrap();
        let error = error_of(&packed[..packed.len() - 9], None, scratch.path());
        assert!(
            error.contains("saved.tar cannot be decompressed"),
            "{error}"
        );
    }

    #[test]
    fn errors_name_what_the_archive_has_and_lacks() {
        let scratch = tempfile::tempdir().unwrap();
        let unnamed = r#"[{"Config": "c.json", "RepoTags": null, "Layers": []}]"#;
        let two = format!("[{0}, {0}]", &unnamed[1..unnamed.len() - 1]);
        let named = r#"[{"Config": "c.json", "RepoTags": ["app:1"], "Layers": []}]"#;
        for (list, name, expected) in [
            ("[]", None, "it has no images"),
            ("[]", Some("app"), "it has no images"),
            (
                unnamed,
                Some("app"),
                "it has no image `app`; its images have no names",
            ),
            (two.as_str(), None, "its images have no names"),
            (named, Some("b"), "it has no image `b`; it has app:1"),
            (named, None, "it is incomplete: it has no member c.json"),
        ] {
            let error = error_of(&archive(&[("manifest.json", list)]), name, scratch.path());
            assert!(error.contains(expected), "{error}");
        }
        let error = error_of(&archive(&[("x", "")]), None, scratch.path());
        assert!(error.contains("not an archive of `docker save`"), "{error}");
    }
}
