//! Logins: profiles of services, and registries.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};

use super::{Shell, stderr, stdout};
use crate::push_registry::PushRegistry;
use crate::support::stub::Stub;

const TOKEN: &str = "a-secret-token";

/// A stub service, and the program's home.
struct Service {
    _runtime: tokio::runtime::Runtime,
    stub: Stub,
    url: String,
    shell: Shell,
}

impl Service {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let stub = Stub::default();
        let url = runtime.block_on(stub.start());
        Self {
            _runtime: runtime,
            stub,
            url,
            shell: Shell::new(),
        }
    }

    fn profiles(&self) -> String {
        let path = self.shell.0.path().join(".config/contree/auth.ini");
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Runs `contree` with a secret as its input.
    fn with_secret(&self, words: &[&str], secret: &str) -> Output {
        let input = format!("{secret}\n");
        let output = self.shell.with_input(words, input.as_bytes());
        for text in [stdout(&output), stderr(&output)] {
            assert!(!text.contains(TOKEN), "{text}");
        }
        output
    }
}

#[test]
fn a_profile_is_written_listed_switched_and_removed() {
    let service = Service::new();
    let (shell, url) = (&service.shell, service.url.as_str());
    let login = ["login", "cloud", "--url", url, "--token-stdin"];
    let output = service.with_secret(&login, TOKEN);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        service.profiles(),
        format!(
            "[DEFAULT]\nprofile = default\n\n[profile:default]\nurl = {url}\ntoken = {TOKEN}\ntype = jwt\n"
        )
    );
    let path = shell.0.path().join(".config/contree/auth.ini");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let sent = service.stub.authorizations();
    let expected = format!("Bearer {TOKEN}");
    assert_eq!(sent.last().unwrap().as_deref(), Some(expected.as_str()));
    // The next command uses it.
    let status = shell.ok(&["auth", "status"]);
    assert!(status.contains(url), "{status}");
    assert!(status.contains("profile:   default"), "{status}");
    let again = service.with_secret(&login, TOKEN);
    let said = stderr(&again);
    assert!(said.contains("--force replaces it"), "{said}");
    // The official command line writes a profile so.
    let work = [
        "auth",
        "-p",
        "work",
        "--type",
        "iam",
        "-P",
        "p1",
        "-u",
        url,
        "--token-stdin",
    ];
    let said = stderr(&service.with_secret(&work, TOKEN));
    assert!(said.contains("`contree auth switch work`"), "{said}");
    let listed = shell.ok(&["auth", "list"]);
    assert!(!listed.contains(TOKEN), "{listed}");
    for text in ["work", "iam", "jwt", "ok"] {
        assert!(listed.contains(text), "{listed}");
    }
    shell.ok(&["auth", "switch", "work"]);
    assert!(service.profiles().contains("profile = work"));
    let near = shell.fails(1, &["auth", "switch", "wrok"]);
    assert!(near.contains("did you mean `work`?"), "{near}");
    shell.ok(&["auth", "logout", "work"]);
    assert!(!service.profiles().contains("profile:work"));
    assert!(service.profiles().contains("profile = default"));
    shell.ok(&["auth", "rm", "-f", "default"]);
    assert!(!service.profiles().contains("profile"));
}

#[test]
fn a_token_that_does_not_work_or_is_visible_is_not_stored() {
    let service = Service::new();
    let closed = ["login", "--url", "http://127.0.0.1:1", "--token-stdin"];
    let output = service.with_secret(&closed, TOKEN);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("nothing was stored"), "{said}");
    let visible = ["login", "--url", &service.url, "--token", "x"];
    let said = service.shell.fails(2, &visible);
    assert!(said.contains("other users can see"), "{said}");
    let empty = ["login", "--url", &service.url, "--token-stdin"];
    let said = stderr(&service.with_secret(&empty, ""));
    assert!(said.contains("empty"), "{said}");
    let missing = service.shell.fails(2, &["login", "cloud"]);
    assert!(missing.contains("--project"), "{missing}");
    assert_eq!(service.profiles(), "");
}

#[test]
fn a_registry_login_is_checked_and_stored_where_the_tools_have_it() {
    let service = Service::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let registry = runtime.block_on(PushRegistry::start());
    let url = registry.url("x");
    let host = url.strip_prefix("docker://").unwrap();
    let host = host.strip_suffix("/x").unwrap();
    let login = ["login", host, "--username", "me", "--password-stdin"];
    let output = service.with_secret(&login, TOKEN);
    assert!(output.status.success(), "{}", stderr(&output));
    let status = service.shell.ok(&["auth", "status"]);
    assert!(status.contains(&format!("{host} as me")), "{status}");
    let store = service.shell.0.path().join("state/store.db");
    let store = rusqlite::Connection::open(store).unwrap();
    let query = "SELECT registry || ' ' || username || ' ' || secret FROM credentials";
    let row: String = store.query_row(query, [], |row| row.get(0)).unwrap();
    assert_eq!(row, format!("{host} me {TOKEN}"));
    service.shell.ok(&["auth", "logout", host]);
    let status = service.shell.ok(&["--json", "auth", "status"]);
    assert!(status.contains("\"registries\":[]"), "{status}");
    let mut bare = service.shell.0.contree();
    let bare = bare.args(["login", "me"]).stdin(Stdio::null());
    let said = stderr(&bare.output().unwrap());
    assert!(said.contains("docker.io for Docker Hub"), "{said}");
    let nameless = ["login", host, "--password-stdin"];
    let said = stderr(&service.with_secret(&nameless, TOKEN));
    assert!(said.contains("--username NAME"), "{said}");
}
