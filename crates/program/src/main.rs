//! The `contree-mcp` program: an MCP server for Contree, and its tools on the command line.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    contree::cli::main(env!("CONTREE_VERSION"))
}
