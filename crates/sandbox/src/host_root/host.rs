//! The machine whose programs are copied, limited to files that may be copied.
//!
//! Paths are resolved here one component at a time, not by the kernel. The copy needs every
//! symbolic link on the way, and no link may lead out of the trees with a distribution's public
//! files.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::elf::ElfError;
use super::plan::{HostFile, Node};

/// The trees whose public files may be copied.
const TREES: &[&str] = &[
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libx32",
    "/usr/libexec",
    "/usr/share",
    "/etc/alternatives",
    "/etc/ca-certificates/extracted",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls/certs",
    "/var/lib/ca-certificates",
    "/nix/store",
    "/gnu/store",
];

/// Other single paths that may be copied.
const PATHS: &[&str] = &[
    "/etc/os-release",
    "/etc/pki/tls/cert.pem",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/ssl/certs/ca-certificates.crt",
];

/// The links to the current generation of a system that keeps its programs in a store, such as
/// NixOS or Guix.
const GENERATIONS: &[&str] = &["/etc/static", "/run/current-system"];

/// The most links in one path that Linux follows.
const MAX_LINKS: usize = 40;

/// The reason why a file of the machine is not copied.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyRefusal {
    #[error("not installed")]
    Missing(PathBuf),
    #[error("{0} is outside the trees that may be copied")]
    Outside(PathBuf),
    #[error("{0} is not readable by everyone")]
    Private(PathBuf),
    #[error("{0} leads through more than {MAX_LINKS} symbolic links")]
    Links(PathBuf),
    #[error("{0} is neither a file, a directory nor a symbolic link")]
    Special(PathBuf),
    #[error("cannot read {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} cannot be read as an ELF file: {reason}")]
    Elf { path: PathBuf, reason: ElfError },
    #[error("library {name}, which {by} needs, was not found")]
    Library { name: String, by: PathBuf },
    #[error("interpreter {interpreter} of {by}: {reason}")]
    Interpreter {
        interpreter: PathBuf,
        by: PathBuf,
        reason: Box<CopyRefusal>,
    },
}

/// A path with all symbolic links resolved.
#[derive(Debug)]
pub(super) struct ResolvedPath {
    /// The resolved path, without links.
    pub(super) path: PathBuf,
    /// The metadata of the file or directory there.
    pub(super) metadata: Metadata,
    /// The links on the way, in order.
    pub(super) links: Vec<(PathBuf, Node)>,
}

impl ResolvedPath {
    /// The plan's nodes for the links, and for the file or directory they lead to.
    pub(super) fn into_nodes(self) -> Vec<(PathBuf, Node)> {
        let node = if self.metadata.is_dir() {
            Node::Directory { mode: 0o755 }
        } else {
            Node::File(HostFile::of(&self.metadata))
        };
        let mut nodes = self.links;
        nodes.push((self.path, node));
        nodes
    }
}

/// The file system from which files are copied.
#[derive(Debug)]
pub(super) struct Host {
    root: PathBuf,
    /// A cache of metadata by path, `None` for missing paths. Most paths share their parents.
    metadata_cache: RefCell<HashMap<PathBuf, Option<Metadata>>>,
}

impl Host {
    pub(super) fn new(root: &Path) -> Host {
        Host {
            root: root.to_owned(),
            metadata_cache: RefCell::default(),
        }
    }

    /// The directory that is the machine's root: `/`, except in tests.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The real path of a path of the host: the same, except in tests.
    pub(super) fn locate(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Follows the absolute `path` to a public file or directory within the allowed trees.
    pub(super) fn resolve(&self, path: &Path) -> Result<ResolvedPath, CopyRefusal> {
        let mut ahead: VecDeque<OsString> = VecDeque::new();
        let mut here = PathBuf::from("/");
        let mut links: Vec<(PathBuf, Node)> = Vec::new();
        push_front(&mut ahead, path);
        let mut metadata = self.stat(&here, path)?;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                here.pop();
                metadata = self.stat(&here, path)?;
                continue;
            }
            let next = here.join(&name);
            metadata = self.stat(&next, path)?;
            if metadata.is_symlink() {
                if !link_allowed(&next) {
                    return Err(CopyRefusal::Outside(next));
                }
                let located = self.locate(&next);
                let target = fs::read_link(&located).map_err(|source| CopyRefusal::Io {
                    path: next.clone(),
                    source,
                })?;
                if links.len() == MAX_LINKS {
                    return Err(CopyRefusal::Links(path.to_owned()));
                }
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                push_front(&mut ahead, &target);
                links.push((
                    next,
                    Node::Symlink {
                        target: target.into_os_string(),
                    },
                ));
            } else {
                here = next;
            }
        }
        if !metadata.is_dir() && !metadata.is_file() {
            return Err(CopyRefusal::Special(here));
        }
        if !allowed(&here) {
            return Err(CopyRefusal::Outside(here));
        }
        if metadata.mode() & 0o004 == 0 {
            return Err(CopyRefusal::Private(here));
        }
        Ok(ResolvedPath {
            path: here,
            metadata,
            links,
        })
    }

    /// Follows `path` to a file.
    pub(super) fn resolve_file(&self, path: &Path) -> Result<ResolvedPath, CopyRefusal> {
        let resolved = self.resolve(path)?;
        if resolved.metadata.is_file() {
            Ok(resolved)
        } else {
            Err(CopyRefusal::Missing(path.to_owned()))
        }
    }

    /// The names in a directory, sorted.
    pub(super) fn list(&self, directory: &Path) -> Result<Vec<OsString>, CopyRefusal> {
        let failed = |source| CopyRefusal::Io {
            path: directory.to_owned(),
            source,
        };
        let mut names = fs::read_dir(self.locate(directory))
            .and_then(|entries| {
                entries
                    .map(|entry| Ok(entry?.file_name()))
                    .collect::<io::Result<Vec<_>>>()
            })
            .map_err(failed)?;
        names.sort();
        Ok(names)
    }

    /// The first bytes of a file, at most `limit`.
    pub(super) fn head(&self, path: &Path, limit: u64) -> Result<Vec<u8>, CopyRefusal> {
        let mut bytes = Vec::new();
        File::open(self.locate(path))
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(|source| CopyRefusal::Io {
                path: path.to_owned(),
                source,
            })?;
        Ok(bytes)
    }

    fn stat(&self, here: &Path, wanted: &Path) -> Result<Metadata, CopyRefusal> {
        let known = self.metadata_cache.borrow().get(here).cloned();
        let found = match known {
            Some(found) => found,
            None => {
                let found = match fs::symlink_metadata(self.locate(here)) {
                    Ok(metadata) => Some(metadata),
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                        ) =>
                    {
                        None
                    }
                    Err(source) => {
                        return Err(CopyRefusal::Io {
                            path: here.to_owned(),
                            source,
                        });
                    }
                };
                self.metadata_cache
                    .borrow_mut()
                    .insert(here.to_owned(), found.clone());
                found
            }
        };
        found.ok_or_else(|| CopyRefusal::Missing(wanted.to_owned()))
    }
}

/// Returns true if the file or directory at `path`, which contains no links, may be copied.
pub(super) fn allowed(path: &Path) -> bool {
    TREES.iter().any(|tree| path.starts_with(tree))
        || PATHS.iter().any(|single| path == Path::new(single))
}

fn link_allowed(path: &Path) -> bool {
    allowed(path) || GENERATIONS.iter().any(|link| path == Path::new(link))
}

fn push_front(ahead: &mut VecDeque<OsString>, path: &Path) {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    for name in names.collect::<Vec<_>>().into_iter().rev() {
        ahead.push_front(name);
    }
}
