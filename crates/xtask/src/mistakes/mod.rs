//! Mistakes, and what the build says about each: file, line and remedy.

mod manifest;
mod templates;

pub use manifest::MANIFEST;
pub use templates::TEMPLATES;

use crate::fixture::Fixture;

/// A name, and edits of the small manifest: file, what stands there, what it becomes.
pub type Case = (
    &'static str,
    &'static [(&'static str, &'static str, &'static str)],
);

/// What the build says about each case.
///
/// # Errors
/// Fails if a case compiles, or cannot be made of the small manifest.
pub fn refusals(good: &Fixture, cases: &[Case]) -> Result<String, String> {
    let mut report = String::new();
    for (name, edits) in cases {
        let mut fixture = good.clone();
        for (file, from, to) in *edits {
            fixture
                .edit(file, from, to)
                .map_err(|problem| format!("{name}: {problem}"))?;
        }
        let problems = match fixture.compile() {
            Ok(_) => return Err(format!("the mistake `{name}` is not refused")),
            Err(problems) => problems,
        };
        report.push_str(&format!("# {name}\n"));
        for problem in problems {
            report.push_str(&format!("{problem}\n"));
        }
        report.push('\n');
    }
    Ok(report)
}
