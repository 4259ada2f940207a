//! Paths of credentials, and other paths that lead to them.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use super::real_paths::{both, number};

/// Credential files and directories below the home directory.
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
/// Credential paths of the system, and file systems that show the environment of processes.
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

/// Maximum number of entries of a credential path that are searched for links and hard links, and
/// the maximum depth.
const MAX_ENTRIES: usize = 1_000;
const MAX_DEPTH: usize = 3;

/// Credential files that can also be reached by other paths.
#[derive(Debug, Default)]
pub(super) struct CredentialFiles {
    /// Targets of symbolic links within credential paths.
    pub(super) targets: BTreeSet<PathBuf>,
    /// Device and inode of the files in credential paths, which may have hard links elsewhere.
    pub(super) files: BTreeSet<(u64, u64)>,
}

impl CredentialFiles {
    pub(super) fn of(secrets: &[PathBuf]) -> Self {
        let mut inside = Self::default();
        // The kernel's file systems hold no files that could be linked.
        let kernel = ["/proc", "/sys"].map(Path::new);
        for secret in secrets
            .iter()
            .filter(|path| !kernel.contains(&path.as_path()))
        {
            let mut left = MAX_ENTRIES;
            let mut pending = vec![(secret.clone(), 0)];
            while let Some((path, depth)) = pending.pop() {
                let Ok(metadata) = path.symlink_metadata() else {
                    continue;
                };
                if metadata.is_dir() && depth < MAX_DEPTH {
                    let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
                    let before = pending.len();
                    pending.extend(entries.take(left).map(|entry| (entry.path(), depth + 1)));
                    left -= pending.len() - before;
                } else {
                    inside.add(&path, &metadata);
                }
            }
        }
        inside
    }

    fn add(&mut self, path: &Path, metadata: &Metadata) {
        if !metadata.is_symlink() {
            self.files.extend(number(metadata));
            return;
        }
        let target = path.canonicalize();
        let target = target.and_then(|target| Ok((target.metadata()?, target)));
        // A link to a directory may lead to anything, such as all of the user's work, so only files
        // are protected.
        if let Ok((metadata, target)) = target
            && metadata.is_file()
        {
            self.files.extend(number(&metadata));
            self.targets.insert(target);
        }
    }
}

/// Reports whether a path is the environment of a process, wherever procfs is mounted.
pub(super) fn is_environment(path: &Path) -> bool {
    let mut parts = path.iter().rev();
    parts.next().is_some_and(|name| name == "environ")
        && parts
            .next()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns all credential paths, both as spelled and as real paths.
pub(super) fn secrets() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    if let Some(home) = std::env::home_dir() {
        paths.extend(SECRETS.iter().map(|secret| home.join(secret)));
    }
    // Variables that move credentials elsewhere.
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
        // Some variables hold a list of paths.
        let value = std::env::var_os(variable).unwrap_or_default();
        for path in std::env::split_paths(&value).filter(|path| path.is_absolute()) {
            paths.extend(names.iter().map(|name| match *name {
                "" => path.clone(),
                name => path.join(name),
            }));
        }
    }
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) {
        paths.push(Path::new(&runtime).join("containers/auth.json"));
    }
    if let Some(config) = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()) {
        for name in [
            "contree",
            "gcloud",
            "gh",
            "git/credentials",
            "containers/auth.json",
        ] {
            paths.push(Path::new(&config).join(name));
        }
    }
    paths.retain(|path| path.is_absolute() && path.parent().is_some());
    let mut paths: Vec<PathBuf> = paths.into_iter().flat_map(both).collect();
    paths.sort();
    paths.dedup();
    paths
}
