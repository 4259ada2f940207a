//! Tests of `contree-mcp engine serve` with the real program.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use contree::{Backend, Client, Error, ImageRef, types};
use serde_json::Value;

use super::support::data_dir;

struct ServerProcess {
    child: Child,
    address: String,
    stderr: BufReader<std::process::ChildStderr>,
}

fn program(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contree-mcp"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", data)
        .env("CONTREE_DATA_DIR", data.join("data"))
        .args(["engine", "serve"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn serve(data: &Path, arguments: &[&str]) -> ServerProcess {
    serve_with(program(data, arguments))
}

fn serve_with(mut program: Command) -> ServerProcess {
    let mut child = program.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("serving ") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    let line = said.lines().last().unwrap();
    let address = line.split(" on ").nth(1).unwrap();
    ServerProcess {
        address: address.split(',').next().unwrap().to_owned(),
        child,
        stderr,
    }
}

/// The message of a program that refuses to start.
fn refusal(data: &Path, arguments: &[&str]) -> String {
    let output = program(data, arguments).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

impl ServerProcess {
    /// Stops the server, and returns its remaining messages.
    fn stop(mut self) -> String {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.child.id())])
            .status();
        assert!(status.unwrap().success());
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success(), "{said}");
        said
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(command: &str) -> types::InstanceSpawnRequest {
    types::InstanceSpawnRequest::builder()
        .command(command)
        .image("tag:host".parse::<ImageRef>().unwrap())
        .shell(true)
        .try_into()
        .unwrap()
}

fn token_file(folder: &Path, text: &str, mode: u32) -> String {
    let path = folder.join("token");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn clients_use_the_server_over_tcp_until_it_stops() {
    let data = data_dir();
    let token = token_file(data.path(), "  s3cret\n", 0o600);
    let served = serve(
        data.path(),
        &[
            "--listen",
            "127.0.0.1:0",
            "--token-file",
            &token,
            "--allow-host",
            "engine.test",
        ],
    );
    let backend = || Backend::new(&served.address).unwrap();
    let client = Client::connect(backend().with_token("s3cret").with_project("any")).unwrap();
    let outcome = client
        .run(request("echo $((6*7)) | tee /kept"))
        .await
        .unwrap();
    assert_eq!(outcome.stdout.bytes, b"42\n");
    let image = outcome.result_image.unwrap();
    let listed = client
        .inspect_image_file()
        .image_uuid(image)
        .path("/")
        .send()
        .await
        .unwrap();
    assert!(listed.files.iter().any(|file| file.path == "kept"));

    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/v1/whoami", served.address);
    let host = served.address.strip_prefix("http://").unwrap();
    let port = host.rsplit(':').next().unwrap();
    let named = format!("engine.test:{port}");
    for (headers, status) in [
        (vec![("authorization", "Bearer s3cret")], 200),
        (
            vec![("authorization", "Bearer s3cret"), ("host", &named)],
            200,
        ),
        (vec![], 401),
        (vec![("authorization", "Bearer wrong")], 401),
        (
            vec![("authorization", "Bearer s3cret"), ("host", "evil.test")],
            403,
        ),
        (
            vec![
                ("authorization", "Bearer s3cret"),
                ("origin", "http://evil.test"),
            ],
            403,
        ),
        (
            vec![("authorization", "Bearer s3cret"), ("origin", "null")],
            403,
        ),
        (
            vec![
                ("authorization", "Bearer s3cret"),
                ("origin", &served.address),
            ],
            200,
        ),
    ] {
        let mut asked = http.get(&url);
        for (name, value) in &headers {
            asked = asked.header(*name, *value);
        }
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), status, "{headers:?}");
        let challenge = answer.headers().get("www-authenticate").cloned();
        assert_eq!(
            challenge.is_some_and(|c| c == "Bearer"),
            status == 401,
            "{headers:?}"
        );
        assert!(
            answer
                .headers()
                .get("access-control-allow-origin")
                .is_none()
        );
        let body: Value = answer.json().await.unwrap();
        if status != 200 {
            assert_eq!(body["status"], status, "{body}");
            assert!(!body["error"].as_str().unwrap().contains("s3cret"));
        }
    }
    let wrong = Client::connect(backend().with_token("wrong")).unwrap();
    assert!(wrong.who_am_i().send().await.is_err());

    // A stop cancels running operations and ends their event streams.
    let run = client
        .start(request("echo begun; sleep 600"))
        .await
        .unwrap();
    let mut events = client.follow(run.operation, None);
    let mut last = None;
    let mut served = Some(served);
    let mut stopping = None;
    while let Some(event) = futures_util::StreamExt::next(&mut events).await {
        let event = event.unwrap();
        if let Some(served) = served.take() {
            stopping = Some(tokio::task::spawn_blocking(move || served.stop()));
        }
        last = Some(event);
    }
    assert!(last.unwrap().is_last());
    stopping.unwrap().await.unwrap();
    let again = Client::local(contree::engine::LocalConfig::new(data.path().join("data")))
        .await
        .unwrap();
    let status = again
        .get_operation_status()
        .operation_id(run.operation)
        .send()
        .await
        .unwrap();
    assert_eq!(status.status.as_ref().unwrap().to_string(), "CANCELLED");
    assert!(
        status.error.as_ref().unwrap().contains("stopped"),
        "{status:?}"
    );
}

#[tokio::test]
async fn a_unix_socket_is_accessible_only_to_its_user() {
    let data = data_dir();
    let path = data.path().join("engine.sock");
    let listen = format!("unix:{}", path.display());
    let served = serve(data.path(), &["--listen", &listen]);
    assert_eq!(served.address, listen);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let client = Client::connect(Backend::new(&listen).unwrap()).unwrap();
    assert_eq!(
        client.run(request("echo ok")).await.unwrap().stdout.bytes,
        b"ok\n"
    );
    let second = tokio::task::spawn_blocking({
        let (data, listen) = (data.path().to_owned(), listen.clone());
        move || refusal(&data, &["--listen", &listen])
    });
    assert!(second.await.unwrap().contains("listens there"));
    drop(client);
    served.stop();
    assert!(!path.exists());
    // A killed server leaves its socket, which the next one replaces.
    let mut killed = serve(data.path(), &["--listen", &listen]);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(path.exists());
    let next = serve(data.path(), &["--listen", &listen]);
    let client = Client::connect(Backend::new(&listen).unwrap()).unwrap();
    assert!(client.who_am_i().send().await.is_ok());
    next.stop();
}

#[test]
fn a_server_open_to_others_does_not_start() {
    let data = data_dir();
    let open = refusal(data.path(), &["--listen", "0.0.0.0:0"]);
    assert!(open.contains("--token-file"), "{open}");
    let empty = token_file(data.path(), " \n", 0o600);
    let said = refusal(
        data.path(),
        &["--listen", "127.0.0.1:0", "--token-file", &empty],
    );
    assert!(said.contains("is empty"), "{said}");
    let words = token_file(data.path(), "two words", 0o600);
    let said = refusal(
        data.path(),
        &["--listen", "127.0.0.1:0", "--token-file", &words],
    );
    assert!(said.contains("one word"), "{said}");
    assert!(refusal(data.path(), &["--listen", "8080"]).contains("HOST:PORT"));
    assert!(
        refusal(data.path(), &["--listen", "unix:/no/such/folder/s"]).contains("cannot listen")
    );
    let short = token_file(data.path(), "s3cret", 0o600);
    let said = refusal(
        data.path(),
        &["--listen", "0.0.0.0:0", "--token-file", &short],
    );
    assert!(said.contains("at least 16"), "{said}");
    for (given, option) in [
        (vec!["--read-only"], "--read-only"),
        (vec!["--tools", "run"], "--tools"),
        (vec!["--toolset", "images"], "--toolset"),
        (vec!["--allow-path", "/tmp"], "--allow-path"),
        (vec!["--mode", "http"], "--mode"),
        (vec!["--backend", "cloud"], "--backend cloud"),
    ] {
        let mut arguments = vec!["--listen", "127.0.0.1:0"];
        arguments.extend(given);
        let said = refusal(data.path(), &arguments);
        assert!(
            said.contains(option) && said.contains("engine serve"),
            "{said}"
        );
    }
    let readable = token_file(data.path(), "s3cret-s3cret-s3cret", 0o644);
    let mut child = program(
        data.path(),
        &["--listen", "0.0.0.0:0", "--token-file", &readable],
    )
    .spawn()
    .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("serving ") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    assert!(said.contains("chmod 600"), "{said}");
    assert!(said.contains("with a token"), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn silent_connections_block_neither_other_clients_nor_the_shutdown() {
    use tokio::io::AsyncWriteExt as _;
    let data = data_dir();
    let served = serve(data.path(), &["--listen", "127.0.0.1:0"]);
    let address = served.address.strip_prefix("http://").unwrap();
    let mut silent = Vec::new();
    for _ in 0..200 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /v1/whoami HT").await.unwrap();
        silent.push(stream);
    }
    let client = Client::connect(Backend::new(&served.address).unwrap()).unwrap();
    assert_eq!(
        client.run(request("echo ok")).await.unwrap().stdout.bytes,
        b"ok\n"
    );
    served.stop();
}

#[tokio::test]
async fn clients_that_stop_in_the_middle_do_not_keep_others_out() {
    use tokio::io::AsyncWriteExt as _;
    const DESCRIPTORS: u32 = 200;
    let data = data_dir();
    // The same program, with few file descriptors.
    let program = program(data.path(), &["--listen", "127.0.0.1:0"]);
    let mut limited = Command::new("sh");
    limited
        .arg("-c")
        .arg(format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\""))
        .arg(program.get_program())
        .args(program.get_args())
        .env_clear()
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let served = serve_with(limited);
    let address = served.address.strip_prefix("http://").unwrap();
    let client = Client::connect(Backend::new(&served.address).unwrap()).unwrap();
    let done = client.run(request("head -c 9000000 /dev/zero")).await;
    let operation = done.unwrap().operation;
    let half_upload =
        "POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nbegun";
    let unread = format!(
        "GET /v1/operations/{operation}/events?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    );
    for begun in [half_upload, &unread] {
        let mut stalled = Vec::new();
        for _ in 0..DESCRIPTORS {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(begun.as_bytes()).await;
            stalled.push(stream);
        }
        // The client tries again while the server has no room.
        while let Err(error) = client.who_am_i().send().await {
            assert!(
                error.status().is_none_or(|status| status == 503),
                "{error:?}"
            );
        }
        // The server makes room by closing idle connections. A request that was just on its way
        // has no answer then, and the client does not repeat it by itself.
        let mut tries = 0;
        let outcome = loop {
            tries += 1;
            match client.run(request("echo ok")).await {
                Err(Error::Unconfirmed(_)) if tries < 20 => {}
                done => break done.unwrap(),
            }
        };
        assert_eq!(outcome.stdout.bytes, b"ok\n");
        drop(stalled);
    }
    served.stop();
}

/// A server publishes ports of sandboxes only if its user says so, whichever program starts it.
#[tokio::test]
async fn a_server_without_a_terminal_publishes_no_ports() {
    for (option, published) in [(None, false), (Some("--publish=allow"), true)] {
        let data = data_dir();
        let socket = data.path().join("socket");
        let mut program = Command::new(env!("CARGO_BIN_EXE_contree"));
        program
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", data.path())
            .env("CONTREE_DATA_DIR", data.path().join("data"))
            .args(["serve", "--listen", &format!("unix:{}", socket.display())])
            .args(option)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let served = serve_with(program);
        let client = Client::connect(Backend::new(&served.address).unwrap()).unwrap();
        let run = client
            .image("tag:host")
            .command("cat")
            .stdin_open()
            .discard();
        let run = run.spawn().await.unwrap();
        let answer = run.publish(8000).await;
        assert_eq!(answer.is_ok(), published, "{answer:?}");
        run.cancel().await.unwrap();
        served.stop();
    }
}
