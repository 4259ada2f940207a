//! The code at the end of each error, and `contree explain`.

use super::Shell;

/// The code in the last brackets of the first line of an error. Notes may precede the error.
fn code(message: &str) -> &str {
    let mut codes = message.lines().filter_map(|line| {
        let (_, code) = line.strip_suffix(']')?.rsplit_once('[')?;
        Some(code)
    });
    codes.next().unwrap_or_default()
}

#[test]
fn an_error_has_its_code() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "echo one > /f"]);
    for (status, words, expected) in [
        (1, &["use", "no-such-image"][..], "image-not-found"),
        (1, &["cat", "/no-such-file"], "path-not-found"),
        (1, &["cat", "/etc"], "wrong-file-kind"),
        (
            1,
            &["session", "checkout", "nowhere"],
            "session-entry-not-found",
        ),
        (1, &["session", "use", "nowhere"], "session-not-found"),
        (1, &["show", "@99"], "session-entry-not-found"),
        (
            1,
            &["show", "00000000-0000-4000-8000-000000000000"],
            "operation-not-found",
        ),
        (1, &["tag", "@", "not a tag"], "invalid-argument"),
        (
            1,
            &[
                "images",
                "import",
                "docker-archive:/no-such.tar",
                "--tag",
                "t",
            ],
            "local-file-unusable",
        ),
        (
            124,
            &["run", "-t", "1", "--", "sleep", "60"],
            "command-timed-out",
        ),
        (2, &["env", "NAME"], "usage"),
        (2, &["--toolset", "no-such", "ps"], "unknown-tool"),
    ] {
        let message = shell.fails(status, words);
        assert_eq!(code(&message), expected, "{words:?}: {message}");
    }
}

#[test]
fn a_tool_gives_the_code_of_the_engine() {
    let shell = Shell::new();
    let words = [
        "call",
        "get_image",
        "image=00000000-0000-4000-8000-000000000000",
    ];
    let message = shell.fails(1, &words);
    assert_eq!(code(&message), "image-not-found", "{message}");
}

#[test]
fn explain_prints_cause_and_remedy() {
    let shell = Shell::new();
    let text = shell.ok(&["explain", "[image-not-found]"]);
    let expected = contree::ErrorCode::ImageNotFound;
    assert!(text.starts_with("image-not-found\n"), "{text}");
    assert!(
        text.contains(expected.cause()) && text.contains(expected.remedy()),
        "{text}"
    );
    let message = shell.fails(1, &["explain", "image-not-fuond"]);
    assert!(
        message.contains("did you mean `image-not-found`?"),
        "{message}"
    );
    assert_eq!(code(&message), "unknown-code");
    let all = shell.ok(&["explain"]);
    for code in contree::ErrorCode::ALL {
        assert!(all.contains(code.name()), "{code}");
    }
}
