//! What commands are given so that ordinary tools use the network there is: variables, and files beside the image.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use contree_sandbox::{SideFile, SideFileContent};

use super::access::{Access, PORT};
use super::settings::ProxyVariables;

use crate::api::request::SpawnRequest;

/// Certificates of the machine, for images that have none.
const CERTIFICATES: &str = "ca-certificates.crt";
/// Settings of apt where a sandbox has a single user id.
const APT: &str = "apt.conf";
/// The machine's resolvers, where its network is shared.
const RESOLVERS: &str = "resolv.conf";

/// Where distributions keep their certificates in one file.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/cacert.pem",
];

/// Variables by which tools are told of a file with certificates.
const BUNDLE_VARIABLES: &[&str] = &[
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "NODE_EXTRA_CA_CERTS",
];

/// What stays with the sandbox.
const NO_PROXY: &str = "localhost,127.0.0.1,::1";

/// Files of the machine that are read once.
#[derive(Default)]
pub(super) struct Provisions {
    certificates: OnceLock<Option<SideFileContent>>,
    resolvers: OnceLock<Option<SideFileContent>>,
    apt: OnceLock<Option<SideFileContent>>,
}

impl Provisions {
    /// The files that a sandbox gets.
    pub(super) fn side_files(&self, access: Access, single: bool) -> Vec<SideFile> {
        let mut files = Vec::new();
        let mut add =
            |name: &str, content: Option<SideFileContent>, unless: &[&str], over: Option<&str>| {
                files.extend(content.map(|content| SideFile {
                    name: name.to_owned(),
                    content,
                    unless_exists: unless.iter().map(PathBuf::from).collect(),
                    mount_over: over.map(PathBuf::from),
                }));
            };
        if single {
            let apt = self.apt.get_or_init(|| {
                SideFileContent::new(b"// One user id: apt cannot become another user to download.\nAPT::Sandbox::User \"root\";\n").ok()
            });
            add(APT, apt.clone(), &[], None);
        }
        if access == Access::Proxy || access == Access::Host {
            let certificates = self.certificates.get_or_init(|| read(BUNDLES));
            add(CERTIFICATES, certificates.clone(), BUNDLES, None);
        }
        if access == Access::Host {
            let resolvers = self.resolvers.get_or_init(|| read(&["/etc/resolv.conf"]));
            add(RESOLVERS, resolvers.clone(), &[], Some("/etc/resolv.conf"));
        }
        files
    }
}

fn read(paths: &[&str]) -> Option<SideFileContent> {
    let bytes = paths
        .iter()
        .find_map(|path| fs::read(path).ok().filter(|bytes| !bytes.is_empty()))?;
    SideFileContent::new(&bytes).ok()
}

/// Adds the variables to a command's environment. What the request says of a variable, in either case, counts.
pub(super) fn add_variables(
    env: &mut BTreeMap<String, String>,
    request: &SpawnRequest,
    access: Access,
    machine: &ProxyVariables,
    side_files: &[PathBuf],
) {
    let of_request = |name: &str| {
        request
            .env
            .iter()
            .flatten()
            .any(|(given, _)| given.eq_ignore_ascii_case(name))
    };
    let mut set = |name: &str, value: &str| {
        if !of_request(name) {
            env.insert(name.to_owned(), value.to_owned());
        }
    };
    match access {
        Access::Proxy => {
            let proxy = format!("http://{}:{PORT}", contree_sandbox::Network::LISTENER);
            for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
                set(name, &proxy);
            }
            for name in ["no_proxy", "NO_PROXY"] {
                set(name, NO_PROXY);
            }
            // Newer versions of node look at the variables above only if told so.
            set("NODE_USE_ENV_PROXY", "1");
        }
        Access::Host => {
            for (name, value) in &machine.set {
                set(name, value);
            }
        }
        Access::Loopback | Access::Refused => {}
    }
    let path_of = |name: &str| {
        side_files
            .iter()
            .find(|path| path.ends_with(name))
            .map(|path| path.to_string_lossy())
    };
    if let Some(path) = path_of(CERTIFICATES) {
        for variable in BUNDLE_VARIABLES {
            set(variable, &path);
        }
    }
    if let Some(path) = path_of(APT) {
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
    fn the_request_comes_first_in_either_case() {
        let request = request(
            serde_json::json!({"HTTPS_PROXY": null, "no_proxy": "example.com", "SSL_CERT_FILE": "/own"}),
        );
        let mut env =
            BTreeMap::from([("http_proxy".to_owned(), "http://of.the.image:1".to_owned())]);
        add_variables(
            &mut env,
            &request,
            Access::Proxy,
            &ProxyVariables::default(),
            &[PathBuf::from("/dev/contree").join(CERTIFICATES)],
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
        // None of it is saved with the image.
        let mut env = BTreeMap::new();
        let apt = PathBuf::from("/dev/contree").join(APT);
        let machine = ProxyVariables::default();
        add_variables(&mut env, &request, Access::Loopback, &machine, &[apt]);
        assert_eq!(env.into_keys().collect::<Vec<_>>(), ["APT_CONFIG"]);
    }
}
