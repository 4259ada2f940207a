//! Natural spellings of requests, which must compile.

#![allow(
    dead_code,
    unused_must_use,
    clippy::needless_borrows_for_generic_args,
    reason = "the test is that these functions compile"
)]

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use contree::{
    Client, Command, Content, Error, ExitStatus, Image, ImageRef, Input, Output, Running, Signal,
    types::{PushRequest, Registry},
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

type Result<T = ()> = std::result::Result<T, Error>;

fn images(client: &Client, uuid: Uuid, text: String, image: &Image) {
    client.image("tag:x");
    client.image(text.as_str());
    client.image(&text);
    client.image(text);
    client.image(format!("tag:{}", 1));
    client.image(uuid);
    client.image(&uuid);
    client.image(ImageRef::Uuid(uuid));
    client.image(&ImageRef::Tag("x".into()));
    client.image(image);
    client.image(image.clone());
}

fn arguments(base: &Image, words: Vec<String>, path: &Path) {
    base.exec("ls", ["-l"]);
    base.exec("ls", &["-l", "-a"]);
    base.exec("ls", vec!["-l"]);
    base.exec("ls", words.clone());
    base.exec("ls", &words);
    base.exec("ls", words.iter());
    base.exec("ls", words.iter().map(String::as_str));
    base.exec("ls", std::env::args().skip(1));
    base.exec(String::from("ls"), [path]);
    base.exec(&words[0], [1, 2, 3]);
    base.exec(path, [PathBuf::new()]);
    base.exec("ls", None::<&str>);
    base.command("ls").arg("-l").arg(7).arg(path).arg(&words[0]);
    base.command("ls").args(["a"]).args(words);
    base.command(OsString::from("ls")).arg(Cow::Borrowed("x"));
    base.shell("ls -l");
    base.shell(String::from("ls -l"));
    base.shell(&String::from("ls -l"));
    base.shell(format!("ls {}", path.display()));
}

fn settings(base: &Image, path: &Path) {
    let run = || base.shell("make");
    run()
        .env("CI", "1")
        .env("CI", 1)
        .env("CI", true)
        .env("CI", 1.5);
    run().env(String::from("CI"), String::from("1"));
    run()
        .env("HOME", path)
        .env("A", &String::new())
        .env("ID", Uuid::nil());
    run().env("ADDRESS", std::net::Ipv4Addr::LOCALHOST);
    run().envs([("A", "b")]);
    run().envs([("A", 1), ("B", 2)]);
    run().envs(vec![("A".to_owned(), "b".to_owned())]);
    run().envs(HashMap::from([("A", "b")]));
    run().envs(&HashMap::from([("A".to_owned(), "b".to_owned())]));
    run().envs(BTreeMap::from([("A".to_owned(), "b")]));
    run().envs(std::env::vars());
    run().env_remove("A");
    run()
        .cwd("/x")
        .cwd(String::from("/x"))
        .cwd(path)
        .cwd(PathBuf::from("/x"));
    run().timeout(Duration::from_secs(60));
    run().timeout(Duration::from_millis(1500));
    run().uid(1000).gid(1000).hostname("box").network(false);
    run().truncate_output_at(1 << 20).max_layer_bytes(1 << 30);
    run().max_memory(1 << 30).max_cpus(0.5).max_processes(64);
    run().keep_env().keep_cwd();
}

fn contents(base: &Image, path: &Path, file: std::fs::File, open: tokio::fs::File, uuid: Uuid) {
    let run = || base.exec("cat", ["-"]);
    run().stdin("text");
    run().stdin(String::from("text"));
    run().stdin(&String::from("text"));
    run().stdin(b"bytes");
    run().stdin([1, 2, 3]);
    run().stdin(vec![0u8; 3]);
    run().stdin(&b"bytes"[..]);
    run().stdin(Bytes::from_static(b"bytes"));
    run().stdin(path);
    run().stdin(PathBuf::from("input"));
    run().stdin(file);
    run().stdin(open);
    run().stdin(Input::from("text")).stdin_open();
    run()
        .file("/a", "text")
        .file("/b", b"bytes")
        .file(path, path);
    run().file(
        "/run.sh",
        Content::from("#!/bin/sh").mode(0o755).owner(1, 1),
    );
    run().file("/c", uuid).file("/d", PathBuf::from("local"));
    run().files([("/a", "x"), ("/b", "y")]);
    run().files(vec![(PathBuf::from("/a"), vec![1u8])]);
    run().files(HashMap::from([("/a".to_owned(), "x".to_owned())]));
}

async fn awaiting(client: &Client, base: &Image, timeout: Duration) -> Result {
    base.shell("true").await?;
    base.shell("true").await?.ok()?;
    let out: Output = base.exec("true", [""; 0]).await?;
    let _: &str = out.stdout.text()?;
    let _: &[u8] = out.stderr.bytes();
    let _: Image = out.image;
    let discarded: Output<()> = base.shell("true").discard().await?.ok()?;
    match discarded.status {
        ExitStatus::Code(0) => {}
        ExitStatus::Signal(Signal::KILL) | ExitStatus::TimedOut => {}
        _ => {}
    }
    match base.shell("false").await?.ok() {
        Err(Error::Exit(out)) => println!("{} {}", out.status, out.stderr),
        Err(Error::Operation { status, reason, .. }) => println!("{status} {reason}"),
        _ => {}
    }
    let _ = tokio::time::timeout(timeout, base.shell("sleep 9").into_future()).await;
    let (one, two) = tokio::try_join!(
        base.shell("true").into_future(),
        base.shell("true").into_future()
    )?;
    drop((one, two));
    tokio::spawn(base.shell("true").into_future());
    let id: Uuid = base.shell("sleep 9").detach().await?;
    client.attach(id).wait().await?;
    let imported: Image = client
        .import("docker://python:3.12")
        .tag("python")
        .timeout(timeout)
        .credentials("user", "password")
        .on_progress(|progress| println!("{progress}"))
        .await?;
    imported
        .tag("python:3.12")
        .await?
        .untag("python:3.12")
        .await
}

async fn running(base: &Image) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let run: Running = base.exec("cat", ["-n"]).stdin_open().spawn().await?;
    let mut input = run.stdin();
    input.write_all(b"x\n").await?;
    input.shutdown().await?;
    run.signal(Signal::TERM).await?;
    run.signal("TERM").await?;
    run.signal(15).await?;
    let process = run.exec("top", ["-b"]).env("A", 1).spawn().await?;
    process.signal(Signal::INT).await?;
    process.wait().await?;
    run.shell("ls").await?.ok()?;
    let mut events = run.events();
    while let Some(event) = events.try_next().await? {
        println!("{}", event.id);
    }
    run.wait().await?.ok()?;
    run.cancel().await?;
    Ok(())
}

async fn reading(image: &Image, path: &Path) -> Result {
    let fs = image.fs();
    fs.read("/a").await?;
    fs.text(path).await?;
    fs.list("/").await?;
    fs.grep("TODO")
        .path("/src")
        .glob("*.rs")
        .ignore_case()
        .await?;
    fs.download("/a", "local").await?;
    let mut text = String::new();
    let read = fs.open("/a").await?.read_to_string(&mut text).await;
    read.map_err(Error::other)?;
    fs.archive("/").await?.next().await;
    Ok(())
}

/// The examples of `docs/sdk.md` for extensions.
async fn extensions(
    client: &Client,
    base: &Image,
    out: Output,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let server = base
        .shell("python3 -m http.server 8000")
        .discard()
        .spawn()
        .await?;
    let published = server.publish(8000).await?;
    println!("{}", published.url);
    server.publish_at(8000, 9000).await?;
    let saved = server.snapshot().await?;
    saved.tag("server-with-data").await?;
    let shell = base
        .command("bash")
        .terminal(80, 24)
        .stdin_open()
        .discard()
        .spawn()
        .await?;
    let mut output = shell.terminal().output().await?;
    shell.stdin().write_all(b"stty size; exit\n").await?;
    while let Some(piece) = output.next().await {
        print!("{}", String::from_utf8_lossy(&piece?));
    }
    shell.terminal().resize(100, 40).await?;
    let diff = out.image.diff(base).await?;
    println!("{} changes", diff.count);
    if let Some(patch) = diff.patch {
        println!("{patch}");
    }
    let registry = Registry::builder().url("docker://ghcr.io/org/app:1");
    let request = PushRequest::builder().registry(registry);
    let request = PushRequest::try_from(request).map_err(Error::other)?;
    let pushed = client.push(out.image.uuid().await?, request).await?;
    println!("{}, {} blobs sent", pushed.digest, pushed.blobs_sent);
    Ok(())
}

#[cfg(all(feature = "sync", unix))]
async fn applying(base: &Image, out: Output, tree: &contree::Tree) -> Result {
    let apply = out.image.fs().apply("/src", "./project");
    let applied = apply.base(base).tree(tree).dry_run(true).await?;
    println!("{:?}, conflicts {:?}", applied.written, applied.conflicts);
    Ok(())
}

async fn lists(client: &Client) -> Result {
    let hour = Duration::from_secs(3600);
    client.images().prefix("common/").since(hour).all().await?;
    client
        .images()
        .tagged()
        .take(3)
        .try_collect::<Vec<_>>()
        .await?;
    client
        .operations()
        .status("FAILED")
        .since("2h")
        .next()
        .await;
    client
        .files()
        .until(std::time::SystemTime::now())
        .all()
        .await?;
    client.api().who_am_i().send().await?;
    Ok(())
}

async fn sessions(client: &Client, base: &Image, path: &Path) -> Result {
    let mut session = base.session().env("WHO", "agent").cwd("/work");
    session
        .shell("make")
        .env("CI", 1)
        .timeout(Duration::from_secs(1))
        .await?
        .ok()?;
    session.exec("make", ["all"]).await?;
    session.rollback(1).await?;
    let branch = session.branch().persist("other").await?;
    println!("{:?} {}", branch.log(), branch.image());
    client.session("other").await?;
    client.session(path).await?;
    let best = contree::best_of(base, 0..20, 8, |image, n| async move {
        let out = image.shell("make").env("SEED", n).await?.ok()?;
        Ok((out.stdout.len(), out.image))
    });
    best.await?.value.tag("best").await?;
    Ok(())
}

fn is_send<T: Send>(_: T) {}

#[test]
fn natural_spellings_compile_and_their_futures_can_be_sent() {
    let client = Client::builder()
        .url("https://contree.example")
        .token("t")
        .build()
        .unwrap();
    let base = client.image("tag:host");
    is_send(awaiting(&client, &base, Duration::ZERO));
    is_send(reading(&base, Path::new("/")));
    is_send(lists(&client));
    is_send(sessions(&client, &base, Path::new("./s.jsonl")));
    let command: Command = base.shell("true");
    assert!(!format!("{:?}", command.env("KEY", "hunter2")).contains("hunter2"));
}
