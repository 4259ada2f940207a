//! Settings of the network for programs that do not see the command's environment, such as those
//! that `sudo`, `su -` or cron start, and the JVM.
//!
//! They are lines of the image's own configuration files, which these have only while the sandbox
//! runs.

use std::collections::BTreeMap;

use contree_sandbox::{LineFormat, TemporaryLines};

use super::certificates::BUNDLE_VARIABLES;
use super::network_access::{NetworkAccess, PROXY_PORT};

/// The variables that name the proxy, and the hosts reached without it.
const PROXY_VARIABLES: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "NODE_USE_ENV_PROXY",
];

/// The network settings of Java runtimes.
const JAVA_FILES: &[&str] = &[
    "/etc/java-*/net.properties",
    "/etc/java/*/*/conf/net.properties",
    "/opt/*/conf/net.properties",
    "/opt/java/*/conf/net.properties",
    "/opt/java/*/lib/net.properties",
    "/opt/java/*/jre/lib/net.properties",
    "/root/.sdkman/candidates/java/*/conf/net.properties",
    "/usr/lib/jvm/*/conf/net.properties",
    "/usr/lib/jvm/*/lib/net.properties",
    "/usr/lib/jvm/*/jre/lib/net.properties",
    "/usr/lib64/jvm/*/conf/net.properties",
    "/usr/local/openjdk-*/conf/net.properties",
    "/usr/local/openjdk-*/jre/lib/net.properties",
];

/// The settings of a sandbox. `variables` are those that its command gets for the network.
/// `single_user` states that sandboxes have a single user id.
pub(super) fn lines(
    access: NetworkAccess,
    variables: &BTreeMap<String, String>,
    single_user: bool,
) -> Vec<TemporaryLines> {
    let proxied = |name: &str| access == NetworkAccess::Proxy && variables.contains_key(name);
    let mut files = vec![apt(
        proxied("http_proxy"),
        proxied("https_proxy"),
        single_user,
    )];
    if matches!(access, NetworkAccess::Proxy | NetworkAccess::Host) {
        files.push(sudo());
    }
    if access == NetworkAccess::Proxy {
        let set: Vec<(&str, &str)> = PROXY_VARIABLES
            .iter()
            .filter_map(|name| Some((*name, variables.get(*name)?.as_str())))
            .collect();
        files.extend([environment(&set), profile(&set)]);
        files.extend(java(proxied("http_proxy"), proxied("https_proxy")));
    }
    files.retain(|file| !file.lines.is_empty());
    files
}

/// A file that is made if the image has the directory of such files.
fn new_file(path: &str, directory: &str, lines: Vec<String>) -> TemporaryLines {
    TemporaryLines {
        path: path.into(),
        format: LineFormat::Text,
        lines,
        make_if: Some(directory.into()),
        mode: 0o644,
    }
}

/// Settings of apt. It reads the files of the directory in the order of their names, so the image's
/// own settings have precedence.
fn apt(http: bool, https: bool, single_user: bool) -> TemporaryLines {
    let mut lines = Vec::new();
    for (scheme, proxied) in [("http", http), ("https", https)] {
        if proxied {
            lines.push(format!("Acquire::{scheme}::Proxy \"{}/\";", proxy()));
        }
    }
    if single_user {
        lines.push("APT::Sandbox::User \"root\";".to_owned());
    }
    new_file(
        "/etc/apt/apt.conf.d/00contree",
        "/etc/apt/apt.conf.d",
        lines,
    )
}

/// Lets sudo keep the variables of the network.
fn sudo() -> TemporaryLines {
    let names = PROXY_VARIABLES.iter().chain(BUNDLE_VARIABLES);
    let names: Vec<&str> = names.copied().chain(["APT_CONFIG"]).collect();
    let line = format!("Defaults env_keep += \"{}\"", names.join(" "));
    TemporaryLines {
        // sudo ignores a file that others can read or write.
        mode: 0o440,
        ..new_file("/etc/sudoers.d/contree", "/etc/sudoers.d", vec![line])
    }
}

/// The variables for what PAM starts: `su`, cron, ssh and logins.
fn environment(set: &[(&str, &str)]) -> TemporaryLines {
    let lines = set.iter().map(|(name, value)| format!("{name}={value}"));
    TemporaryLines {
        format: LineFormat::Assignments,
        ..new_file("/etc/environment", "/etc/pam.d", lines.collect())
    }
}

/// The variables for login shells, also where there is no PAM.
fn profile(set: &[(&str, &str)]) -> TemporaryLines {
    let lines = set
        .iter()
        .map(|(name, value)| format!("export {name}=\"${{{name}-{value}}}\""));
    new_file(
        "/etc/profile.d/contree.sh",
        "/etc/profile.d",
        lines.collect(),
    )
}

/// The JVM's own settings, because it does not read the variables.
fn java(http: bool, https: bool) -> impl Iterator<Item = TemporaryLines> {
    let mut lines = Vec::new();
    for (scheme, proxied) in [("http", http), ("https", https)] {
        if proxied {
            lines.push(format!(
                "{scheme}.proxyHost={}",
                contree_sandbox::Network::LISTENER
            ));
            lines.push(format!("{scheme}.proxyPort={PROXY_PORT}"));
        }
    }
    if !lines.is_empty() {
        lines.push("http.nonProxyHosts=localhost|127.*|[::1]".to_owned());
    }
    JAVA_FILES.iter().map(move |path| TemporaryLines {
        path: path.into(),
        format: LineFormat::Assignments,
        lines: lines.clone(),
        make_if: None,
        mode: 0o644,
    })
}

/// The URL of the proxy inside a sandbox.
pub(super) fn proxy() -> String {
    format!("http://{}:{PROXY_PORT}", contree_sandbox::Network::LISTENER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(names: &[&str]) -> BTreeMap<String, String> {
        let values = names.iter().map(|name| ((*name).to_owned(), proxy()));
        values.collect()
    }

    fn text<'a>(files: &'a [TemporaryLines], path: &str) -> Option<&'a [String]> {
        let mut files = files.iter();
        let file = files.find(|file| file.path == std::path::Path::new(path))?;
        Some(&file.lines)
    }

    #[test]
    fn a_sandbox_without_a_proxy_gets_none_of_its_settings() {
        let none = lines(NetworkAccess::Loopback, &BTreeMap::new(), false);
        assert!(none.is_empty(), "{none:?}");
        let single = lines(NetworkAccess::Unavailable, &BTreeMap::new(), true);
        assert_eq!(single.len(), 1);
        assert_eq!(single[0].lines, ["APT::Sandbox::User \"root\";"]);
        let host = lines(NetworkAccess::Host, &variables(&["http_proxy"]), false);
        assert_eq!(host.len(), 1);
        assert_eq!(host[0].mode, 0o440);
    }

    #[test]
    fn variables_that_the_command_does_not_get_are_in_no_file() {
        let files = lines(NetworkAccess::Proxy, &variables(&["https_proxy"]), false);
        assert_eq!(
            text(&files, "/etc/environment").unwrap(),
            ["https_proxy=http://127.0.0.1:3128"]
        );
        assert_eq!(
            text(&files, "/etc/profile.d/contree.sh").unwrap(),
            ["export https_proxy=\"${https_proxy-http://127.0.0.1:3128}\""]
        );
        assert_eq!(
            text(&files, "/etc/apt/apt.conf.d/00contree").unwrap(),
            ["Acquire::https::Proxy \"http://127.0.0.1:3128/\";"]
        );
        let java = text(&files, "/etc/java-*/net.properties").unwrap();
        assert_eq!(java[0], "https.proxyHost=127.0.0.1");
        let own = lines(NetworkAccess::Proxy, &BTreeMap::new(), false);
        assert_eq!(own.len(), 1, "only sudo's: {own:?}");
    }
}
