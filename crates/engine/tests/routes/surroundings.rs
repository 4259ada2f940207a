//! Tests of what a command sees around it: names, its home, the proxy's settings in the image's own
//! files, certificates and shared memory.

use contree_engine::{LocalConfig, NetworkMode};
use serde_json::json;

use crate::support::{TestEngine, data_dir};

/// Prints the addresses of names, or `none`.
const RESOLVE: &str = r#"
import socket
for name in ("localhost", socket.gethostname()):
    try:
        print(name, socket.gethostbyname(name))
    except OSError:
        print(name, "none")
"#;

fn resolve() -> String {
    format!("python3 -c '{}'", RESOLVE.trim())
}

/// An image made of `tag:host` by a script.
async fn image(local: &TestEngine, script: &str) -> String {
    let done = local.run(script, json!({"disposable": false})).await;
    assert_eq!(done.exit_code, 0, "{done:?}");
    done.result.unwrap()
}

#[tokio::test]
async fn localhost_and_the_own_name_resolve_in_every_image() {
    let local = TestEngine::shared().await;
    let bare = image(&local, "rm /etc/hosts").await;
    let other = image(&local, "echo '10.0.0.1 elsewhere' >/etc/hosts").await;
    for network in [true, false] {
        for image in ["tag:host", &bare, &other] {
            let fields = json!({
                "image": image, "hostname": "own.example", "disposable": false,
                "networking": {"enabled": network},
            });
            let done = local.run(&resolve(), fields).await;
            assert_eq!(
                done.stdout, "localhost 127.0.0.1\nown.example 127.0.0.1\n",
                "{image}: {done:?}"
            );
            // Names are not stored.
            if image != "tag:host" {
                assert_eq!(done.result.as_deref(), Some(image), "{done:?}");
            }
        }
    }
    let answer = local
        .get(&format!("/inspect/{bare}/download?path=/etc/hosts"))
        .await;
    assert_eq!(answer.status, 404, "{answer:?}");
    let done = local.run(&resolve(), json!({"image": bare})).await;
    assert_eq!(
        done.stdout, "localhost 127.0.0.1\nlinuxkit 127.0.0.1\n",
        "{done:?}"
    );
}

#[tokio::test]
async fn a_shell_has_the_home_of_its_user() {
    let local = TestEngine::shared().await;
    let users = image(
        &local,
        "sed -i s,:/root:,:/srv/root:, /etc/passwd; echo app:x:1000:1000::/home/app:/bin/sh >>/etc/passwd",
    )
    .await;
    let engine = &local;
    let home = async |fields: serde_json::Value| engine.run("echo ${HOME-none}", fields).await;
    let done = home(json!({"image": users})).await;
    assert_eq!(done.stdout, "/srv/root\n", "{done:?}");
    let done = home(json!({"image": users, "env": {"HOME": "/own"}})).await;
    assert_eq!(done.stdout, "/own\n", "{done:?}");
    let done = home(json!({"image": users, "env": {"HOME": null}})).await;
    assert_eq!(done.stdout, "none\n", "{done:?}");
    for (uid, expected) in [(1000, "/home/app\n"), (1234, "/\n")] {
        let request = json!({
            "image": users, "command": "echo $HOME", "shell": true, "disposable": true,
            "uid": uid, "gid": uid,
        });
        let answer = local.post("/instances", &request).await;
        // Other users exist only where there is a range of ids.
        if answer.text.contains("`uid` and `gid` can only be 0") {
            return;
        }
        assert_eq!(answer.status, 201, "{answer:?}");
        let done = local.done(answer.json["uuid"].as_str().unwrap()).await;
        assert_eq!(done.stdout, expected, "{done:?}");
    }
}

/// Makes what Debian's apt, sudo, PAM and Java have.
const CONFIGURED: &str = "mkdir -p /etc/apt/apt.conf.d /etc/sudoers.d /etc/pam.d /etc/profile.d /etc/java-17-openjdk; \
    echo LANG=C.UTF-8 >/etc/environment; \
    echo 'http.nonProxyHosts=localhost|127.*' >/etc/java-17-openjdk/net.properties";
const PRINT_SETTINGS: &str = "cat /etc/apt/apt.conf.d/* /etc/sudoers.d/* /etc/environment /etc/profile.d/* /etc/java-17-openjdk/net.properties 2>/dev/null";

#[tokio::test]
async fn programs_without_the_environment_find_the_proxy() {
    let local = TestEngine::shared().await;
    let configured = image(&local, CONFIGURED).await;
    let fields = json!({"image": configured, "disposable": false});
    let done = local.run(PRINT_SETTINGS, fields).await;
    for line in [
        "Acquire::http::Proxy \"http://127.0.0.1:3128/\";",
        "Acquire::https::Proxy \"http://127.0.0.1:3128/\";",
        "LANG=C.UTF-8",
        "https_proxy=http://127.0.0.1:3128",
        "NO_PROXY=localhost,127.0.0.1,::1",
        "export http_proxy=\"${http_proxy-http://127.0.0.1:3128}\"",
        "https.proxyHost=127.0.0.1",
        "http.proxyPort=3128",
    ] {
        assert!(done.stdout.lines().any(|l| l == line), "{line}: {done:?}");
    }
    assert!(
        done.stdout.contains("Defaults env_keep += \"http_proxy "),
        "{done:?}"
    );
    assert_eq!(done.stdout.matches("nonProxyHosts").count(), 1, "{done:?}");
    assert_eq!(done.result.as_ref(), Some(&configured), "{done:?}");
    // A file that the command changes is stored without them.
    let script = "echo EDITOR=vi >>/etc/environment";
    let changed = local
        .run(script, json!({"image": configured, "disposable": false}))
        .await
        .result
        .unwrap();
    let stored = local
        .get(&format!(
            "/inspect/{changed}/download?path=/etc/environment"
        ))
        .await;
    assert_eq!(stored.text, "LANG=C.UTF-8\nEDITOR=vi\n");
    for name in [
        "apt/apt.conf.d/00contree",
        "sudoers.d/contree",
        "profile.d/contree.sh",
    ] {
        let answer = local
            .get(&format!("/inspect/{changed}/download?path=/etc/{name}"))
            .await;
        assert_eq!(answer.status, 404, "{name}: {answer:?}");
    }
    // Without a network, and for a request with its own proxy, there are none.
    for fields in [
        json!({"image": configured, "networking": {"enabled": false}}),
        json!({"image": configured, "env": {"http_proxy": "http://own:1", "https_proxy": null}}),
    ] {
        let done = local.run(PRINT_SETTINGS, fields).await;
        assert!(!done.stdout.contains("3128"), "{done:?}");
    }
}

#[tokio::test]
async fn a_shell_without_the_environment_finds_the_proxy_as_a_login_shell() {
    let local = TestEngine::shared().await;
    let script = "mkdir -p /etc/profile.d; echo '. /etc/profile.d/contree.sh' >>/etc/profile";
    let with_profile = image(&local, script).await;
    let done = local
        .run(
            "env -i sh -lc 'echo $https_proxy'; env -i http_proxy=own sh -lc 'echo $http_proxy'",
            json!({"image": with_profile}),
        )
        .await;
    assert_eq!(done.stdout, "http://127.0.0.1:3128\nown\n", "{done:?}");
}

#[tokio::test]
async fn an_engine_without_a_network_adds_no_settings() {
    let local = TestEngine::with_settings(|config| config.network = NetworkMode::None).await;
    let configured = image(&local, CONFIGURED).await;
    let done = local
        .run(PRINT_SETTINGS, json!({"image": configured}))
        .await;
    assert!(
        !done.stdout.to_lowercase().contains("proxy=") && !done.stdout.contains("3128"),
        "{done:?}"
    );
    assert!(!done.stdout.contains("env_keep"), "{done:?}");
}

#[tokio::test]
async fn the_machines_certificates_are_offered_on_request() {
    let bundle = std::path::Path::new("/etc/ssl/certs/ca-certificates.crt");
    if !bundle.exists() {
        // This machine has no certificates.
        return;
    }
    let machine = std::fs::read_to_string(bundle).unwrap();
    let count = machine.matches("BEGIN CERTIFICATE").count();
    let local = TestEngine::with_settings(|config| config.trust_host_ca = true).await;
    let own = image(
        &local,
        "mkdir -p /etc/ssl/certs; rm -f /etc/ssl/certs/* /etc/ssl/cert.pem; \
         echo 'own certificates' >/etc/ssl/certs/ca-certificates.crt",
    )
    .await;
    let script = "echo $SSL_CERT_FILE $REQUESTS_CA_BUNDLE; head -n 1 $SSL_CERT_FILE; \
                  grep -c 'BEGIN CERTIFICATE' $SSL_CERT_FILE; \
                  grep -q 'BEGIN CERTIFICATE' /etc/ssl/certs/ca-certificates.crt && echo extended";
    let done = local
        .run(script, json!({"image": own, "disposable": false}))
        .await;
    let side = "/dev/contree/ca-certificates.crt";
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines[0], format!("{side} {side}"), "{done:?}");
    assert_eq!(lines[1], "own certificates", "{done:?}");
    assert!(lines[2].parse::<usize>().unwrap() >= count, "{done:?}");
    assert_eq!(lines[3], "extended", "{done:?}");
    // The image does not keep them.
    assert_eq!(done.result.as_ref(), Some(&own), "{done:?}");
    let stored = local
        .get(&format!(
            "/inspect/{own}/download?path=/etc/ssl/certs/ca-certificates.crt"
        ))
        .await;
    assert_eq!(stored.text, "own certificates\n");
    // Variables of the request and of the image win.
    let fields = json!({"image": own, "env": {"SSL_CERT_FILE": "/own"}});
    let done = local.run("echo $SSL_CERT_FILE $PIP_CERT", fields).await;
    assert_eq!(done.stdout, format!("/own {side}\n"), "{done:?}");
    // Without the setting, an image with certificates gets no others.
    let plain = TestEngine::with(LocalConfig::new(local.engine.data.path()), data_dir()).await;
    let done = plain
        .run(
            "cat /etc/ssl/certs/ca-certificates.crt; echo ${SSL_CERT_FILE-none}",
            json!({"image": own}),
        )
        .await;
    assert_eq!(done.stdout, "own certificates\nnone\n", "{done:?}");
}

#[tokio::test]
async fn shared_memory_has_room_and_a_setting() {
    let fill = "head -c 200000000 /dev/zero >/dev/shm/large && stat -c %s /dev/shm/large";
    let local = TestEngine::shared().await;
    let size = local.run("df -k /dev/shm | tail -n 1", json!({})).await;
    let kibibytes: u64 = size
        .stdout
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    assert!(kibibytes >= 64 << 10, "{size:?}");
    if kibibytes > 250 << 10 {
        let done = local.run(fill, json!({})).await;
        assert_eq!(done.stdout, "200000000\n", "{done:?}");
    }
    let small = TestEngine::with_settings(|config| {
        config.shm_size = Some("1m".parse().unwrap());
    })
    .await;
    let done = small.run("df -k /dev/shm | tail -n 1", json!({})).await;
    assert_eq!(
        done.stdout.split_whitespace().nth(1),
        Some("1024"),
        "{done:?}"
    );
}
