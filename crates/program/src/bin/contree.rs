//! The `contree` program: verbs for people, and every command of `contree-mcp`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    contree::cli::verb_main(env!("CONTREE_VERSION"))
}
