//! The parts of an API document to which a manifest can refer.

#![allow(clippy::unwrap_used, reason = "a test")]

use contree_codegen::manifest::api::{Api, RequestBody, ScalarType};
use contree_codegen::manifest::error::ShapeError;
use contree_codegen::manifest::{Problem, SourceFile};

const DOCUMENT: &str = "
openapi: 3.0.3
paths:
  /books:
    parameters:
    - {name: limit, in: query, required: true, schema: {type: string}}
    - {name: page, in: query, schema: {type: integer}}
    post:
      operationId: addBook
      parameters:
      - {name: limit, in: query, schema: {type: integer}}
      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Book'}}}}
      responses: {}
components:
  schemas:
    Part:
      required: [title]
      properties: {title: {type: string}, year: {type: string}}
    Book:
      properties:
        year: {type: integer, minimum: -3000}
        shelves: {type: array, items: {$ref: '#/components/schemas/Shelves'}}
        tree: {$ref: '#/components/schemas/Shelves'}
      allOf: [{$ref: '#/components/schemas/Part'}]
    Shelves: {type: array, items: {allOf: [{$ref: '#/components/schemas/Shelves'}]}}
";

fn load(text: &str) -> Result<Api, Vec<Problem>> {
    Api::load(&SourceFile {
        name: "library.yaml".to_owned(),
        text: text.to_owned(),
    })
}

fn api() -> Api {
    load(DOCUMENT).unwrap_or_else(|problems| panic!("{problems:?}"))
}

#[test]
fn a_parameter_of_an_operation_replaces_that_of_its_path() {
    let api = api();
    let limit = api.field("addBook.limit").unwrap();
    assert!(!limit.required);
    assert_eq!(limit.shape.unwrap().kind, "integer");
    assert!(api.required_parameters("addBook").is_empty());
    assert!(api.has_parameter("addBook", "page"));
}

#[test]
fn properties_beside_parts_replace_those_of_the_parts() {
    let api = api();
    assert_eq!(
        api.field("Book.year").unwrap().shape.unwrap().kind,
        "integer"
    );
    assert_eq!(
        api.field("Book.title").unwrap().shape.unwrap().kind,
        "string"
    );
}

#[test]
fn an_integer_with_a_negative_bound_is_signed() {
    let RequestBody::Fields(fields) = api().body("addBook") else {
        panic!("a body")
    };
    let scalar = |name: &str| {
        fields
            .iter()
            .find(|field| field.name == name)
            .unwrap()
            .scalar
    };
    assert_eq!(scalar("year"), Some(ScalarType::Signed));
    assert_eq!(scalar("shelves"), None);
}

#[test]
fn a_schema_that_contains_itself_has_no_shape() {
    let error = api().field("Book.tree").unwrap().shape.unwrap_err();
    let chain = "Shelves → Shelves → Shelves".to_owned();
    assert!(
        matches!(&error, ShapeError::CircularReference(found) if chain.starts_with(found)),
        "{error}"
    );
}

#[test]
fn a_reference_that_leads_back_to_itself_has_a_position() {
    let text = DOCUMENT.replace(
        "    Part:\n",
        "    Loop: {$ref: '#/components/schemas/Loop'}\n    Part:\n",
    );
    let problems = load(&text).err().unwrap();
    let expected = "library.yaml:16: the reference Loop → Loop leads back to itself";
    assert!(
        problems[0].to_string().starts_with(expected),
        "{problems:?}"
    );
}
