//! Taking the changes of images home: the whole way from `rsync` to `apply`, conflicts, rules, and
//! killed processes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::Home;
use crate::support::raw::RawClient;
use serde_json::{Value, json};

struct Project {
    home: Home,
    raw: RawClient,
    path: PathBuf,
}

impl Project {
    fn new() -> Self {
        let home = Home::new();
        let raw = RawClient::initialized(home.command(), "2025-11-25");
        let path = home.path().join("project");
        fs::create_dir(&path).unwrap();
        Self { home, raw, path }
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path.join(path)).unwrap()
    }

    fn send(&mut self) -> Value {
        let arguments = json!({"source": self.path, "destination": "/work", "exclude": [".git"]});
        self.raw.call_ok("rsync", arguments)
    }

    /// Runs a command and returns its image.
    fn run(&mut self, image: &Value, command: &str, state: Option<&Value>) -> Value {
        let mut arguments = json!({
            "image": image, "command": format!("cd /work && {command}"), "disposable": false,
            "timeout": 600,
        });
        if let Some(state) = state {
            arguments["directory_state_id"] = state["directory_state_id"].clone();
        }
        let ended = self.raw.call_ok("run", arguments);
        assert_eq!(ended["exit_code"], 0, "{command}: {ended}");
        ended["result_image_uuid"].clone()
    }

    fn apply(&mut self, image: &Value, more: Value) -> Value {
        let mut arguments = json!({"image": image, "path": "/work", "destination": self.path});
        let more = more.as_object().unwrap().clone();
        arguments.as_object_mut().unwrap().extend(more);
        self.raw.call_ok("apply", arguments)
    }
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {text}{error}");
    text
}

/// The tree of everything that git sees in a directory.
fn git_tree(directory: &Path) -> String {
    git(directory, &["add", "-A"]);
    git(directory, &["write-tree"])
}

fn paths(list: &Value, field: &str) -> Vec<String> {
    let items = list.as_array().unwrap().iter();
    items
        .map(|item| item[field].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn work_comes_home() {
    let mut project = Project::new();
    let root = project.path.clone();
    git(&root, &["init", "-q"]);
    let lines: String = (0..40).map(|n| format!("line {n}\n")).collect();
    project.write("src/lines.txt", &lines);
    project.write("src/shared.txt", "shared\n");
    project.write("tool.sh", "#!/bin/sh\necho works\n");
    fs::set_permissions(root.join("tool.sh"), PermissionsExt::from_mode(0o755)).unwrap();
    project.write("old/name.txt", &"a file that is renamed\n".repeat(20));
    project.write("gone.txt", "gone\n");
    project.write(".gitignore", ".env\n");
    project.write(".env", "SECRET=1\n");
    symlink("src/lines.txt", root.join("link")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    git(&root, &["add", "-A"]);
    git(&root, &["commit", "-qm", "first"]);
    let clone = project.home.path().join("clone");
    let shown = clone.to_str().unwrap();
    git(project.home.path(), &["clone", "-q", "project", shown]);

    let state = project.send();
    assert_eq!(
        (&state["links"], &state["directories"]),
        (&json!(1), &json!(1)),
        "{state}"
    );
    assert_eq!(
        state["skipped_counts"]["excluded by .gitignore"], 1,
        "{state}"
    );
    let test =
        "./tool.sh && test -L link && cat link && test -d empty && test ! -e .env && touch /tested";
    let base = project.run(&json!("tag:host"), test, Some(&state));
    let edit = "sed -i 's/^line 5$/LINE 5/' src/lines.txt && mkdir new && mv old/name.txt new/name.txt && rmdir old \
        && rm gone.txt && chmod +x src/shared.txt && ln -sfn tool.sh link && echo new > new/file";
    let first = project.run(&base, edit, None);
    let second = project.run(&base, "echo theirs > src/shared.txt", None);

    let log = project.raw.call_ok("log", json!({"image": first}));
    let images = paths(&log["images"], "uuid");
    assert_eq!(
        images[..2],
        [first.as_str().unwrap(), base.as_str().unwrap()]
    );
    let diff = |project: &mut Project, image: &Value| {
        let arguments = json!({"image": image, "path": "/work", "patch": true});
        project.raw.call_ok("diff", arguments)
    };
    let patch = diff(&mut project, &first)["patch"]
        .as_str()
        .unwrap()
        .to_owned();
    let changes = diff(&mut project, &second);
    assert_eq!(paths(&changes["changes"], "path"), ["/work/src/shared.txt"]);

    // A dry run writes nothing.
    let before = git_tree(&root);
    let planned = project.apply(&first, json!({"dry_run": true}));
    assert_eq!(planned["dry_run"], true);
    assert_eq!(git_tree(&root), before);
    let applied = project.apply(&first, json!({}));
    assert_eq!(applied["written"], planned["written"], "{applied}");
    assert_eq!(applied["conflicts"], json!([]), "{applied}");
    assert_eq!(
        applied["removed"],
        json!(["gone.txt", "old", "old/name.txt"]),
        "{applied}"
    );
    let written = [
        "link",
        "new",
        "new/file",
        "new/name.txt",
        "src/lines.txt",
        "src/shared.txt",
    ];
    assert_eq!(applied["written"], json!(written), "{applied}");
    git(&root, &["add", "-A"]);
    let mut status: Vec<String> = git(&root, &["status", "--porcelain"])
        .lines()
        .map(str::to_owned)
        .collect();
    status.sort();
    let expected = [
        "A  new/file",
        "D  gone.txt",
        "M  link",
        "M  src/lines.txt",
        "M  src/shared.txt",
        "R  old/name.txt -> new/name.txt",
    ];
    assert_eq!(status, expected);
    assert!(!root.join("old").exists());
    assert_eq!(project.read(".env"), "SECRET=1\n");

    // The patch of the same change gives the same tree on a clean clone.
    let file = project.home.path().join("patch");
    fs::write(&file, patch).unwrap();
    git(&clone, &["apply", file.to_str().unwrap()]);
    assert_eq!(git_tree(&clone), git_tree(&root));

    // A second call has nothing to do.
    let again = project.apply(&first, json!({}));
    assert_eq!(
        (&again["written"], &again["removed"]),
        (&json!([]), &json!([]))
    );

    // A conflict, and a change of the same image without one.
    project.write("src/shared.txt", "ours\n");
    let second = project.run(&second, "echo added > added", None);
    let before = git_tree(&root);
    let planned = project.apply(&second, json!({"dry_run": true}));
    let stopped = project.apply(&second, json!({}));
    assert_eq!(stopped["stopped"], true, "{stopped}");
    assert_eq!(stopped["written"], json!([]), "{stopped}");
    for field in ["stopped", "written", "removed", "kept", "conflicts"] {
        assert_eq!(planned[field], stopped[field], "{field}: {planned}");
    }
    assert_eq!(paths(&stopped["conflicts"], "path"), ["src/shared.txt"]);
    let why = stopped["conflicts"][0]["why"].as_str().unwrap();
    let expected =
        "changed here and in the image: a file of 5 bytes here, and a file of 7 bytes in the image";
    assert!(why.starts_with(expected), "{why}");
    assert_eq!(git_tree(&root), before, "nothing is written");
    let skipped = project.apply(&second, json!({"conflicts": "skip"}));
    assert_eq!(skipped["written"], json!(["added"]), "{skipped}");
    assert_eq!(skipped["kept"], json!(["src/shared.txt"]), "{skipped}");
    assert_eq!(project.read("src/shared.txt"), "ours\n");
    let taken = project.apply(&second, json!({"conflicts": "theirs"}));
    assert_eq!(taken["written"], json!(["src/shared.txt"]), "{taken}");
    assert_eq!(project.read("src/shared.txt"), "theirs\n");
}

#[test]
fn texts_merge_unless_changes_overlap() {
    let mut project = Project::new();
    let lines: String = (0..40).map(|n| format!("line {n}\n")).collect();
    project.write("far", &lines);
    project.write("near", &lines);
    let state = project.send();
    // The sent text is in no image: the first run changes it already.
    let edit = "sed -i 's/^line 30$/THEIRS/' far near";
    let image = project.run(&json!("tag:host"), edit, Some(&state));
    project.write("far", &lines.replace("line 3\n", "OURS\n"));
    project.write("near", &lines.replace("line 30\n", "OURS\n"));
    let merged = project.apply(&image, json!({"merge": true, "conflicts": "skip"}));
    assert_eq!(merged["merged"], json!(["far"]), "{merged}");
    assert_eq!(paths(&merged["conflicts"], "path"), ["near"]);
    let expected = lines
        .replace("line 3\n", "OURS\n")
        .replace("line 30\n", "THEIRS\n");
    assert_eq!(project.read("far"), expected);
    assert!(!project.read("near").contains("THEIRS"));
    let again = project.apply(&image, json!({"merge": true, "conflicts": "skip"}));
    assert_eq!(again["written"], json!([]), "{again}");
    // The same base as an image.
    let base = project.run(&json!("tag:host"), "true; touch /x", Some(&state));
    project.write("far", &lines.replace("line 3\n", "OURS\n"));
    let by_image = project.apply(
        &image,
        json!({"merge": true, "conflicts": "skip", "base": base}),
    );
    assert_eq!(by_image["merged"], json!(["far"]), "{by_image}");
    assert_eq!(project.read("far"), expected);
}

#[test]
fn each_kind_of_conflict_is_found_and_loses_nothing() {
    let mut project = Project::new();
    for path in [
        "both",
        "removed-here",
        "removed-there",
        "to-directory",
        "d/inside",
        "mode",
        "same",
    ] {
        project.write(path, "base\n");
    }
    let state = project.send();
    let edit = "echo theirs > both; echo theirs > removed-here; rm removed-there; rm to-directory; mkdir to-directory; \
        echo x > to-directory/x; rm -r d; echo file > d; chmod 700 mode; echo same > same; echo new > added; \
        ln -s /etc/passwd leads-out; ln -s both inside; mkdir -p .git/hooks; echo bad > .git/hooks/pre-commit";
    let image = project.run(&json!("tag:host"), edit, Some(&state));
    project.write("both", "ours\n");
    fs::remove_file(project.path.join("removed-here")).unwrap();
    project.write("removed-there", "ours\n");
    project.write("to-directory", "ours\n");
    project.write("d/mine", "untracked here\n");
    project.write("same", "same\n");
    project.write("added", "other\n");
    fs::set_permissions(project.path.join("mode"), PermissionsExt::from_mode(0o600)).unwrap();
    let stopped = project.apply(&image, json!({}));
    assert_eq!(
        paths(&stopped["conflicts"], "path"),
        [
            "added",
            "both",
            "d",
            "mode",
            "removed-here",
            "removed-there",
            "to-directory",
            "to-directory/x"
        ],
        "{stopped:#}"
    );
    let refused = paths(&stopped["refused"], "path");
    assert!(refused.contains(&"leads-out".to_owned()), "{refused:?}");
    assert!(
        refused.contains(&".git/hooks/pre-commit".to_owned()),
        "{refused:?}"
    );
    assert!(!project.path.join("inside").is_symlink());
    let taken = project.apply(&image, json!({"conflicts": "theirs"}));
    assert_eq!(project.read("both"), "theirs\n");
    assert_eq!(project.read("removed-here"), "theirs\n");
    assert_eq!(project.read("to-directory/x"), "x\n");
    assert_eq!(project.read("added"), "new\n");
    assert!(!project.path.join("removed-there").exists());
    assert!(project.path.join("inside").is_symlink());
    // The directory has a file that no other place has, so even `theirs` keeps it.
    assert_eq!(project.read("d/mine"), "untracked here\n", "{taken:#}");
    assert_eq!(taken["kept"], json!(["d"]), "{taken:#}");
    assert!(!project.path.join(".git").exists() && !project.path.join("leads-out").is_symlink());
}

#[test]
fn nothing_is_written_through_a_link() {
    let mut project = Project::new();
    project.write("d/file", "base\n");
    let state = project.send();
    let image = project.run(
        &json!("tag:host"),
        "echo theirs > d/file; echo n > d/new",
        Some(&state),
    );
    let outside = project.home.path().join("outside");
    fs::rename(project.path.join("d"), &outside).unwrap();
    symlink(&outside, project.path.join("d")).unwrap();
    for conflicts in ["stop", "skip", "theirs"] {
        let applied = project.apply(&image, json!({"conflicts": conflicts}));
        assert_eq!(applied["written"], json!([]), "{applied:#}");
        assert_eq!(paths(&applied["conflicts"], "path"), ["d/file", "d/new"]);
    }
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "base\n");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn a_sync_carries_links_modes_empty_directories_and_removals() {
    let mut project = Project::new();
    project.write("a/gone", "x");
    project.write("private", "x");
    project.write("left-out", "x");
    fs::set_permissions(
        project.path.join("private"),
        PermissionsExt::from_mode(0o640),
    )
    .unwrap();
    fs::create_dir_all(project.path.join("deep/empty")).unwrap();
    fs::set_permissions(project.path.join("deep"), PermissionsExt::from_mode(0o750)).unwrap();
    symlink("missing/target", project.path.join("dangling")).unwrap();
    let first = project.send();
    let list = "find . -mindepth 1 -printf '%p %M %l\\n' | sort";
    let image = project.run(&json!("tag:host"), "touch made", Some(&first));
    let shown = |project: &mut Project, image: &Value, state: &Value| {
        let arguments = json!({
            "image": image, "command": format!("cd /work && {list}"), "disposable": true,
            "directory_state_id": state["directory_state_id"],
        });
        let ended = project.raw.call_ok("run", arguments);
        ended["stdout"].as_str().unwrap().to_owned()
    };
    let text = shown(&mut project, &json!("tag:host"), &first);
    for line in [
        "./dangling lrwxrwxrwx missing/target",
        "./deep drwxr-x--- ",
        "./deep/empty drwxr-xr-x ",
        "./private -rw-r----- ",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    fs::remove_dir_all(project.path.join("a")).unwrap();
    fs::remove_file(project.path.join("dangling")).unwrap();
    fs::remove_dir(project.path.join("deep/empty")).unwrap();
    project.write("dangling/now-a-directory", "x");
    let arguments = json!({
        "source": project.path, "destination": "/work", "exclude": ["left-out"],
    });
    let second = project.raw.call_ok("rsync", arguments);
    assert_eq!(second["removed"], 4, "{second}");
    let text = shown(&mut project, &image, &second);
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(
        names,
        [
            "./dangling",
            "./dangling/now-a-directory",
            "./deep",
            "./left-out",
            "./made",
            "./private"
        ],
        "{text}"
    );
    // Nothing is removed from an image that no state of this destination is in.
    let other = project.run(
        &json!("tag:host"),
        "mkdir -p a; touch a/gone",
        Some(&second),
    );
    let text = shown(&mut project, &other, &second);
    assert!(text.contains("./a/gone"), "{text}");
}

#[test]
fn a_file_that_rsync_removed_and_that_is_back_stays() {
    let mut project = Project::new();
    project.write("a", "a\n");
    project.write("b", "b\n");
    let first = project.send();
    let image = project.run(&json!("tag:host"), "touch made", Some(&first));
    fs::remove_file(project.path.join("b")).unwrap();
    let second = project.send();
    assert_eq!(second["removed"], 1, "{second}");
    let image = project.run(&image, "test ! -e b && echo more >> a", Some(&second));
    project.write("b", "b\n");
    let applied = project.apply(&image, json!({}));
    assert_eq!(applied["conflicts"], json!([]), "{applied}");
    assert_eq!(applied["removed"], json!([]), "{applied}");
    assert_eq!(project.read("b"), "b\n");
    assert_eq!(project.read("a"), "a\nmore\n");
    let id = &second["directory_state_id"];
    let again = project.apply(&image, json!({"directory_state_id": id}));
    assert_eq!(again["removed"], json!([]), "{again}");
}

#[test]
fn directories_become_read_only_and_writable_with_their_files() {
    let mut project = Project::new();
    for path in ["closes/old", "opens/old", "stays/old"] {
        project.write(path, "old\n");
    }
    let set = |path: PathBuf, mode| {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    set(project.path.join("opens"), 0o555);
    set(project.path.join("stays"), 0o555);
    let state = project.send();
    let edit = "chmod 555 closes; echo new > closes/new; chmod 755 opens; rm opens/old; echo new > stays/new";
    let image = project.run(&json!("tag:host"), edit, Some(&state));
    let applied = project.apply(&image, json!({}));
    assert_eq!(applied["conflicts"], json!([]), "{applied}");
    assert_eq!(
        applied["written"],
        json!(["closes", "closes/new", "opens", "stays/new"])
    );
    for (path, mode) in [("closes", 0o555), ("opens", 0o755), ("stays", 0o555)] {
        let found = fs::metadata(project.path.join(path)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, mode, "{path}");
        set(project.path.join(path), 0o755);
    }
    assert!(!project.path.join("opens/old").exists());
}

/// Number of files that change in the tests of killed processes.
const FILES: usize = 300;

fn call(home: &Home, arguments: &[String]) -> Child {
    home.command()
        .arg("call")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a process once something has happened, or waits for its end. Returns whether it was
/// killed.
fn kill_when(mut child: Child, happened: impl Fn() -> bool) -> bool {
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return false;
        }
        if happened() {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
    }
}

fn has_staging(directory: &Path) -> bool {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.any(|name| name.starts_with(".contree-part-"))
}

#[test]
fn a_killed_apply_leaves_whole_files_and_a_repeat_finishes() {
    let mut project = Project::new();
    let old = "old\n".repeat(20_000);
    for n in 0..FILES {
        project.write(&format!("f{n}"), &old);
        project.write(&format!("gone/f{n}"), "x");
    }
    let state = project.send();
    let edit = format!(
        "rm -r gone; mkdir new; for n in $(seq 0 {}); do sed -i s/old/new/ f$n; ln -s ../f$n new/l$n; done",
        FILES - 1
    );
    let image = project.run(&json!("tag:host"), &edit, Some(&state));
    let new = "new\n".repeat(20_000);
    let source = project.path.clone();
    let is_new = |root: &Path, n: usize| {
        fs::read(root.join(format!("f{n}"))).is_ok_and(|c| c == new.as_bytes())
    };
    let mut kills = 0;
    // Steps: staging, the first and the last removal, and several writes.
    for step in 0..7 {
        let root = project.home.path().join(format!("copy{step}"));
        let copied = Command::new("cp")
            .arg("-a")
            .arg(&source)
            .arg(&root)
            .status();
        assert!(copied.unwrap().success());
        let arguments = [
            "apply".to_owned(),
            format!("image={}", image.as_str().unwrap()),
            "path=/work".to_owned(),
            format!("destination={}", root.display()),
        ];
        let gone = |n: usize| !root.join(format!("gone/f{n}")).exists();
        let killed = kill_when(call(&project.home, &arguments), || match step {
            0 => has_staging(&root),
            1 => gone(FILES - 1) || gone(99),
            2 => !root.join("gone").exists(),
            3 => root.join("new").exists(),
            4 => is_new(&root, 0),
            5 => is_new(&root, 150),
            _ => root.join("new/l0").is_symlink(),
        });
        kills += usize::from(killed);
        for n in 0..FILES {
            let content = fs::read(root.join(format!("f{n}"))).unwrap();
            assert!(
                content == old.as_bytes() || content == new.as_bytes(),
                "{step}: f{n}"
            );
        }
        let mut repeated = call(&project.home, &arguments);
        assert!(repeated.wait().unwrap().success(), "{step}");
        assert!((0..FILES).all(|n| is_new(&root, n)), "{step}");
        assert!(
            (0..FILES).all(|n| root.join(format!("new/l{n}")).is_symlink()),
            "{step}"
        );
        assert!(!root.join("gone").exists(), "{step}");
        assert!(!has_staging(&root), "{step}");
    }
    assert!(kills >= 4, "only {kills} calls were killed in time");
}
