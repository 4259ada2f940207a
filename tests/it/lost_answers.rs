//! Answers that are lost on their way, and servers that are no Contree service: what the tools say.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use crate::support::Home;
use crate::support::raw::RawClient;
use crate::support::stub::IMAGE;

/// A request, as method and path.
type Seen = Arc<Mutex<Vec<String>>>;

/// Serves each connection with one answer; `None` closes the connection without one. Returns the
/// URL and the requests so far.
fn serve(answer: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let Some(request) = read_request(&connection) else {
                continue;
            };
            record.lock().unwrap().push(request.clone());
            if let Some(answer) = answer(&request) {
                let _ = connection.write_all(answer.as_bytes());
            }
        }
    });
    (url, seen)
}

/// Reads a whole request, and returns its method and path.
fn read_request(connection: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(connection);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    let mut words = request.split(' ');
    Some(format!("{} {}", words.next()?, words.next()?))
}

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 27\r\nconnection: close\r\n\r\n{\"error\":\"no such content\"}";
const GATEWAY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/html\r\ncontent-length: 23\r\nconnection: close\r\n\r\n<h1>upstream reset</h1>";
const PAGE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 33\r\nconnection: close\r\n\r\n<!DOCTYPE html><h1>Welcome</h1>\r\n";

#[test]
fn a_lost_start_says_how_to_find_the_operation() {
    for answer in [None, Some(GATEWAY)] {
        let (url, seen) = serve(move |_| answer);
        let home = Home::new();
        let mut raw = RawClient::initialized(home.command_for(&url), "2025-11-25");
        let begun = Utc::now();
        for (tool, arguments, kind, property) in [
            (
                "run",
                json!({"image": IMAGE, "command": "x"}),
                "instance",
                IMAGE,
            ),
            (
                "run",
                json!({"image": "tag:base", "command": "x"}),
                "instance",
                "get_image(image=\"tag:base\")",
            ),
            (
                "import_image",
                json!({"registry_url": "docker://busybox", "i_accept_that_anonymous_access_might_be_rate_limited": true}),
                "image_import",
                "time of its start",
            ),
        ] {
            let error = raw.call_error(tool, arguments);
            let call = format!("list_operations(type=\"{kind}\", since=\"");
            let (_, rest) = error.split_once(&call).unwrap_or_else(|| panic!("{error}"));
            let (since, _) = rest.split_once('"').unwrap();
            let since: DateTime<Utc> = since.parse().unwrap();
            assert!(since < begun && since > begun - TimeDelta::minutes(3));
            assert!(error.contains(property), "{error}");
            assert!(!error.contains("check the URL"), "{error}");
            assert!(!error.contains("retry later"), "{error}");
        }
        assert_eq!(seen.lock().unwrap().len(), 3, "each was sent once");
    }
}

/// An account whose backend can make snapshots.
const ACCOUNT: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 205\r\nconnection: close\r\n\r\n{\"token_uuid\":\"44444444-4444-4444-8444-444444444444\",\"token_expiration\":null,\"permissions\":{\"spawn\":true},\"limits\":{\"instance_max_timeout\":3600},\"operations_stat\":{\"SUCCESS\":1},\"x-extensions\":[\"snapshot\"]}";

#[test]
fn lost_answers_about_a_running_sandbox_say_where_to_look() {
    for answer in [None, Some(GATEWAY)] {
        let (url, seen) = serve(move |request| match request.starts_with("GET") {
            true => Some(ACCOUNT),
            false => answer,
        });
        let home = Home::new();
        let mut raw = RawClient::initialized(home.command_for(&url), "2025-11-25");
        let read = format!("`interact(operation_id=\"{IMAGE}\", process_id=1)`");
        for (tool, arguments, remedy) in [
            (
                "exec",
                json!({"operation_id": IMAGE, "command": "x"}),
                "`list_operations(status=\"EXECUTING\")`",
            ),
            (
                "interact",
                json!({"operation_id": IMAGE, "process_id": 1, "input": "x"}),
                read.as_str(),
            ),
            (
                "interact",
                json!({"operation_id": IMAGE, "process_id": 1, "signal": "TERM"}),
                read.as_str(),
            ),
            (
                "snapshot",
                json!({"operation_id": IMAGE}),
                "`list_images()`",
            ),
        ] {
            let error = raw.call_error(tool, arguments);
            assert!(error.contains(remedy), "{tool}: {error}");
            assert!(error.contains("before you repeat"), "{tool}: {error}");
            assert!(!error.contains("retry later"), "{tool}: {error}");
        }
        let seen = seen.lock().unwrap();
        let changes = seen.iter().filter(|request| !request.starts_with("GET"));
        assert_eq!(changes.count(), 4, "each was sent once: {seen:?}");
    }
}

#[test]
fn lost_answers_of_other_changes_say_that_the_call_is_safe_to_repeat() {
    let (url, _) = serve(|request| request.starts_with("GET").then_some(NOT_FOUND));
    let home = Home::new();
    let file = home.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let mut raw = RawClient::initialized(home.command_for(&url), "2025-11-25");
    for (tool, arguments) in [
        ("set_tag", json!({"image_uuid": IMAGE, "tag": "a"})),
        ("set_tag", json!({"image_uuid": IMAGE})),
        ("cancel_operation", json!({"operation_id": IMAGE})),
        ("upload", json!({"content": "x"})),
        ("rsync", json!({"source": file, "destination": "/x"})),
    ] {
        let error = raw.call_error(tool, arguments);
        assert!(error.contains("safe to repeat"), "{tool}: {error}");
    }
}

#[test]
fn a_web_page_is_neither_an_answer_nor_a_file() {
    let (url, _) = serve(|_| Some(PAGE));
    let home = Home::new();
    let mut raw = RawClient::initialized(home.command_for(&url), "2025-11-25");
    let destination = home.path().join("file");
    for (tool, arguments) in [
        ("read_file", json!({"image": IMAGE, "path": "/x"})),
        (
            "download",
            json!({"image": IMAGE, "path": "/x", "destination": destination}),
        ),
        ("list_images", json!({})),
        ("whoami", json!({})),
        ("run", json!({"image": IMAGE, "command": "x"})),
        ("upload", json!({"content": "x"})),
        ("wait_operations", json!({"operation_ids": [IMAGE]})),
    ] {
        let error = raw.call_error(tool, arguments);
        assert!(error.contains("not a Contree API"), "{tool}: {error}");
        assert!(error.contains(&url), "{tool}: {error}");
    }
    assert!(!destination.exists());
}
