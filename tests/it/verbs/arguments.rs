//! Wrong arguments and settings: each message says what to give instead.

use super::{Shell, stderr, stdout};

/// Words of Rust's own errors about a wrong number.
const OWN_ERRORS: [&str; 4] = [
    "invalid digit",
    "cannot parse",
    "invalid float",
    "number too large",
];

#[test]
fn a_wrong_number_is_refused_with_range_unit_and_example() {
    let shell = Shell::new();
    for (words, expected) in [
        (
            &["run", "-t", "soon", "--", "true"][..],
            "give a whole number of seconds from 1 to 31622400, such as 300",
        ),
        (
            &["run", "host", "-t", "0", "--", "true"],
            "a whole number of seconds from 1",
        ),
        (
            &["wait", "-t", "99999999999999999999", "@"],
            "a whole number of seconds from 0",
        ),
        (
            &["publish", "@", "65536"],
            "give a port from 1 to 65535, such as 8000",
        ),
        (
            &["run", "--cpus", "two", "--", "true"],
            "a number of processors above 0, such as 0.5 or 2",
        ),
        (&["run", "--memory", "big", "--", "true"], "such as 512m"),
        (
            &["run", "-T", "1k", "--", "true"],
            "a whole number of bytes",
        ),
        (&["log", "-n", "0"], "a whole number from 1, such as 100"),
        (&["grep", "-C", "x", "a"], "a whole number from 0"),
        (&["prune", "--older-than", "x"], "a number of days from 0"),
    ] {
        let message = shell.fails(2, words);
        assert!(message.contains(expected), "{words:?}: {message}");
        for own in OWN_ERRORS {
            assert!(!message.contains(own), "{words:?}: {message}");
        }
    }
    let mut server = shell.0.command();
    let output = server
        .args(["shell", "host", "--timeout", "x"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("a whole number of seconds"));
}

#[test]
fn a_wrong_number_in_a_variable_is_refused_with_an_example() {
    let shell = Shell::new();
    for (program, words, variable, expected) in [
        (
            false,
            &["run", "true"][..],
            "CONTREE_SHM_SIZE",
            "such as 512m",
        ),
        (
            false,
            &["run", "true"],
            "CONTREE_RETENTION_DAYS",
            "such as 30",
        ),
        (
            true,
            &["--mode", "http"],
            "CONTREE_MCP_HTTP_PORT",
            "such as 9452",
        ),
    ] {
        let mut command = match program {
            true => shell.0.command(),
            false => shell.0.contree(),
        };
        let command = command.args(words).env(variable, "some");
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        let message = stderr(&output);
        assert!(message.contains(variable), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_data_directory_that_cannot_be_used_has_a_remedy() {
    let shell = Shell::new();
    let path = |name: &str| shell.0.path().join(name);
    std::fs::write(path("file"), "").unwrap();
    for part in ["VERSION", "store.db", "layers"] {
        std::fs::create_dir(path(&format!("no {part}"))).unwrap();
    }
    // Each directory has something else in the place of one part.
    for part in ["VERSION", "store.db"] {
        std::fs::create_dir(path(&format!("no {part}/{part}"))).unwrap();
    }
    std::fs::write(path("no layers/layers"), "").unwrap();
    let directories = [
        "/proc/x".into(),
        "/proc/nowhere/x".into(),
        "/sys/x".into(),
        "/dev/null".into(),
        "/dev/null/x".into(),
        path("file"),
        path("file/below"),
        path(&"long".repeat(100)),
        path("no VERSION"),
        path("no store.db"),
        path("no layers"),
    ];
    for directory in directories {
        for words in [&["images"][..], &["df"], &["doctor"]] {
            let mut command = shell.0.contree();
            let output = command
                .args(words)
                .env("CONTREE_DATA_DIR", &directory)
                .output()
                .unwrap();
            let shown = format!("{}{}", stdout(&output), stderr(&output));
            let at = directory.display();
            assert_eq!(output.status.code(), Some(1), "{at} {words:?}: {shown}");
            assert!(
                shown.contains("set CONTREE_DATA_DIR to"),
                "{at} {words:?}: {shown}"
            );
        }
    }
    let mut command = shell.0.contree();
    let command = command
        .args(["env", "A=b"])
        .env("CONTREE_STATE_DIR", "/proc/x");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains("set CONTREE_STATE_DIR to"), "{message}");
}
