//! Reads images from a local archive that `docker save` wrote.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use contree_sandbox::tar::{Archive, MemberKind, TarError};
use serde::Deserialize;

use super::decompress::Decoder;
use super::local_file::{self, FileError};
use super::plan::{ArchiveLocation, ImportPlan, PlanError};
use contree_registry::manifest::{self, MAX_DOCUMENT_BYTES, MAX_LAYERS, ManifestError};
use contree_registry::{Digest, Reference};

/// The most members of an archive.
const MAX_MEMBERS: usize = 100_000;
/// The most links to follow from one member to another.
const MAX_LINKS: usize = 8;

/// The reason why an archive cannot be imported.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    /// The archive cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not a tar archive, or it is damaged.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// It is larger than an image may be once it is decompressed.
    #[error("it is larger than {0} bytes when decompressed")]
    TooLarge(u64),
    /// It has too many members.
    #[error("it has more than {MAX_MEMBERS} members")]
    TooManyMembers,
    /// It lacks a member that `docker save` always writes.
    #[error("it is not an archive of `docker save`: it has no member {0}")]
    NoMember(String),
    /// A member to be read into memory is too large.
    #[error("its member {0} is larger than {MAX_DOCUMENT_BYTES} bytes")]
    LargeMember(String),
    /// Its list of images is not valid.
    #[error("its manifest.json is not valid: {0}")]
    List(#[source] serde_json::Error),
    /// No image in it has this name.
    #[error("it has no image `{name}`; it has {names}")]
    NoImage { name: String, names: String },
    /// It has several images, and the request names none of them.
    #[error("it has {count} images: name one, as in docker-archive:FILE:NAME:TAG; it has {names}")]
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
/// compressed archive is decompressed into `scratch`, up to `limit` bytes.
pub(super) fn plan(
    path: &Path,
    name: Option<&str>,
    scratch: &Path,
    limit: u64,
) -> Result<ImportPlan, ArchiveError> {
    let members = ArchiveMembers::read(&decompressed_path(path, scratch, limit)?)?;
    let list = members.read_member("manifest.json")?;
    let mut images: Vec<SavedImage> = serde_json::from_slice(&list).map_err(ArchiveError::List)?;
    let known_names = || {
        let names: Vec<&str> = images
            .iter()
            .flat_map(|image| image.names.iter().flatten())
            .map(String::as_str)
            .take(20)
            .collect();
        names.join(", ")
    };
    let index = match name {
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
    Ok(ImportPlan::from_config(
        &Digest::of(&config),
        image_config,
        locations,
    )?)
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
fn decompressed_path(path: &Path, scratch: &Path, limit: u64) -> Result<PathBuf, ArchiveError> {
    let (file, _) = local_file::open(path)?;
    let failed = FileError::read(path);
    let mut decoder = Decoder::new(BufReader::new(file)).map_err(&failed)?;
    if decoder.is_plain() {
        return Ok(path.to_owned());
    }
    let unpacked = scratch.join("archive.tar");
    let mut output = File::create_new(&unpacked).map_err(&failed)?;
    let size = std::io::copy(&mut (&mut decoder).take(limit + 1), &mut output).map_err(&failed)?;
    output.flush().map_err(&failed)?;
    if size > limit {
        return Err(ArchiveError::TooLarge(limit));
    }
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
