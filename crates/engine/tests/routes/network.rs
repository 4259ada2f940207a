//! Tests of the sandboxes' network: which addresses a command reaches, and that this machine's
//! services are not among them.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use contree_engine::NetworkMode;
use serde_json::{Value, json};

use crate::support::{FinishedOperation, TestEngine};

/// The address of the proxy inside a sandbox, as bash writes it below `/dev/tcp`.
pub(crate) const PROXY: &str = "127.0.0.1/3128";

/// A service of this machine that no sandbox may reach. It counts connections.
pub(crate) struct ProtectedService {
    pub(crate) port: u16,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl ProtectedService {
    /// Listens on 127.0.0.1 and, if the machine has IPv6, on ::1.
    pub(crate) fn start() -> Self {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        for listener in [Some(first), TcpListener::bind(("::1", port)).ok()] {
            let Some(listener) = listener else { continue };
            let connections = Arc::clone(&connections);
            std::thread::spawn(move || {
                for _ in listener.incoming().flatten() {
                    connections.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Self { port, connections }
    }
}

/// Runs a bash script with only the environment of the request and the engine's variables.
pub(crate) async fn bash(local: &TestEngine, script: &str, fields: Value) -> FinishedOperation {
    let mut body = json!({"shell": false, "args": ["-c", script]});
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    local.run("bash", body).await
}

pub(crate) fn connections(done: &FinishedOperation) -> Vec<&Value> {
    done.events
        .iter()
        .filter(|event| event["type"] == "network")
        .map(|event| &event["data"])
        .collect()
}

#[tokio::test]
async fn commands_get_the_proxy_variables_and_images_do_not_save_them() {
    let local = TestEngine::shared().await;
    let source = local.host().await;
    let print_variables = "env | grep -i '^[a-z]*_proxy=' | sort; grep -c : /proc/net/dev";
    let done = bash(&local, print_variables, json!({})).await;
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "HTTPS_PROXY=http://127.0.0.1:3128",
            "HTTP_PROXY=http://127.0.0.1:3128",
            "NO_PROXY=localhost,127.0.0.1,::1",
            "http_proxy=http://127.0.0.1:3128",
            "https_proxy=http://127.0.0.1:3128",
            "no_proxy=localhost,127.0.0.1,::1",
            // The only network device is loopback.
            "1",
        ],
        "{done:?}"
    );
    // The request's own variables override the engine's, in upper and lower case.
    let own = json!({"env": {"http_proxy": "http://own:1", "HTTPS_PROXY": null}});
    let done = bash(&local, print_variables, own).await;
    assert!(done.stdout.contains("http_proxy=http://own:1"), "{done:?}");
    assert!(!done.stdout.contains("3128"), "{done:?}");
    // The image does not save the engine's variables.
    let committing = json!({"disposable": false, "preserve_env": true});
    let done = local.run("true", committing).await;
    assert_eq!(done.result.as_deref(), Some(source.as_str()), "{done:?}");
    assert!(connections(&done).is_empty());
}

#[tokio::test]
async fn without_a_network_there_is_only_loopback() {
    let local = TestEngine::shared().await;
    let script = format!(
        "env | grep -ic proxy; (: </dev/tcp/{PROXY}) 2>/dev/null && echo REACHED; grep -c : /proc/net/dev"
    );
    let done = bash(&local, &script, json!({"networking": {"enabled": false}})).await;
    assert_eq!(done.stdout, "0\n1\n", "{done:?}");
    assert_eq!(done.stderr, "", "{done:?}");
}

#[tokio::test]
async fn images_without_certificates_get_this_machines() {
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    if !std::path::Path::new(bundle).exists() {
        // This machine has no certificates.
        return;
    }
    let local = TestEngine::shared().await;
    let script = "cat \"$SSL_CERT_FILE\" | head -c 0 && echo \"$SSL_CERT_FILE\"";
    let with = local
        .run("echo \"${SSL_CERT_FILE:-its own}\"", json!({}))
        .await;
    assert_eq!(with.stdout, "its own\n", "{with:?}");
    let bare_image = local
        .run(
            "rm -f /etc/ssl/certs/ca-certificates.crt /etc/ssl/cert.pem",
            json!({"disposable": false}),
        )
        .await
        .result
        .unwrap();
    let with_bundle = local
        .run(script, json!({"image": bare_image, "disposable": false}))
        .await;
    assert_eq!(
        with_bundle.stdout, "/dev/contree/ca-certificates.crt\n",
        "{with_bundle:?}"
    );
    assert_eq!(with_bundle.result, Some(bare_image), "{with_bundle:?}");
}

#[tokio::test]
async fn an_engine_can_deny_the_network() {
    let local = TestEngine::with_settings(|config| config.network = NetworkMode::None).await;
    assert_eq!(
        local.get("/whoami").await.json["x-engine"]["network"],
        "loopback"
    );
    let script = format!("env | grep -ic proxy; (: </dev/tcp/{PROXY}) 2>/dev/null && echo REACHED");
    let done = bash(&local, &script, json!({})).await;
    assert_eq!(
        (done.stdout.as_str(), done.stderr.as_str()),
        ("0\n", ""),
        "{done:?}"
    );
    // A request that explicitly enables the network gets a diagnostic.
    let done = local
        .run(
            "printf unended >&2",
            json!({"networking": {"enabled": true}}),
        )
        .await;
    assert_eq!(done.status, "SUCCESS");
    let mut lines = done.stderr.lines();
    assert_eq!(lines.next(), Some("unended"));
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("contree: this engine gives sandboxes no network")
    );
    assert!(connections(&done)[0]["error"].is_string(), "{done:?}");
}

#[tokio::test]
async fn an_engine_can_share_this_machines_network() {
    let local = TestEngine::with_settings(|config| config.network = NetworkMode::Host).await;
    let whoami = local.get("/whoami").await.json;
    assert_eq!(whoami["x-engine"]["network"], "host");
    assert!(
        whoami["x-engine"]["notes"]
            .to_string()
            .contains("nothing is filtered"),
        "{whoami}"
    );
    let service = ProtectedService::start();
    let script = format!(": </dev/tcp/127.0.0.1/{}", service.port);
    let done = bash(&local, &script, json!({})).await;
    assert_eq!(done.exit_code, 0, "{done:?}");
    // A request without a network does not get it.
    let done = bash(&local, &script, json!({"networking": {"enabled": false}})).await;
    assert_ne!(done.exit_code, 0, "{done:?}");
}

#[tokio::test]
async fn the_engines_egress_rules_apply() {
    let local = TestEngine::with_settings(|config| {
        config.egress_allow =
            contree_engine::EgressRule::parse_list("allowed.example:443").unwrap();
    })
    .await;
    let script = format!(
        "exec 3<>/dev/tcp/{PROXY}; printf 'CONNECT other.example:443 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3; read -r line <&3; echo \"$line\""
    );
    let done = bash(&local, &script, json!({})).await;
    assert_eq!(
        done.stdout.trim_end(),
        "HTTP/1.1 403 Forbidden by sandbox policy: other.example:443 is not on the allow list",
        "{done:?}"
    );
    assert!(
        done.stderr.ends_with(
            "contree: 1 connection was denied by the network policy of this sandbox: other.example:443 is not on the allow list (`contree-mcp doctor` says what may be reached)\n"
        ),
        "{done:?}"
    );
    let notes = local.get("/whoami").await.json["x-engine"]["notes"].to_string();
    assert!(notes.contains("only allowed.example:443"), "{notes}");
}

/// Connects to addresses and names without the proxy, and counts routes and UDP sockets.
const WITHOUT_PROXY: &str = "for host in 10.0.0.1 169.254.169.254 vm.local; do\n\
    (: </dev/tcp/$host/80) 2>&1 | grep -o 'Network is unreachable\\|No route to host\\|Name or service not known\\|Temporary failure in name resolution' | head -1\n\
    done; tail -n +2 /proc/net/route | wc -l; tail -n +2 /proc/net/udp | wc -l";

#[tokio::test]
async fn programs_that_know_no_proxy_have_the_same_policy() {
    let local = TestEngine::shared().await;
    let done = bash(&local, WITHOUT_PROXY, json!({})).await;
    let refused = "No route to host\nNo route to host\nNo route to host\n";
    assert_eq!(done.stdout, format!("{refused}1\n1\n"), "{done:?}");
    let summary = done.stderr.lines().last().unwrap_or_default();
    assert!(
        summary.starts_with("contree: 3 connections were denied by the network policy of this sandbox: 10.0.0.1 is a private address; 169.254.169.254 is a link-local address"),
        "{done:?}"
    );
    let network = connections(&done);
    assert_eq!(network[0]["x-connection"]["method"], "TCP", "{network:?}");
    assert_eq!(network[0]["x-connection"]["verdict"], "denied");
    assert_eq!(network[2]["x-connection"]["host"], "vm.local");
    let notes = local.get("/whoami").await.json["x-engine"]["notes"].to_string();
    assert!(notes.contains("by name and by TCP"), "{notes}");
}

#[tokio::test]
async fn without_a_network_or_a_transparent_one_nothing_of_it_is_there() {
    let local = TestEngine::with_settings(|config| {
        config.transparent_network = contree_engine::TransparentNetwork::Off;
    })
    .await;
    let unreachable = "Network is unreachable\nNetwork is unreachable\n";
    for fields in [json!({}), json!({"networking": {"enabled": false}})] {
        let done = bash(&local, WITHOUT_PROXY, fields).await;
        let rest = done.stdout.strip_prefix(unreachable);
        // The last name does not resolve.
        let rest = rest.unwrap_or_else(|| panic!("{done:?}"));
        assert!(rest.ends_with("\n0\n0\n"), "{done:?}");
        assert!(connections(&done).is_empty(), "{done:?}");
    }
    let notes = local.get("/whoami").await.json["x-engine"]["notes"].to_string();
    assert!(notes.contains("--transparent-network off"), "{notes}");
    let shared = TestEngine::shared().await;
    let fields = json!({"networking": {"enabled": false}});
    let done = bash(&shared, WITHOUT_PROXY, fields).await;
    assert!(done.stdout.starts_with(unreachable), "{done:?}");
    assert!(done.stdout.ends_with("\n0\n0\n"), "{done:?}");
}
