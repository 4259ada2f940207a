//! An entry in YAML alone makes a tool from an operation of the shipped API. Its handler and its
//! answer are generated, and call the real client.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a stand-in of the tools module, used in part"
)]

use contree::{Backend, Client};
use contree_xtask::yaml_only::compile_added;
use serde_json::{Value, json};

use super::root;

#[test]
fn an_entry_in_yaml_is_a_tool() {
    let output = compile_added(root()).unwrap_or_else(|problems| panic!("{problems}"));
    for (tool, argument, kind) in [
        ("list_uploads", "limit", "integer"),
        ("name_image", "name", "string"),
    ] {
        let (_, seen) = output
            .surface
            .iter()
            .find(|(name, _)| name == tool)
            .unwrap();
        assert_eq!(seen["inputSchema"]["properties"][argument]["type"], kind);
        for (path, expected) in [
            ("docs/tools.md", format!("### {tool}")),
            ("README.md", format!("`{tool}`")),
        ] {
            let mut documents = output.documents.iter();
            let (_, page) = documents.find(|(known, _)| known == path).unwrap();
            assert!(page.contains(&expected), "{path}: {expected}");
        }
    }
}

/// The generated code with the definitions that it needs and the real client.
mod generated {
    use super::*;

    include!("stand_in_plain.rs");
    include!("yaml_only/tools.rs");

    impl FilesTools for Handlers {}

    async fn call(server: &httpmock::MockServer, tool: &str, arguments: Value) -> ToolAnswer {
        let client = Client::connect(Backend::new(&server.base_url()).unwrap()).unwrap();
        let cx = Context { client };
        let Value::Object(arguments) = arguments else {
            panic!("an object")
        };
        dispatch(&Handlers, tool, arguments, &cx).await.unwrap()
    }

    #[tokio::test]
    async fn a_generated_handler_sends_a_query() {
        let server = httpmock::MockServer::start_async().await;
        let mock = server
            .mock_async(|when, then| {
                when.method("GET")
                    .path("/v1/files")
                    .query_param("limit", "7");
                then.status(200).json_body(json!({"files": [{
                    "uuid": "6f9619ff-8b86-4011-842d-00c04fc964ff", "sha256": "00", "size": 3,
                    "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z",
                }]}));
            })
            .await;
        let answer = call(&server, "list_uploads", json!({"limit": 7})).await;
        mock.assert_async().await;
        assert!(answer.0.to_string().contains("6f9619ff"), "{}", answer.0);
    }

    #[tokio::test]
    async fn a_generated_handler_sends_a_body() {
        let image = "6f9619ff-8b86-4011-842d-00c04fc964ff";
        let server = httpmock::MockServer::start_async().await;
        let mock = server
            .mock_async(|when, then| {
                when.method("PATCH")
                    .path(format!("/v1/images/{image}/tag"))
                    .json_body(json!({"tag": "common/numpy"}));
                then.status(200).json_body(json!({
                    "uuid": image, "tag": "common/numpy",
                    "created_at": "2026-01-02T03:04:05Z",
                }));
            })
            .await;
        let arguments = json!({"image": image, "name": "common/numpy"});
        let answer = call(&server, "name_image", arguments).await;
        mock.assert_async().await;
        assert_eq!(answer.0["tag"], "common/numpy");
    }
}
