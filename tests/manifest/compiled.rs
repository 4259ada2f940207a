//! The Rust generated from the small manifest compiles and does what the manifest says.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a stand-in of the tools module, used in part"
)]

use serde_json::{Value, json};

include!("stand_in.rs");
include!("good/tools.rs");

impl DeskTools for Handlers {
    async fn lend(&self, p: params::Lend, _: &Context) -> Result<results::Lend, ToolError> {
        Ok(results::Lend(format!("{p:?}")))
    }
}

impl OfficeTools for Handlers {
    async fn rename(&self, p: params::Rename, _: &Context) -> Result<results::Rename, ToolError> {
        let params::Rename {
            book_id,
            title,
            tags,
            mode,
        } = p;
        let mode = match mode {
            params::RenameMode::Print | params::RenameMode::Emboss => mode,
        };
        Ok(results::Rename(format!(
            "{book_id} {title} {tags:?} {mode}"
        )))
    }

    async fn about(&self, _: params::About, _: &Context) -> Result<results::About, ToolError> {
        Ok(results::About(String::new()))
    }
}

impl ResourceHandlers for Handlers {
    async fn page(&self, uri: uris::Page, _: &Context) -> Result<ResourceContent, ToolError> {
        Ok(ResourceContent(format!("{uri:?}")))
    }
}

async fn call(name: &str, arguments: Value) -> (Result<ToolAnswer, ToolError>, Vec<String>) {
    let cx = Context::default();
    let Value::Object(arguments) = arguments else {
        panic!("an object")
    };
    let answer = dispatch(&Handlers, name, arguments, &cx).await;
    let calls = cx.client.calls.into_inner().unwrap();
    (answer, calls)
}

#[tokio::test]
async fn a_generated_handler_passes_its_arguments_on() {
    let arguments = json!({"limit": 5, "type": "science"});
    let (answer, calls) = call("list_books", arguments).await;
    assert_eq!(answer.unwrap().0, "listed");
    assert_eq!(calls, ["listBooks limit=5 shelf=science"]);

    let id = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
    let (answer, calls) = call("get_book", json!({"book_id": id})).await;
    assert_eq!(answer.unwrap().0, "got");
    assert_eq!(calls, [format!("getBook {id}")]);

    let arguments = json!({
        "shelf": "science", "title": "Optics", "copies": 2, "binding": "hard-cover",
        "kind": "book", "languages": ["en"], "gift": true,
    });
    let (answer, calls) = call("order", arguments).await;
    assert_eq!(answer.unwrap().0, "ordered");
    let body = "title=\"Optics\" copies=Some(2) binding=\"hard-cover\" type=\"book\" \
        languages=[\"en\"] gift=Some(true)";
    assert_eq!(calls, [format!("orderBook shelf=science {{ {body}}}")]);

    let (answer, calls) = call("list_news", json!({})).await;
    assert_eq!(answer.unwrap().0, "news");
    assert_eq!(calls, ["listNews"]);
}

#[tokio::test]
async fn dispatch_reaches_handlers_and_refuses_unknown_tools() {
    let id = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
    let arguments = json!({"book_id": id, "title": "Emma", "mode": "print"});
    let (answer, _) = call("rename", arguments).await;
    assert_eq!(answer.unwrap().0, format!("{id} Emma [] print"));
    let arguments = json!({"book_id": id, "title": "Emma", "mode": "emboss"});
    let (answer, _) = call("retitle", arguments).await;
    assert_eq!(answer.unwrap().0, format!("{id} Emma [] emboss"));
    let (answer, calls) = call("burn", json!({})).await;
    assert_eq!(answer.unwrap_err().0, "no burn");
    assert!(calls.is_empty());
}

#[test]
fn the_table_says_what_the_manifest_says() {
    let lend = &TOOLS[0];
    assert_eq!(
        (lend.name, lend.title, lend.toolset),
        ("lend", "Lend a book", "desk")
    );
    assert_eq!(lend.uses, ["lendBook", "getBook", "returnBook"]);
    assert_eq!(lend.null_values, ["notes"]);
    assert_eq!(lend.keeps_empty, [""; 0]);
    let order = TOOLS.iter().find(|tool| tool.name == "order").unwrap();
    assert_eq!(order.keeps_empty, ["remark"]);
    assert_eq!(lend.aliases, [""; 0]);
    let source = TaskSource {
        operation: "lendBook",
        id: "loan_id",
        waits: Some("wait"),
    };
    assert_eq!(lend.task, Some(source));
    assert_eq!(TOOLS[1].task, None);
    let servers = TaskTools {
        look_up: "get_book",
        cancel: "rename",
    };
    assert_eq!(TASK_TOOLS, Some(servers));
    assert_eq!(TOOLS[3].aliases, ["retitle"]);
    assert_eq!(TOOLS[1].param_aliases, [("shelf", "type")]);
    assert_eq!(TOOLS[1].uses, ["listBooks"]);
    assert_eq!(TOOLS[3].local, LocalFileUse::Read);
    assert!(TOOLS[3].hints.destructive && !TOOLS[3].hints.read_only);
    assert_eq!(INSTRUCTIONS, "A library. `about` says more.");
    assert_eq!(
        (GUIDES[0].name, GUIDES[0].uri),
        ("house", "contree://guide/house")
    );
    assert!(GUIDES[0].text.starts_with("Be quiet."));
    let prompt = &PROMPTS[0];
    assert_eq!(prompt.tools, ["lend", "list_books"]);
    assert!(prompt.arguments[0].required && !prompt.arguments[2].required);
    assert_eq!(prompt.arguments[1].default, Some("fiction"));
    assert_eq!(
        RESOURCES[0].variables,
        [
            ("book", Some(CompletionSource::Image)),
            ("page", Some(CompletionSource::Path))
        ]
    );
    assert!(TEMPLATES.iter().any(|(name, _)| *name == prompt.template));
    let facts: Value = serde_json::from_str(FACTS).unwrap();
    assert_eq!(facts["version"], "1.2.3");
    assert_eq!(facts["guides"]["house"]["text"], GUIDES[0].text);
}

#[tokio::test]
async fn a_resource_reaches_its_handler_with_its_variables() {
    let cx = Context::default();
    let variables = UriVariables(vec![("book", "b".into()), ("page", "1/2".into())]);
    let read = read_resource(&Handlers, "page", variables, &cx).await;
    assert_eq!(read.unwrap().0, "Page { book: \"b\", page: \"1/2\" }");
    let variables = UriVariables(Vec::new());
    let read = read_resource(&Handlers, "cover", variables, &cx).await;
    assert_eq!(read.unwrap_err().0, "no cover");
}
