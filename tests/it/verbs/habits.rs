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
