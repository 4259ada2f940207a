//! `contree http`: serves MCP and the page for people over HTTP.

use clap::Args;

/// Serve MCP and a page of images and operations over HTTP
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree http                     the page is at http://127.0.0.1:9452/
  contree http --http-port 8080    `contree --help` lists the other options

It is the same as `contree-mcp --mode http`.")]
pub(in crate::cli) struct HttpServer {}
