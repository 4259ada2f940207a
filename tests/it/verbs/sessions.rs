//! Sessions: ten steps without a UUID, branches, and two commands at once.

use std::process::Stdio;

use super::Shell;

/// A session of ten steps: run, keep, two branches, compare, go back, tag, list, look, export,
/// clean up.
const STEPS: &str = "\
run -s 'echo 1 >/a'
session branch x
run -s 'echo 2 >>/a'
session co x
run -s 'echo 3 >>/a'
diff @2 @3
session rb
tag w
images
cat /a
export /a -F a.tar
rmi w -f
";

#[test]
fn ten_steps_need_300_characters_and_no_uuid() {
    let shell = Shell::new();
    let typed: String = STEPS
        .lines()
        .map(|step| format!("contree {step}\n"))
        .collect();
    assert!(typed.len() <= 300, "{} characters", typed.len());
    let mut shown = String::new();
    for step in STEPS.lines() {
        let mut command = shell.0.command();
        let program = crate::support::CONTREE;
        // `sh` splits and quotes as a person's shell does.
        let environment: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command = std::process::Command::new("sh");
        let output = command
            .env_clear()
            .envs(environment)
            .current_dir(shell.0.path())
            .args(["-c", &format!("\"$0\" {step}")])
            .arg(program)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{step}: {}",
            super::stderr(&output)
        );
        shown.push_str(&super::stdout(&output));
    }
    assert!(shown.contains("M /a\n"), "{shown}");
    assert!(shown.contains("\n1\n"), "{shown}");
    let archive = std::fs::File::open(shell.0.path().join("a.tar")).unwrap();
    let mut archive = tar::Archive::new(archive);
    assert_eq!(archive.entries().unwrap().count(), 1);
}

#[test]
fn variables_that_look_like_secrets_are_listed_without_values() {
    let shell = Shell::new();
    shell.ok(&[
        "env",
        "A_TOKEN=hunter2",
        "DB=postgres://me:hunter2@db/x",
        "PLAIN=seen",
    ]);
    for words in [&["env"][..], &["--json", "env"], &["-o", "plain", "env"]] {
        let listed = shell.ok(words);
        assert!(!listed.contains("hunter2"), "{listed}");
        assert_eq!(listed.matches("***").count(), 2, "{listed}");
        assert!(listed.contains("seen"), "{listed}");
    }
    // Commands get the values.
    assert_eq!(shell.ok(&["run", "-s", "echo $A_TOKEN"]), "hunter2\n");
}

#[test]
fn settings_that_are_changed_at_once_are_all_kept() {
    let shell = Shell::new();
    for round in 0..3 {
        let session = format!("s{round}");
        // The first of them begins the session.
        let children: Vec<_> = ["A=1", "B=2", "C=3"]
            .map(|variable| {
                let mut env = shell.0.contree();
                let env = env.args(["-S", &session, "env", variable]);
                env.stderr(Stdio::null()).spawn().unwrap()
            })
            .into();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        let listed = shell.ok(&["-S", &session, "-o", "plain", "env"]);
        for name in ["A", "B", "C"] {
            assert!(listed.contains(name), "{listed}");
        }
        let history = shell.ok(&["-S", &session, "-o", "plain", "session", "show"]);
        assert_eq!(history.matches("tag:host").count(), 1, "{history}");
    }
}

#[test]
fn a_session_keeps_image_directory_and_variables() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "mkdir -p /w/x"]);
    shell.ok(&["cd", "w"]);
    shell.ok(&["cd", "x"]);
    shell.ok(&["env", "A=1", "B=two words"]);
    assert_eq!(shell.ok(&["cd"]), "/w/x\n");
    assert_eq!(
        shell.ok(&["run", "-s", "pwd; echo $A $B"]),
        "/w/x\n1 two words\n"
    );
    assert_eq!(
        shell.ok(&["run", "-e", "A=2", "-C", "..", "-s", "pwd; echo $A"]),
        "/w\n2\n"
    );
    shell.ok(&["env", "-U", "A"]);
    assert_eq!(shell.ok(&["run", "-D", "-s", "echo \"[$A]\""]), "[]\n");
    assert!(
        shell
            .fails(1, &["cd", "/nowhere"])
            .contains("no directory /nowhere")
    );
    // A variable that is not set is left out of a removal, as in the official command line.
    let removed = shell.run(&["env", "-U", "A", "B"]);
    assert_eq!(removed.status.code(), Some(0));
    assert!(super::stderr(&removed).contains("no variable `A`"));
    assert!(!shell.ok(&["env"]).contains("two words"));
    let entries = shell.ok(&["--json", "session", "show", "-a"]);
    assert_eq!(shell.run(&["env", "-U", "A"]).status.code(), Some(0));
    assert_eq!(shell.ok(&["--json", "session", "show", "-a"]), entries);
    // Another name is another session, and another directory too.
    assert_eq!(shell.ok(&["-S", "other", "cd"]), "/\n");
    let listed = shell.ok(&["session", "list"]);
    assert!(
        listed.contains(&shell.0.path().display().to_string()),
        "{listed}"
    );
}

#[test]
fn branches_and_rollback_lose_nothing() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "echo one > /f"]);
    shell.ok(&["session", "branch", "two"]);
    shell.ok(&["run", "-s", "echo two > /f"]);
    shell.ok(&["session", "checkout", "two"]);
    assert_eq!(shell.ok(&["cat", "/f"]), "one\n");
    shell.ok(&["session", "checkout", "main"]);
    assert_eq!(shell.ok(&["cat", "/f"]), "two\n");
    shell.ok(&["session", "rollback"]);
    assert_eq!(shell.ok(&["cat", "/f"]), "one\n");
    shell.ok(&["session", "rollback", "+1"]);
    assert_eq!(shell.ok(&["cat", "/f"]), "two\n");
    shell.ok(&["session", "rollback", "@2"]);
    assert_eq!(shell.ok(&["cat", "/f"]), "one\n");
    let near = shell.fails(1, &["session", "checkout", "tow"]);
    assert!(near.contains("did you mean `two`?"), "{near}");
    assert!(
        shell
            .fails(1, &["session", "rollback", "@99"])
            .contains("1 to 3")
    );
    assert!(
        shell
            .fails(2, &["session", "rollback", "x"])
            .contains("not an entry of the history")
    );
    assert!(
        shell
            .fails(2, &["session", "branch", "-U", "main"])
            .contains("active branch")
    );
}

#[test]
fn a_command_that_ends_late_does_not_replace_what_another_one_kept() {
    let shell = Shell::new();
    shell.ok(&["use", "host"]);
    let mut late = shell.0.contree();
    let late = late
        .args(["run", "-s", "echo started; read line; echo late > /late"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut late = late.spawn().unwrap();
    let mut first = [0; 8];
    std::io::Read::read_exact(late.stdout.as_mut().unwrap(), &mut first).unwrap();
    shell.ok(&["run", "-s", "echo early > /early"]);
    drop(late.stdin.take());
    let late = late.wait_with_output().unwrap();
    let said = super::stderr(&late);
    assert!(
        said.contains("moved the session meanwhile") && said.contains("`contree use @3`"),
        "{said}"
    );
    assert_eq!(shell.ok(&["cat", "/early"]), "early\n");
    shell.ok(&["use", "@3"]);
    assert_eq!(shell.ok(&["cat", "/late"]), "late\n");
}

#[test]
fn a_store_of_the_release_before_gets_the_tables() {
    let shell = Shell::new();
    let state = shell.0.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let store = rusqlite::Connection::open(state.join("store.db")).unwrap();
    let first = crate::support::repository().join("src/store/schema.sql");
    store
        .execute_batch(&std::fs::read_to_string(first).unwrap())
        .unwrap();
    store
        .execute("INSERT INTO credentials VALUES ('b', 'r', 'u', 's')", [])
        .unwrap();
    store.pragma_update(None, "user_version", 1).unwrap();
    drop(store);
    shell.ok(&["use", "host"]);
    let store = rusqlite::Connection::open(state.join("store.db")).unwrap();
    let count = |table| {
        let query = format!("SELECT count(*) FROM {table}");
        store
            .query_row(&query, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!((count("credentials"), count("cli_entries")), (1, 1));
}
