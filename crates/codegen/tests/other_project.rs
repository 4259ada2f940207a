//! The API and manifest compilers work for another project: their output does not name this one.

#![allow(clippy::unwrap_used, reason = "a test")]

use contree_codegen::api::{self, transforms};
use contree_codegen::manifest::{Api, Inputs, SourceFile, compile};

const DOCUMENT: &str = "
openapi: 3.0.3
info: {title: Library, version: '1'}
paths:
  /books:
    get:
      operationId: listBooks
      parameters:
      - {name: shelf, in: query, required: false, schema: {type: string}}
      responses:
        '200':
          description: the books
          content:
            application/json:
              schema: {type: array, items: {$ref: '#/components/schemas/Id'}}
components:
  schemas:
    Id: {type: string, format: uuid}
";

const MANIFEST: &str = "
instructions: 'A library. `find_books` lists what it has, library://guide/house how to behave.'
toolsets: {desk: Lend and look up}
tools:
  find_books:
    title: Find books
    toolset: desk
    operation: listBooks
    answer: plain
    local: none
    hints: {read_only: true, destructive: false, idempotent: true, open_world: false}
    description: Find books by their shelf.
    params:
      shelf: {from: listBooks.shelf, doc: Only this shelf}
guides:
  house: {title: House rules, doc: How to behave, template: house.md.j2}
";

fn settings() -> api::Settings<'static> {
    api::Settings {
        document: "library.yaml",
        library: "library",
        inner_type: "crate::Desk",
        replacements: &[("Id", "crate::BookId")],
        hidden: &[],
        transforms: &[transforms::plain_strings],
        mock_transforms: &[],
    }
}

#[test]
fn a_client_has_the_names_of_its_project() {
    let output = api::generate(DOCUMENT, &settings()).unwrap();
    assert!(output.client.contains("crate::Desk"));
    assert!(output.client.contains("Vec<crate::BookId>"));
    assert!(output.client.contains("fn list_books"));
    assert!(output.mocks.contains("::library::BookId"));
    for text in [&output.client, &output.mocks] {
        assert!(!text.to_lowercase().contains("contree"));
    }
}

#[test]
fn a_mistake_in_the_document_is_reported_with_its_name() {
    let error = api::generate("openapi: [", &settings())
        .err()
        .unwrap()
        .to_string();
    assert!(error.starts_with("library.yaml: "), "{error}");
}

#[test]
fn tools_have_the_names_of_their_project() {
    let source = |name: &str, text: &str| SourceFile {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let api = Api::load(&source("library.yaml", DOCUMENT)).unwrap_or_else(|_| panic!("the API"));
    let manifest = source("desk.yaml", MANIFEST);
    let templates = [source("house.md.j2", "Be quiet.")];
    let inputs = Inputs {
        manifest: &manifest,
        api: &api,
        templates: &templates,
        version: "1.2.3",
        scheme: "library",
        handlers: "src/desk",
    };
    let output = compile(&inputs).unwrap();
    assert!(output.rust.contains("library://guide/house"));
    assert!(output.rust.contains("in src/desk/desk.rs"));
    assert!(output.rust.contains("tools of desk.yaml have no handlers"));
    let rest = output.rust.replace("by contree-codegen", "");
    assert!(!rest.contains("contree"));
}
