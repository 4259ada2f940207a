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
        Ok(results::Rename(format!(
            "{} {} {:?} {}",
            p.book_id, p.title, p.tags, p.mode
        )))
    }

    async fn about(&self, _: params::About, _: &Context) -> Result<results::About, ToolError> {
        Ok(results::About(String::new()))
    }
}

async fn call(name: &str, arguments: Value) -> (Result<Answer, ToolError>, Vec<String>) {
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
}

#[tokio::test]
async fn dispatch_reaches_handlers_and_refuses_unknown_tools() {
    let id = "6f9619ff-8b86-d011-b42d-00c04fc964ff";
    let arguments = json!({"book_id": id, "title": "Emma", "mode": "print"});
    let (answer, _) = call("rename", arguments).await;
    assert_eq!(answer.unwrap().0, format!("{id} Emma [] print"));
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
    assert_eq!(TOOLS[1].aliases, [("shelf", "type")]);
    assert_eq!(TOOLS[1].uses, ["listBooks"]);
    assert_eq!(TOOLS[3].local, Local::Read);
    assert!(TOOLS[3].hints.destructive && !TOOLS[3].hints.read_only);
    assert_eq!(INSTRUCTIONS, "A library. `about` says more.");
    assert_eq!(GUIDES[0].0, "house");
}
