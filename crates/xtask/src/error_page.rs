//! The page of the errors, `docs/errors.md`.

use std::fmt::Write as _;

use contree_error_codes::SECTIONS;

use crate::sync::GeneratedFile;

/// The page in the repository.
const PAGE: &str = "docs/errors.md";

const INTRODUCTION: &str = "\
# Errors

<!-- `cargo run -q -p contree-xtask -- generate` writes this page from crates/error-codes. -->

Every error has a code. The message of an error says what happened, and may change. The code says
which kind of error it is, and does not change: a release may add codes, but it never renames one or
gives it another meaning. [Troubleshooting](troubleshooting.md) has longer advice for some of them.

| Where | The code |
|---|---|
| `contree` and `contree-mcp` | at the end of the first line of the message, in brackets: `[image-not-found]`. `contree explain image-not-found` prints the cause and the remedy |
| a tool of the MCP server | `dev.contree/code` in the `_meta` of the result |
| the HTTP API of the engine | `x-code` in the body of the error, and beside `error` of a failed operation |
| the SDK | `Error::code()`, and `Outcome::error_code` of a run that did not succeed |

A Contree service sends no codes. The client then gives the code that fits the status of the answer.
";

/// Generates the page.
#[must_use]
pub fn page() -> GeneratedFile {
    let mut page = INTRODUCTION.to_owned();
    for (title, codes) in SECTIONS {
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "\n## {title}\n\n| Code | Cause | Remedy |\n|---|---|---|\n"
        );
        for code in *codes {
            let _ = writeln!(page, "| `{code}` | {} | {} |", code.cause(), code.remedy());
        }
    }
    GeneratedFile::new(PAGE, page)
}
