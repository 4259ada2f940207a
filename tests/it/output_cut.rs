//! Long output through the real program and real sandboxes: what an answer shows of it.

use serde_json::{Value, json};

use crate::support::Home;
use crate::support::raw::RawClient;

fn local(home: &Home) -> RawClient {
    RawClient::initialized(home.command(), "2025-11-25")
}

fn run(raw: &mut RawClient, command: &str, arguments: Value) -> Value {
    let mut all = json!({"image": "tag:host", "command": command});
    let more = arguments.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    raw.call_ok("run", all)
}

fn stdout(result: &Value) -> &str {
    result["stdout"].as_str().unwrap_or_default()
}

#[test]
fn the_last_line_of_a_long_output_is_in_the_answer() {
    let home = Home::new();
    let mut raw = local(&home);
    // Each is longer than the one before; the last one has 6.9 MB.
    for last in [5_000, 200_000, 1_000_000] {
        let command = format!("seq 1 {last}; echo failed: {last} >&2; exit 3");
        let ended = run(&mut raw, &command, json!({}));
        assert_eq!(ended["exit_code"], 3, "{ended}");
        let shown = stdout(&ended);
        assert!(shown.starts_with("1\n2\n3\n"), "{shown:.20}");
        assert!(shown.ends_with(&format!("\n{last}\n")), "{last}");
        assert!(shown.contains(" bytes left out …]\n"), "{last}");
        assert!(shown.len() <= 8000, "{}", shown.len());
        assert_eq!(ended["stderr"], format!("failed: {last}\n"));
        assert_eq!(ended["truncated"], true);
        assert_eq!(ended.get("stderr_bytes"), None);
        let whole: u64 = (1..=last)
            .map(|n: u64| n.to_string().len() as u64 + 1)
            .sum();
        assert_eq!(ended["stdout_bytes"], whole);
    }
}

#[test]
fn output_at_the_limit_is_whole_and_one_byte_more_is_cut() {
    let home = Home::new();
    let mut raw = local(&home);
    for (bytes, is_cut) in [(999, false), (1000, false), (1001, true)] {
        let command = format!("head -c {bytes} /dev/zero | tr '\\0' x; echo x >&2");
        let ended = run(&mut raw, &command, json!({"truncate_output_at": 1000}));
        assert_eq!(ended["truncated"] == true, is_cut, "{bytes}: {ended}");
        assert_eq!(ended["stdout_bytes"].as_u64(), is_cut.then_some(bytes));
        let shown = stdout(&ended);
        assert_eq!(shown.contains("left out"), is_cut, "{bytes}");
        assert_eq!(shown.len() == bytes as usize, !is_cut, "{bytes}");
    }
    let none = run(&mut raw, "echo hidden", json!({"truncate_output_at": 0}));
    assert_eq!(none.get("stdout"), None, "{none}");
    assert_eq!(none["truncated"], true, "{none}");
}

/// The API sends such streams in base64.
#[test]
fn characters_and_binary_output_are_cut_between_characters() {
    let home = Home::new();
    let mut raw = local(&home);
    for offset in 0..3 {
        let command = format!(
            "printf '%{offset}s' ''; yes '€€€€€€€€' | head -n 2000 | tr -d '\\n'; printf '\\377\\000'"
        );
        let ended = run(&mut raw, &command, json!({"truncate_output_at": 2000}));
        let shown = stdout(&ended);
        let (head, rest) = shown.split_once("\n[… ").unwrap();
        let (_, tail) = rest.split_once("]\n").unwrap();
        assert_eq!(head.trim_start().replace('€', ""), "", "{offset}");
        // The byte that is no UTF-8 is the only one that was replaced.
        assert_eq!(tail.replace('€', ""), "\u{fffd}\0", "{offset}");
        assert_eq!(ended["lossy"], true);
    }
}

#[test]
fn terminal_sequences_are_not_split() {
    let home = Home::new();
    let mut raw = local(&home);
    let command = "for i in $(seq 1 2000); do printf '\\033[38;5;196mred\\033[0m\\n'; done";
    let ended = run(&mut raw, command, json!({"truncate_output_at": 1003}));
    let shown = stdout(&ended);
    for line in shown.lines().filter(|line| !line.contains("left out")) {
        let rest = line.replace("\u{1b}[38;5;196m", "");
        let rest = rest.replace("\u{1b}[0m", "");
        assert!("red".contains(&rest), "{line:?}");
    }
}

#[test]
fn other_tools_cut_the_output_of_a_run_in_the_same_way() {
    let home = Home::new();
    let mut raw = local(&home);
    let ended = run(&mut raw, "seq 1 100000", json!({}));
    let id = ended["uuid"].as_str().unwrap();
    let shown = raw.call_ok("get_operation", json!({"operation_id": id}));
    assert_eq!(shown["stdout"], ended["stdout"]);
    assert_eq!(shown["next"], ended["next"]);
    assert_eq!(shown["stdout_bytes"], ended["stdout_bytes"]);
    // The proposed call shows everything.
    let next = ended["next"].as_str().unwrap();
    let bytes = next.split_once("truncate_output_at=").unwrap().1;
    let bytes: u64 = bytes.trim_end_matches(')').parse().unwrap();
    let whole = raw.call_ok(
        "get_operation",
        json!({"operation_id": id, "truncate_output_at": bytes}),
    );
    assert_eq!(stdout(&whole).lines().count(), 100_000);
    assert_eq!(whole.get("truncated"), None);

    // The limit of the call that started the run counts, also for a call that waits for it.
    let started = run(
        &mut raw,
        "seq 1 100000",
        json!({"wait": false, "truncate_output_at": 500}),
    );
    let id = started["operation_id"].as_str().unwrap();
    let waited = raw.call_ok("wait_operations", json!({"operation_ids": [id]}));
    let result = &waited["results"][id];
    assert!(stdout(result).len() <= 500 && stdout(result).ends_with("\n100000\n"));
    // Another process does not know that limit, and uses the default of `run`.
    raw.close_input();
    let mut raw = local(&home);
    let shown = raw.call_ok("get_operation", json!({"operation_id": id}));
    let length = stdout(&shown).len();
    assert!((7900..=8000).contains(&length), "{length}");
    assert!(stdout(&shown).ends_with("\n100000\n"));
}

#[test]
fn output_beyond_the_record_is_counted() {
    let home = Home::new();
    let mut raw = local(&home);
    let ended = run(
        &mut raw,
        "head -c 11000000 /dev/zero | tr '\\0' x",
        json!({}),
    );
    assert_eq!(
        ended["stdout_bytes"], 11_000_000,
        "{}",
        ended["stdout_bytes"]
    );
    let shown = stdout(&ended);
    let end = format!(
        "\n[… {} more bytes were not recorded …]",
        11_000_000 - 10 * 1024 * 1024
    );
    assert!(
        shown.ends_with(&end) && shown.len() <= 8000,
        "{}",
        shown.len()
    );
    // `get_operation` cannot know how many there were.
    let record = raw.call_ok("get_operation", json!({"operation_id": ended["uuid"]}));
    assert!(stdout(&record).ends_with("\n[… more bytes were not recorded …]"));
    assert_eq!(record["truncated"], true);
}

#[test]
fn the_output_of_a_failed_run_is_cut_too() {
    let home = Home::new();
    let mut raw = local(&home);
    let error = raw.call_error(
        "run",
        json!({"image": "tag:host", "command": "seq 1 100000; head -c 20000000 /dev/zero >/big; sleep 20",
               "max_layer_bytes": 1_000_000, "disposable": false}),
    );
    assert!(error.contains("FAILED"), "{error:.300}");
    assert!(error.len() < 20_000, "{}", error.len());
    assert!(error.contains("\n99999\n100000\n"), "{error:.300}");
}

#[test]
fn raw_output_is_whole_and_keeps_to_a_given_limit() {
    let home = Home::new();
    let call = |arguments: &[&str]| {
        let mut command = home.command();
        command.args(["call", "--raw", "run", "image=tag:host"]);
        command.args(arguments).output().unwrap()
    };
    let whole = call(&["command=seq 1 100000"]);
    assert_eq!(whole.stdout.len(), 588_895);
    let limited = call(&["command=seq 1 100000", "truncate_output_at=100"]);
    assert_eq!(limited.stdout, whole.stdout[..100]);
    let message = String::from_utf8_lossy(&limited.stderr).into_owned();
    assert!(message.contains("truncated from 588895 bytes"), "{message}");
}

#[test]
fn a_missing_working_directory_is_reported() {
    let home = Home::new();
    let mut raw = local(&home);
    let ended = run(
        &mut raw,
        "pwd; ls | wc -l",
        json!({"cwd": "/no/such/place"}),
    );
    assert_eq!(ended["stdout"], "/no/such/place\n0\n");
    let note = ended["stderr"].as_str().unwrap();
    assert!(
        note.starts_with("contree: the working directory /no/such/place was missing"),
        "{note}"
    );
    let uploaded = raw.call_ok("upload", json!({"content": "x"}));
    let files = json!({"/made/by/file": uploaded["uuid"]});
    for (cwd, arguments) in [
        ("/tmp", json!({"cwd": "/tmp"})),
        ("/", json!({"cwd": ""})),
        ("/made/by", json!({"cwd": "/made/by", "files": files})),
        ("/made", json!({"cwd": "/made", "files": files})),
    ] {
        let ended = run(&mut raw, "pwd", arguments);
        assert_eq!(ended["stdout"], format!("{cwd}\n"));
        assert_eq!(ended.get("stderr"), None, "{ended}");
    }
}
