//! Environment variables and side files that let ordinary tools use a sandbox's network.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use contree_sandbox::{SideFile, SideFileContent, TemporaryLines};

use super::certificates::{BUNDLE_VARIABLES, MachineCertificates, SYSTEM_BUNDLES};
use super::network_access::NetworkAccess;
use super::settings::ProxyVariables;
use super::tool_settings;
use crate::api::request::SpawnRequest;

/// The machine's CA certificates, for images that have none, or in addition to the image's own.
const CERTIFICATES_FILE: &str = "ca-certificates.crt";
/// Settings of apt for sandboxes with a single user id.
const APT_FILE: &str = "apt.conf";
/// The machine's DNS resolvers, for sandboxes that share its network.
const RESOLVERS_FILE: &str = "resolv.conf";

/// Hosts that tools reach without the proxy: the sandbox itself.
const NO_PROXY: &str = "localhost,127.0.0.1,::1";

/// Contents of side files. Those that hardly change are read once from the machine.
pub(super) struct Provisions {
    /// Commands trust the machine's certificate authorities.
    trust_machine: bool,
    /// Files with certificates that the machine's environment names.
    named_certificates: Vec<PathBuf>,
    certificates: OnceLock<ProvidedCertificates>,
    /// The machine's file of resolvers. It changes with the network: each sandbox gets that of now.
    resolvers: &'static str,
    apt: OnceLock<Option<SideFileContent>>,
}

/// The certificates that the machine provides.
struct ProvidedCertificates {
    bundle: Option<SideFileContent>,
    /// The lines that an image's own bundle gets.
    lines: Vec<TemporaryLines>,
}

impl Provisions {
    pub(super) fn new(trust_machine: bool, named_certificates: Vec<PathBuf>) -> Self {
        Self {
            trust_machine,
            named_certificates,
            certificates: OnceLock::new(),
            resolvers: "/etc/resolv.conf",
            apt: OnceLock::new(),
        }
    }

    /// The lines that the image's own bundle of certificates gets.
    pub(super) fn certificate_lines(&self, access: NetworkAccess) -> &[TemporaryLines] {
        match access {
            NetworkAccess::Proxy | NetworkAccess::Host => &self.certificates().lines,
            NetworkAccess::Loopback | NetworkAccess::Unavailable => &[],
        }
    }

    fn certificates(&self) -> &ProvidedCertificates {
        self.certificates.get_or_init(|| {
            if !self.trust_machine {
                return ProvidedCertificates {
                    bundle: read_first(SYSTEM_BUNDLES),
                    lines: Vec::new(),
                };
            }
            let machine = MachineCertificates::read(&self.named_certificates);
            let bundle = machine.bundle();
            ProvidedCertificates {
                bundle: Some(bundle)
                    .filter(|bundle| !bundle.is_empty())
                    .and_then(|bundle| SideFileContent::new(bundle.as_bytes()).ok()),
                lines: machine.temporary_lines(),
            }
        })
    }

    /// The side files of a sandbox.
    pub(super) fn side_files(&self, access: NetworkAccess, single_user: bool) -> Vec<SideFile> {
        let mut files = Vec::new();
        let mut add = |name: &str, content: Option<SideFileContent>, over: Option<&str>| {
            files.extend(content.map(|content| SideFile {
                name: name.to_owned(),
                content,
                unless_exists: Vec::new(),
                mount_over: over.map(PathBuf::from),
                after: Vec::new(),
            }));
        };
        if single_user {
            let apt = self.apt.get_or_init(|| {
                SideFileContent::new(b"// One user id: apt cannot become another user to download.\nAPT::Sandbox::User \"root\";\n").ok()
            });
            add(APT_FILE, apt.clone(), None);
        }
        if access == NetworkAccess::Host {
            let resolvers = read_first(&[self.resolvers]);
            add(RESOLVERS_FILE, resolvers, Some("/etc/resolv.conf"));
        }
        if access == NetworkAccess::Proxy || access == NetworkAccess::Host {
            let bundles: Vec<PathBuf> = SYSTEM_BUNDLES.iter().map(PathBuf::from).collect();
            let (unless_exists, after) = if self.trust_machine {
                (Vec::new(), bundles)
            } else {
                (bundles, Vec::new())
            };
            let bundle = self.certificates().bundle.clone();
            files.extend(bundle.map(|content| SideFile {
                name: CERTIFICATES_FILE.to_owned(),
                content,
                unless_exists,
                mount_over: None,
                after,
            }));
        }
        files
    }
}

/// Reads the first of these files that exists and is not empty.
fn read_first(paths: &[&str]) -> Option<SideFileContent> {
    let bytes = paths
        .iter()
        .find_map(|path| fs::read(path).ok().filter(|bytes| !bytes.is_empty()))?;
    SideFileContent::new(&bytes).ok()
}

/// Adds the variables to a command's environment. A variable that the request sets, in upper or
/// lower case, is left alone.
pub(super) fn add_variables(
    env: &mut BTreeMap<String, String>,
    request: &SpawnRequest,
    access: NetworkAccess,
    machine: &ProxyVariables,
    side_files: &[PathBuf],
) {
    let in_request = |name: &str| {
        request
            .env
            .iter()
            .flatten()
            .any(|(requested, _)| requested.eq_ignore_ascii_case(name))
    };
    // An image may name a bundle of its own. The usual ones do not exist, or are part of the side
    // file.
    let own_bundles: Vec<&str> = BUNDLE_VARIABLES
        .iter()
        .copied()
        .filter(|name| {
            env.get(*name)
                .is_some_and(|own| !SYSTEM_BUNDLES.contains(&own.as_str()))
        })
        .collect();
    let mut set = |name: &str, value: &str| {
        if !in_request(name) {
            env.insert(name.to_owned(), value.to_owned());
        }
    };
    match access {
        NetworkAccess::Proxy => {
            let proxy = tool_settings::proxy();
            for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
                set(name, &proxy);
            }
            for name in ["no_proxy", "NO_PROXY"] {
                set(name, NO_PROXY);
            }
            // Newer versions of Node.js use the variables above only with this one.
            set("NODE_USE_ENV_PROXY", "1");
        }
        NetworkAccess::Host => {
            for (name, value) in &machine.set {
                set(name, value);
            }
        }
        NetworkAccess::Loopback | NetworkAccess::Unavailable => {}
    }
    let path_of = |name: &str| {
        side_files
            .iter()
            .find(|path| path.ends_with(name))
            .map(|path| path.to_string_lossy())
    };
    if let Some(path) = path_of(CERTIFICATES_FILE) {
        for variable in BUNDLE_VARIABLES {
            if !own_bundles.contains(variable) {
                set(variable, &path);
            }
        }
    }
    if let Some(path) = path_of(APT_FILE) {
        set("APT_CONFIG", &path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(env: serde_json::Value) -> SpawnRequest {
        serde_json::from_value(
            serde_json::json!({"command": "true", "image": "tag:host", "env": env}),
        )
        .expect("a request")
    }

    #[test]
    fn resolvers_that_appear_later_are_given_to_later_sandboxes() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("resolv.conf");
        let mut provisions = Provisions::new(false, Vec::new());
        provisions.resolvers = path.to_str().expect("a name").to_owned().leak();
        let is_given = || {
            let files = provisions.side_files(NetworkAccess::Host, false);
            files.iter().any(|file| file.name == RESOLVERS_FILE)
        };
        assert!(!is_given());
        fs::write(&path, "nameserver 127.0.0.1\n").expect("written");
        assert!(is_given());
        fs::remove_file(&path).expect("removed");
        assert!(!is_given());
    }

    #[test]
    fn variables_of_the_request_win_in_either_case() {
        let request = request(
            serde_json::json!({"HTTPS_PROXY": null, "no_proxy": "example.com", "SSL_CERT_FILE": "/own"}),
        );
        let mut env =
            BTreeMap::from([("http_proxy".to_owned(), "http://of.the.image:1".to_owned())]);
        add_variables(
            &mut env,
            &request,
            NetworkAccess::Proxy,
            &ProxyVariables::default(),
            &[PathBuf::from("/dev/contree").join(CERTIFICATES_FILE)],
        );
        assert_eq!(env["http_proxy"], "http://127.0.0.1:3128");
        assert_eq!(env["HTTP_PROXY"], "http://127.0.0.1:3128");
        assert_eq!(env["CURL_CA_BUNDLE"], "/dev/contree/ca-certificates.crt");
        for absent in [
            "https_proxy",
            "HTTPS_PROXY",
            "no_proxy",
            "NO_PROXY",
            "SSL_CERT_FILE",
            "APT_CONFIG",
        ] {
            assert!(!env.contains_key(absent), "{absent}");
        }
        // A sandbox without network gets none of the proxy variables.
        let mut env = BTreeMap::new();
        let apt = PathBuf::from("/dev/contree").join(APT_FILE);
        let machine = ProxyVariables::default();
        add_variables(
            &mut env,
            &request,
            NetworkAccess::Loopback,
            &machine,
            &[apt],
        );
        assert_eq!(env.into_keys().collect::<Vec<_>>(), ["APT_CONFIG"]);
    }
}
