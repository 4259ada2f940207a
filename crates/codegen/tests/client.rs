//! The client generator: what it emits, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test")]

use contree_codegen::api::{self, ClientError, Settings, transforms};
use serde_json::Value;

const DOCUMENT: &str = "
openapi: 3.0.3
info: {title: Library, version: '1'}
paths:
  /books/{bookId}:
    parameters:
    - {name: bookId, in: path, required: true, description: Number of the book, schema: {type: string}}
    put:
      operationId: replaceBook
      summary: Replace a book
      parameters:
      - {name: copies, in: query, description: How many copies there are, schema: {type: integer}}
      - {name: order, in: query, schema: {type: string, enum: [title, other]}}
      requestBody:
        description: The new book.
        required: true
        content: {application/json: {schema: {$ref: '#/components/schemas/Book'}}}
      responses:
        '200':
          description: the book
          content: {application/json: {schema: {$ref: '#/components/schemas/Book'}}}
        '404': {description: There is no such book.}
components:
  schemas:
    Book:
      type: object
      description: A book.
      additionalProperties: false
      required: [title]
      properties:
        title: {type: string, description: Its title.}
        shelfMark: {$ref: '#/components/schemas/ShelfMark'}
        state: {$ref: '#/components/schemas/State'}
        plain: {type: string}
    ShelfMark: {type: object, description: Where a book stands., properties: {row: {type: integer}}}
    State: {type: string, description: Whether a book can be lent., enum: [on-shelf, lent]}
    Holder:
      oneOf:
      - {$ref: '#/components/schemas/Book'}
      - {$ref: '#/components/schemas/ShelfMark'}
";

fn settings() -> Settings {
    Settings::new("library.yaml", "library")
}

fn error_of(document: &str, settings: &Settings) -> String {
    match api::generate(document, settings) {
        Ok(_) => panic!("the document was accepted"),
        Err(error) => error.to_string(),
    }
}

fn client(settings: &Settings) -> syn::File {
    let output = api::generate(DOCUMENT, settings).unwrap();
    syn::parse_file(&output.client).unwrap()
}

/// The items of a module and of the modules in it, with their paths.
fn items<'a>(items: &'a [syn::Item], path: &str, found: &mut Vec<(String, &'a syn::Item)>) {
    for item in items {
        if let syn::Item::Mod(module) = item {
            let inner = format!("{path}{}::", module.ident);
            if let Some((_, contents)) = &module.content {
                self::items(contents, &inner, found);
            }
        }
        found.push((path.to_owned(), item));
    }
}

fn docs(attributes: &[syn::Attribute]) -> String {
    let mut text = String::new();
    for attribute in attributes {
        if let syn::Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("doc")
            && let syn::Expr::Lit(literal) = &pair.value
            && let syn::Lit::Str(line) = &literal.lit
        {
            text.push_str(line.value().trim());
            text.push('\n');
        }
    }
    text.trim().to_owned()
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

/// The documentation of each public function, field, variant and type.
fn documented(file: &syn::File) -> Vec<(String, String)> {
    let mut all = Vec::new();
    items(&file.items, "", &mut all);
    let mut found = Vec::new();
    for (path, item) in all {
        match item {
            syn::Item::Struct(item) if is_public(&item.vis) => {
                let name = format!("{path}{}", item.ident);
                for field in item.fields.iter().filter(|field| is_public(&field.vis)) {
                    if let Some(ident) = &field.ident {
                        found.push((format!("{name}.{ident}"), docs(&field.attrs)));
                    }
                }
                found.push((name, docs(&item.attrs)));
            }
            syn::Item::Enum(item) => {
                let name = format!("{path}{}", item.ident);
                for variant in &item.variants {
                    found.push((format!("{name}::{}", variant.ident), docs(&variant.attrs)));
                }
                found.push((name, docs(&item.attrs)));
            }
            syn::Item::Impl(item) if item.trait_.is_none() => {
                let of = &item.self_ty;
                let name = quote::quote!(#of).to_string();
                let name = name.split_whitespace().next().unwrap().to_owned();
                for inner in &item.items {
                    if let syn::ImplItem::Fn(function) = inner
                        && is_public(&function.vis)
                    {
                        let function_name = format!("{path}{name}::{}", function.sig.ident);
                        found.push((function_name, docs(&function.attrs)));
                    }
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn every_public_item_has_documentation() {
    let all = documented(&client(&settings()));
    assert!(all.len() > 40, "{}", all.len());
    for (name, text) in &all {
        assert!(!text.is_empty(), "{name} has no documentation");
    }
}

#[test]
fn documentation_comes_from_the_document() {
    let all = documented(&client(&settings()));
    let text = |name: &str| {
        let found = all.iter().find(|(known, _)| known == name);
        let (_, text) = found.unwrap_or_else(|| panic!("{name} is missing: {all:#?}"));
        text.as_str()
    };
    assert_eq!(text("types::Book"), "A book.");
    assert_eq!(text("types::Book.title"), "Its title.");
    assert_eq!(text("types::Book.shelf_mark"), "Where a book stands.");
    assert_eq!(text("types::Book.plain"), "The property `plain`.");
    assert_eq!(text("types::builder::Book::title"), "Its title.");
    assert_eq!(text("types::State::OnShelf"), "The value `on-shelf`.");
    assert_eq!(
        text("builder::ReplaceBook::copies"),
        "How many copies there are"
    );
    assert_eq!(text("builder::ReplaceBook::book_id"), "Number of the book");
    assert!(text("builder::ReplaceBook::body").contains("The new book."));
    assert!(text("builder::ReplaceBook").starts_with("Replace a book: "));
    let send = text("builder::ReplaceBook::send");
    assert!(send.starts_with("Sends a `PUT` request to `/books/{bookId}`."));
    assert!(send.contains("- 404: There is no such book."), "{send}");
}

#[test]
fn types_are_open_for_later_versions() {
    let file = client(&settings());
    let text = prettyplease::unparse(&file);
    assert!(!text.contains("deny_unknown_fields"));
    let mut all = Vec::new();
    items(&file.items, "", &mut all);
    let mut checked = 0;
    for (path, item) in all {
        let (attributes, name) = match item {
            syn::Item::Struct(item) if item.fields.iter().any(|field| is_public(&field.vis)) => {
                (&item.attrs, &item.ident)
            }
            syn::Item::Enum(item) => (&item.attrs, &item.ident),
            _ => continue,
        };
        let mut attributes = attributes.iter();
        let open = attributes.any(|attribute| attribute.path().is_ident("non_exhaustive"));
        assert!(open, "{path}{name}");
        checked += 1;
    }
    assert!(checked >= 5, "{checked}");
    // One value of an enumeration has the name of the variant for unknown values.
    assert!(text.contains("\"other\" => Self::Other,"), "{text}");
    assert!(text.contains("other => Self::Unknown("), "{text}");
    assert!(text.contains("Other(::serde_json::Value)"), "{text}");
}

#[test]
fn functions_that_users_cannot_call_are_hidden() {
    let with_state = prettyplease::unparse(&client(&settings().with_state("crate::Desk")));
    assert!(!with_state.contains("pub fn new("));
    assert!(with_state.contains("pub(crate) fn new_with_client("));
    assert!(with_state.contains("pub(super) fn new("));
    let without_state = client(&settings());
    let all = documented(&without_state);
    let public: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert!(public.contains(&"Client::new"), "{public:?}");
    assert!(!public.contains(&"builder::ReplaceBook::new"), "{public:?}");
}

/// Removes the path with PUT alone, as a careless transform would.
fn drop_put(document: &mut Value) {
    if let Some(paths) = document["paths"].as_object_mut() {
        paths.retain(|_, item| item.get("put").is_none());
    }
}

#[test]
fn an_operation_that_disappears_fails_the_build() {
    let lossy = settings().with_transforms(&[drop_put]);
    let error = error_of(DOCUMENT, &lossy);
    assert!(error.starts_with("library.yaml: "), "{error}");
    assert!(error.contains("PUT /books/{bookId}"), "{error}");
    assert!(error.contains("without_operation"), "{error}");
    assert!(!error.contains('\n'), "{error}");
    // An omission that the settings name is allowed.
    api::generate(DOCUMENT, &lossy.without_operation("replaceBook")).unwrap();
}

#[test]
fn an_omission_without_effect_fails_the_build() {
    for (id, why) in [
        ("replaceBook", "the operation has a function"),
        ("replaceBooks", "the document has no such operation"),
    ] {
        let error = error_of(DOCUMENT, &settings().without_operation(id));
        assert!(error.contains(id) && error.contains(why), "{error}");
    }
}

#[test]
fn entries_that_the_generator_would_skip_fail_the_build() {
    for (from, to, expected) in [
        (
            "    put:\n",
            "    PUT:\n",
            "`PUT` of `/books/{bookId}`: it is not a method",
        ),
        (
            "    put:\n",
            "    query:\n",
            "`query` of `/books/{bookId}`: it is not a method",
        ),
        (
            "  /books/{bookId}:",
            "  books/{bookId}:",
            "a path begins with `/`",
        ),
        (
            "      operationId: replaceBook\n",
            "",
            "needs an `operationId`",
        ),
        (
            "components:\n",
            "  /b:\n    $ref: '#/components/x-paths/b'\ncomponents:\n",
            "write the path here",
        ),
        (
            "components:\n",
            "  /b:\n    get: {operationId: replace_book, responses: {'200': {description: b}}}\ncomponents:\n",
            "the same name as that of `put` of `/books/{bookId}`",
        ),
    ] {
        assert_eq!(DOCUMENT.matches(from).count(), 1, "{from}");
        let error = error_of(&DOCUMENT.replace(from, to), &settings());
        assert!(error.starts_with("library.yaml: "), "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn every_method_has_a_function() {
    for method in [
        "get", "put", "post", "delete", "options", "head", "patch", "trace",
    ] {
        let document = DOCUMENT.replace("    put:\n", &format!("    {method}:\n"));
        match api::generate(&document, &settings()) {
            Ok(output) => assert!(output.client.contains("fn replace_book"), "{method}"),
            // The generator may refuse a method, but never skip it.
            Err(error) => assert!(error.to_string().starts_with("library.yaml: "), "{error}"),
        }
    }
}

#[test]
fn mistakes_in_options_are_reported() {
    let error = error_of(
        DOCUMENT,
        &settings().with_replacement("Boook", "crate::Book"),
    );
    assert!(error.contains("no schema `Boook`"), "{error}");
    let error = error_of(DOCUMENT, &settings().with_replacement("Book", "crate::"));
    assert!(error.contains("`crate::` is not a Rust type"), "{error}");
    let error = error_of(DOCUMENT, &settings().with_state("a b"));
    assert!(
        error.contains("the state `a b` is not a Rust type"),
        "{error}"
    );
}

#[test]
fn a_default_answer_can_be_that_of_all_errors() {
    let document = DOCUMENT.replace(
        "        '404': {description: There is no such book.}",
        "        default: {description: Why not., content: {application/json: {schema: {$ref: '#/components/schemas/ShelfMark'}}}}",
    );
    assert!(error_of(&document, &settings()).contains("does not support"));
    let with_errors = settings().with_transforms(&[transforms::default_errors]);
    let output = api::generate(&document, &with_errors).unwrap();
    let send = "Result<ResponseValue<types::Book>, Error<types::ShelfMark>>";
    let text: String = output.client.split_whitespace().collect();
    assert!(text.contains(&send.replace(' ', "")), "{}", output.client);
}

#[test]
fn a_part_that_the_generator_does_not_support_is_reported_in_one_line() {
    // The operation has two success types, which progenitor does not support.
    let document = DOCUMENT.replace(
        "        '404':",
        "        '201': {description: b, content: {application/json: {schema: {type: string}}}}\n        '404':",
    );
    let error = api::generate(&document, &settings()).err().unwrap();
    assert!(
        matches!(
            error,
            ClientError::Unsupported { .. } | ClientError::Generator { .. }
        ),
        "{error}"
    );
    assert!(!error.to_string().contains('\n'), "{error}");
}

#[test]
fn a_hidden_property_may_be_named_as_in_json_and_must_exist() {
    for name in ["shelfMark", "shelf_mark"] {
        let output = api::generate(DOCUMENT, &settings().with_hidden(name)).unwrap();
        let hidden = r#".field("shelf_mark", &::std::format_args!("<hidden>"))"#;
        assert!(output.client.contains(hidden), "{name}");
    }
    let error = error_of(DOCUMENT, &settings().with_hidden("shelfMarks"));
    assert!(
        error.contains("no type has the property `shelfMarks`"),
        "{error}"
    );
    assert!(error.contains("shelf_mark, state"), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn a_reference_that_leads_back_to_itself_fails_the_build() {
    let document = format!(
        "{DOCUMENT}    One: {{$ref: '#/components/schemas/Two'}}\n    \
         Two: {{allOf: [{{$ref: '#/components/schemas/One'}}]}}\n"
    );
    let error = error_of(&document, &settings());
    assert!(
        error.contains("the reference One → Two → One leads back"),
        "{error}"
    );
}

#[test]
fn integers_with_a_negative_bound_stay_signed() {
    let mut document = serde_json::json!({"components": {"schemas": {
        "Offset": {"type": "integer", "minimum": -12, "maximum": 14},
        "Count": {"type": "integer", "minimum": 1},
    }}});
    transforms::plain_numbers(&mut document);
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["Offset"], serde_json::json!({"type": "integer"}));
    let count = serde_json::json!({"type": "integer", "minimum": 0, "format": "uint64"});
    assert_eq!(schemas["Count"], count);
}
