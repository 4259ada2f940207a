//! Mistakes in the small manifest, and the compiler's messages about them: file, line and fix.

mod manifest;
mod templates;

pub use manifest::MANIFEST_MISTAKES;
pub use templates::TEMPLATE_MISTAKES;

use crate::error::TaskError;
use crate::fixture::Fixture;

/// The name of a mistake, and the edits that make it: file, old text, new text.
pub type Mistake = (
    &'static str,
    &'static [(&'static str, &'static str, &'static str)],
);

/// Reports the compiler's messages about each mistake.
///
/// # Errors
/// Fails if a mistake compiles, or if its edits do not apply.
pub fn report(good: &Fixture, mistakes: &[Mistake]) -> Result<String, TaskError> {
    let mut report = String::new();
    for (name, edits) in mistakes {
        let mut fixture = good.clone();
        for (file, from, to) in *edits {
            fixture
                .edit(file, from, to)
                .map_err(|source| TaskError::Mistake {
                    mistake: name,
                    source: Box::new(source),
                })?;
        }
        let problems = match fixture.compile() {
            Ok(_) => return Err(TaskError::Accepted(name)),
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
