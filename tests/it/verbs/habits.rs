//! Words and options that people bring from `docker` and `git`.

use super::Shell;

#[test]
fn options_of_docker_are_taken_or_name_the_right_one() {
    let shell = Shell::new();
    let directory = shell.ok(&["run", "--rm", "-w", "/tmp", "host", "--", "pwd"]);
    assert_eq!(directory, "/tmp\n");
    for (words, expected) in [
        (&["run", "-v", ".:/x", "--", "ls"][..], "-F SRC:/DST"),
        (&["run", "host", "-v", ".:/x", "--", "ls"], "-F SRC:/DST"),
        (&["run", "--image", "host", "--", "ls"], "run IMAGE -- CMD"),
        (&["run", "--name", "n", "host", "ls"], "contree tag NAME"),
        (&["run", "-it", "host", "--", "sh"], "`-i` alone"),
        (&["run", "-u", "nobody", "--", "id"], "URL of a Contree"),
        (&["pull", "alpine"], "contree images import"),
        (&["rnu", "--", "true"], "did you mean `run`?"),
        (&["checkout", "x"], "contree session checkout"),
        (&["save", "host", "-o", "x.tar"], "contree save IMAGE FILE"),
        (&["save", "host", "-"], "image.tar"),
        (&["cat", "@1", "/etc/passwd"], "contree cat @2:/etc/passwd"),
        (&["grep", "root", "@1"], "`@1:/etc`"),
        (&["cp", "notes", "host:/etc/"], "contree run -F notes:/DIR"),
    ] {
        let message = shell.fails(2, words);
        assert!(message.contains(expected), "{words:?}: {message}");
    }
    let missing = shell.fails(1, &["images", "import", "no.tar", "--tag", "t"]);
    assert!(missing.contains("there is no file no.tar"), "{missing}");
    let verb = shell.0.command().args(["run", "--", "true"]).output();
    let message = super::stderr(&verb.unwrap());
    assert!(message.contains("`contree run`"), "{message}");
}

#[test]
fn a_branch_is_deleted_as_in_git_unless_it_is_the_active_one() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "echo 1 > /f"]);
    let only = shell.fails(2, &["session", "branch", "-d", "main"]);
    assert!(
        only.contains("active branch") && only.contains("checkout -b NAME"),
        "{only}"
    );
    shell.ok(&["session", "branch", "try"]);
    let active = shell.fails(2, &["session", "branch", "-d", "main"]);
    assert!(
        active.contains("`contree session checkout try`"),
        "{active}"
    );
    let deleted = shell.ok(&["session", "branch", "-d", "try"]);
    assert_eq!(deleted, "deleted branch try\n");
    assert!(!shell.ok(&["session", "branch"]).contains("try"));
    let missing = shell.fails(1, &["session", "branch", "-d", "mian"]);
    assert!(missing.contains("did you mean `main`?"), "{missing}");
}

#[test]
fn a_tool_is_shown_by_its_name() {
    let shell = Shell::new();
    let text = shell.ok(&["tools", "read_file"]);
    assert!(text.starts_with("read_file: "), "{text}");
    assert!(
        text.contains("\nParameters:\n") && text.contains("required)"),
        "{text}"
    );
    let both = shell.ok(&["tools", "read_file", "grep", "--format", "json"]);
    let both: serde_json::Value = serde_json::from_str(&both).unwrap();
    assert_eq!(both.as_array().unwrap().len(), 2, "{both}");
    let near = shell.fails(2, &["tools", "raed_file"]);
    assert!(near.contains("did you mean `read_file`?"), "{near}");
    let refused = shell.fails(2, &["--read-only", "tools", "run"]);
    assert!(refused.contains("not offered"), "{refused}");
    shell.fails(2, &["tools", "run", "--format", "surface"]);
}

#[test]
fn a_local_layout_is_not_taken_for_a_registry() {
    let shell = Shell::new();
    let file = std::fs::File::create(shell.0.path().join("f.tar")).unwrap();
    let mut archive = tar::Builder::new(file);
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_cksum();
    archive.append_data(&mut header, "name", &b"x"[..]).unwrap();
    archive.finish().unwrap();
    shell.ok(&["images", "import", "f.tar", "--tag", "app:1"]);
    shell.ok(&["save", "app:1", "layout/"]);
    for words in [
        &["images", "import", "layout/app:1"][..],
        &["images", "import", "layout:app:1", "--tag", "x"],
        &["push", "app:1", "layout/app:1"],
    ] {
        let message = shell.fails(2, words);
        assert!(
            message.contains("oci-layout:layout:app:1") && message.contains("docker://layout"),
            "{words:?}: {message}"
        );
    }
    let unknown = shell.fails(1, &["use", "layout/app:1"]);
    assert!(
        unknown.contains("images import oci-layout:layout:app:1 --tag app:1"),
        "{unknown}"
    );
    shell.ok(&[
        "images",
        "import",
        "oci-layout:layout:app:1",
        "--tag",
        "one",
    ]);
    // A path is never a name in a registry.
    shell.ok(&["images", "import", "./layout/app:1", "--tag", "two"]);
    let images = shell.ok(&["images"]);
    assert!(images.contains("one") && images.contains("two"), "{images}");
}

#[test]
fn an_image_without_a_command_is_explained() {
    let shell = Shell::new();
    let message = shell.fails(125, &["run", "host"]);
    assert!(message.contains("contree run host -- uname"), "{message}");
}

#[test]
fn options_without_effect_are_accepted() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "echo Needle > /f"]);
    shell.ok(&["ls", "-la", "/"]);
    shell.ok(&["log", "--oneline"]);
    assert_eq!(shell.ok(&["diff", "--name-status"]), "A /f\n");
    assert_eq!(shell.ok(&["diff", "--name-only"]), "/f\n");
    assert_eq!(shell.ok(&["grep", "-rni", "needle", "/f"]), "/f:1:Needle\n");
    let uuids = shell.ok(&["images", "-q", "-a"]);
    assert_eq!(uuids.lines().count(), 2, "{uuids}");
    assert!(uuids.lines().all(|line| line.len() == 36), "{uuids}");
}

#[test]
fn a_branch_names_its_image() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "echo main > /f"]);
    shell.ok(&["session", "checkout", "-b", "try"]);
    shell.ok(&["run", "-s", "echo try > /f"]);
    assert_eq!(shell.ok(&["cat", "@main:/f"]), "main\n");
    assert_eq!(shell.ok(&["diff", "@main", "@try"]), "M /f\n");
    let message = shell.fails(1, &["diff", "main", "try"]);
    assert!(message.contains("`@main` is the image"), "{message}");
    let unknown = shell.fails(1, &["use", "@trie"]);
    assert!(unknown.contains("did you mean `try`?"), "{unknown}");
    shell.ok(&["use", "@main"]);
    assert_eq!(shell.ok(&["cat", "/f"]), "main\n");
}

#[test]
fn deleting_by_one_of_two_tags_needs_force() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "echo 1 > /f"]);
    shell.ok(&["tag", "one"]);
    shell.ok(&["tag", "two"]);
    let message = shell.fails(1, &["rmi", "one"]);
    assert!(
        message.contains("has the tag two as well; `contree untag one`"),
        "{message}"
    );
    shell.ok(&["untag", "one"]);
    assert!(shell.ok(&["rmi", "two"]).contains("(two)"));
    shell.ok(&["use", "host"]);
    shell.ok(&["run", "-s", "echo 2 > /f"]);
    shell.ok(&["tag", "one"]);
    shell.ok(&["tag", "two"]);
    assert!(shell.ok(&["rmi", "one", "two"]).contains("(one, two)"));
    shell.ok(&["use", "host"]);
    shell.ok(&["run", "-s", "echo 3 > /f"]);
    shell.ok(&["tag", "base"]);
    shell.ok(&["run", "-s", "echo 4 > /f"]);
    let based_on = shell.fails(1, &["rmi", "base"]);
    assert!(
        based_on.contains(" -f") && !based_on.contains("force=true"),
        "{based_on}"
    );
}

#[test]
fn files_are_placed_and_brought_home_without_ceremony() {
    let shell = Shell::new();
    let work = shell.0.path().join("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("list"), "one\ntwo\n").unwrap();
    let here = work.to_str().unwrap();
    let file = work.join("list");
    let file = file.to_str().unwrap();
    let into = format!("{file}:/into/");
    let placed = shell.ok(&["run", "--rm", "-F", &into, "--", "cat", "/into/list"]);
    assert_eq!(placed, "one\ntwo\n");
    let relative = shell.fails(2, &["run", "-F", &format!("{file}:in"), "--", "true"]);
    assert!(relative.contains("it begins with `/`"), "{relative}");
    let place = format!("{here}:/work");
    shell.ok(&["run", "-F", &place, "-s", "echo three >> /work/list"]);
    let mut command = shell.0.contree();
    command.args(["-S", &shell.0.path().display().to_string(), "apply"]);
    let applied = command.current_dir(&work).output().unwrap();
    assert!(applied.status.success(), "{}", super::stderr(&applied));
    let list = std::fs::read_to_string(file).unwrap();
    assert_eq!(list, "one\ntwo\nthree\n");
}
