//! Where images come from, on the embedded engine: also for a client that has made none of them.
#![cfg(all(feature = "engine", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use support::Home;
use support::raw::Raw;

fn child(raw: &mut Raw, image: &str, command: &str) -> Option<String> {
    let answer = raw.call(
        "run",
        json!({"image": image, "command": command, "disposable": false}),
    );
    if answer["isError"] == true {
        // A machine that cannot run sandboxes says so in one sentence, which other tests are about.
        eprintln!("skipped: {answer}");
        return None;
    }
    let made = &answer["structuredContent"]["result_image_uuid"];
    Some(made.as_str().unwrap().to_owned())
}

fn lineage(raw: &mut Raw, image: &str) -> Value {
    let uri = format!("contree://image/{image}/lineage");
    let answer = raw.request("resources/read", json!({"uri": uri}));
    let text = answer["result"]["contents"][0]["text"].as_str();
    serde_json::from_str(text.unwrap_or_else(|| panic!("{answer}"))).unwrap()
}

#[test]
fn great_grandchildren_know_their_root() {
    let home = Home::new();
    let mut raw = Raw::initialized(home.command(), "2025-11-25");
    let Some(one) = child(&mut raw, "tag:host", "echo 1 > /one") else {
        return;
    };
    let two = child(&mut raw, &one, "echo 2 > /two").unwrap();
    let three = child(&mut raw, &two, "echo 3 > /three").unwrap();
    let other = child(&mut raw, &one, "echo 4 > /four").unwrap();
    let root = raw.good("get_image", json!({"image": "tag:host"}))["uuid"]
        .as_str()
        .unwrap()
        .to_owned();
    let known = |raw: &mut Raw| {
        let of_three = lineage(raw, &three);
        assert_eq!(of_three["ancestors"], json!([two, one, root]));
        assert_eq!(
            (
                &of_three["parent"],
                &of_three["root"],
                &of_three["depth"],
                &of_three["is_known"]
            ),
            (&json!(two), &json!(root), &json!(3), &json!(true))
        );
        assert_eq!(of_three["data"]["source"], "echo 3 > /three");
        let mut children: Vec<Value> = lineage(raw, &one)["children"].as_array().unwrap().clone();
        children.sort_by_key(ToString::to_string);
        let mut expected = [json!(two), json!(other)];
        expected.sort_by_key(ToString::to_string);
        assert_eq!(children, expected);
        let of_root = lineage(raw, &root);
        assert_eq!(
            (&of_root["depth"], &of_root["children"]),
            (&json!(0), &json!([one]))
        );
    };
    known(&mut raw);
    // A client that remembers nothing finds it all in the engine's operations.
    drop(raw);
    let mut command = home.command();
    command.env("CONTREE_STATE_DIR", home.path().join("another"));
    known(&mut Raw::initialized(command, "2025-11-25"));
}
