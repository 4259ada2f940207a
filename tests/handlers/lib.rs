//! Compilation tests: a tool without a handler, and a handler without a tool, are errors that name
//! it.
//!
//! The cases include the code generated from the small manifest in `tests/manifest`. Each case has
//! its expected output in a file of the same name; `TRYBUILD=overwrite` rewrites these files.

#[cfg(test)]
#[test]
fn rustc_names_what_is_missing() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("cases/*.rs");
}
