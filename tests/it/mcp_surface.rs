//! Prompts, guides, resources and completion, and servers that offer only some tools.

use std::time::Duration;

use crate::support::Home;
use crate::support::raw::RawClient;
use serde_json::{Value, json};

fn local(home: &Home) -> RawClient {
    RawClient::initialized(home.command(), "2025-11-25")
}

fn with_options(home: &Home, options: &[&str]) -> RawClient {
    let mut command = home.command();
    command.args(options);
    RawClient::initialized(command, "2025-11-25")
}

/// Returns the names of the entries of one list.
fn names(raw: &mut RawClient, method: &str, list: &str) -> Vec<String> {
    let answer = raw.request(method, json!({}));
    let entries = answer["result"][list]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    entries
        .iter()
        .map(|entry| entry["name"].as_str().unwrap().to_owned())
        .collect()
}

fn text_of(answer: &Value) -> &str {
    answer["result"]["messages"][0]["content"]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn every_prompt_renders_in_both_protocol_generations() {
    let home = Home::new();
    for mut raw in [local(&home), RawClient::modern(home.command())] {
        let listed = raw.request("prompts/list", json!({}));
        let prompts = listed["result"]["prompts"].as_array().unwrap().clone();
        assert!(prompts.len() >= 10, "{listed}");
        for prompt in prompts {
            let name = prompt["name"].as_str().unwrap();
            let arguments = prompt["arguments"].as_array().unwrap();
            for all in [false, true] {
                let given: serde_json::Map<String, Value> = arguments
                    .iter()
                    .filter(|argument| all || argument["required"] == true)
                    .map(|argument| {
                        let name = argument["name"].as_str().unwrap();
                        (name.to_owned(), json!(format!("{name} > \"x\"")))
                    })
                    .collect();
                let answer = raw.request("prompts/get", json!({"name": name, "arguments": given}));
                let text = text_of(&answer);
                assert!(text.len() < 4000, "{name}: {} bytes", text.len());
                assert!(
                    !text.contains("{{") && !text.contains("{%") && !text.contains("\\u00"),
                    "{name}: {text}"
                );
                for value in given.values() {
                    let value = value.as_str().unwrap();
                    let quoted = json!(value).to_string();
                    let quoted = quoted.trim_matches('"');
                    assert!(
                        text.contains(value) || text.contains(quoted),
                        "{name}: {text}"
                    );
                }
            }
        }
    }
}

#[test]
fn prompts_accept_their_documented_arguments() {
    let home = Home::new();
    let mut raw = local(&home);
    let get = |raw: &mut RawClient, name: &str, arguments: Value| {
        raw.request("prompts/get", json!({"name": name, "arguments": arguments}))
    };
    let answer = get(&mut raw, "run-shell", json!({"command": "ls"}));
    let text = text_of(&answer);
    assert!(
        text.contains(r#"run(image="tag:ubuntu:noble", command="ls")"#),
        "{text}"
    );
    let answer = get(
        &mut raw,
        "run-shell",
        json!({"command": "ls", "image": "tag:host"}),
    );
    assert!(text_of(&answer).contains(r#"run(image="tag:host", command="ls")"#));
    let id = "6f9619ff-8b86-4011-842d-00c04fc964ff";
    let answer = get(&mut raw, "run-shell", json!({"command": "ls", "image": id}));
    assert!(text_of(&answer).contains(&format!(r#"run(image="{id}", command="ls")"#)));
    // Forms also send empty fields.
    let answer = get(&mut raw, "run-shell", json!({"command": "ls", "image": ""}));
    assert!(text_of(&answer).contains("tag:ubuntu:noble"));
    let answer = get(
        &mut raw,
        "prepare-environment",
        json!({"task": "plot", "project": "shop", "packages": null}),
    );
    assert!(
        text_of(&answer).contains(r#"list_images(tag_prefix="shop/")"#),
        "{answer}"
    );
    for (name, arguments, expected) in [
        ("run-shell", json!({}), "`command` is missing"),
        ("run-shell", json!({"command": " "}), "`command` is missing"),
        (
            "run-shell",
            json!({"comand": "ls", "command": "x"}),
            "did you mean `command`?",
        ),
        ("run-shell", json!({"command": ["ls"]}), "must be a string"),
        ("run-shel", json!({}), "did you mean `run-shell`?"),
    ] {
        let answer = get(&mut raw, name, arguments);
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert!(answer.to_string().contains(expected), "{answer}");
    }
}

#[test]
fn guides_are_resources_and_also_read_by_a_tool() {
    let home = Home::new();
    let mut raw = local(&home);
    let listed = raw.request("resources/list", json!({}));
    let guides = listed["result"]["resources"].as_array().unwrap().clone();
    assert!(guides.len() >= 7, "{listed}");
    for guide in guides {
        let read = raw.request("resources/read", json!({"uri": guide["uri"]}));
        let content = &read["result"]["contents"][0];
        assert_eq!(content["mimeType"], "text/markdown", "{read}");
        let text = content["text"].as_str().unwrap();
        assert!(text.starts_with("# ") && text.len() > 400, "{text}");
        assert_eq!(guide["size"], text.len());
        assert!(
            read["result"]["ttlMs"].as_u64().unwrap() > 86_400_000,
            "{read}"
        );
        let got = raw.call_ok("get_guide", json!({"section": guide["name"]}));
        assert_eq!(got["content"], text);
        assert!(
            got["available_sections"]
                .as_array()
                .unwrap()
                .contains(&guide["name"])
        );
    }
    let text = raw.call_error("get_guide", json!({"section": "workflows"}));
    assert!(text.contains("did you mean `workflow`?"), "{text}");
}

#[test]
fn a_result_image_is_linked_for_clients_that_support_links() {
    let home = Home::new();
    let keep = json!({"image": "tag:host", "command": "echo kept > /linked", "disposable": false});
    for (version, linked) in [("2025-11-25", true), ("2025-03-26", false)] {
        let mut raw = RawClient::initialized(home.command(), version);
        let answer = raw.call("run", keep.clone());
        let image = answer["structuredContent"]["result_image_uuid"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"));
        let links: Vec<&Value> = answer["content"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|block| block["type"] == "resource_link")
            .collect();
        assert_eq!(links.len(), usize::from(linked), "{answer}");
        for link in links {
            assert_eq!(link["uri"], format!("contree://image/{image}/ls/."));
            let read = raw.request("resources/read", json!({"uri": link["uri"]}));
            let text = read["result"]["contents"][0]["text"].as_str().unwrap();
            assert!(text.contains("linked"), "{read}");
        }
        let nothing = json!({"image": image, "command": "true", "disposable": false});
        let answer = raw.call("run", nothing);
        assert_eq!(answer["content"].as_array().unwrap().len(), 1, "{answer}");
    }
    // Without the tool that lists files, there is no link.
    let answer = with_options(&home, &["--tools", "run"]).call("run", keep);
    assert_eq!(answer["content"].as_array().unwrap().len(), 1, "{answer}");
}

#[test]
fn images_and_operations_are_read_as_resources() {
    let home = Home::new();
    let mut raw = local(&home);
    let made = raw.call_ok(
        "run",
        json!({"image": "tag:host", "disposable": false, "command":
            "mkdir -p '/w/a b' && printf 'text ä' > '/w/a b/100%.txt' && printf '\\377\\000' > /w/bytes && head -c 2000000 /dev/zero > /w/big"}),
    );
    let (image, operation) = (
        made["result_image_uuid"].as_str().unwrap().to_owned(),
        made["uuid"].as_str().unwrap().to_owned(),
    );
    raw.call_ok(
        "set_tag",
        json!({"image_uuid": image, "tag": "team/read/x"}),
    );
    let read = |raw: &mut RawClient, uri: &str| raw.request("resources/read", json!({"uri": uri}));

    for uri in [
        format!("contree://image/{image}/read/w/a%20b/100%25.txt"),
        format!("contree://image/{image}/read/w/a b/100%.txt"),
        format!("contree://image/{image}/read/w%2Fa%20b%2F100%25.txt"),
        format!("contree://image/{image}/read//w/a b/100%.txt"),
    ] {
        let answer = read(&mut raw, &uri);
        let content = &answer["result"]["contents"][0];
        assert_eq!(content["text"], "text ä", "{answer}");
        assert_eq!(
            (&content["uri"], &content["mimeType"]),
            (&json!(uri), &json!("text/plain"))
        );
        assert!(
            answer["result"]["ttlMs"].as_u64().unwrap() > 86_400_000,
            "{answer}"
        );
    }
    for uri in [
        "contree://image/tag:team%2Fread%2Fx/read/w/a b/100%.txt",
        "contree://image/tag:team/read/x/read/w/a b/100%.txt",
    ] {
        let answer = read(&mut raw, uri);
        if uri.contains("%2F") {
            assert_eq!(
                answer["result"]["contents"][0]["text"], "text ä",
                "{answer}"
            );
            assert_eq!(answer["result"]["ttlMs"], 0, "a tag may move: {answer}");
        } else {
            // A tag with a part called `read` must be encoded.
            assert!(answer["error"].is_object(), "{answer}");
        }
    }
    let answer = read(&mut raw, &format!("contree://image/{image}/read/w/bytes"));
    assert_eq!(answer["result"]["contents"][0]["blob"], "/wA=", "{answer}");

    for uri in [
        format!("contree://image/{image}/ls/."),
        format!("contree://image/{image}/ls/"),
        format!("contree://image/{image}/ls/%2E"),
        "contree://image/tag:team%2Fread%2Fx/ls/.".to_owned(),
    ] {
        let answer = read(&mut raw, &uri);
        let text = answer["result"]["contents"][0]["text"].as_str();
        assert!(
            text.is_some_and(|text| text.contains("w") && text.contains("usr")),
            "{answer}"
        );
    }

    let answer = read(
        &mut raw,
        &format!("contree://operations/instance/{operation}"),
    );
    let text = answer["result"]["contents"][0]["text"].as_str().unwrap();
    let record: Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        (&record["uuid"], &record["status"]),
        (&json!(operation), &json!("SUCCESS"))
    );

    let answer = read(&mut raw, "contree://image/tag:team/read/x/lineage");
    let text = answer["result"]["contents"][0]["text"].as_str();
    let lineage: Value = serde_json::from_str(text.unwrap_or_else(|| panic!("{answer}"))).unwrap();
    assert_eq!(
        (&lineage["image"], &lineage["parent"], &lineage["depth"]),
        (&json!(image), &made["image_uuid"], &json!(1)),
        "{lineage}"
    );

    for (uri, word) in [
        (format!("contree://image/{image}/read/nowhere"), ""),
        ("contree://image/tag:no/such/read/x".to_owned(), ""),
        (
            format!("contree://operations/import/{operation}"),
            "instance",
        ),
        (
            "contree://operations/instance/nonsense".to_owned(),
            "not the UUID",
        ),
        (
            "contree://guide/workflows".to_owned(),
            "did you mean `workflow`?",
        ),
        ("file:///etc/passwd".to_owned(), "there is no resource"),
    ] {
        let answer = read(&mut raw, &uri);
        assert_eq!(answer["error"]["code"], -32002, "{uri}: {answer}");
        assert_eq!(answer["error"]["data"]["uri"], uri, "{answer}");
        assert!(answer.to_string().contains(word), "{answer}");
        let answer =
            RawClient::modern(home.command()).request("resources/read", json!({"uri": uri}));
        assert_eq!(answer["error"]["code"], -32602, "{uri}: {answer}");
    }
    for uri in [
        format!("contree://image/{image}/read/w"),
        format!("contree://image/{image}/ls/w/bytes"),
        format!("contree://image/{image}/read/w/big"),
        "contree://image/host/ls/.".to_owned(),
    ] {
        let answer = read(&mut raw, &uri);
        assert_eq!(answer["error"]["code"], -32602, "{uri}: {answer}");
    }

    // Completion of the names created above.
    let complete = |raw: &mut RawClient,
                    reference: Value,
                    name: &str,
                    value: &str,
                    given: Value| {
        let answer = raw.request(
            "completion/complete",
            json!({"ref": reference, "argument": {"name": name, "value": value}, "context": {"arguments": given}}),
        );
        let completion = answer["result"]["completion"].clone();
        assert!(completion["values"].is_array(), "{answer}");
        completion
    };
    let resource = |uri: &str| json!({"type": "ref/resource", "uri": uri});
    let file = || resource("contree://image/{image}/read/{path}");
    let found = complete(&mut raw, file(), "image", "tag:team", json!({}));
    assert_eq!(found["values"], json!(["tag:team/read/x"]));
    assert_eq!(
        (&found["total"], &found["hasMore"]),
        (&json!(1), &json!(false))
    );
    let found = complete(&mut raw, file(), "image", "tag:team/", json!({}));
    assert_eq!(found["values"], json!(["tag:team/read/x"]));
    let found = complete(&mut raw, file(), "path", "w/b", json!({"image": image}));
    assert_eq!(found["values"], json!(["w/big", "w/bytes"]));
    let found = complete(
        &mut raw,
        file(),
        "path",
        "w",
        json!({"image": "tag:team/read/x"}),
    );
    assert_eq!(found["values"], json!(["w/"]));
    let prompt = json!({"type": "ref/prompt", "name": "run-shell"});
    let found = complete(&mut raw, prompt.clone(), "image", "ho", json!({}));
    assert_eq!(found["values"], json!(["tag:host"]));
    let found = complete(&mut raw, prompt, "command", "l", json!({}));
    assert_eq!(found["values"], json!([]));
    let prompt = json!({"type": "ref/prompt", "name": "debug-failure"});
    let found = complete(&mut raw, prompt, "operation_id", &operation[..6], json!({}));
    assert_eq!(found["values"], json!([operation]));
    let found = complete(
        &mut raw,
        resource("contree://guide/{section}"),
        "section",
        "t",
        json!({}),
    );
    assert_eq!(found["values"], json!(["tagging"]));
    for (name, value, given) in [
        ("path", "nowhere/", json!({"image": image})),
        ("path", "", json!({"image": "nonsense"})),
        ("path", "", json!({})),
        ("image", "no such thing", json!({})),
        ("nothing", "", json!({})),
    ] {
        let found = complete(&mut raw, file(), name, value, given);
        assert_eq!(found["values"], json!([]), "{name} {value}");
    }
}

#[test]
fn only_selected_tools_are_offered() {
    let home = Home::new();
    let whole = names(&mut local(&home), "tools/list", "tools");
    for options in [
        &["--read-only"][..],
        &["--toolset", "images"],
        &["--toolset", "images,operations", "--read-only"],
        &["--tools", "run,upload"],
        &["--toolset=account", "--tools=run"],
    ] {
        let mut raw = with_options(&home, options);
        let offered = names(&mut raw, "tools/list", "tools");
        assert!(
            !offered.is_empty() && offered.len() < whole.len(),
            "{options:?}"
        );
        assert!(offered.iter().all(|name| whole.contains(name)));
        let absent = whole.iter().find(|name| !offered.contains(name)).unwrap();
        let text = raw.call_error(absent, json!({}));
        assert!(
            text.contains("is not offered: this server was started with --")
                && text.contains(&offered[0]),
            "{text}"
        );
        assert_eq!(names(&mut raw, "resources/list", "resources").len(), 7);
        let prompts = names(&mut raw, "prompts/list", "prompts");
        assert!(
            !prompts.contains(&"prepare-environment".to_owned()),
            "{options:?}"
        );
        let answer = raw.request(
            "prompts/get",
            json!({"name": "run-shell", "arguments": {"command": "ls"}}),
        );
        assert!(
            prompts.contains(&"run-shell".to_owned())
                || answer.to_string().contains("is not offered"),
            "{answer}"
        );
        let listed = raw.request("tools/list", json!({}));
        let tool = listed["result"]["tools"][0].clone();
        let full = local(&home).request("tools/list", json!({}));
        let full = full["result"]["tools"].as_array().unwrap();
        assert!(
            full.contains(&tool),
            "a tool is the same wherever it is offered"
        );
        let command = home.command().args(options).arg("tools").output().unwrap();
        let printed = String::from_utf8(command.stdout).unwrap();
        let printed = printed.lines().filter(|line| !line.starts_with(' '));
        let printed: Vec<&str> = printed
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        assert_eq!(printed, offered);
    }
    let mut raw = with_options(&home, &["--tools", "whoami"]);
    let answer = raw.request(
        "resources/read",
        json!({"uri": "contree://image/tag:host/ls/."}),
    );
    assert!(answer.to_string().contains("is not offered"), "{answer}");
    assert_eq!(
        names(&mut raw, "resources/templates/list", "resourceTemplates"),
        [""; 0]
    );
    // Completion reveals nothing about resources that are not offered.
    for (reference, name) in [
        (
            json!({"type": "ref/resource", "uri": "contree://image/{image}/ls/{path}"}),
            "path",
        ),
        (
            json!({"type": "ref/resource", "uri": "contree://image/{image}/read/{path}"}),
            "image",
        ),
        (
            json!({"type": "ref/resource", "uri": "contree://operations/instance/{operation_id}"}),
            "operation_id",
        ),
        (json!({"type": "ref/prompt", "name": "run-shell"}), "image"),
    ] {
        let answer = raw.request(
            "completion/complete",
            json!({"ref": reference, "argument": {"name": name, "value": ""},
                   "context": {"arguments": {"image": "tag:host"}}}),
        );
        assert!(
            answer["error"].to_string().contains("not offered"),
            "{answer}"
        );
    }
    let guide = raw.request("resources/read", json!({"uri": "contree://guide/async"}));
    let text = guide["result"]["contents"][0]["text"].as_str().unwrap();
    assert!(
        text.starts_with("(This server does not offer `cancel_operation`"),
        "{text}"
    );
}

#[test]
fn an_invalid_selection_prevents_the_start() {
    let home = Home::new();
    for (options, variable, expected) in [
        (&["--toolset", "imagse"][..], None, "did you mean `images`?"),
        (&["--tools", "raed_file"], None, "did you mean `read_file`?"),
        (&["--tools", ""], None, "--tools contains no name"),
        (&["--toolset", ","], None, "--toolset contains no name"),
        (&["--read-only", "--tools", "run"], None, "not read-only"),
        (
            &[],
            Some(("CONTREE_TOOLS", "uplaod")),
            "did you mean `upload`?",
        ),
        (
            &[],
            Some(("CONTREE_TOOLS", " , ")),
            "CONTREE_TOOLS contains no name",
        ),
        (
            &[],
            Some(("CONTREE_READ_ONLY", "maybe")),
            "give true or false",
        ),
    ] {
        for arguments in [
            &[][..],
            &["tools"],
            &["call", "run", "command=ls", "image=tag:host"],
        ] {
            let mut command = home.command();
            command.args(options).args(arguments);
            command.envs(variable);
            let output = command.stdin(std::process::Stdio::null()).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{options:?}: {stderr}");
            assert!(stderr.contains(expected), "{stderr}");
        }
    }
    let mut command = home.command();
    command
        .env("CONTREE_READ_ONLY", "true")
        .env("CONTREE_TOOLSET", "images, account");
    let mut raw = RawClient::initialized(command, "2025-11-25");
    assert_eq!(
        names(&mut raw, "tools/list", "tools"),
        ["list_images", "get_image", "log", "diff", "whoami"]
    );
    let refused = home
        .command()
        .args(["--read-only", "call", "run", "command=ls", "image=tag:host"])
        .output();
    let refused = refused.unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8(refused.stderr)
            .unwrap()
            .contains("is not offered")
    );
    raw.close_input();
    assert!(raw.exit(Duration::from_secs(30)).success());
}
