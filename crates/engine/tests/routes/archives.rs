//! Tests of archives of an image's files, which another implementation of tar reads.

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::read::GzDecoder;
use http::Method;
use serde_json::json;
use tar::EntryType;

use crate::support::TestEngine;

/// The attributes of an entry in a tar archive.
#[derive(Debug, PartialEq)]
struct Member {
    kind: EntryType,
    mode: u32,
    uid: u64,
    gid: u64,
    user: String,
    group: String,
    mtime: u64,
    link: Vec<u8>,
    content: Vec<u8>,
}

/// The paths of an archive's entries in order, and the entries by path.
fn members(archive: &[u8]) -> (Vec<Vec<u8>>, BTreeMap<Vec<u8>, Member>) {
    let mut order = Vec::new();
    let mut members = BTreeMap::new();
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path_bytes().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let member = Member {
            kind: header.entry_type(),
            mode: header.mode().unwrap(),
            uid: header.uid().unwrap(),
            gid: header.gid().unwrap(),
            user: header.username().unwrap().unwrap_or_default().to_owned(),
            group: header.groupname().unwrap().unwrap_or_default().to_owned(),
            mtime: header.mtime().unwrap(),
            link: entry.link_name_bytes().unwrap_or_default().into_owned(),
            content,
        };
        order.push(path.clone());
        assert!(members.insert(path, member).is_none());
    }
    (order, members)
}

async fn image(local: &TestEngine, script: &str) -> String {
    let done = local.run(script, json!({"disposable": false})).await;
    assert_eq!(done.exit_code, 0, "{done:?}");
    done.result.unwrap()
}

#[tokio::test]
async fn an_archive_of_a_directory_keeps_all_attributes() {
    let local = TestEngine::shared().await;
    let long = "long-name-".repeat(20);
    let script = format!(
        "set -e; mkdir -p /a/tree/sub/.hidden /a/tree/empty; cd /a/tree; printf 1234567890 >file; touch -d @1600000000 file; chmod 4751 file; \
         ln file sub/again; ln -s ../../etc/passwd out; ln -s '{long}{long}' far; mkfifo -m 600 pipe; echo x >'{long}'; echo h >sub/.hidden/.f; \
         printf n >\"$(printf 'caf\\351')\"; head -c 200000 /dev/zero | tr '\\0' z >big; echo gone >/a/tree/gone; chmod 1777 empty; \
         touch -d @1500000000 sub; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")' 2>/dev/null || true"
    );
    let image = image(&local, &script).await;
    let done = local
        .run("rm /a/tree/gone; rm -rf /a/tree/sub/.hidden; mkdir /a/tree/sub/.hidden; echo u:x:4000000:7::/: >>/etc/passwd; chown 4000000:7 /a/tree/empty 2>/dev/null || true",
            json!({"disposable": false, "image": image}))
        .await;
    let image = done.result.unwrap();
    let answer = local
        .fetch(
            Method::GET,
            &format!("/inspect/{image}/archive?path=/a/tree"),
            &[],
        )
        .await;
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    assert_eq!(headers["content-type"], "application/x-tar");
    assert_eq!(
        headers["content-disposition"],
        "attachment; filename=\"a_tree.tar\""
    );
    assert!(!headers.contains_key("content-length"));
    assert!(!headers.contains_key("content-encoding"));
    let plain = answer.bytes().await.unwrap();
    assert_eq!(plain.len() % 512, 0);
    assert_eq!(&plain[plain.len() - 1024..], [0; 1024]);
    let (order, members) = members(&plain);
    let mut names: Vec<String> = order
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    assert_eq!(
        names,
        [
            "tree/".to_owned(),
            "tree/big".into(),
            "tree/caf\u{fffd}".into(),
            "tree/far".into(),
            "tree/file".into(),
            format!("tree/{long}"),
            "tree/out".into(),
            "tree/pipe".into(),
            "tree/empty/".into(),
            "tree/sub/".into(),
            "tree/sub/again".into(),
            "tree/sub/.hidden/".into(),
        ],
        "parents come first, and there are no whiteouts, sockets or deleted files"
    );
    names.clear();
    let member = |name: &str| &members[name.as_bytes()];
    let file = member("tree/file");
    assert_eq!(
        (file.kind, file.mode, file.mtime),
        (EntryType::Regular, 0o4751, 1_600_000_000)
    );
    assert_eq!(
        (file.uid, file.gid, file.user.as_str(), file.group.as_str()),
        (0, 0, "root", "root")
    );
    assert_eq!(file.content, b"1234567890");
    assert_eq!(
        (
            member("tree/sub/again").kind,
            member("tree/sub/again").link.as_slice()
        ),
        (EntryType::Link, &b"tree/file"[..])
    );
    assert_eq!(
        (member("tree/out").kind, member("tree/out").link.as_slice()),
        (EntryType::Symlink, &b"../../etc/passwd"[..])
    );
    assert_eq!(member("tree/far").link, long.repeat(2).into_bytes());
    assert_eq!(
        (member("tree/pipe").kind, member("tree/pipe").mode),
        (EntryType::Fifo, 0o600)
    );
    assert_eq!(member("tree/empty/").mode, 0o1777);
    assert_eq!(member(&format!("tree/{long}")).content, b"x\n");
    assert_eq!(members[&b"tree/caf\xe9"[..]].content, b"n");
    assert_eq!(member("tree/big").content, vec![b'z'; 200_000]);

    // The compressed archive has the same content, and a weight of zero refuses compression.
    let path = format!("/inspect/{image}/archive?path=a/tree");
    let answer = local
        .fetch(Method::GET, &path, &[("accept-encoding", "br, gzip;q=0.5")])
        .await;
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    assert_eq!(answer.headers()["vary"], "accept-encoding");
    let packed = answer.bytes().await.unwrap();
    assert!(packed.len() < plain.len() / 10);
    let mut unpacked = Vec::new();
    GzDecoder::new(&packed[..])
        .read_to_end(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, plain);
    let answer = local
        .fetch(Method::GET, &path, &[("accept-encoding", "gzip;q=0")])
        .await;
    assert!(!answer.headers().contains_key("content-encoding"));
    assert_eq!(answer.bytes().await.unwrap(), plain);
}

#[tokio::test]
async fn files_links_and_the_root_can_be_archived() {
    let local = TestEngine::shared().await;
    let image = image(
        &local,
        "mkdir /s; echo one >/s/f; ln -s f /s/l; ln -s /s /t; mkfifo /s/p; chmod 0 /s/f; ln -s loop /s/loop; echo u:x:33:33::/: >>/etc/passwd; chown 33 /s/f || true",
    )
    .await;
    let archive = async |path: &str| {
        let answer = local
            .fetch(
                Method::GET,
                &format!("/inspect/{image}/archive?path={path}"),
                &[],
            )
            .await;
        assert_eq!(answer.status(), 200, "{path}");
        let name = answer.headers()["content-disposition"]
            .to_str()
            .unwrap()
            .to_owned();
        (name, members(&answer.bytes().await.unwrap()))
    };
    let (name, (order, found)) = archive("/s/f").await;
    assert_eq!(name, "attachment; filename=\"s_f.tar\"");
    assert_eq!(order, [b"f"]);
    assert_eq!(found[&b"f"[..]].content, b"one\n");
    let file = &found[&b"f"[..]];
    assert_eq!(file.mode, 0);
    if file.uid == 33 {
        assert_ne!(file.user, "");
    }
    // If the path itself is a link, it is followed inside the image.
    assert_eq!(archive("/s/l").await.1.1[&b"l"[..]].content, b"one\n");
    let (_, (order, _)) = archive("/t").await;
    assert_eq!(order[0], b"t/");
    assert!(order.contains(&b"t/f".to_vec()));
    let (name, (order, found)) = archive("/").await;
    assert_eq!(name, "attachment; filename=\"rootfs.tar\"");
    assert_eq!(order[0], b"./");
    assert!(found.contains_key(&b"./etc/passwd"[..]));
    assert_eq!(found[&b"./s/l"[..]].kind, EntryType::Symlink);

    for (path, status) in [
        ("/s/p", 422),
        ("/s/loop", 422),
        ("/none", 404),
        ("/s/f/x", 422),
        ("%00", 400),
    ] {
        let url = format!("/inspect/{image}/archive?path={path}");
        let answer = local.get(&url).await;
        assert_eq!(
            (answer.status, answer.json["status"].as_u64()),
            (status, Some(status.into())),
            "{path}"
        );
        let head = local.head(&url).await;
        assert_eq!((head.status, head.text.as_str()), (status, ""), "{path}");
    }
    let unknown = "00000000-0000-4000-8000-000000000000";
    assert_eq!(
        local
            .get(&format!("/inspect/{unknown}/archive?path=/"))
            .await
            .status,
        404
    );
    assert_eq!(
        local.get(&format!("/inspect/{image}/archive")).await.status,
        400
    );
}

#[tokio::test]
async fn head_answers_have_the_headers_and_no_body() {
    let local = TestEngine::shared().await;
    let image = image(&local, "mkdir /h; printf 12345 >/h/f; mkfifo /h/p").await;
    let head = async |path: String, encoding: &str| {
        let answer = local
            .fetch(Method::HEAD, &path, &[("accept-encoding", encoding)])
            .await;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        assert!(answer.bytes().await.unwrap().is_empty());
        (status, headers)
    };
    let (status, headers) = head(format!("/inspect/{image}/download?path=/h/f"), "identity").await;
    assert_eq!(
        (status, &headers["content-length"]),
        (200, &"5".parse().unwrap())
    );
    assert_eq!(headers["content-type"], "application/octet-stream");
    let (status, headers) = head(format!("/inspect/{image}/download?path=/h/f&text"), "gzip").await;
    assert_eq!(
        (status, &headers["content-encoding"]),
        (200, &"gzip".parse().unwrap())
    );
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
    let (status, headers) = head(format!("/inspect/{image}/archive?path=/h"), "gzip").await;
    assert_eq!(
        (status, &headers["content-type"]),
        (200, &"application/x-tar".parse().unwrap())
    );
    assert_eq!(
        headers["content-disposition"],
        "attachment; filename=\"h.tar\""
    );
    for path in ["/h", "/h/p"] {
        assert_eq!(
            head(format!("/inspect/{image}/download?path={path}"), "")
                .await
                .0,
            422
        );
    }
    assert_eq!(
        head(format!("/inspect/{image}/archive?path=/h/p"), "")
            .await
            .0,
        422
    );
    // A client that accepts gzip gets the same content compressed.
    let answer = local
        .fetch(
            Method::GET,
            &format!("/inspect/{image}/download?path=/h/f"),
            &[("accept-encoding", "gzip")],
        )
        .await;
    let mut text = String::new();
    GzDecoder::new(&answer.bytes().await.unwrap()[..])
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "12345");
}

#[tokio::test]
async fn a_client_that_disconnects_ends_the_archive() {
    let local = TestEngine::new().await;
    // The file is sparse, so its size takes no disk space.
    let image = image(
        &local,
        "mkdir /big; truncate -s 1T /big/hole; echo x >/big/x",
    )
    .await;
    let helpers = || {
        let me = std::process::id();
        let children = std::fs::read_dir(format!("/proc/{me}/task")).unwrap();
        children
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
            .flat_map(|list| {
                list.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect::<std::collections::BTreeSet<_>>()
    };
    let before = helpers();
    let mut answer = local
        .fetch(
            Method::GET,
            &format!("/inspect/{image}/archive?path=/big"),
            &[],
        )
        .await;
    let mut received = 0;
    while received < 1 << 20 {
        received += answer.chunk().await.unwrap().unwrap().len();
    }
    let new_helpers: Vec<String> = helpers().difference(&before).cloned().collect();
    drop(answer);
    // Helper processes of concurrent tests may be among these. They end with their requests too.
    for _ in 0..600 {
        let now = helpers();
        if new_helpers.iter().all(|pid| !now.contains(pid)) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("a helper process still works after its client has gone");
}
