//! Calls of each tool.

use std::time::Duration;

use serde_json::json;

use super::session::Session;
use crate::support::stub::{IMAGE, RESULT};

/// Calls a tool in every way that causes different requests to the backend.
pub(super) fn use_tool(tool: &str, session: &mut Session) {
    let consent = "i_accept_that_anonymous_access_might_be_rate_limited";
    // Left by another client, so that this server makes no request to create it.
    let running = |session: &Session| {
        json!(session.stub.add_operation(
            json!({"status": "EXECUTING", "metadata": {"command": "sleep", "image": IMAGE}})
        ))
    };
    let calls = match tool {
        "run" => {
            let state = session.send_directory();
            session.stub.take_requests();
            let hello = json!({"image": "tag:base", "command": "hello"});
            session.raw.call_ok("run", hello.clone());
            let followed = session.stub.take_requests();
            assert_eq!(followed.len(), 2, "a run is two requests: {followed:?}");
            session.stub.lose_files(|_| false);
            session.stub.check_files();
            let mut with_state = hello.clone();
            with_state["directory_state_id"] = state;
            session.raw.call_ok("run", with_state);
            session.raw.call_ok("run", hello);
            session.cancel_call("run", json!({"image": "tag:base", "command": "sleep"}));
            let limited = json!({"image": "tag:base", "command": "hello", "memory_mb": 64});
            let refused = session.raw.call_error("run", limited);
            assert!(
                refused.contains("this service cannot limit memory"),
                "{refused}"
            );
            let hosts =
                json!({"image": "tag:base", "command": "hello", "allow_hosts": ["a.example"]});
            let refused = session.raw.call_error("run", hosts);
            assert!(
                refused.contains("this service cannot limit the hosts"),
                "{refused}"
            );
            let mut with_ports = json!({"image": "tag:base", "command": "hello", "ports": [8000]});
            let refused = session.raw.call_error("run", with_ports.clone());
            assert!(refused.contains("cannot publish ports"), "{refused}");
            // The server looks for an earlier state before it places a newer one.
            session.extend();
            let tree = session.home.path().join("tree");
            std::fs::remove_file(tree.join("small")).unwrap();
            let changed = session
                .raw
                .call_ok("rsync", json!({"source": tree, "destination": "/tree"}));
            assert_eq!(changed["removed"], 1, "{changed}");
            let mut with_state = json!({"image": "tag:base", "command": "hello"});
            with_state["directory_state_id"] = changed["directory_state_id"].clone();
            session.raw.call_ok("run", with_state);
            let done = session.raw.call_ok("run", with_ports.clone());
            assert_eq!(done["ports"][0]["url"], "http://127.0.0.1:40000", "{done}");
            with_ports["wait"] = json!(false);
            vec![with_ports]
        }
        "publish" => {
            let operation = running(session);
            let arguments = json!({"operation_id": operation, "port": 8000});
            let refused = session.raw.call_error("publish", arguments.clone());
            assert!(refused.contains("cannot publish ports"), "{refused}");
            session.extend();
            let too_large = json!({"operation_id": operation, "port": 70_000});
            session.raw.call_error("publish", too_large);
            vec![arguments]
        }
        "upload" => vec![json!({"content": "text"}), json!({"content": "text"})],
        "rsync" => {
            session.send_directory();
            let tree = session.home.path().join("tree");
            std::fs::create_dir(tree.join("empty")).unwrap();
            vec![json!({"source": tree, "destination": "/tree"})]
        }
        "download" => {
            let saved = session.home.path().join("saved");
            let whole = session.home.path().join("whole");
            vec![
                json!({"image": "tag:base", "path": "/text", "destination": saved}),
                json!({"image": "tag:base", "path": "/", "destination": whole}),
            ]
        }
        "apply" => {
            let place = session.home.path().join("place");
            std::fs::create_dir(&place).unwrap();
            std::fs::write(place.join("b"), "one\n").unwrap();
            let arguments = json!({
                "image": RESULT, "path": "/", "destination": place, "base": "tag:base",
            });
            let applied = session.raw.call_ok("apply", arguments.clone());
            assert_eq!(applied["written"], json!(["b"]), "{applied}");
            let mut missing = arguments;
            missing["path"] = json!("/missing");
            session.raw.call_error("apply", missing);
            // The sent directory is the base, and the text is merged with it.
            std::fs::write(place.join("b"), "one\n").unwrap();
            let requests = session.stub.take_requests();
            let sent = json!({"source": place, "destination": "/"});
            let sent = session.raw.call_ok("rsync", sent)["directory_state_id"].clone();
            let run = json!({
                "image": "tag:base", "command": "make", "directory_state_id": sent,
                "disposable": false,
            });
            let image = session.raw.call_ok("run", run)["result_image_uuid"].clone();
            session.stub.take_requests();
            session.stub.restore_requests(requests);
            std::fs::write(place.join("b"), "ours\n").unwrap();
            let arguments = json!({
                "image": image, "path": "/", "destination": place, "merge": true,
            });
            let stopped = session.raw.call_ok("apply", arguments.clone());
            assert_eq!(stopped["conflicts"][0]["path"], "b", "{stopped}");
            session.extend();
            session.raw.call_error("apply", arguments);
            vec![]
        }
        "list_files" => vec![json!({"image": "tag:base"})],
        "read_file" => vec![json!({"image": "tag:base", "path": "/text"})],
        "grep" => vec![json!({"image": "tag:base", "pattern": "t"})],
        "list_images" => vec![json!({"tagged": true, "tag_prefix": "base/"})],
        "import_image" => {
            let reference = |url: &str| json!({"registry_url": url, consent: true});
            session.raw.call_ok("import_image", reference("docker://x"));
            session.cancel_call("import_image", reference("docker://slow"));
            vec![]
        }
        "registry_token_obtain" => vec![json!({"registry_url": "ghcr.io"})],
        "registry_auth" => {
            let registry = session.registry();
            vec![json!({"registry_url": registry, "username": "u", "token": "t"})]
        }
        "get_image" => vec![json!({"image": "tag:base"}), json!({"image": IMAGE})],
        "set_tag" => vec![
            json!({"image_uuid": IMAGE, "tag": "x"}),
            json!({"image": "tag:base", "tag": "y"}),
            json!({"image_uuid": IMAGE}),
        ],
        "log" => {
            session.add_result();
            session.raw.call_ok("log", json!({"image": RESULT}));
            session.raw.call_ok("log", json!({"image": "tag:base"}));
            session.extend();
            vec![json!({"image": RESULT})]
        }
        "diff" => {
            session.add_result();
            let arguments = json!({"image": RESULT, "path": "/b", "patch": true});
            let found = session.raw.call_ok("diff", arguments.clone());
            assert_eq!(found["changes"][0]["change"], "modified", "{found}");
            let base = json!({"image": RESULT, "base": "tag:base", "path": "/b"});
            session.raw.call_ok("diff", base);
            session.extend();
            vec![arguments]
        }
        "push_image" => {
            // Without the extension, the client reads the archive and pushes it itself.
            let arguments = json!({"image": IMAGE, "registry_url": "127.0.0.1:1/a:1"});
            let refused = session.raw.call_error("push_image", arguments.clone());
            assert!(refused.contains("cannot reach 127.0.0.1:1"), "{refused}");
            session.extend();
            let started =
                json!({"image": "tag:base", "registry_url": "127.0.0.1:1/a:1", "wait": false});
            session.raw.call_ok("push_image", started);
            let slow = json!({"image": "tag:base", "registry_url": "127.0.0.1:1/slow:1"});
            session.cancel_call("push_image", slow);
            vec![arguments]
        }
        "delete_image" => {
            let refused = session
                .raw
                .call_error("delete_image", json!({"image": IMAGE}));
            assert!(
                refused.contains("this service cannot delete images"),
                "{refused}"
            );
            session.extend();
            vec![json!({"image": "tag:base", "force": true})]
        }
        "exec" => {
            let id = running(session);
            let hello = json!({"operation_id": id, "command": "hello"});
            let ended = session.raw.call_ok("exec", hello.clone());
            assert_eq!(ended["exit_code"], 0, "{ended}");
            assert_eq!(ended["stdout"], "output\n", "{ended}");
            session.extend();
            session.raw.call_ok("exec", hello);
            let sleep = json!({"operation_id": id, "command": "sleep"});
            let call = session
                .raw
                .send("tools/call", json!({"name": "exec", "arguments": sleep}));
            let is_start = |request: &(String, String)| {
                request.0 == "POST" && request.1.ends_with("/subprocesses")
            };
            while session.stub.requests().into_iter().filter(is_start).count() < 3 {
                std::thread::sleep(Duration::from_millis(5));
            }
            session
                .raw
                .notify("notifications/cancelled", json!({"requestId": call}));
            vec![]
        }
        "interact" => {
            let id = running(session);
            let talk =
                json!({"operation_id": id, "process_id": 2, "input": "x\n", "signal": "INT"});
            let said = session.raw.call_ok("interact", talk.clone());
            assert_eq!(said["stdout"], "output\n", "{said}");
            let said = session.raw.call_ok("interact", talk.clone());
            assert_eq!(said["stdout"], "", "only what is new: {said}");
            session.extend();
            vec![talk]
        }
        "snapshot" => {
            let arguments = json!({"operation_id": running(session)});
            let refused = session.raw.call_error("snapshot", arguments.clone());
            assert!(
                refused.contains("this service cannot make an image of a running sandbox"),
                "{refused}"
            );
            session.extend();
            vec![arguments]
        }
        "list_operations" | "whoami" => vec![json!({})],
        "cancel_operation" => vec![json!({"operation_id": running(session)})],
        "get_operation" => {
            session.extend();
            let id = running(session);
            vec![
                json!({"operation_id": id}),
                json!({"operation_id": id, "tail": 100}),
            ]
        }
        "wait_operations" => {
            session.extend();
            let wait = json!({"operation_ids": [running(session)], "timeout": 0});
            let waited = session.raw.call_ok("wait_operations", wait);
            assert_eq!(waited["timed_out"], true, "{waited}");
            let over = json!(
                session
                    .stub
                    .add_operation(json!({"metadata": {"command": "hello"}}))
            );
            vec![json!({"operation_ids": [over, running(session)], "mode": "any"})]
        }
        "get_guide" => vec![json!({"section": "state"})],
        other => panic!("add the calls of {other} here"),
    };
    for arguments in calls {
        session.raw.call_ok(tool, arguments);
    }
}
