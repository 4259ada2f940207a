//! Cancelled calls.

use super::*;

#[test]
fn cancelling_a_call_ends_its_sandbox() {
    let home = Home::new();
    let mut raw = local(&home);
    let id = raw.send("tools/call", json!({"name": "run", "arguments": {"image": "tag:host", "command": sleep(), "timeout": 900}}));
    wait_for(|| running() == 1, "the command runs");
    raw.notify(
        "notifications/cancelled",
        json!({"requestId": id, "reason": "no longer needed"}),
    );
    wait_for(|| running() == 0, "the command is gone");
    assert!(
        raw.answer_within(id, Duration::from_millis(300)).is_none(),
        "a cancelled call has no answer"
    );
    // The processes end a moment before the record changes.
    let ended = || {
        let listed = raw.call_ok("list_operations", json!({}));
        let status = listed["operations"][0]["status"].as_str().unwrap();
        (status != "EXECUTING").then(|| status.to_owned())
    };
    assert_eq!(wait_until(ended, "its end is recorded"), "CANCELLED");
}

#[test]
fn killing_the_server_ends_its_sandboxes() {
    let home = Home::new();
    let mut raw = local(&home);
    raw.send("tools/call", json!({"name": "run", "arguments": {"image": "tag:host", "command": sleep(), "timeout": 900}}));
    wait_for(|| running() == 1, "the command runs");
    signal(raw.pid(), "KILL");
    wait_for(|| running() == 0, "the command is gone");
    let listed = local(&home).call_ok("list_images", json!({}));
    assert_eq!(listed["images"][0]["tag"], "host", "{listed}");
}

fn wait_for(done: impl Fn() -> bool, what: &str) {
    wait_until(|| done().then_some(()), what);
}

fn wait_until<T>(mut done: impl FnMut() -> Option<T>, what: &str) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(done) = done() {
            return done;
        }
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns a command line that is unique on this machine.
fn sleep() -> String {
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    format!("sleep 777.{}{thread}", std::process::id())
}

/// Counts the processes with that command line.
fn running() -> usize {
    let wanted = format!("{}\u{0}", sleep().replace(' ', "\u{0}"));
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes())
        })
        .count()
}
