//! The SDK in terms of the domain, with the embedded engine.

use std::fs;
use std::time::Duration;

use contree::{
    Client, Error, ExitStatus, FileKind, OperationStatus, Signal, best_of, best_of_until,
    events::Payload,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::data_dir;

#[tokio::test]
async fn changes_become_an_image_unless_they_are_discarded() {
    let data = data_dir();
    let client = Client::local(data.path()).await.unwrap();
    let base = client.image("tag:host");
    let made = base
        .shell("echo $WHO > /made")
        .env("WHO", "me")
        .await
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(made.image.fs().text("/made").await.unwrap(), "me\n");
    let read = made.image.exec("cat", ["/made"]).discard().await.unwrap();
    assert_eq!((read.stdout.text(), read.image), (Ok("me\n"), ()));
    assert!(
        base.shell("cat /made")
            .discard()
            .await
            .unwrap()
            .ok()
            .is_err()
    );
    let same = made.image.shell("true").await.unwrap().image;
    assert_eq!(same.uuid().await.unwrap(), made.image.uuid().await.unwrap());
}

#[tokio::test]
async fn the_status_tells_exit_signal_and_time_out() {
    let data = data_dir();
    let client = Client::local(data.path()).await.unwrap();
    let base = client.image("tag:host");
    let status = async |script: &str| {
        let run = base.shell(script).timeout(Duration::from_secs(1)).discard();
        run.await.unwrap().status
    };
    assert_eq!(status("exit 7").await, ExitStatus::Code(7));
    assert_eq!(
        status("kill -TERM $$").await,
        ExitStatus::Signal(Signal::TERM)
    );
    assert_eq!(status("sleep 600").await, ExitStatus::TimedOut);
    let kept = base
        .shell("echo x > /x; sleep 600")
        .timeout(Duration::from_secs(1));
    assert_eq!(kept.await.unwrap().status, ExitStatus::TimedOut);
}

#[tokio::test]
async fn input_comes_before_and_while_the_command_runs() {
    let data = data_dir();
    let client = Client::local(data.path()).await.unwrap();
    let cat = || client.image("tag:host").command("cat").discard();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    fs::write(&path, "file").unwrap();
    let given = cat().stdin(fs::File::open(&path).unwrap()).await.unwrap();
    assert_eq!(given.stdout.text(), Ok("file"));
    let run = cat().stdin("one").stdin_open().spawn().await.unwrap();
    let mut input = run.stdin();
    let large = vec![b'x'; 200_000];
    input.write_all(&large).await.unwrap();
    input.shutdown().await.unwrap();
    assert!(input.write_all(b"more").await.is_err());
    let out = run.wait().await.unwrap();
    assert_eq!(out.stdout.len(), 3 + large.len());
    let late = run.stdin().write_all(b"late").await;
    let late = match late {
        Ok(()) => run.stdin().flush().await,
        late => late,
    };
    drop(late);
}

#[tokio::test]
async fn a_running_command_takes_further_processes_and_signals() {
    let data = data_dir();
    let client = Client::local(data.path()).await.unwrap();
    let script =
        "trap 'exit 3' TERM; echo 7 > /run/state; echo ready; while :; do sleep 0.05; done";
    let server = client
        .image("tag:host")
        .shell(script)
        .discard()
        .spawn()
        .await
        .unwrap();
    let mut events = server.events();
    while let Some(event) = events.next().await {
        if matches!(event.unwrap().payload, Payload::Stdout(_)) {
            break;
        }
    }
    let out = server
        .exec("cat", ["/run/state"])
        .await
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(out.stdout.text(), Ok("7\n"));
    let failed = server
        .shell("echo no >&2; exit $CODE")
        .env("CODE", 9)
        .await
        .unwrap();
    assert_eq!(
        (failed.status, failed.stderr.text()),
        (ExitStatus::Code(9), Ok("no\n"))
    );
    let cat = server.command_of_input().await;
    assert_eq!(cat, "typed");
    let sleep = server.exec("sleep", ["600"]).spawn().await.unwrap();
    sleep.signal("KILL").await.unwrap();
    assert_eq!(
        sleep.wait().await.unwrap().status,
        ExitStatus::Signal(Signal::KILL)
    );
    // A dropped process is killed.
    let dropped = server.exec("sleep", ["600"]).spawn().await.unwrap();
    let number = dropped.id();
    drop(dropped);
    while let Some(event) = events.next().await {
        let event = event.unwrap();
        if event.spid == number && matches!(event.payload, Payload::Exit(_)) {
            break;
        }
    }
    server.signal(Signal::TERM).await.unwrap();
    assert_eq!(server.wait().await.unwrap().status, ExitStatus::Code(3));
}

/// Input of a further process.
trait CommandOfInput {
    async fn command_of_input(&self) -> String;
}

impl<C: contree::Changes> CommandOfInput for contree::Running<C> {
    async fn command_of_input(&self) -> String {
        let process = self
            .exec("cat", None::<&str>)
            .stdin_open()
            .spawn()
            .await
            .unwrap();
        let mut input = process.stdin();
        input.write_all(b"typed").await.unwrap();
        input.shutdown().await.unwrap();
        process.wait().await.unwrap().stdout.to_string()
    }
}

/// Waits until all runs have ended, and returns their statuses.
async fn statuses(client: &Client, runs: &[uuid::Uuid]) -> Vec<OperationStatus> {
    let mut statuses = Vec::new();
    for run in runs {
        let record = client.wait(*run, None).await.unwrap();
        statuses.push(record.status.unwrap());
    }
    statuses
}

#[tokio::test]
async fn dropped_futures_end_their_commands() {
    let data = data_dir();
    let client = Client::local(data.path()).await.unwrap();
    let base = client.image("tag:host");
    let mut futures = Vec::new();
    for _ in 0..8 {
        futures.push(tokio::spawn(base.shell("sleep 600").into_future()));
    }
    let runs = loop {
        let operations = client.operations().kind("instance").all().await.unwrap();
        if operations.len() == 8 {
            break operations
                .iter()
                .map(|operation| operation.id)
                .collect::<Vec<_>>();
        }
        tokio::task::yield_now().await;
    };
    for future in futures {
        future.abort();
    }
    let ended = statuses(&client, &runs).await;
    assert_eq!(ended, vec![OperationStatus::Cancelled; 8]);
}

#[tokio::test]
async fn the_best_candidate_wins_and_the_others_are_cancelled() {
    let data = data_dir();
    let client = Client::local(data.path()).await.unwrap();
    let base = client.image("tag:host");
    let best = best_of(&base, 0..6, 3, |image, n| async move {
        let run = image
            .shell("echo $N > /n; test $N != 5; echo $((N % 4))")
            .env("N", n);
        let out = run.await?;
        if n == 1 {
            return Err(Error::other("not this one"));
        }
        let score: u32 = out.stdout.text()?.trim().parse().map_err(Error::other)?;
        Ok((score, out.image))
    })
    .await
    .unwrap();
    assert_eq!((best.candidate, best.score, best.failures.len()), (3, 3, 1));
    assert_eq!(best.value.fs().text("/n").await.unwrap(), "3\n");

    let first = best_of_until(
        &base,
        [600, 0, 600],
        3,
        |score| *score == 0,
        |image, n| async move {
            image.shell("sleep $N").env("N", n).await?.ok()?;
            Ok((n, ()))
        },
    );
    assert_eq!(first.await.unwrap().candidate, 1);
    let runs = client.operations().kind("instance").all().await.unwrap();
    let runs: Vec<_> = runs.iter().take(3).map(|run| run.id).collect();
    let ended = statuses(&client, &runs).await;
    let cancelled = ended
        .iter()
        .filter(|status| **status == OperationStatus::Cancelled);
    assert_eq!(cancelled.count(), 2, "{ended:?}");

    let none = best_of(&base, [0; 0], 3, |_, _| async { Ok((0, ())) }).await;
    assert!(matches!(none, Err(Error::InvalidArgument(_))));
    let all = best_of(&base, [1, 2], 2, |image, n| async move {
        image.shell("exit $N").env("N", n).await?.ok()?;
        Ok((n, ()))
    });
    let Err(Error::Exit(out)) = all.await else {
        panic!()
    };
    assert_eq!(out.status, ExitStatus::Code(1));
}

#[tokio::test]
async fn a_session_survives_its_process() {
    let data = data_dir();
    let file = data.path().join("sessions/agent.jsonl");
    let client = Client::local(data.path()).await.unwrap();
    let base = client.image("tag:host");
    let mut session = base.session().env("WHO", "agent").cwd("/work");
    session
        .shell("echo $WHO > one")
        .await
        .unwrap()
        .ok()
        .unwrap();
    let mut session = session.persist(&file).await.unwrap();
    session.shell("echo 2 > two").await.unwrap().ok().unwrap();
    let failed = session.exec("rm", ["one", "none"]).await.unwrap();
    assert_eq!(failed.status, ExitStatus::Code(1));
    assert!(session.image().fs().text("/work/one").await.is_err());
    session.rollback(1).await.unwrap();
    session.set_env("WHO", "again");
    session
        .shell("echo $WHO > three")
        .await
        .unwrap()
        .ok()
        .unwrap();
    session
        .shell("rm three")
        .discard()
        .await
        .unwrap()
        .ok()
        .unwrap();
    let log: Vec<String> = session
        .log()
        .iter()
        .map(|step| step.command.clone())
        .collect();
    drop((session, base, client));

    let client = Client::local(data.path()).await.unwrap();
    let mut session = client.session(&file).await.unwrap();
    let reopened: Vec<String> = session
        .log()
        .iter()
        .map(|step| step.command.clone())
        .collect();
    assert_eq!(reopened, log);
    assert_eq!(
        log,
        ["echo $WHO > one", "echo 2 > two", "echo $WHO > three"]
    );
    let mut branch = session.branch();
    branch.rollback(2).await.unwrap();
    let out = branch
        .shell("cat *; echo $WHO")
        .await
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(out.stdout.text(), Ok("agent\nagain\n"));
    let out = session.shell("cat *").await.unwrap().ok().unwrap();
    assert_eq!(out.stdout.text(), Ok("agent\nagain\n2\n"));
    let error = session.rollback(5).await.unwrap_err();
    assert!(error.to_string().contains("has 4 commands"), "{error}");
    assert_eq!(session.log().len(), 4);
    session.rollback(4).await.unwrap();
    assert!(session.image().fs().list("/work").await.is_err());
}

#[tokio::test]
async fn a_directory_goes_in_and_another_one_comes_out() {
    let data = data_dir();
    let client = Client::local(data.path()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("project");
    fs::create_dir_all(source.join("src/empty")).unwrap();
    fs::write(source.join("src/a.txt"), "a\n").unwrap();
    fs::write(source.join("noise.log"), "x").unwrap();
    fs::write(
        source.join("run.sh"),
        "#!/bin/sh\nmkdir -p /out/d; cat src/a.txt > /out/d/a; ln -s d/a /out/l\n\
         chmod 700 /out/d; touch -d '2001-02-03 04:05:06Z' /out/d\n",
    )
    .unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(source.join("run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
    let tree = client.upload_dir(&source).exclude(["*.log"]).await.unwrap();
    assert_eq!(tree.paths().collect::<Vec<_>>(), ["run.sh", "src/a.txt"]);
    assert_eq!((tree.uploaded(), tree.skipped_count()), (2, 0));
    let again = client.upload_dir(&source).exclude(["*.log"]).await.unwrap();
    assert_eq!((again.len(), again.uploaded()), (2, 0));

    let base = client.image("tag:host");
    let run = base
        .shell("./run.sh")
        .cwd("/src")
        .tree("/src/", &tree)
        .file("/extra", "x");
    let image = run.await.unwrap().ok().unwrap().image;
    let target = folder.path().join("new/artefacts");
    let unpacked = image.fs().unpack("/out", &target).await.unwrap();
    assert_eq!(
        (unpacked.files, unpacked.bytes, unpacked.skipped_count),
        (1, 2, 0)
    );
    assert_eq!(fs::read_to_string(target.join("l")).unwrap(), "a\n");
    let kept = fs::metadata(target.join("d")).unwrap();
    let time = std::os::unix::fs::MetadataExt::mtime(&kept);
    assert_eq!(
        (kept.permissions().mode() & 0o7777, time),
        (0o700, 981_173_106)
    );
    let single = image.fs().unpack("/extra", &target).await.unwrap();
    assert_eq!(single.files, 1);
    assert_eq!(fs::read_to_string(target.join("extra")).unwrap(), "x");
    assert!(
        image
            .fs()
            .unpack("/none", &target)
            .await
            .unwrap_err()
            .is_not_found()
    );

    let file = client.upload_dir(source.join("src/a.txt")).await.unwrap();
    let read = base
        .shell("cat /one /two/a.txt")
        .tree("/one", &file)
        .tree("/two/", &file);
    assert_eq!(read.discard().await.unwrap().stdout.text(), Ok("a\na\n"));
    assert!(client.upload_dir(source.join("none")).await.is_err());
    assert!(client.upload_dir(&source).exclude(["[z-a]"]).await.is_err());
}

#[tokio::test]
async fn what_is_gone_since_an_earlier_sending_is_removed() {
    let data = data_dir();
    let client = Client::local(data.path()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path();
    fs::create_dir_all(source.join("d/e")).unwrap();
    fs::create_dir(source.join("empty")).unwrap();
    for name in [
        "kept",
        "gone",
        "d/e/deep",
        "left.log",
        "becomes-a-directory",
    ] {
        fs::write(source.join(name), name).unwrap();
    }
    std::os::unix::fs::symlink("kept", source.join("link")).unwrap();
    let before = client.upload_dir(source).await.unwrap();
    assert_eq!(before.removed().count(), 0);
    let made = client.image("tag:host").shell("echo made > /src/made");
    let image = made
        .tree("/src", &before)
        .await
        .unwrap()
        .ok()
        .unwrap()
        .image;

    fs::remove_dir_all(source.join("d")).unwrap();
    fs::remove_dir(source.join("empty")).unwrap();
    for name in ["gone", "link", "becomes-a-directory"] {
        fs::remove_file(source.join(name)).unwrap();
    }
    fs::create_dir(source.join("becomes-a-directory")).unwrap();
    fs::write(source.join("becomes-a-directory/inside"), "x").unwrap();
    // A file that is only excluded now stays.
    let now = client.upload_dir(source).exclude(["*.log"]).since(&before);
    let now = now.await.unwrap();
    let removed = [
        "becomes-a-directory",
        "d",
        "d/e",
        "d/e/deep",
        "empty",
        "gone",
        "link",
    ];
    assert_eq!(now.removed().collect::<Vec<_>>(), removed);
    let list = "find . ! -type d | sort | tr '\\n' ' '; ls -d d empty 2>/dev/null";
    let listed = image.shell(list).cwd("/src").tree("/src", &now);
    let listed = listed.await.unwrap().stdout.text().unwrap().to_owned();
    assert_eq!(
        listed,
        "./becomes-a-directory/inside ./kept ./left.log ./made "
    );
    // A later sending removes it too, so that it suits an image of the first one.
    let later = client.upload_dir(source).since(&now).await.unwrap();
    let gone: Vec<_> = later.removed().collect();
    assert_eq!(gone, ["d", "d/e", "d/e/deep", "empty", "gone", "link"]);
    // A sandbox that never had the directory lacks nothing that could be removed.
    let fresh = client.image("tag:host").shell("ls /src").tree("/src", &now);
    let fresh = fresh.await.unwrap().ok().unwrap();
    assert_eq!(fresh.stdout.text(), Ok("becomes-a-directory\nkept\n"));
}

#[tokio::test]
async fn a_sent_directory_lies_over_the_files_of_its_base() {
    let data = data_dir();
    let client = Client::local(data.path()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "a\n").unwrap();
    let base = client
        .image("tag:host")
        .shell("mkdir /src; echo pre > /src/pre");
    let base = base.await.unwrap().ok().unwrap().image;
    let tree = client.upload_dir(folder.path()).await.unwrap();
    let run = base.shell("echo new > /src/new; echo more >> /src/a");
    let image = run.tree("/src", &tree).await.unwrap().ok().unwrap().image;
    let fs = image.fs();
    let apply = || fs.apply("/src", folder.path()).dry_run(true);
    for apply in [
        apply().tree(&tree).base(&base),
        apply().base(&base).tree(&tree),
    ] {
        assert_eq!(apply.await.unwrap().written, ["a", "new"]);
    }
    let alone = apply().tree(&tree).await.unwrap();
    assert_eq!(alone.written, ["a", "new", "pre"]);
}

#[tokio::test]
async fn the_files_of_an_image_are_read_without_a_sandbox() {
    let data = data_dir();
    let client = Client::local(data.path()).await.unwrap();
    let script = "mkdir /d; printf 'one\\ntwo\\n' > /d/f; ln -s f /d/l; chmod 640 /d/f";
    let image = client
        .image("tag:host")
        .shell(script)
        .await
        .unwrap()
        .ok()
        .unwrap()
        .image;
    let fs = image.fs();
    let entries = fs.list("/d").await.unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(
        (entries[0].path.as_str(), entries[0].size, entries[0].mode),
        ("/d/f", 8, 0o640)
    );
    assert_eq!(entries[1].kind, FileKind::Symlink("f".to_owned()));
    let mut text = String::new();
    fs.open("/d/l")
        .await
        .unwrap()
        .read_to_string(&mut text)
        .await
        .unwrap();
    assert_eq!(text, "one\ntwo\n");
    let found = fs
        .grep("TWO")
        .path("/d")
        .ignore_case()
        .context(1, 0)
        .await
        .unwrap();
    let lines: Vec<_> = found
        .matches
        .iter()
        .map(|line| (line.line_number, line.is_match))
        .collect();
    assert_eq!(lines, [(1, false), (2, true)]);
    assert!(fs.exists("/d/f").await.unwrap() && !fs.exists("/d").await.unwrap());
    assert!(fs.text("/none").await.unwrap_err().is_not_found());
    let mut archive = Vec::new();
    fs.archive("/d")
        .await
        .unwrap()
        .read_to_end(&mut archive)
        .await
        .unwrap();
    assert!(archive.len() > 1024);
}

#[tokio::test]
async fn images_have_tags_and_ancestors() {
    let data = data_dir();
    let client = Client::local(data.path()).await.unwrap();
    let base = client.image("tag:host");
    let parent = base.shell("echo 1 > /1").await.unwrap().image;
    let child = parent.shell("echo 2 > /2").await.unwrap().image;
    let tagged = child.tag("tag:a/b").await.unwrap();
    let uuid = child.uuid().await.unwrap();
    assert_eq!(tagged.pin().await.unwrap().uuid().await.unwrap(), uuid);
    let named = client.images().prefix("a/").all().await.unwrap();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0].tag.as_deref(), Some("a/b"));
    child.untag("a/b").await.unwrap();
    assert!(tagged.info().await.unwrap_err().is_not_found());

    let lineage = child.lineage().await.unwrap();
    assert_eq!(lineage.parent(), Some(parent.uuid().await.unwrap()));
    assert_eq!(lineage.root(), base.uuid().await.unwrap());
    assert_eq!(
        lineage.origin.unwrap().source.as_deref(),
        Some("echo 2 > /2")
    );
    assert_eq!(parent.lineage().await.unwrap().children, [uuid]);
}
