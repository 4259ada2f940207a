//! Collects the programs of the new root: the usual tools of a plain command line.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::closure::Closures;
use super::host::{Host, Refusal};
use super::plan::{Node, Plan, Source};

/// The directories in which distributions install programs.
const STANDARD: &[&str] = &["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// The directories with links to programs on a system with a store. In the new root these programs
/// get a link in `/usr/bin`.
const GENERATION: &[&str] = &[
    "/run/current-system/sw/bin",
    "/run/current-system/profile/bin",
];

const PROGRAMS: &[&str] = &[
    // Shells
    "sh",
    "bash",
    // coreutils
    "[",
    "arch",
    "b2sum",
    "base32",
    "base64",
    "basename",
    "basenc",
    "cat",
    "chgrp",
    "chmod",
    "chown",
    "chroot",
    "cksum",
    "comm",
    "cp",
    "csplit",
    "cut",
    "date",
    "dd",
    "df",
    "dir",
    "dircolors",
    "dirname",
    "du",
    "echo",
    "env",
    "expand",
    "expr",
    "factor",
    "false",
    "fmt",
    "fold",
    "groups",
    "head",
    "hostid",
    "id",
    "install",
    "join",
    "link",
    "ln",
    "logname",
    "ls",
    "md5sum",
    "mkdir",
    "mkfifo",
    "mknod",
    "mktemp",
    "mv",
    "nice",
    "nl",
    "nohup",
    "nproc",
    "numfmt",
    "od",
    "paste",
    "pathchk",
    "pr",
    "printenv",
    "printf",
    "ptx",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "seq",
    "sha1sum",
    "sha224sum",
    "sha256sum",
    "sha384sum",
    "sha512sum",
    "shred",
    "shuf",
    "sleep",
    "sort",
    "split",
    "stat",
    "stdbuf",
    "stty",
    "sum",
    "sync",
    "tac",
    "tail",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "truncate",
    "tsort",
    "tty",
    "uname",
    "unexpand",
    "uniq",
    "unlink",
    "vdir",
    "wc",
    "who",
    "whoami",
    "yes",
    // Finding, searching and editing
    "find",
    "xargs",
    "grep",
    "egrep",
    "fgrep",
    "sed",
    "awk",
    "diff",
    "diff3",
    "cmp",
    "sdiff",
    "patch",
    "less",
    "which",
    "column",
    "rev",
    // Archives
    "tar",
    "gzip",
    "gunzip",
    "zcat",
    "xz",
    "unxz",
    "xzcat",
    "zstd",
    "unzstd",
    "zstdcat",
    "bzip2",
    "bunzip2",
    "bzcat",
    // Processes and the system
    "ps",
    "free",
    "kill",
    "pgrep",
    "pidof",
    "pkill",
    "pmap",
    "top",
    "uptime",
    "vmstat",
    "w",
    "watch",
    "flock",
    "getent",
    "getopt",
    "hostname",
    "ldd",
    "locale",
    "setsid",
    "clear",
    "tput",
    // The network
    "curl",
];

/// The parts of git-core that are not another name of the `git` program.
const GIT_CORE: &[&str] = &[
    "git",
    "git-bisect",
    "git-difftool--helper",
    "git-filter-branch",
    "git-merge-octopus",
    "git-merge-one-file",
    "git-merge-resolve",
    "git-mergetool",
    "git-mergetool--lib",
    "git-remote-http",
    "git-request-pull",
    "git-sh-i18n",
    "git-sh-i18n--envsubst",
    "git-sh-setup",
    "git-submodule",
    "git-subtree",
];

/// The excluded parts of Python's library: its tests, windows and editors, the translator from
/// Python 2, and additionally installed packages.
const NOT_OF_PYTHON: &[&str] = &[
    "dist-packages",
    "idlelib",
    "lib2to3",
    "site-packages",
    "test",
    "tests",
    "tkinter",
    "turtledemo",
];

const TERMINALS: &[&str] = &[
    "a/ansi",
    "d/dumb",
    "l/linux",
    "s/screen",
    "s/screen-256color",
    "t/tmux",
    "t/tmux-256color",
    "v/vt100",
    "v/vt220",
    "x/xterm",
    "x/xterm-256color",
];

const CERTIFICATES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/tls/cert.pem",
];

/// Collects the programs of a host into a plan, and lists what it left out with the reason.
pub(super) struct Collector<'a> {
    host: &'a Host,
    closures: Closures<'a>,
    plan: &'a mut Plan,
    skipped: &'a mut Vec<(String, String)>,
}

/// The directories to search for a program by name, in order.
pub(super) fn directories() -> Vec<PathBuf> {
    STANDARD
        .iter()
        .chain(GENERATION)
        .map(PathBuf::from)
        .collect()
}

impl<'a> Collector<'a> {
    pub(super) fn new(
        host: &'a Host,
        directories: &'a [PathBuf],
        plan: &'a mut Plan,
        skipped: &'a mut Vec<(String, String)>,
    ) -> Collector<'a> {
        Collector {
            host,
            closures: Closures::new(host, directories),
            plan,
            skipped,
        }
    }

    pub(super) fn collect(&mut self) {
        self.roots();
        for name in PROGRAMS {
            self.optional(name, |this| this.program(name).map(drop));
        }
        self.optional("git", Self::git);
        self.optional("python3", Self::python);
        self.plugins();
        self.certificates();
        self.texts();
    }

    fn optional(&mut self, name: &str, take: impl FnOnce(&mut Self) -> Result<(), Refusal>) {
        if let Err(refusal) = take(self) {
            self.skipped.push((name.to_owned(), refusal.to_string()));
        }
    }

    /// Adds `/bin` and similar directories, which are links on most systems. They must exist,
    /// because programs are searched there.
    fn roots(&mut self) {
        for name in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"] {
            if let Ok(resolved) = self.host.resolve(Path::new(name)) {
                self.plan.extend(resolved.into_nodes());
            }
        }
        self.plan
            .add(Path::new("/usr/bin"), Node::Directory { mode: 0o755 });
    }

    /// Adds a program and its closure, and returns the program's real path.
    fn program(&mut self, name: &str) -> Result<PathBuf, Refusal> {
        let found = self.closures.search(name)?;
        let real = self.host.resolve_file(&found)?.path;
        if STANDARD
            .iter()
            .any(|directory| found.starts_with(directory))
        {
            let nodes = self.closures.of(&found)?;
            self.plan.extend(nodes);
        } else {
            let nodes = self.closures.of(&real)?;
            self.plan.extend(nodes);
            self.plan.add(
                &Path::new("/usr/bin").join(name),
                Node::Link {
                    target: real.clone().into_os_string(),
                },
            );
        }
        Ok(real)
    }

    fn git(&mut self) -> Result<(), Refusal> {
        let git = self.program("git")?;
        let prefix = prefix(&git);
        for name in ["git-upload-pack", "git-receive-pack"] {
            self.optional(name, |this| this.program(name).map(drop));
        }
        let core = ["lib/git-core", "libexec/git-core"]
            .iter()
            .find_map(|place| self.host.resolve(&prefix.join(place)).ok());
        if let Some(core) = core {
            for name in self.host.list(&core.path)? {
                self.git_core(&git, &core.path.join(name))?;
            }
        }
        self.tree(&prefix.join("share/git-core/templates"), &|_| true)
    }

    fn git_core(&mut self, git: &Path, path: &Path) -> Result<(), Refusal> {
        let Ok(resolved) = self.host.resolve_file(path) else {
            return Ok(());
        };
        let itself = self.host.resolve_file(git)?;
        let same = Source::of(&resolved.metadata).is_same_file(&Source::of(&itself.metadata));
        let wanted = |path: &Path| {
            path.file_name()
                .and_then(OsStr::to_str)
                .is_some_and(|name| GIT_CORE.contains(&name))
        };
        if !same && !wanted(&resolved.path) {
            return Ok(());
        }
        if self.plan.contains(&resolved.path) {
            self.plan.extend(resolved.links);
            return Ok(());
        }
        let named_alike = !same && resolved.path.file_name() == git.file_name();
        if named_alike && self.equal(&resolved.path, git)? {
            // It is a copy: unpacking the package did not preserve its hard link.
            self.plan.extend(resolved.links);
            let node = Node::Same {
                path: git.to_owned(),
            };
            self.plan.add(&resolved.path, node);
            return Ok(());
        }
        match self.closures.of(path) {
            Ok(nodes) => self.plan.extend(nodes),
            Err(refusal) => self
                .skipped
                .push((path.display().to_string(), refusal.to_string())),
        }
        Ok(())
    }

    fn equal(&self, one: &Path, other: &Path) -> Result<bool, Refusal> {
        let read = |path: &Path| {
            fs::read(self.host.locate(path)).map_err(|source| Refusal::Io {
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
    fn python(&mut self) -> Result<(), Refusal> {
        let python = self.program("python3")?;
        let prefix = prefix(&python);
        let name = python
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut found = false;
        for place in ["lib", "lib64"] {
            let library = prefix.join(place).join(&name);
            if self.host.resolve_file(&library.join("os.py")).is_err() {
                continue;
            }
            found = true;
            self.tree(&library, &|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let excluded =
                    NOT_OF_PYTHON.contains(&name.as_ref()) || name.starts_with("config-");
                let optimised = name.ends_with(".opt-1.pyc") || name.ends_with(".opt-2.pyc");
                let extension = [
                    "_tkinter.",
                    "_test",
                    "_ctypes_test.",
                    "_xxtestfuzz.",
                    "xxlimited",
                ]
                .iter()
                .any(|start| name.starts_with(start));
                !(excluded || optimised || extension && name.ends_with(".so"))
            })?;
        }
        if found {
            Ok(())
        } else {
            Err(Refusal::Missing(
                prefix.join("lib").join(name).join("os.py"),
            ))
        }
    }

    /// Adds libraries that the C library opens by name at run time. No dynamic section mentions
    /// them.
    fn plugins(&mut self) {
        let Ok(shell) = self
            .closures
            .search("sh")
            .and_then(|path| self.host.resolve_file(&path))
        else {
            return;
        };
        for name in ["libnss_files.so.2", "libnss_dns.so.2", "libgcc_s.so.1"] {
            if let Ok(Some(path)) = self.closures.library(&shell.path, name) {
                self.optional(name, |this| {
                    this.closures.of(&path).map(|nodes| this.plan.extend(nodes))
                });
            }
        }
    }

    fn certificates(&mut self) {
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
                Node::Link {
                    target: bundle.as_os_str().to_owned(),
                },
            );
            self.plan.add(
                &home.path.join("certs"),
                Node::Link {
                    target: "/etc/ssl/certs".into(),
                },
            );
        }
    }

    /// Adds small public files that programs read.
    fn texts(&mut self) {
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
            self.optional("C.utf8", |this| this.tree(locale, &|_| true));
        }
    }

    /// Adds a directory with its content. Files that cannot be copied are recorded with the reason.
    fn tree(&mut self, path: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<(), Refusal> {
        let resolved = self.host.resolve(path)?;
        let directory = resolved.path.clone();
        self.plan.extend(resolved.into_nodes());
        for name in self.host.list(&directory)? {
            let inner = directory.join(&name);
            if !wanted(&inner) {
                continue;
            }
            let taken = match self.host.resolve(&inner) {
                Ok(found) if found.metadata.is_dir() && found.links.is_empty() => {
                    self.tree(&inner, wanted)
                }
                Ok(_) if name.to_string_lossy().ends_with(".so") => self
                    .closures
                    .of(&inner)
                    .map(|nodes| self.plan.extend(nodes)),
                Ok(found) => {
                    self.plan.extend(found.into_nodes());
                    Ok(())
                }
                Err(refusal) => Err(refusal),
            };
            if let Err(refusal) = taken {
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
