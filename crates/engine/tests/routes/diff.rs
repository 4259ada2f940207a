//! Comparing images: random trees and changes against an oracle of archives and `git apply`, and
//! the cases that layers make special.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::TestEngine;

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    kind: &'static str,
    mode: u32,
    owner: (u64, u64),
    content: Vec<u8>,
}

type Tree = BTreeMap<Vec<u8>, Node>;

impl Node {
    fn is_text(&self) -> bool {
        self.kind == "symlink"
            || (!self.content.contains(&0) && std::str::from_utf8(&self.content).is_ok())
    }

    /// The part of the file that git knows.
    fn git(&self) -> Option<(&'static str, bool, &[u8])> {
        let executable = self.kind == "file" && self.mode & 0o100 != 0;
        matches!(self.kind, "file" | "symlink").then_some((self.kind, executable, &self.content))
    }
}

/// The files below a directory of an image, as an archive has them.
async fn tree(engine: &TestEngine, image: &str, path: &str) -> Tree {
    let url = format!("/inspect/{image}/archive?path={path}");
    let answer = engine.fetch(http::Method::GET, &url, &[]).await;
    if answer.status() == 404 {
        return Tree::new();
    }
    assert_eq!(answer.status(), 200);
    let bytes = answer.bytes().await.unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut tree = Tree::new();
    let root = path
        .trim_matches('/')
        .rsplit('/')
        .next()
        .unwrap()
        .as_bytes();
    let below = |name: &[u8]| {
        let name = name.strip_suffix(b"/").unwrap_or(name);
        let rest = name.strip_prefix(root).unwrap();
        rest.strip_prefix(b"/").unwrap_or(rest).to_vec()
    };
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = below(&entry.path_bytes());
        let header = entry.header().clone();
        let kind = match header.entry_type() {
            tar::EntryType::Regular => "file",
            tar::EntryType::Directory => "directory",
            tar::EntryType::Symlink => "symlink",
            tar::EntryType::Fifo => "fifo",
            tar::EntryType::Link => {
                let target = below(&entry.link_name_bytes().unwrap());
                let node = tree[&target].clone();
                tree.insert(path, node);
                continue;
            }
            other => panic!("{other:?}"),
        };
        let mut content = Vec::new();
        match kind {
            "symlink" => content = entry.link_name_bytes().unwrap().to_vec(),
            _ => drop(entry.read_to_end(&mut content).unwrap()),
        }
        let mode = match kind {
            "symlink" => 0,
            _ => header.mode().unwrap() & 0o7777,
        };
        let owner = (header.uid().unwrap(), header.gid().unwrap());
        let node = Node {
            kind,
            mode,
            owner,
            content,
        };
        tree.insert(path, node);
    }
    tree
}

/// The changes between two trees, without renames.
fn expected(before: &Tree, after: &Tree) -> BTreeMap<Vec<u8>, &'static str> {
    let paths: BTreeSet<&Vec<u8>> = before.keys().chain(after.keys()).collect();
    let mut changes = BTreeMap::new();
    for path in paths {
        let change = match (before.get(path), after.get(path)) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(old), Some(new)) if old.kind != new.kind => "type",
            (Some(old), Some(new)) if old.content != new.content => "modified",
            (Some(old), Some(new)) if old.mode != new.mode => "mode",
            (Some(old), Some(new)) if old.owner != new.owner => "owner",
            _ => continue,
        };
        changes.insert(path.clone(), change);
    }
    changes
}

/// All pages of a comparison.
async fn diff(engine: &TestEngine, image: &str, query: &str, limit: usize) -> Value {
    let mut all = Value::Null;
    let mut offset = 0;
    loop {
        let url = format!("/x/images/{image}/diff?{query}&limit={limit}&offset={offset}");
        let answer = engine.get(&url).await;
        assert_eq!(answer.status, 200, "{url}: {}", answer.text);
        let page = answer.json;
        let next = page["next"].as_u64();
        if all.is_null() {
            all = page;
        } else {
            let changes = page["changes"].as_array().unwrap().clone();
            all["changes"].as_array_mut().unwrap().extend(changes);
            if let Some(patch) = page["patch"].as_str() {
                all["patch"] = format!("{}{patch}", all["patch"].as_str().unwrap()).into();
            }
        }
        match next {
            Some(next) => offset = next,
            None => break,
        }
    }
    assert_eq!(
        all["count"],
        all["changes"].as_array().unwrap().len(),
        "{all}"
    );
    all
}

/// Compares the answer of the engine with the trees, and applies the patch.
async fn check(engine: &TestEngine, base: &str, image: &str, path: &str, about: &str) {
    check_pages(engine, (base, image), path, 1000, about).await;
}

/// As [`check`], with pages of this size.
async fn check_pages(
    engine: &TestEngine,
    (base, image): (&str, &str),
    path: &str,
    limit: usize,
    about: &str,
) {
    let before = tree(engine, base, path).await;
    let after = tree(engine, image, path).await;
    let query = format!("base={base}&path={path}&patch=1");
    let found = diff(engine, image, &query, limit).await;
    let mut changes = BTreeMap::new();
    let mut renamed = BTreeSet::new();
    let below = |path_of: &str| {
        let rest = path_of.strip_prefix(path).unwrap();
        rest.trim_start_matches('/').as_bytes().to_vec()
    };
    for change in found["changes"].as_array().unwrap() {
        let path = below(change["path"].as_str().unwrap());
        let kind = change["change"].as_str().unwrap();
        if kind == "renamed" {
            let from = below(change["from"].as_str().unwrap());
            assert_eq!(before[&from].content, after[&path].content, "{about}");
            changes.insert(path, "added".to_owned());
            changes.insert(from.clone(), "removed".to_owned());
            renamed.insert(from);
        } else {
            changes.insert(path, kind.to_owned());
        }
    }
    let expected = expected(&before, &after);
    let expected_text: BTreeMap<Vec<u8>, String> = expected
        .iter()
        .map(|(path, change)| (path.clone(), (*change).to_owned()))
        .collect();
    assert_eq!(changes, expected_text, "{about}: {found:#}");
    apply(
        &before,
        &after,
        &renamed,
        found["patch"].as_str().unwrap(),
        about,
    );
}

/// Applies a patch to the files of `before`, and compares the result with `after`.
fn apply(before: &Tree, after: &Tree, renamed: &BTreeSet<Vec<u8>>, patch: &str, about: &str) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    let place = |path: &[u8]| folder.path().join(OsStr::from_bytes(path));
    for (path, node) in before {
        let Some((kind, executable, content)) = node.git() else {
            continue;
        };
        // A patch only names files that are not text, so the test removes them itself.
        let is_gone = after.get(path).is_none_or(|new| new.kind != node.kind);
        if !node.is_text() && is_gone && !renamed.contains(path) {
            continue;
        }
        std::fs::create_dir_all(place(path).parent().unwrap()).unwrap();
        if kind == "symlink" {
            symlink(OsStr::from_bytes(content), place(path)).unwrap();
        } else {
            std::fs::write(place(path), content).unwrap();
            let mode = if executable { 0o755 } else { 0o644 };
            std::fs::set_permissions(place(path), Permissions::from_mode(mode)).unwrap();
        }
    }
    if patch.lines().any(|line| line.starts_with("diff --git ")) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), patch).unwrap();
        let applied = Command::new("git")
            .args(["-c", "core.quotepath=true", "apply", "--whitespace=nowarn"])
            .arg(file.path())
            .current_dir(folder.path())
            .env("GIT_CEILING_DIRECTORIES", folder.path().parent().unwrap())
            .output()
            .unwrap();
        assert!(
            applied.status.success(),
            "{about}: {}\n{patch}",
            String::from_utf8_lossy(&applied.stderr)
        );
    }
    let mut result = BTreeMap::new();
    read_directory(folder.path(), b"", &mut result);
    let is_shown = |path: &Vec<u8>| {
        let text = |tree: &Tree| tree.get(path).is_none_or(Node::is_text);
        text(before) && text(after)
    };
    result.retain(|path, _| is_shown(path));
    let wanted: BTreeMap<Vec<u8>, (String, bool, Vec<u8>)> = after
        .iter()
        .filter(|(path, _)| is_shown(path))
        .filter_map(|(path, node)| {
            let (kind, executable, content) = node.git()?;
            Some((
                path.clone(),
                (kind.to_owned(), executable, content.to_vec()),
            ))
        })
        .collect();
    assert_eq!(result, wanted, "{about}: {patch}");
}

fn read_directory(
    root: &Path,
    below: &[u8],
    files: &mut BTreeMap<Vec<u8>, (String, bool, Vec<u8>)>,
) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    for entry in std::fs::read_dir(root.join(OsStr::from_bytes(below))).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let path = match below {
            b"" => name.as_bytes().to_vec(),
            below => [below, b"/", name.as_bytes()].concat(),
        };
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            read_directory(root, &path, files);
        } else if kind.is_symlink() {
            let target = std::fs::read_link(entry.path()).unwrap();
            let target = target.as_os_str().as_bytes().to_vec();
            files.insert(path, ("symlink".to_owned(), false, target));
        } else {
            let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
            let content = std::fs::read(entry.path()).unwrap();
            files.insert(path, ("file".to_owned(), executable, content));
        }
    }
}

/// A generator of numbers. A failed case can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    fn path(&mut self) -> String {
        const NAMES: [&str; 10] = [
            "a",
            "b",
            "c d",
            "ä",
            "-x",
            "q\"\\",
            "two\nlines",
            "sub",
            "deep",
            "t\tab",
        ];
        let depth = 1 + self.below(3);
        let names: Vec<&str> = (0..depth).map(|_| self.pick(&NAMES)).collect();
        quote(&format!("/t/{}", names.join("/")))
    }

    /// A command that prints a content.
    fn content(&mut self) -> String {
        match self.below(8) {
            0 => "printf ''".to_owned(),
            1 => "printf 'no newline'".to_owned(),
            2 => format!("printf 'bin\\000%s' {}", self.below(3)),
            3 => "printf 'latin \\344\\n'".to_owned(),
            4 => format!("seq {} {}", self.below(3), 40 + self.below(40)),
            5 => format!("(seq 1 50; printf '%s' {}; seq 60 99)", self.below(9)),
            6 => "printf 'dos\\r\\nline\\r\\n'".to_owned(),
            _ => format!("printf 'one\\ntwo %s\\nthree\\n' {}", self.below(5)),
        }
    }

    fn step(&mut self) -> String {
        let (path, other) = (self.path(), self.path());
        let owner = self.below(3);
        let step = match self.below(18) {
            0..=4 => {
                let content = self.content();
                format!("mkdir -p \"$(dirname -- {path})\"; {content} > {path}")
            }
            5 => format!("{} >> {path}", self.content()),
            6 => format!("rm -rf -- {path}"),
            7 => format!("mkdir -p -- {path}"),
            8 => format!("rm -rf -- {path}; mkdir -p -- {path}; echo new > {path}/a"),
            9 => {
                let mode = self.pick(&["644", "755", "600", "4755", "700"]);
                format!("chmod {mode} {path}")
            }
            10 => format!("chown {owner}:{owner} {path}"),
            11 => format!("mv -T -- {path} {other}"),
            12 => format!("mkdir -p \"$(dirname -- {path})\"; ln -sfn -- {other} {path}"),
            13 => format!("ln -f -- {path} {other}"),
            14 => format!("mkfifo -- {path}"),
            15 => format!("touch -- {path}"),
            16 => format!("cp -a -- {path} {other}"),
            _ => format!("cat {path} > /tmp/same && cat /tmp/same > {path}"),
        };
        // Opening a FIFO would wait for its other end.
        format!("[ ! -p {path} ] && {{ {step}; }}")
    }

    /// A script of changes. Single steps may fail.
    fn script(&mut self, steps: usize) -> String {
        let steps: Vec<String> = (0..steps)
            .map(|_| format!("{{ {}; }} 2>/dev/null || :", self.step()))
            .collect();
        format!("mkdir -p /t\n{}\n", steps.join("\n"))
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

async fn commit(engine: &TestEngine, image: &str, script: &str) -> String {
    let done = engine
        .run(script, json!({"image": image, "disposable": false}))
        .await;
    assert_eq!(done.status, "SUCCESS", "{done:?}");
    done.result.unwrap()
}

/// The number of random cases, 200 unless `CONTREE_DIFF_CASES` says otherwise.
fn cases() -> u64 {
    let cases = std::env::var("CONTREE_DIFF_CASES").ok();
    cases.map_or(200, |cases| cases.parse().unwrap())
}

/// Checks every fourth random case.
async fn check_random(first: u64) {
    let engine = TestEngine::new().await;
    for seed in (first..=cases()).step_by(4) {
        let mut random = Random(seed);
        let scripts = [random.script(14), random.script(6), random.script(6)];
        let base = commit(&engine, "tag:host", &scripts[0]).await;
        let middle = commit(&engine, &base, &scripts[1]).await;
        let last = commit(&engine, &middle, &scripts[2]).await;
        let about = format!("seed {seed}:\n{}", scripts.join("\n"));
        check(&engine, &base, &last, "/t", &about).await;
        match seed / 4 % 4 {
            0 => check_pages(&engine, (&middle, &last), "/t", 7, &about).await,
            // Backwards, the base is the newer one.
            1 => check(&engine, &last, &base, "/t", &about).await,
            2 => check(&engine, &last, &middle, "/t", &about).await,
            _ => {
                let script = random.script(8);
                let branch = commit(&engine, &base, &script).await;
                let about = format!("{about}\nbranch {script}");
                check(&engine, &branch, &last, "/t", &about).await;
            }
        }
    }
}

#[tokio::test]
async fn random_changes_1_are_those_of_archives_and_git_applies_them() {
    check_random(1).await;
}

#[tokio::test]
async fn random_changes_2_are_those_of_archives_and_git_applies_them() {
    check_random(2).await;
}

#[tokio::test]
async fn random_changes_3_are_those_of_archives_and_git_applies_them() {
    check_random(3).await;
}

#[tokio::test]
async fn random_changes_4_are_those_of_archives_and_git_applies_them() {
    check_random(4).await;
}

#[tokio::test]
async fn squashed_chains_are_compared_as_their_layers_are() {
    let engine = TestEngine::new().await;
    let mut images = vec![commit(&engine, "tag:host", "mkdir /t; seq 100 > /t/numbers").await];
    let mut random = Random(7);
    for step in 0..70 {
        let script = format!("{}\necho {step} >> /t/log", random.script(2));
        images.push(commit(&engine, images.last().unwrap(), &script).await);
    }
    let last = images.last().unwrap();
    for base in [0, 1, 10, 33, 64, 69] {
        let about = format!("70 steps, from {base}");
        check(&engine, &images[base], last, "/t", &about).await;
        let branch = commit(&engine, &images[base], "echo branch > /t/branch").await;
        check(&engine, &branch, last, "/t", &format!("{about}, branch")).await;
    }
}

/// The changes of an image from its parent: paths and kinds.
async fn changes(engine: &TestEngine, image: &str) -> Vec<(String, String)> {
    let found = diff(engine, image, "", 1000).await;
    let text = |change: &Value, key: &str| change[key].as_str().unwrap().to_owned();
    let changes = found["changes"].as_array().unwrap();
    changes
        .iter()
        .map(|change| (text(change, "path"), text(change, "change")))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(path, change): &(&str, &str)| ((*path).to_owned(), (*change).to_owned());
    expected.iter().map(owned).collect()
}

#[tokio::test]
async fn only_real_changes_count() {
    let engine = TestEngine::shared().await;
    let base = commit(
        &engine,
        "tag:host",
        "mkdir -p /w/d/e /w/gone; echo same > /w/d/f; echo x > /w/gone/x; echo h > /w/h; ln /w/h /w/i",
    )
    .await;
    let image = commit(
        &engine,
        &base,
        "echo same > /w/d/f; touch /w/h; rm -rf /w/gone; mkdir /w/gone; echo x > /w/gone/x; chmod 755 /w/i; mv /w/d/e /w/d/g; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/w/s\")' || :",
    )
    .await;
    assert_eq!(
        changes(&engine, &image).await,
        pairs(&[
            ("/w/d/e", "removed"),
            ("/w/d/g", "added"),
            // Overlayfs separates hard links when it copies one of them.
            ("/w/i", "mode"),
        ])
    );
    let settings = engine
        .run(
            "true",
            json!({"image": image, "disposable": false, "env": {"A": "1"}, "preserve_env": true}),
        )
        .await;
    let settings = settings.result.unwrap();
    assert_eq!(changes(&engine, &settings).await, []);
}

#[tokio::test]
async fn a_path_limits_the_comparison_and_follows_no_links() {
    let engine = TestEngine::shared().await;
    let base = commit(
        &engine,
        "tag:host",
        "mkdir -p /p/one /p/two; ln -s one /p/link; echo 1 > /p/one/f",
    )
    .await;
    let image = commit(
        &engine,
        &base,
        "echo 2 > /p/one/f; echo 2 > /p/two/f; ln -sfn two /p/link",
    )
    .await;
    let get = async |query: &str| {
        let url = format!("/x/images/{image}/diff?{query}");
        engine.get(&url).await
    };
    let one = get("path=/p/one&patch=1").await;
    assert_eq!(one.json["count"], 1, "{}", one.text);
    assert_eq!(one.json["changes"][0]["path"], "/p/one/f");
    assert!(
        one.json["patch"]
            .as_str()
            .unwrap()
            .starts_with("diff --git a/f b/f\n"),
        "{}",
        one.text
    );
    let file = get("path=/p/one/f&patch=1").await;
    assert_eq!(file.json["changes"][0]["path"], "/p/one/f");
    assert_eq!(file.json["patch"], one.json["patch"]);
    let link = get("path=/p/link").await;
    assert_eq!(link.json["changes"][0]["kind"], "symlink", "{}", link.text);
    for (query, status, part) in [
        ("path=/p/link/f", 422, "through a symbolic link"),
        ("path=/nowhere", 404, "neither image has /nowhere"),
        ("path=/p/../etc", 400, "cannot contain `..`"),
        ("limit=0", 400, "`limit`"),
        ("limit=10001", 400, "`limit`"),
        (
            "base=00000000-0000-4000-8000-000000000000",
            404,
            "there is no image",
        ),
    ] {
        let answer = get(query).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.text);
        assert!(answer.text.contains(part), "{query}: {}", answer.text);
    }
    let host = engine.host().await;
    let answer = engine.get(&format!("/x/images/{host}/diff")).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
    assert!(answer.text.contains("give a `base`"), "{}", answer.text);
}

#[tokio::test]
async fn deep_and_wide_trees_are_compared() {
    let engine = TestEngine::shared().await;
    let deep = "d=x; mkdir /deep; cd /deep; i=0; while [ $i -lt 700 ]; do mkdir -p x a; echo $i > f; cd x; i=$((i+1)); done";
    let base = commit(&engine, "tag:host", deep).await;
    let image = commit(
        &engine,
        &base,
        "cd /deep; i=0; while [ $i -lt 700 ]; do echo new > a/n; cd x; i=$((i+1)); done; mkdir /wide; cd /wide; seq 20000 | xargs touch",
    )
    .await;
    let found = diff(&engine, &image, "", 10_000).await;
    assert_eq!(found["count"], 700 + 20_001);
    let removed = commit(&engine, &image, "rm -rf /deep /wide").await;
    let found = diff(&engine, &removed, "", 10_000).await;
    // Each level has two directories and a file, and the new files.
    assert_eq!(found["count"], 20_001 + 1 + 4 * 700);
}
