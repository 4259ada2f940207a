//! An operation of the shipped API becomes a tool by an entry in YAML alone: its handler and answer are generated, and
//! call the real client.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a stand-in of the tools module, used in part"
)]

use contree::{Backend, Client};
use serde_json::{Value, json};

use super::compiler::{Api, Inputs, Output, Source, compile, files};
use super::{compare, root};

/// All that a maintainer writes.
const TOOL: &str = "
  list_uploads:
    title: List uploads
    toolset: files
    operation: listFiles
    answer: plain
    local: none
    hints: {read_only: true, destructive: false, idempotent: true, open_world: false}
    description: List what was uploaded.
    params:
      limit: {from: listFiles.limit, doc: Files at most}
";

/// A manifest with that tool alone.
fn alone(api: &Api) -> Source {
    let others = api.operations.keys().filter(|id| *id != "listFiles");
    let unexposed: String = others.map(|id| format!("  {id}: not here\n")).collect();
    Source {
        name: "tools.yaml".into(),
        text: format!(
            "instructions: Uploads.\ntoolsets:\n  files: Files\ntools:{TOOL}unexposed:\n{unexposed}"
        ),
    }
}

fn api() -> Api {
    Api::load(&files::read(root(), "openapi/contree.yaml").unwrap()).unwrap()
}

fn compiled(manifest: &Source, api: &Api, templates: &[Source]) -> Output {
    let inputs = Inputs {
        manifest,
        api,
        templates,
        version: "1.2.3",
    };
    compile(&inputs).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[test]
fn an_entry_in_yaml_is_a_tool() {
    let api = api();
    let output = compiled(&alone(&api), &api, &[]);
    compare(
        root().join("tests/manifest/yaml_only/tools.rs"),
        &output.rust,
    );

    let mut shipped = files::read(root(), "tools.yaml").unwrap();
    let templates = files::read_templates(&root().join("templates")).unwrap();
    let (before, after) = shipped.text.split_once("\nunexposed:\n").unwrap();
    let after: String = after
        .lines()
        .filter(|line| !line.starts_with("  listFiles:"))
        .map(|line| format!("{line}\n"))
        .collect();
    shipped.text = format!("{before}\n{TOOL}\nunexposed:\n{after}");
    let output = compiled(&shipped, &api, &templates);
    let (_, tool) = output
        .surface
        .iter()
        .find(|(name, _)| name == "list_uploads")
        .unwrap();
    assert_eq!(
        tool["inputSchema"]["properties"]["limit"]["type"],
        "integer"
    );
    let page = output
        .documents
        .iter()
        .find(|(path, _)| path == "docs/tools.md");
    assert!(page.unwrap().1.contains("### list_uploads"));
    let table = output
        .documents
        .iter()
        .find(|(path, _)| path == "README.md");
    assert!(table.unwrap().1.contains("`list_uploads`"));
}

/// What the generated code expects around it, with the real client.
mod generated {
    use super::*;

    include!("stand_in_plain.rs");
    include!("yaml_only/tools.rs");

    impl FilesTools for Handlers {}

    #[tokio::test]
    async fn its_handler_calls_the_api() {
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
        let client = Client::connect(Backend::new(&server.base_url()).unwrap()).unwrap();
        let cx = Context { client };
        let Value::Object(arguments) = json!({"limit": 7}) else {
            unreachable!()
        };
        let answer = dispatch(&Handlers, "list_uploads", arguments, &cx)
            .await
            .unwrap();
        mock.assert_async().await;
        assert!(answer.0.to_string().contains("6f9619ff"), "{}", answer.0);
    }
}
