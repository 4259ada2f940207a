//! Prints the types that the test `server` expects.

use contree_codegen::server::{ServerTypesError, Settings, generate};

fn main() -> Result<(), ServerTypesError> {
    let settings = Settings::new()
        .with_flag("bool")
        .with_integer("u64")
        .with_type("*.pages", "u16")
        .with_refinement("/Shelf/properties/row/maximum", 9);
    let document = include_str!("../tests/server/document.yaml");
    print!("{}", generate(document, &settings)?);
    Ok(())
}
