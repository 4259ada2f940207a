//! Which files of this machine tools may touch.
//!
//! Paths are judged by where they lead, not by how they are spelled: a file is opened first and then asked where it is, so
//! that a link put in its place meanwhile gains nothing. Places of credentials are protected by both: many people keep them
//! elsewhere, and links to them where programs look.

use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::ToolError;
use super::files::expanded;

/// Below the home directory: what lets somebody in somewhere.
const SECRETS: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".git-credentials",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".config/contree",
    ".config/gcloud",
    ".config/containers/auth.json",
    ".config/gh",
    ".config/glab-cli",
    ".config/git/credentials",
    ".config/nebius",
    ".nebius",
    ".password-store",
    ".local/share/keyrings",
];
/// Anywhere: the system's own, and what shows the environment of processes.
const SYSTEM: &[&str] = &[
    "/proc",
    "/sys",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/security/opasswd",
    "/etc/krb5.keytab",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssh",
    "/run/secrets",
    "/var/run/secrets",
];

/// How many links are followed one after the other, as the kernel does it.
const MOST_LINKS: usize = 40;
/// How many entries of a place of credentials are looked at for links and further names, and how deep.
const MOST_ENTRIES: usize = 1_000;
const DEEPEST: usize = 3;

/// What of this machine may be read and written.
#[derive(Clone, Debug)]
pub struct LocalAccess {
    /// The real paths; none: everything.
    only: Option<Vec<PathBuf>>,
    /// The same paths, real and as they were spelled.
    named: Vec<PathBuf>,
    /// What is left out unless it is named, by real paths and as they are spelled.
    secrets: Vec<PathBuf>,
    /// Those of them that are looked into.
    searched: Vec<PathBuf>,
    /// What is in those places, once it was needed.
    inside: Arc<OnceLock<Inside>>,
}

/// Credentials that can be reached by other paths than those of their places.
#[derive(Debug, Default)]
struct Inside {
    /// The files that links in these places lead to.
    targets: BTreeSet<PathBuf>,
    /// Device and number of the files in them, which may have further names.
    files: BTreeSet<(u64, u64)>,
}

impl Default for LocalAccess {
    fn default() -> Self {
        Self::everything()
    }
}

impl LocalAccess {
    /// Everything but credentials.
    #[must_use]
    pub fn everything() -> Self {
        let secrets = secrets();
        Self {
            only: None,
            named: Vec::new(),
            searched: secrets.clone(),
            secrets,
            inside: Arc::default(),
        }
    }

    /// What is at or below these paths; with none of them, nothing. Credentials are left out unless a path is one of their
    /// places or leads into one.
    ///
    /// # Errors
    /// For a path that is not there, since it could become anything later.
    pub fn only<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, String> {
        let (mut only, mut named) = (Vec::new(), Vec::new());
        for path in paths {
            let path = path.as_ref();
            let text = path.to_string_lossy();
            let whole = expanded(&text).unwrap_or_else(|| path.to_owned());
            let real = whole
                .canonicalize()
                .map_err(|error| format!("--allow-path {}: {error}", path.display()))?;
            named.extend(std::path::absolute(&whole).map(|whole| normal(&whole)));
            named.push(real.clone());
            only.push(real);
        }
        Ok(Self {
            only: Some(only),
            named,
            ..Self::everything()
        })
    }

    /// Adds places that hold credentials.
    #[must_use]
    pub fn with_secrets(mut self, more: impl IntoIterator<Item = PathBuf>) -> Self {
        for place in more {
            let place = std::path::absolute(&place).unwrap_or(place);
            self.searched.extend(both(place.clone()));
            self.secrets.extend(both(place));
        }
        self.inside = Arc::default();
        self
    }

    /// Adds directories that are ours, in which there may be very much.
    #[must_use]
    pub fn with_own(mut self, more: impl IntoIterator<Item = PathBuf>) -> Self {
        for place in more {
            let place = std::path::absolute(&place).unwrap_or(place);
            self.secrets.extend(both(place));
        }
        self
    }

    /// Whether nothing at all may be touched.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.only.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether a place may be touched, given by its real path; else why not.
    pub(super) fn judge(&self, path: &Path) -> Result<(), Refusal> {
        let allowed = self.only.as_deref();
        let within = allowed.is_none_or(|allowed| allowed.iter().any(|dir| path.starts_with(dir)));
        if !within {
            return Err(Refusal::Outside);
        }
        if self.is_secret(path) {
            return Err(Refusal::Secret);
        }
        Ok(())
    }

    /// The same for a file that is there, which may be a further name of one that may not be touched.
    pub(super) fn judge_file(&self, path: &Path, about: &Metadata) -> Result<(), Refusal> {
        self.judge(path)?;
        let is_known = number(about).is_some_and(|number| self.inside().files.contains(&number));
        // Below a place of credentials it was judged by its path.
        let is_judged = || {
            let mut places = self.named.iter().filter(|named| *named == path);
            places.next().is_some() || self.secrets.iter().any(|place| path.starts_with(place))
        };
        if is_known && !is_judged() {
            return Err(Refusal::Secret);
        }
        Ok(())
    }

    /// Whether a place is one of credentials that is not named.
    fn is_secret(&self, path: &Path) -> bool {
        let mut secrets = self.secrets.iter().map(PathBuf::as_path);
        let secret = secrets
            .find(|secret| path.starts_with(secret))
            .or_else(|| is_environment(path).then_some(path))
            .or_else(|| self.inside().targets.get(path).map(PathBuf::as_path));
        let named = |secret: &Path| {
            let mut named = self.named.iter();
            named.any(|named| named.starts_with(secret) && path.starts_with(named))
        };
        secret.is_some_and(|secret| !named(secret))
    }

    fn inside(&self) -> &Inside {
        self.inside.get_or_init(|| Inside::of(&self.searched))
    }

    fn check(&self, argument: &str, path: &Path) -> Result<(), ToolError> {
        match self.judge(path) {
            Ok(()) => Ok(()),
            Err(refusal) => Err(self.refused(argument, path, refusal)),
        }
    }

    /// Refuses a path that is spelled as a place of credentials or leads over one, wherever it leads in the end.
    fn check_spelling(&self, argument: &str, path: &Path) -> Result<(), ToolError> {
        let mut places = links(path);
        places.push(normal(path));
        match places.iter().find(|place| self.is_secret(place)) {
            Some(place) => Err(self.refused(argument, place, Refusal::Secret)),
            None => Ok(()),
        }
    }

    fn refused(&self, argument: &str, path: &Path, refusal: Refusal) -> ToolError {
        let shown = path.display();
        match refusal {
            Refusal::Secret => ToolError::new(format!(
                "`{argument}`: {shown} is a place of credentials, which tools neither send nor overwrite"
            ))
            .with_hint(
                "If it is meant, the user can start the server with --allow-path and exactly this place.",
            ),
            Refusal::Outside if self.is_nothing() => ToolError::new(format!(
                "`{argument}`: this server may touch no files of its machine"
            ))
            .with_hint(
                "The user can start it with --allow-path DIR. Until then, give content by `upload(content=…)` and read it \
                 with `read_file`.",
            ),
            Refusal::Outside => ToolError::new(format!(
                "`{argument}`: {shown} is outside of what this server may touch"
            ))
            .with_hint(format!(
                "It may touch {}. The user can add more with --allow-path DIR.",
                self.only
                    .iter()
                    .flatten()
                    .map(|dir| dir.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
        }
    }

    /// Opens a file for reading, and tells where it really is.
    pub(super) fn open(&self, argument: &str, path: &Path) -> Result<Opened, ToolError> {
        // Before anything is told about what may not be touched, such as whether it is there.
        let resolved = self.resolved(argument, path)?;
        let failed = |error: io::Error| ToolError::new(format!("{}: {error}", path.display()));
        let file = open_quietly(&resolved).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        let place = place_of(&file, &resolved, &about).map_err(failed)?;
        self.judge_file(&place, &about)
            .map_err(|refusal| self.refused(argument, &place, refusal))?;
        Ok(Opened { file, about })
    }

    /// Where an existing path leads, if it may be touched.
    pub(super) fn resolved(&self, argument: &str, path: &Path) -> Result<PathBuf, ToolError> {
        let failed = |error: io::Error| ToolError::new(format!("{}: {error}", path.display()));
        match path.canonicalize() {
            Ok(place) => {
                self.check(argument, &place)?;
                self.check_spelling(argument, path)?;
                Ok(place)
            }
            Err(error) => {
                self.check(argument, &real(normal(path)))?;
                Err(failed(error))
            }
        }
    }

    /// Where a file is to be written: the directory, opened and made if it is missing, and the name in it.
    pub(super) fn destination(
        &self,
        argument: &str,
        path: &Path,
    ) -> Result<Destination, ToolError> {
        let failed = |path: &Path, error: io::Error| {
            ToolError::new(format!("`{argument}`: {}: {error}", path.display()))
        };
        // A link is followed: what it leads to is replaced.
        let whole = if path.is_symlink() {
            path.canonicalize().map_err(|_| {
                ToolError::new(format!(
                    "{} is a symbolic link that leads nowhere; give the path of a regular file, or a new one",
                    path.display()
                ))
            })?
        } else {
            normal(path)
        };
        let place = real(whole);
        self.check(argument, &place)?;
        self.check_spelling(argument, path)?;
        if let Ok(found) = std::fs::metadata(&place)
            && !found.is_file()
        {
            return Err(ToolError::new(format!(
                "{} is no regular file; give the path of one, or a new one",
                place.display()
            )));
        }
        let (Some(directory), Some(name)) = (place.parent(), place.file_name()) else {
            return Err(ToolError::new(format!("`{argument}` names no file")));
        };
        std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
        let opened = File::open(directory).map_err(|error| failed(directory, error))?;
        let about = opened
            .metadata()
            .map_err(|error| failed(directory, error))?;
        let really =
            place_of(&opened, directory, &about).map_err(|error| failed(directory, error))?;
        self.check(argument, &really.join(name))?;
        Ok(Destination {
            path: handle(&opened, &really).join(name),
            shown: really.join(name),
            _directory: opened,
        })
    }
}

/// Why a place may not be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Outside,
    Secret,
}

/// A file that was opened and may be read.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) about: Metadata,
}

/// A file that is to be written.
#[derive(Debug)]
pub(super) struct Destination {
    /// A path that leads through the opened directory, whatever becomes of its name.
    pub(super) path: PathBuf,
    /// The same for people.
    pub(super) shown: PathBuf,
    _directory: File,
}

/// Opens without waiting for whoever writes into a pipe.
pub(super) fn open_quietly(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    options.open(path)
}

/// Where an open file is. The kernel says so; where it does not, the path that it was opened by is followed once more and
/// must lead to the same file.
pub(super) fn place_of(file: &File, path: &Path, about: &Metadata) -> io::Result<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd as _;
        if let Ok(place) = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) {
            return Ok(place);
        }
    }
    let _ = file;
    let place = path.canonicalize()?;
    if same(&std::fs::metadata(&place)?, about) {
        Ok(place)
    } else {
        Err(io::Error::other(
            "it was replaced while it was being opened",
        ))
    }
}

impl Inside {
    fn of(secrets: &[PathBuf]) -> Self {
        let mut inside = Self::default();
        // What the kernel shows there are no files.
        let kernel = ["/proc", "/sys"].map(Path::new);
        for secret in secrets
            .iter()
            .filter(|place| !kernel.contains(&place.as_path()))
        {
            let mut left = MOST_ENTRIES;
            let mut places = vec![(secret.clone(), 0)];
            while let Some((place, depth)) = places.pop() {
                let Ok(about) = place.symlink_metadata() else {
                    continue;
                };
                if about.is_dir() && depth < DEEPEST {
                    let entries = std::fs::read_dir(&place).into_iter().flatten().flatten();
                    let before = places.len();
                    places.extend(entries.take(left).map(|entry| (entry.path(), depth + 1)));
                    left -= places.len() - before;
                } else {
                    inside.add(&place, &about);
                }
            }
        }
        inside
    }

    fn add(&mut self, place: &Path, about: &Metadata) {
        if !about.is_symlink() {
            self.files.extend(number(about));
            return;
        }
        let target = place.canonicalize();
        let target = target.and_then(|target| Ok((target.metadata()?, target)));
        // What a link to a directory leads to may be anything, such as all of somebody's work.
        if let Ok((about, target)) = target
            && about.is_file()
        {
            self.files.extend(number(&about));
            self.targets.insert(target);
        }
    }
}

/// Device and number of a file that has further names.
#[cfg(unix)]
fn number(about: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    (about.is_file() && about.nlink() > 1).then(|| (about.dev(), about.ino()))
}

#[cfg(not(unix))]
fn number(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// The links that a path leads over at its end, each by its real directory.
fn links(path: &Path) -> Vec<PathBuf> {
    let mut links = Vec::new();
    let mut next = path.to_owned();
    while links.len() < MOST_LINKS {
        let (Some(parent), Some(name)) = (next.parent(), next.file_name()) else {
            break;
        };
        let Ok(parent) = parent.canonicalize() else {
            break;
        };
        let place = parent.join(name);
        let target = place.read_link();
        links.push(place);
        match target {
            Ok(target) => next = parent.join(target),
            Err(_) => break,
        }
    }
    links
}

/// A place as it is spelled, and where it is.
fn both(place: PathBuf) -> [PathBuf; 2] {
    [normal(&place), real(place)]
}

#[cfg(unix)]
fn same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn same(one: &Metadata, other: &Metadata) -> bool {
    one.len() == other.len() && one.modified().ok() == other.modified().ok()
}

/// A path of an open directory that does not depend on its name.
fn handle(directory: &File, really: &Path) -> PathBuf {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd as _;
        let handle = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        if handle.is_dir() {
            return handle;
        }
    }
    let _ = directory;
    really.to_owned()
}

/// Without `.` and `..`, by the spelling alone.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

/// The real path of what is there, with what is not there yet behind it.
fn real(path: PathBuf) -> PathBuf {
    let mut missing = Vec::new();
    let mut there = path.as_path();
    loop {
        if let Ok(real) = there.canonicalize() {
            return missing
                .iter()
                .rev()
                .fold(real, |path, name| path.join(name));
        }
        match (there.parent(), there.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name);
                there = parent;
            }
            _ => return path.clone(),
        }
    }
}

/// The environment of a process, wherever the file system that shows it is mounted.
fn is_environment(path: &Path) -> bool {
    let mut parts = path.iter().rev();
    parts.next().is_some_and(|name| name == "environ")
        && parts
            .next()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

fn secrets() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    if let Some(home) = std::env::home_dir() {
        places.extend(SECRETS.iter().map(|secret| home.join(secret)));
    }
    // Where programs were told to look instead.
    for (variable, names) in [
        (
            "CONTREE_HOME",
            ["auth.ini", "cli.ini", "mcp.ini"].as_slice(),
        ),
        ("CONTREE_MCP_CONFIG", &[""]),
        ("DOCKER_CONFIG", &["config.json"]),
        ("KUBECONFIG", &[""]),
        ("AWS_SHARED_CREDENTIALS_FILE", &[""]),
        ("AWS_CONFIG_FILE", &[""]),
        ("GOOGLE_APPLICATION_CREDENTIALS", &[""]),
        ("CLOUDSDK_CONFIG", &[""]),
        ("AZURE_CONFIG_DIR", &[""]),
        ("GNUPGHOME", &[""]),
        ("NETRC", &[""]),
        ("REGISTRY_AUTH_FILE", &[""]),
    ] {
        // Some may name several places.
        let value = std::env::var_os(variable).unwrap_or_default();
        for place in std::env::split_paths(&value).filter(|place| place.is_absolute()) {
            places.extend(names.iter().map(|name| match *name {
                "" => place.clone(),
                name => place.join(name),
            }));
        }
    }
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) {
        places.push(Path::new(&runtime).join("containers/auth.json"));
    }
    if let Some(config) = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()) {
        for name in [
            "contree",
            "gcloud",
            "gh",
            "git/credentials",
            "containers/auth.json",
        ] {
            places.push(Path::new(&config).join(name));
        }
    }
    places.retain(|place| place.is_absolute() && place.parent().is_some());
    places.into_iter().flat_map(both).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_judged_by_where_it_leads() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let inside = root.join("in");
        std::fs::create_dir_all(inside.join("deep")).unwrap();
        std::fs::write(root.join("outside"), "x").unwrap();
        std::fs::write(inside.join("file"), "y").unwrap();
        std::os::unix::fs::symlink(root.join("outside"), inside.join("link")).unwrap();
        std::os::unix::fs::symlink(&root, inside.join("up")).unwrap();
        let access = LocalAccess::only([&inside]).unwrap();
        assert!(access.open("path", &inside.join("file")).is_ok());
        for bad in [
            "link",
            "up/outside",
            "../outside",
            "deep/../../outside",
            "up/missing",
        ] {
            let error = access.open("path", &inside.join(bad)).unwrap_err();
            assert!(error.to_string().contains("--allow-path"), "{bad}: {error}");
            let error = access
                .destination("destination", &inside.join(bad))
                .unwrap_err();
            assert!(error.to_string().contains("--allow-path"), "{bad}: {error}");
        }
        let new = access
            .destination("destination", &inside.join("a/b/new"))
            .unwrap();
        assert_eq!(new.shown, inside.join("a/b/new"));
        std::fs::write(&new.path, "z").unwrap();
        assert_eq!(std::fs::read(inside.join("a/b/new")).unwrap(), b"z");
        assert!(LocalAccess::only([root.join("missing")]).is_err());
    }

    #[test]
    fn credentials_need_to_be_named() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        let secret = home.join(".ssh");
        std::fs::create_dir(&secret).unwrap();
        std::fs::write(secret.join("id"), "x").unwrap();
        std::os::unix::fs::symlink(secret.join("id"), home.join("harmless")).unwrap();
        let all = LocalAccess::everything().with_secrets([secret.clone()]);
        let above = LocalAccess::only([&home])
            .unwrap()
            .with_secrets([secret.clone()]);
        for access in [&all, &above] {
            for path in [secret.join("id"), home.join("harmless"), secret.join("new")] {
                assert_eq!(access.judge(&real(path)), Err(Refusal::Secret));
            }
            assert!(access.open("path", &home.join("harmless")).is_err());
            assert!(
                access
                    .destination("destination", &secret.join("authorized_keys"))
                    .is_err()
            );
        }
        for named in [secret.clone(), secret.join("id")] {
            let access = LocalAccess::only([named])
                .unwrap()
                .with_secrets([secret.clone()]);
            assert!(access.open("path", &home.join("harmless")).is_ok());
        }
        let error = all
            .open("path", Path::new("/proc/self/environ"))
            .unwrap_err();
        assert!(error.to_string().contains("credentials"), "{error}");
    }

    #[test]
    fn credentials_are_known_by_their_other_names() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        let (secret, kept) = (home.join(".aws"), home.join("kept"));
        for directory in [&secret, &kept, &home.join("work")] {
            std::fs::create_dir(directory).unwrap();
        }
        std::fs::write(kept.join("aws"), "x").unwrap();
        std::os::unix::fs::symlink(kept.join("aws"), secret.join("credentials")).unwrap();
        std::os::unix::fs::symlink("credentials", secret.join("again")).unwrap();
        std::os::unix::fs::symlink(home.join("work"), secret.join("work")).unwrap();
        std::fs::write(secret.join("config"), "y").unwrap();
        std::fs::hard_link(secret.join("config"), home.join("work/hard")).unwrap();
        std::fs::write(home.join("work/one"), "z").unwrap();
        std::fs::hard_link(home.join("work/one"), home.join("work/two")).unwrap();

        let all = LocalAccess::everything().with_secrets([secret.clone()]);
        for bad in [
            ".aws/credentials",
            ".aws/again",
            "kept/aws",
            "work/hard",
            ".aws/work/one",
        ] {
            let error = all.open("path", &home.join(bad)).unwrap_err();
            assert!(error.to_string().contains("credentials"), "{bad}: {error}");
            let found = home.join(bad).canonicalize().unwrap();
            if !bad.contains("one") {
                let about = found.metadata().unwrap();
                assert_eq!(
                    all.judge_file(&found, &about),
                    Err(Refusal::Secret),
                    "{bad}"
                );
            }
        }
        for bad in [".aws/credentials", ".aws/again", "kept/aws"] {
            let error = all.destination("destination", &home.join(bad)).unwrap_err();
            assert!(error.to_string().contains("credentials"), "{bad}: {error}");
        }
        // What has nothing to do with them but a name or a link to it.
        for good in ["work/one", "work/two"] {
            all.open("path", &home.join(good)).unwrap();
        }
        // Named, by any of its names.
        for named in [secret.join("credentials"), kept.join("aws")] {
            let access = LocalAccess::only([&named]).unwrap();
            let access = access.with_secrets([secret.clone()]);
            access.open("path", &kept.join("aws")).unwrap();
        }
        let access = LocalAccess::only([secret.join("credentials")]).unwrap();
        let access = access.with_secrets([secret.clone()]);
        access.open("path", &secret.join("credentials")).unwrap();
        assert!(access.open("path", &secret.join("config")).is_err());
        let access = LocalAccess::only([home.join("work/hard")]).unwrap();
        let access = access.with_secrets([secret]);
        access.open("path", &home.join("work/hard")).unwrap();
    }

    #[test]
    fn nothing_is_nothing() {
        let nothing = LocalAccess::only::<&Path>([]).unwrap();
        for path in ["/etc/hostname", "/nowhere/at/all"] {
            let error = nothing.open("path", Path::new(path)).unwrap_err();
            assert!(
                error.to_string().contains("no files of its machine"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_pipe_is_opened_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let opened = LocalAccess::everything().open("path", &pipe).unwrap();
        assert!(!opened.about.is_file());
    }
}
