//! A good manifest becomes the expected Rust, surface and pages.

use super::*;

#[test]
fn the_small_manifest_becomes_what_is_expected_of_it() {
    let output = Fixture::good()
        .compile()
        .unwrap_or_else(|problems| panic!("{problems:#?}"));
    let folder = root().join("tests/manifest/good");
    compare(folder.join("tools.rs"), &output.rust);
    let mut surface: serde_json::Map<_, _> = output.surface.into_iter().collect();
    surface.insert("extras".into(), output.extras);
    compare(
        folder.join("surface.json"),
        &format!("{:#}\n", serde_json::Value::Object(surface)),
    );
    let [(path, page)] = output.documents.as_slice() else {
        panic!("one page")
    };
    assert_eq!(path, "page.md");
    compare(folder.join("page.md"), page);
}

#[test]
fn compiling_twice_gives_the_same() {
    let (first, second) = (
        Fixture::good().compile().unwrap(),
        Fixture::good().compile().unwrap(),
    );
    assert_eq!(first.rust, second.rust);
    assert_eq!(first.surface, second.surface);
}
