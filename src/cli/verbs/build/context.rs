//! The local directory of a build.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use contree_error_codes::ErrorCode;

use super::archive;
use super::entry::{Entry, EntryKind, FoundSource, matching};
use super::error::{InstructionError, StepError, file};
use crate::cli::verbs::error::VerbError;
use crate::dockerfile::{IgnoreRules, is_pattern};

/// The file with the rules of excluded files.
const IGNORE_FILE: &str = ".dockerignore";

/// The local directory of a build, without its excluded files.
#[derive(Debug)]
pub(super) struct BuildContext {
    root: PathBuf,
    rules: IgnoreRules,
    /// The directory for unpacked archives.
    temporary: PathBuf,
}

impl BuildContext {
    /// Opens a directory, and reads its rules. Those next to the Dockerfile come first.
    ///
    /// # Errors
    /// If the directory or the rules cannot be read.
    pub(super) fn open(
        directory: &Path,
        dockerfile: Option<&Path>,
        temporary: &Path,
    ) -> Result<Self, VerbError> {
        let root = std::fs::canonicalize(directory).map_err(VerbError::file(directory))?;
        let own = dockerfile.map(|path| {
            let mut own = path.as_os_str().to_owned();
            own.push(IGNORE_FILE);
            PathBuf::from(own)
        });
        let mut rules = IgnoreRules::default();
        for path in own.into_iter().chain([root.join(IGNORE_FILE)]) {
            match std::fs::read(&path) {
                Ok(text) => {
                    let parsed = IgnoreRules::parse(&String::from_utf8_lossy(&text));
                    rules = parsed.map_err(|line| {
                        let path = path.display();
                        VerbError::WithCode(ErrorCode::DockerfileInvalid, format!(
                            "{path}: `{line}` is not a pattern; write one such as `*.log` or `!keep`"
                        ))
                    })?;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(VerbError::file(path)(error)),
            }
        }
        Ok(Self {
            root,
            rules,
            temporary: temporary.to_owned(),
        })
    }

    /// Finds the files of a source. With `unpacks`, archives are unpacked.
    ///
    /// # Errors
    /// If nothing matches, or a file is outside of the directory.
    pub(super) async fn find(
        &self,
        source: &str,
        unpacks: bool,
    ) -> Result<Vec<FoundSource>, StepError> {
        let path = self.inside(source)?;
        if !is_pattern(&path) {
            return Ok(vec![self.found(&path, unpacks)?]);
        }
        let list = async |directory: &str| {
            let directory = self.root.join(directory);
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    return Ok(Vec::new());
                }
                Err(error) => return Err(file(&directory)(error)),
            };
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            Ok(names.collect())
        };
        let mut found = Vec::new();
        for path in matching(&path, list).await? {
            let is_directory = self.root.join(&path).is_dir();
            let may_have_exceptions = is_directory && self.rules.has_exceptions();
            if self.rules.exclude(&path) && !may_have_exceptions {
                continue;
            }
            match self.found(&path, unpacks) {
                Ok(source) => found.push(source),
                // No exception brings back a file of the directory.
                Err(StepError::Instruction(InstructionError::Excluded(_))) => {}
                Err(error) => return Err(error),
            }
        }
        match found.is_empty() {
            true => Err(InstructionError::NoFile(source.to_owned()).into()),
            false => Ok(found),
        }
    }

    /// The local path of a source that is an archive.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) async fn archive(&self, source: &str) -> Result<Option<PathBuf>, StepError> {
        let found = self.find(source, false).await?;
        let [FoundSource { entries, .. }] = &found[..] else {
            return Ok(None);
        };
        match &entries[..] {
            [
                Entry {
                    kind: EntryKind::File(path),
                    ..
                },
            ] => {
                let opened = archive::open(path).map_err(file(path))?;
                Ok(opened.map(|_| path.clone()))
            }
            _ => Ok(None),
        }
    }

    /// A source below the directory, without `.` and `..`.
    fn inside(&self, source: &str) -> Result<String, StepError> {
        let mut parts: Vec<&str> = Vec::new();
        for part in source.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    if parts.pop().is_none() {
                        return Err(InstructionError::Outside(source.to_owned()).into());
                    }
                }
                part => parts.push(part),
            }
        }
        Ok(parts.join("/"))
    }

    /// The file or directory at a path.
    fn found(&self, path: &str, unpacks: bool) -> Result<FoundSource, StepError> {
        let local = match std::fs::canonicalize(self.root.join(path)) {
            Ok(local) => local,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(InstructionError::NoFile(path.to_owned()).into());
            }
            Err(error) => return Err(file(&self.root.join(path))(error)),
        };
        // A link to the file is followed, but not out of the directory.
        let Ok(relative) = local.strip_prefix(&self.root) else {
            return Err(InstructionError::Outside(path.to_owned()).into());
        };
        let relative = text(relative)?;
        let metadata = std::fs::metadata(&local).map_err(file(&local))?;
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        let is_excluded = !relative.is_empty() && self.rules.exclude(&relative);
        let mut source = FoundSource {
            name,
            is_directory: metadata.is_dir(),
            entries: Vec::new(),
        };
        if metadata.is_dir() {
            source.entries.push(directory("", &metadata));
            if !is_excluded || self.rules.has_exceptions() {
                self.add_below(&local, &relative, "", &mut source.entries)?;
            }
            if is_excluded && source.entries.len() == 1 {
                return Err(InstructionError::Excluded(path.to_owned()).into());
            }
            return Ok(source);
        }
        if is_excluded {
            return Err(InstructionError::Excluded(path.to_owned()).into());
        }
        if !metadata.is_file() {
            return Err(InstructionError::NotAFile(path.to_owned()).into());
        }
        if unpacks && let Some(reader) = archive::open(&local).map_err(file(&local))? {
            let entries = archive::unpack(reader, "", &self.temporary, true);
            source.is_directory = true;
            source.entries = entries.map_err(file(&local))?;
            return Ok(source);
        }
        source.entries.push(Entry {
            path: String::new(),
            kind: EntryKind::File(local),
            mode: mode(&metadata),
            owner: None,
        });
        Ok(source)
    }

    /// Adds the entries of a directory. `relative` is its path below the root, and `below` is its
    /// path below the source.
    fn add_below(
        &self,
        local: &Path,
        relative: &str,
        below: &str,
        entries: &mut Vec<Entry>,
    ) -> Result<(), StepError> {
        let listed = std::fs::read_dir(local).map_err(file(local))?;
        let mut names = listed
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(file(local))?;
        names.sort_unstable();
        for name in names {
            let path = local.join(&name);
            let name = text(Path::new(&name))?;
            let joined = |directory: &str| match directory {
                "" => name.clone(),
                directory => format!("{directory}/{name}"),
            };
            let (relative, below) = (joined(relative), joined(below));
            let is_excluded = self.rules.exclude(&relative);
            let metadata = std::fs::symlink_metadata(&path).map_err(file(&path))?;
            if metadata.is_dir() {
                if is_excluded && !self.rules.has_exceptions() {
                    continue;
                }
                let count = entries.len();
                entries.push(directory(&below, &metadata));
                self.add_below(&path, &relative, &below, entries)?;
                if is_excluded && entries.len() == count + 1 {
                    entries.truncate(count);
                }
                continue;
            }
            if is_excluded {
                continue;
            }
            let kind = if metadata.is_symlink() {
                let target = std::fs::read_link(&path).map_err(file(&path))?;
                EntryKind::Symlink(text(&target)?)
            } else if metadata.is_file() {
                EntryKind::File(path)
            } else {
                // Sockets, pipes and devices mean nothing in an image.
                continue;
            };
            entries.push(Entry {
                path: below,
                kind,
                mode: mode(&metadata),
                owner: None,
            });
        }
        Ok(())
    }
}

fn directory(path: &str, metadata: &Metadata) -> Entry {
    Entry {
        path: path.to_owned(),
        kind: EntryKind::Directory,
        mode: mode(metadata),
        owner: None,
    }
}

fn text(path: &Path) -> Result<String, StepError> {
    let name = || InstructionError::NotUtf8(path.to_owned());
    Ok(path.to_str().map(str::to_owned).ok_or_else(name)?)
}

#[cfg(unix)]
fn mode(metadata: &Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o7777
}

#[cfg(not(unix))]
fn mode(metadata: &Metadata) -> u32 {
    if metadata.is_dir() { 0o755 } else { 0o644 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(files: &[(&str, &str)]) -> (tempfile::TempDir, BuildContext) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let context = BuildContext::open(folder.path(), None, folder.path()).unwrap();
        (folder, context)
    }

    async fn paths(context: &BuildContext, source: &str) -> Result<Vec<String>, String> {
        let found = context.find(source, false).await;
        let found = found.map_err(|error| error.to_string())?;
        let of_source = |source: &FoundSource| {
            let entries = source.entries.iter();
            let paths = entries.map(|entry| format!("{}:{}", source.name, entry.path));
            paths.collect::<Vec<_>>()
        };
        Ok(found.iter().flat_map(of_source).collect())
    }

    #[tokio::test]
    async fn sources_are_found_without_excluded_files() {
        let (_folder, context) = context(&[
            (".dockerignore", "*.log\nout\n!out/keep\nsecret\n"),
            ("a.txt", "a"),
            ("b.txt", "b"),
            ("c.log", "c"),
            ("out/keep", "k"),
            ("out/drop", "d"),
            ("secret/key", "s"),
            ("src/deep/x.rs", "x"),
        ]);
        assert_eq!(
            paths(&context, "*.txt").await.unwrap(),
            ["a.txt:", "b.txt:"]
        );
        assert_eq!(
            paths(&context, "./src/").await.unwrap(),
            ["src:", "src:deep", "src:deep/x.rs"]
        );
        assert_eq!(paths(&context, "s*/deep/*.rs").await.unwrap(), ["x.rs:"]);
        assert_eq!(paths(&context, "out").await.unwrap(), ["out:", "out:keep"]);
        // `secret` matches, and is excluded with all that is in it.
        assert_eq!(
            paths(&context, "s*").await.unwrap(),
            ["src:", "src:deep", "src:deep/x.rs"]
        );
        let all = paths(&context, ".").await.unwrap();
        assert!(
            !all.iter()
                .any(|path| path.contains("secret") || path.contains("log"))
        );
        assert!(
            all.contains(&":out/keep".to_owned()) && all.contains(&":src/deep/x.rs".to_owned())
        );
        for (source, part) in [
            ("c.log", "excluded"),
            ("secret", "excluded"),
            ("*.md", "matches no file"),
            ("none", "matches no file"),
            ("../x", "leads out"),
        ] {
            let error = paths(&context, source).await.unwrap_err();
            assert!(error.contains(part), "{source}: {error}");
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn links_do_not_lead_out() {
        let (folder, context) = context(&[("a", "a")]);
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("out")).unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("in")).unwrap();
        assert!(
            paths(&context, "out")
                .await
                .unwrap_err()
                .contains("leads out")
        );
        assert_eq!(paths(&context, "in").await.unwrap(), ["in:"]);
        let found = context.find(".", false).await.unwrap();
        let is_link = |entry: &&Entry| matches!(entry.kind, EntryKind::Symlink(_));
        assert_eq!(found[0].entries.iter().filter(is_link).count(), 2);
    }
}
