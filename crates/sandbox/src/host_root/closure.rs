//! Finds the closure of a program: the files that it needs to start.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::elf::ElfFile;
use super::host::{CopyRefusal, Host, ResolvedPath};
use super::libraries;
use super::plan::Node;

/// The longest chain of interpreters. A script may name a script as its interpreter; Linux follows
/// four.
const MAX_INTERPRETERS: usize = 4;

type Nodes = Vec<(PathBuf, Node)>;

/// Finds interpreters and libraries as the kernel and the dynamic loader do.
#[derive(Debug)]
pub(super) struct ClosureFinder<'a> {
    host: &'a Host,
    /// The directories in which `#!/usr/bin/env NAME` finds a program.
    program_directories: &'a [PathBuf],
    /// The directories of `ld.so.conf`.
    configured_directories: Vec<PathBuf>,
    files: HashMap<PathBuf, Rc<ElfFile>>,
}

/// A loaded ELF file, in the order of loading.
struct LoadedFile {
    file: Rc<ElfFile>,
    /// The value of `$ORIGIN`.
    origin: PathBuf,
    path: PathBuf,
    /// The index of the file that needs it.
    parent: Option<usize>,
}

impl<'a> ClosureFinder<'a> {
    /// Creates a finder. `#!/usr/bin/env NAME` finds a program in `program_directories`.
    pub(super) fn new(host: &'a Host, program_directories: &'a [PathBuf]) -> ClosureFinder<'a> {
        ClosureFinder {
            host,
            program_directories,
            configured_directories: libraries::configured(host),
            files: HashMap::new(),
        }
    }

    /// Lists the links to `path`, its file, and the files it needs: an ELF file's loader and
    /// libraries, or a script's interpreter.
    pub(super) fn find_closure(&mut self, path: &Path) -> Result<Nodes, CopyRefusal> {
        let mut nodes = Nodes::new();
        self.follow(path, MAX_INTERPRETERS, &mut nodes)?;
        Ok(nodes)
    }

    fn follow(
        &mut self,
        path: &Path,
        interpreters: usize,
        nodes: &mut Nodes,
    ) -> Result<(), CopyRefusal> {
        let resolved = self.host.resolve_file(path)?;
        let file = resolved.path.clone();
        nodes.extend(resolved.into_nodes());
        let head = self.host.head(&file, 256)?;
        if head.starts_with(b"\x7fELF") {
            return self.libraries(&file, nodes);
        }
        let Some(line) = head.strip_prefix(b"#!") else {
            return Ok(());
        };
        let line =
            String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default())
                .into_owned();
        let mut words = line.split_whitespace();
        let Some(interpreter) = words.next().map(Path::new) else {
            return Ok(());
        };
        let failed = |reason: CopyRefusal| CopyRefusal::Interpreter {
            interpreter: interpreter.to_owned(),
            by: file.clone(),
            reason: Box::new(reason),
        };
        if interpreters == 0 {
            return Err(failed(CopyRefusal::Links(interpreter.to_owned())));
        }
        self.follow(interpreter, interpreters - 1, nodes)
            .map_err(failed)?;
        if interpreter.file_name().is_some_and(|name| name == "env") {
            let name = words.find(|word| !word.starts_with('-') && !word.contains('='));
            if let Some(program) = name.map(|name| self.find_program(name)) {
                self.follow(&program.map_err(failed)?, interpreters - 1, nodes)
                    .map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Finds the path of a program by its name.
    pub(super) fn find_program(&self, name: &str) -> Result<PathBuf, CopyRefusal> {
        let mut refusal = CopyRefusal::Missing(PathBuf::from(name));
        for directory in self.program_directories {
            let path = directory.join(name);
            match self.host.resolve_file(&path) {
                Ok(_) => return Ok(path),
                Err(CopyRefusal::Missing(_)) => {}
                Err(other) => refusal = other,
            }
        }
        Err(refusal)
    }

    /// Collects libraries breadth-first and by name, as the loader does: a library that is loaded
    /// for one file also serves later ones.
    fn libraries(&mut self, file: &Path, nodes: &mut Nodes) -> Result<(), CopyRefusal> {
        let main = self.read_file(file)?;
        if let Some(interpreter) = &main.interpreter {
            let resolved =
                self.host
                    .resolve_file(interpreter)
                    .map_err(|reason| CopyRefusal::Interpreter {
                        interpreter: interpreter.clone(),
                        by: file.to_owned(),
                        reason: Box::new(reason),
                    })?;
            nodes.extend(resolved.into_nodes());
        }
        let mut names: HashSet<String> = HashSet::new();
        names.extend(
            main.interpreter
                .as_deref()
                .and_then(Path::file_name)
                .map(|name| name.to_string_lossy().into_owned()),
        );
        let mut loaded = vec![LoadedFile {
            file: main,
            origin: parent(file),
            path: file.to_owned(),
            parent: None,
        }];
        let mut queue = VecDeque::from([0]);
        while let Some(index) = queue.pop_front() {
            let file = Rc::clone(&loaded[index].file);
            for name in &file.needed {
                if !names.insert(name.clone()) {
                    continue;
                }
                let Some((candidate, resolved, found)) = self.find(&loaded, index, name) else {
                    return Err(CopyRefusal::Library {
                        name: name.clone(),
                        by: loaded[index].path.clone(),
                    });
                };
                self.link_configured(name, &candidate, &found, nodes);
                names.extend(found.soname.clone());
                loaded.push(LoadedFile {
                    file: found,
                    origin: parent(&candidate),
                    path: resolved.path.clone(),
                    parent: Some(index),
                });
                queue.push_back(loaded.len() - 1);
                nodes.extend(resolved.into_nodes());
            }
        }
        Ok(())
    }

    /// Finds the path of a library that `program` could open by name.
    pub(super) fn find_library(
        &mut self,
        program: &Path,
        name: &str,
    ) -> Result<Option<PathBuf>, CopyRefusal> {
        let main = LoadedFile {
            file: self.read_file(program)?,
            origin: parent(program),
            path: program.to_owned(),
            parent: None,
        };
        Ok(self.find(&[main], 0, name).map(|(candidate, ..)| candidate))
    }

    /// Finds the first library of that name and of the right architecture. Returns the path that
    /// the loader opens, that path resolved, and the parsed file.
    fn find(
        &mut self,
        loaded: &[LoadedFile],
        index: usize,
        name: &str,
    ) -> Option<(PathBuf, ResolvedPath, Rc<ElfFile>)> {
        let requester = &loaded[index];
        let candidates = if name.contains('/') {
            vec![expand(name, requester)]
        } else {
            self.directories(loaded, index)
                .into_iter()
                .map(|directory| directory.join(name))
                .collect()
        };
        for candidate in candidates {
            let Ok(resolved) = self.host.resolve_file(&candidate) else {
                continue;
            };
            let Ok(file) = self.read_file(&resolved.path) else {
                continue;
            };
            if file.same_architecture(&loaded[0].file) {
                return Some((candidate, resolved, file));
            }
        }
        None
    }

    fn directories(&self, loaded: &[LoadedFile], index: usize) -> Vec<PathBuf> {
        let requester = &loaded[index];
        let mut directories = Vec::new();
        if requester.file.runpath.is_empty() {
            let mut next = Some(index);
            while let Some(at) = next {
                let ancestor = &loaded[at];
                if ancestor.file.runpath.is_empty() {
                    directories.extend(
                        ancestor
                            .file
                            .rpath
                            .iter()
                            .map(|entry| expand(entry, ancestor)),
                    );
                }
                next = ancestor.parent;
            }
        }
        directories.extend(
            requester
                .file
                .runpath
                .iter()
                .map(|entry| expand(entry, requester)),
        );
        directories.extend(self.configured_directories.iter().cloned());
        directories.extend(libraries::built_in(&requester.file));
        directories
    }

    /// Adds a link for a library that the loader finds only by `ld.so.conf`, because the new root
    /// has no `ld.so.cache`. The link is in a directory that the loader always searches.
    fn link_configured(&self, name: &str, candidate: &Path, file: &ElfFile, nodes: &mut Nodes) {
        let directory = parent(candidate);
        let built_in = libraries::built_in(file);
        if !self.configured_directories.contains(&directory) || built_in.contains(&directory) {
            return;
        }
        let libc_directory = built_in
            .iter()
            .find(|path| self.host.resolve_file(&path.join("libc.so.6")).is_ok());
        if let Some(resolved) = libc_directory.and_then(|path| self.host.resolve(path).ok()) {
            let link = resolved.path.join(name);
            nodes.extend(resolved.links);
            nodes.push((
                link,
                Node::Symlink {
                    target: candidate.as_os_str().to_owned(),
                },
            ));
        }
    }

    fn read_file(&mut self, path: &Path) -> Result<Rc<ElfFile>, CopyRefusal> {
        if let Some(file) = self.files.get(path) {
            return Ok(Rc::clone(file));
        }
        let read = ElfFile::read(&self.host.locate(path)).map_err(|reason| CopyRefusal::Elf {
            path: path.to_owned(),
            reason,
        })?;
        let file = Rc::new(read);
        self.files.insert(path.to_owned(), Rc::clone(&file));
        Ok(file)
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_owned()
}

fn expand(entry: &str, by: &LoadedFile) -> PathBuf {
    let origin = by.origin.to_string_lossy();
    let library = if by.file.is_64 { "lib64" } else { "lib" };
    let mut text = entry.to_owned();
    for (token, value) in [("ORIGIN", origin.as_ref()), ("LIB", library)] {
        text = text
            .replace(&format!("${{{token}}}"), value)
            .replace(&format!("${token}"), value);
    }
    Path::new("/").join(text)
}
