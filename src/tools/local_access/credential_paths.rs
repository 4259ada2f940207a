//! Where credentials are, and what else leads to them.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::path::{Path, PathBuf};

use super::real_paths::{both, number};

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

/// How many entries of a place of credentials are looked at for links and further names, and how deep.
const MOST_ENTRIES: usize = 1_000;
const DEEPEST: usize = 3;

/// Credentials that can be reached by other paths than those of their places.
#[derive(Debug, Default)]
pub(super) struct CredentialFiles {
    /// The files that links in these places lead to.
    pub(super) targets: BTreeSet<PathBuf>,
    /// Device and number of the files in them, which may have or get further names.
    pub(super) files: BTreeSet<(u64, u64)>,
}

impl CredentialFiles {
    pub(super) fn of(secrets: &[PathBuf]) -> Self {
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

/// The environment of a process, wherever the file system that shows it is mounted.
pub(super) fn is_environment(path: &Path) -> bool {
    let mut parts = path.iter().rev();
    parts.next().is_some_and(|name| name == "environ")
        && parts
            .next()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// All of them, by real paths and as they are spelled.
pub(super) fn secrets() -> Vec<PathBuf> {
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
    let mut places: Vec<PathBuf> = places.into_iter().flat_map(both).collect();
    places.sort();
    places.dedup();
    places
}
