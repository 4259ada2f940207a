//! The first messages of a session, in each version of the protocol.

use super::*;

#[test]
fn every_version_is_supported() {
    for version in VERSIONS {
        let home = Home::new();
        let mut raw = RawClient::initialized(home.command(), version);
        let tools = raw.request("tools/list", json!({}));
        assert!(
            tools["result"]["tools"].as_array().unwrap().len() >= 13,
            "{tools}"
        );
        raw.close_input();
        assert!(raw.exit(Duration::from_secs(5)).success());
    }
}

#[test]
fn a_session_of_2026_needs_no_handshake() {
    let home = Home::new();
    let mut raw = RawClient::modern(home.command());
    let discovered = raw.request("server/discover", json!({}));
    let versions = discovered["result"]["supportedVersions"]
        .as_array()
        .unwrap();
    assert!(versions.contains(&json!("2026-07-28")), "{discovered}");
    let tools = raw.request("tools/list", json!({}));
    assert_eq!(tools["result"]["resultType"], "complete", "{tools}");
    assert!(tools["result"]["ttlMs"].as_u64().unwrap() > 0);
}

#[test]
fn the_server_identifies_itself() {
    let home = Home::new();
    let mut raw = RawClient::start(home.command());
    let answer = raw.request(
            "initialize",
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}),
        );
    let result = &answer["result"];
    assert_eq!(result["serverInfo"]["name"], "contree-mcp");
    assert_eq!(result["serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
    let instructions = result["instructions"].as_str().unwrap();
    assert!(
        (100..2500).contains(&instructions.len()),
        "{}",
        instructions.len()
    );
    raw.wait_for_stderr("backend the embedded engine (no token and no URL are configured)");
}

#[test]
fn messages_before_the_first_request_are_ignored() {
    let home = Home::new();
    let mut raw = RawClient::start(home.command());
    raw.notify("notifications/initialized", json!({}));
    raw.write(b"\n\nnot json\n{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{}}\n");
    let answer = raw.request(
            "initialize",
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}),
        );
    assert!(answer.get("result").is_some(), "{answer}");
}

#[test]
fn every_tool_has_schemas_and_hints() {
    let home = Home::new();
    let tools = local(&home).request("tools/list", json!({}));
    for tool in tools["result"]["tools"].as_array().unwrap() {
        let name = &tool["name"];
        assert_eq!(tool["inputSchema"]["type"], "object", "{name}");
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{name}");
        assert_eq!(tool["outputSchema"]["type"], "object", "{name}");
        for hint in [
            "readOnlyHint",
            "destructiveHint",
            "idempotentHint",
            "openWorldHint",
        ] {
            assert!(tool["annotations"][hint].is_boolean(), "{name} {hint}");
        }
    }
}

#[test]
fn each_call_reports_incomplete_credentials() {
    let home = Home::new();
    let mut command = home.command();
    command.env("CONTREE_TOKEN", "secret");
    let mut raw = RawClient::initialized(command, "2025-11-25");
    let text = raw.call_error("whoami", json!({}));
    assert!(
        text.contains("there is a token (CONTREE_TOKEN) but no URL"),
        "{text}"
    );
    assert!(!text.contains("secret") && !raw.stderr().contains("secret"));
}
