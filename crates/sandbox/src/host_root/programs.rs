//! Collects the programs of the new root: the usual tools of a plain command line.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::closure::ClosureFinder;
use super::host::{CopyRefusal, Host};
use super::plan::{HostFile, Node, Plan};
use super::program_lists::{
    CERTIFICATES, GENERATION_DIRECTORIES, GIT_CORE, PROGRAM_DIRECTORIES, PROGRAMS, PYTHON_EXCLUDED,
    TERMINALS,
};

/// Collects the programs of a host into a plan, and lists the omitted files with the reasons.
pub(super) struct ProgramCollector<'a> {
    host: &'a Host,
    closures: ClosureFinder<'a>,
    plan: &'a mut Plan,
    /// The names of omitted programs and files, each with the reason.
    skipped: &'a mut Vec<(String, String)>,
}

/// The directories to search for a program by name, in order.
pub(super) fn directories() -> Vec<PathBuf> {
    PROGRAM_DIRECTORIES
        .iter()
        .chain(GENERATION_DIRECTORIES)
        .map(PathBuf::from)
        .collect()
}

impl<'a> ProgramCollector<'a> {
    pub(super) fn new(
        host: &'a Host,
        directories: &'a [PathBuf],
        plan: &'a mut Plan,
        skipped: &'a mut Vec<(String, String)>,
    ) -> ProgramCollector<'a> {
        ProgramCollector {
            host,
            closures: ClosureFinder::new(host, directories),
            plan,
            skipped,
        }
    }

    pub(super) fn collect(&mut self) {
        self.add_root_directories();
        for name in PROGRAMS {
            self.or_skip(name, |this| this.add_program(name).map(drop));
        }
        self.or_skip("git", Self::add_git);
        self.or_skip("python3", Self::add_python);
        self.add_plugins();
        self.add_certificates();
        self.add_texts();
    }

    /// Calls `take`, and records a refusal under `name`.
    fn or_skip(&mut self, name: &str, take: impl FnOnce(&mut Self) -> Result<(), CopyRefusal>) {
        if let Err(refusal) = take(self) {
            self.skipped.push((name.to_owned(), refusal.to_string()));
        }
    }

    /// Adds `/bin` and similar directories, which are links on most systems. They must exist,
    /// because programs are looked up there.
    fn add_root_directories(&mut self) {
        for name in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
            if let Ok(resolved) = self.host.resolve(Path::new(name)) {
                self.plan.extend(resolved.into_nodes());
            }
        }
        self.plan
            .add(Path::new("/usr/bin"), Node::Directory { mode: 0o755 });
    }

    /// Adds a program and its closure, and returns the program's real path.
    fn add_program(&mut self, name: &str) -> Result<PathBuf, CopyRefusal> {
        let found = self.closures.find_program(name)?;
        let real = self.host.resolve_file(&found)?.path;
        if PROGRAM_DIRECTORIES
            .iter()
            .any(|directory| found.starts_with(directory))
        {
            let nodes = self.closures.find_closure(&found)?;
            self.plan.extend(nodes);
        } else {
            let nodes = self.closures.find_closure(&real)?;
            self.plan.extend(nodes);
            self.plan.add(
                &Path::new("/usr/bin").join(name),
                Node::Symlink {
                    target: real.clone().into_os_string(),
                },
            );
        }
        Ok(real)
    }

    fn add_git(&mut self) -> Result<(), CopyRefusal> {
        let git = self.add_program("git")?;
        let prefix = prefix(&git);
        for name in ["git-upload-pack", "git-receive-pack"] {
            self.or_skip(name, |this| this.add_program(name).map(drop));
        }
        let core = ["lib/git-core", "libexec/git-core"]
            .iter()
            .find_map(|directory| self.host.resolve(&prefix.join(directory)).ok());
        if let Some(core) = core {
            for name in self.host.list(&core.path)? {
                self.add_git_core(&git, &core.path.join(name))?;
            }
        }
        self.add_tree(&prefix.join("share/git-core/templates"), &|_| true)
    }

    fn add_git_core(&mut self, git: &Path, path: &Path) -> Result<(), CopyRefusal> {
        let Ok(resolved) = self.host.resolve_file(path) else {
            return Ok(());
        };
        let resolved_git = self.host.resolve_file(git)?;
        let is_git =
            HostFile::of(&resolved.metadata).is_same_file(&HostFile::of(&resolved_git.metadata));
        let wanted = |path: &Path| {
            path.file_name()
                .and_then(OsStr::to_str)
                .is_some_and(|name| GIT_CORE.contains(&name))
        };
        if !is_git && !wanted(&resolved.path) {
            return Ok(());
        }
        if self.plan.contains(&resolved.path) {
            self.plan.extend(resolved.links);
            return Ok(());
        }
        let named_alike = !is_git && resolved.path.file_name() == git.file_name();
        if named_alike && self.same_content(&resolved.path, git)? {
            // It is a copy: unpacking the package did not preserve its hard link.
            self.plan.extend(resolved.links);
            let node = Node::HardLink {
                path: git.to_owned(),
            };
            self.plan.add(&resolved.path, node);
            return Ok(());
        }
        match self.closures.find_closure(path) {
            Ok(nodes) => self.plan.extend(nodes),
            Err(refusal) => self
                .skipped
                .push((path.display().to_string(), refusal.to_string())),
        }
        Ok(())
    }

    fn same_content(&self, one: &Path, other: &Path) -> Result<bool, CopyRefusal> {
        let read = |path: &Path| {
            fs::read(self.host.locate(path)).map_err(|source| CopyRefusal::Io {
                path: path.to_owned(),
                source,
            })
        };
        let length = |path: &Path| {
            self.host
                .resolve_file(path)
                .map(|resolved| resolved.metadata.len())
        };
        Ok(length(one)? == length(other)? && read(one)? == read(other)?)
    }

    /// Adds the distribution's interpreter with its standard library. The first `python3` on a
    /// user's `PATH` may be a shim.
    fn add_python(&mut self) -> Result<(), CopyRefusal> {
        let python = self.add_program("python3")?;
        let prefix = prefix(&python);
        let name = python
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut found = false;
        for directory in ["lib", "lib64"] {
            let library = prefix.join(directory).join(&name);
            if self.host.resolve_file(&library.join("os.py")).is_err() {
                continue;
            }
            found = true;
            self.add_tree(&library, &|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let excluded =
                    PYTHON_EXCLUDED.contains(&name.as_ref()) || name.starts_with("config-");
                let optimised = name.ends_with(".opt-1.pyc") || name.ends_with(".opt-2.pyc");
                let excluded_module = [
                    "_tkinter.",
                    "_test",
                    "_ctypes_test.",
                    "_xxtestfuzz.",
                    "xxlimited",
                ]
                .iter()
                .any(|start| name.starts_with(start));
                !(excluded || optimised || excluded_module && name.ends_with(".so"))
            })?;
        }
        if found {
            Ok(())
        } else {
            Err(CopyRefusal::Missing(
                prefix.join("lib").join(name).join("os.py"),
            ))
        }
    }

    /// Adds libraries that the C library opens by name at run time. No dynamic section mentions
    /// them.
    fn add_plugins(&mut self) {
        let Ok(shell) = self
            .closures
            .find_program("sh")
            .and_then(|path| self.host.resolve_file(&path))
        else {
            return;
        };
        for name in ["libnss_files.so.2", "libnss_dns.so.2", "libgcc_s.so.1"] {
            if let Ok(Some(path)) = self.closures.find_library(&shell.path, name) {
                self.or_skip(name, |this| {
                    this.closures
                        .find_closure(&path)
                        .map(|nodes| this.plan.extend(nodes))
                });
            }
        }
    }

    fn add_certificates(&mut self) {
        let mut bundle = None;
        for path in CERTIFICATES.iter().map(Path::new) {
            if let Ok(resolved) = self.host.resolve_file(path) {
                bundle.get_or_insert(path);
                self.plan.extend(resolved.into_nodes());
            }
        }
        let Some(bundle) = bundle else {
            self.skipped
                .push(("CA certificates".to_owned(), "not installed".to_owned()));
            return;
        };
        // OpenSSL's default directory on Debian. Without the link Python trusts no certificate.
        if let Ok(home) = self.host.resolve(Path::new("/usr/lib/ssl")) {
            self.plan.add(
                &home.path.join("cert.pem"),
                Node::Symlink {
                    target: bundle.as_os_str().to_owned(),
                },
            );
            self.plan.add(
                &home.path.join("certs"),
                Node::Symlink {
                    target: "/etc/ssl/certs".into(),
                },
            );
        }
    }

    /// Adds small public files that programs read.
    fn add_texts(&mut self) {
        for path in ["/etc/os-release", "/etc/services", "/etc/protocols"] {
            if let Ok(resolved) = self.host.resolve_file(Path::new(path)) {
                self.plan.extend(resolved.into_nodes());
            }
        }
        for base in ["/lib/terminfo", "/usr/share/terminfo"] {
            for name in TERMINALS {
                if let Ok(resolved) = self.host.resolve_file(&Path::new(base).join(name)) {
                    self.plan.extend(resolved.into_nodes());
                }
            }
        }
        let locale = Path::new("/usr/lib/locale/C.utf8");
        if self.host.resolve(locale).is_ok() {
            self.or_skip("C.utf8", |this| this.add_tree(locale, &|_| true));
        }
    }

    /// Adds a directory with its content. Files that cannot be copied are recorded with the reason.
    fn add_tree(&mut self, path: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<(), CopyRefusal> {
        let resolved = self.host.resolve(path)?;
        let directory = resolved.path.clone();
        self.plan.extend(resolved.into_nodes());
        for name in self.host.list(&directory)? {
            let inner = directory.join(&name);
            if !wanted(&inner) {
                continue;
            }
            let result = match self.host.resolve(&inner) {
                Ok(found) if found.metadata.is_dir() && found.links.is_empty() => {
                    self.add_tree(&inner, wanted)
                }
                Ok(_) if name.to_string_lossy().ends_with(".so") => self
                    .closures
                    .find_closure(&inner)
                    .map(|nodes| self.plan.extend(nodes)),
                Ok(found) => {
                    self.plan.extend(found.into_nodes());
                    Ok(())
                }
                Err(refusal) => Err(refusal),
            };
            if let Err(refusal) = result {
                self.skipped
                    .push((inner.display().to_string(), refusal.to_string()));
            }
        }
        Ok(())
    }
}

/// The prefix under which a program is installed, such as `/usr` for `/usr/bin/git`.
fn prefix(program: &Path) -> PathBuf {
    let prefix = program
        .parent()
        .and_then(Path::parent)
        .unwrap_or(Path::new("/"));
    // A system without merged /usr has programs in /bin and their data in /usr.
    if prefix == Path::new("/") {
        PathBuf::from("/usr")
    } else {
        prefix.to_owned()
    }
}
