//! Names of images, and the verbs that list, tag, compare, read and delete them.

use super::{Shell, stderr};

#[test]
fn an_image_is_named_by_tag_uuid_prefix_and_entry() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "echo x > /x"]);
    shell.ok(&["tag", "work/base:1.0"]);
    let listed = shell.ok(&["--json", "images", "--prefix", "work/"]);
    let image: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let uuid = image["uuid"].as_str().unwrap();
    for name in [
        "work/base:1.0",
        "tag:work/base:1.0",
        uuid,
        &uuid[..8],
        "@",
        "@2",
        "HEAD",
        "@-0",
    ] {
        assert_eq!(shell.ok(&["cat", &format!("{name}:/x")]), "x\n", "{name}");
    }
    let near = shell.fails(1, &["use", "work/bsae:1.0"]);
    assert!(near.contains("did you mean `work/base:1.0`?"), "{near}");
    let import = shell.fails(1, &["use", "python:3.12"]);
    assert!(
        import.contains("`contree images import python:3.12` brings it"),
        "{import}"
    );
    let unknown = shell.fails(1, &["use", "abcdef123"]);
    assert!(
        unknown.contains("there is no image `abcdef123`"),
        "{unknown}"
    );
    assert!(shell.fails(1, &["cat", "@9:/x"]).contains("no entry `@9`"));
}

#[test]
fn tags_are_set_moved_and_removed_and_images_deleted() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "echo 1 > /x"]);
    assert!(shell.ok(&["tag", "one"]).starts_with("one is now "));
    shell.ok(&["run", "-s", "echo 2 > /x"]);
    shell.ok(&["tag", "@", "two"]);
    assert_eq!(shell.ok(&["cat", "one:/x"]), "1\n");
    shell.ok(&["tag", "two", "one"]);
    assert_eq!(shell.ok(&["cat", "one:/x"]), "2\n");
    shell.ok(&["untag", "one"]);
    shell.fails(1, &["untag", "one"]);
    shell.ok(&["tag", "-U", "two"]);
    let based_on = shell.fails(1, &["rmi", "@2"]);
    assert!(!based_on.is_empty());
    // Nothing is deleted if one of the names is wrong.
    shell.fails(1, &["rmi", "@3", "nonsense!"]);
    assert_eq!(shell.ok(&["cat", "@3:/x"]), "2\n");
    assert!(shell.ok(&["rmi", "@3"]).starts_with("deleted "));
    shell.fails(1, &["cat", "@3:/x"]);
}

#[test]
fn images_are_compared_listed_and_drawn() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "mkdir /d; echo one > /d/a"]);
    shell.ok(&["run", "-s", "echo two > /d/a; echo new > /d/b"]);
    assert_eq!(shell.ok(&["diff", "/d"]), "M /d/a\nA /d/b\n");
    assert_eq!(shell.ok(&["diff", "@2", "@3", "/d"]), "M /d/a\nA /d/b\n");
    let patch = shell.ok(&["diff", "--patch", "@2"]);
    assert!(patch.contains("-one\n+two\n"), "{patch}");
    let sizes = shell.ok(&["diff", "--stat", "/d"]);
    assert!(
        sizes.contains("modified") && sizes.contains("4 B"),
        "{sizes}"
    );
    let log = shell.ok(&["log"]);
    assert!(
        log.starts_with("IMAGE") && log.contains("echo two"),
        "{log}"
    );
    shell.ok(&["session", "rollback"]);
    shell.ok(&["run", "-s", "echo other > /d/a"]);
    for words in [&["images", "--tree"][..], &["log", "--graph"]] {
        let tree = shell.ok(words);
        assert_eq!(tree.matches(['├', '└']).count(), 2, "{tree}");
        assert_eq!(tree.matches("@ ").count(), 1, "{tree}");
    }
    shell.ok(&["session", "branch", "side", "--from", "@2"]);
    shell.ok(&["tag", "@3", "kept:1"]);
    let graph = shell.ok(&["log", "--graph"]);
    let line = |text: &str| {
        let mut lines = graph.lines().filter(|line| line.contains(text));
        lines.next().unwrap_or_else(|| panic!("{text}: {graph}"))
    };
    assert!(line("echo one").contains("(@side)"), "{graph}");
    assert!(line("echo two").contains("(tag:kept:1)"), "{graph}");
    assert!(line("echo other").contains("(@ -> @main)"), "{graph}");
    // The commands are those of the images, not only of this session.
    let elsewhere = shell.ok(&["-S", "other", "log", "kept:1", "--graph"]);
    assert!(elsewhere.contains("echo two"), "{elsewhere}");
    let usage = shell.fails(2, &["diff", "@", "@2", "@3"]);
    assert!(usage.contains("at most two images"), "{usage}");
}

#[test]
fn files_are_listed_searched_and_copied_without_a_sandbox() {
    let shell = Shell::new();
    shell.ok(&[
        "run",
        "-s",
        "mkdir -p /d/e; echo needle > /d/f; ln -s f /d/l; chmod 4755 /d/f",
    ]);
    let listed = shell.ok(&["ls", "/d"]);
    assert!(
        listed.contains("-rwsr-xr-x") && listed.contains("l -> f"),
        "{listed}"
    );
    assert_eq!(shell.ok(&["grep", "need.e", "/d"]), "/d/f:1:needle\n");
    assert_eq!(
        shell.ok(&["grep", "--case", "smart", "needle", "@:/d"]),
        "/d/f:1:needle\n"
    );
    shell.fails(1, &["grep", "nothing", "/d"]);
    shell.ok(&["cp", "/d/f", "."]);
    let path = |name: &str| shell.0.path().join(name);
    assert_eq!(std::fs::read_to_string(path("f")).unwrap(), "needle\n");
    shell.ok(&["cp", "/d", "copy"]);
    assert_eq!(std::fs::read_to_string(path("copy/f")).unwrap(), "needle\n");
    shell.ok(&["export", "/d", "-F", "d.tar.gz"]);
    let packed = std::fs::File::open(path("d.tar.gz")).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    assert_eq!(archive.entries().unwrap().count(), 4);
    let plain = shell.run(&["export", "/d/f", "--decompress"]);
    assert_eq!(
        tar::Archive::new(&plain.stdout[..])
            .entries()
            .unwrap()
            .count(),
        1
    );
    let missing = shell.fails(1, &["cat", "/none"]);
    assert!(
        missing.contains("/none") && !missing.contains("404"),
        "{missing}"
    );
    assert!(!path("none").exists());
}

#[test]
fn hidden_characters_of_names_cannot_break_a_table() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "echo > \"$(printf '/a\\nb\\033[31m')\""]);
    let diff = shell.ok(&["diff"]);
    assert_eq!(diff.lines().count(), 1, "{diff:?}");
    assert!(
        !diff.contains('\u{1b}') && diff.contains("\\u{1b}"),
        "{diff:?}"
    );
    let history = shell.run(&["session", "show"]);
    assert!(!stderr(&history).contains('\u{1b}'));
}

#[test]
fn an_archive_of_files_is_imported() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "echo mark > /mark"]);
    shell.ok(&["export", "-F", "root.tar"]);
    let named = shell.fails(2, &["images", "import", "./root.tar"]);
    assert!(named.contains("give --tag NAME"), "{named}");
    shell.ok(&["images", "import", "./root.tar", "--tag", "again"]);
    assert_eq!(shell.ok(&["cat", "again:/mark"]), "mark\n");
    assert_eq!(
        shell.ok(&["run", "again", "-D", "--", "cat", "/mark"]),
        "mark\n"
    );
}

#[test]
fn disk_use_and_prune_have_verbs() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "echo > /x"]);
    assert!(shell.ok(&["df"]).contains("images"));
    let planned = shell.ok(&["prune", "--older-than", "7d", "-n"]);
    assert!(planned.contains("would remove"), "{planned}");
    shell.ok(&["prune", "--older-than", "1w", "-f"]);
    shell.fails(2, &["prune", "--older-than", "soon"]);
}
