//! Published ports and terminals through the SDK.

use contree::{Client, Error, engine::LocalConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::data_dir;

const SERVER: &str =
    "mkdir /tmp/w && cd /tmp/w && echo from-inside > f && exec python3 -u -m http.server 8000";

async fn fetch(port: u64) -> Option<String> {
    let port = u16::try_from(port).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(b"GET /f HTTP/1.0\r\n\r\n").await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}

#[tokio::test]
async fn a_run_publishes_its_ports() {
    let data = data_dir();
    let mut config = LocalConfig::new(data.path());
    config.publish = true;
    let client = Client::local(config).await.unwrap();
    let run = client
        .image("tag:host")
        .shell(SERVER)
        .discard()
        .spawn()
        .await
        .unwrap();
    let published = run.publish(8000).await.unwrap();
    assert_eq!(
        published.url,
        format!("http://127.0.0.1:{}", published.host_port)
    );
    let mut answer = fetch(published.host_port).await;
    while !answer
        .as_ref()
        .is_some_and(|text| text.contains("from-inside"))
    {
        // The server may not listen yet.
        assert!(!run.status().await.unwrap().is_terminal(), "{answer:?}");
        answer = fetch(published.host_port).await;
    }
    assert_eq!(
        client.published_ports(run.id()).await.unwrap(),
        std::slice::from_ref(&published)
    );
    run.cancel().await.unwrap();
    assert_eq!(fetch(published.host_port).await, None);

    let run = client
        .image("tag:host")
        .command("cat")
        .stdin_open()
        .publish(8000)
        .discard();
    let run = run.spawn().await.unwrap();
    let listed = loop {
        match client.published_ports(run.id()).await {
            Ok(ports) if !ports.is_empty() => break ports,
            Ok(_) => {}
            Err(error) => assert_eq!(error.status().map(|status| status.as_u16()), Some(425)),
        }
    };
    assert_eq!(listed[0].port, 8000);
    run.cancel().await.unwrap();
}

#[tokio::test]
async fn an_engine_without_leave_publishes_nothing() {
    let data = data_dir();
    let client = Client::local(data.path()).await.unwrap();
    let run = client
        .image("tag:host")
        .command("cat")
        .stdin_open()
        .discard();
    let run = run.spawn().await.unwrap();
    let error = run.publish(8000).await.unwrap_err();
    assert!(matches!(&error, Error::Api { .. }), "{error}");
    assert!(
        error.to_string().contains("LocalConfig::publish"),
        "{error}"
    );
    run.cancel().await.unwrap();
}

#[tokio::test]
async fn a_run_and_its_processes_have_terminals() {
    let data = data_dir();
    let client = Client::local(data.path()).await.unwrap();
    let run = client
        .image("tag:host")
        .command("bash")
        .args(["--norc", "-i"]);
    let run = run
        .terminal(90, 20)
        .stdin_open()
        .discard()
        .spawn()
        .await
        .unwrap();
    let mut output = run.terminal().output().await.unwrap();
    run.terminal().resize(120, 40).await.unwrap();
    let mut input = run.stdin();
    input
        .write_all(b"echo si''ze: $(stty size)\n")
        .await
        .unwrap();
    input.flush().await.unwrap();
    let mut seen = String::new();
    while !seen.contains("size: 40 120") {
        let piece = output.next().await.expect("more output").unwrap();
        seen.push_str(&String::from_utf8_lossy(&piece));
    }
    let process = run
        .shell("tty; exit 4")
        .terminal(80, 24)
        .spawn()
        .await
        .unwrap();
    let ended = process.wait().await.unwrap();
    assert_eq!(ended.stdout.text(), Ok("/dev/pts/1\r\n"));
    input.write_all(b"exit 3\n").await.unwrap();
    input.flush().await.unwrap();
    while let Some(piece) = output.next().await {
        piece.unwrap();
    }
    let ended = run.wait().await.unwrap();
    assert_eq!(ended.status.code(), Some(3));
}
