//! A tool without a handler, or a handler without a tool, does not compile, and rustc says which.
//!
//! The cases include the code that is generated from the small manifest of `tests/manifest`. Each has the expected text
//! beside it; `TRYBUILD=overwrite` rewrites them.

#[cfg(test)]
#[test]
fn rustc_names_what_is_missing() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("cases/*.rs");
}
