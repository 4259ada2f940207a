//! The options of the HTTP transport.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::Args;

use super::home_path::home_path;
use super::token_file::{self, TokenFileError};
use crate::config::Environment;
use crate::mcp::{HttpOptions, is_host};

/// The port of the first release.
const PORT: u16 = 9452;

const HEADING: &str = "HTTP options";

/// An invalid option or variable of the HTTP transport.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpOptionError {
    #[error("{given_by} must be `stdio` or `http`, not `{mode}`")]
    Mode { given_by: String, mode: String },
    #[error("{given_by} must be an IP address such as 127.0.0.1, not `{text}`")]
    Address { given_by: String, text: String },
    #[error("{given_by} must be a port from 0 to 65535, such as 9452, not `{text}`")]
    Port { given_by: String, text: String },
    #[error(
        "--http-allow-host must be a name such as `box.example` or `box.example:8080`, not `{0}`"
    )]
    Host(String),
    #[error("--http-token-file and --http-allow-host need --mode http")]
    WithoutHttp,
    #[error(transparent)]
    TokenFile(#[from] TokenFileError),
}

#[derive(Args, Debug, Clone, Default)]
pub(super) struct Http {
    /// How clients reach the server; default: stdio [env: CONTREE_MCP_MODE]
    #[arg(long, global = true, value_name = "stdio|http", help_heading = HEADING)]
    mode: Option<String>,
    /// Address to listen on; default: 127.0.0.1 [env: CONTREE_MCP_HTTP_LISTEN]
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = HEADING)]
    http_listen: Option<String>,
    /// Port to listen on; default: 9452; 0 chooses a free one [env: CONTREE_MCP_HTTP_PORT]
    #[arg(long, global = true, value_name = "PORT", help_heading = HEADING)]
    http_port: Option<String>,
    /// File with the token that clients must send; required to listen on other than loopback
    /// addresses
    #[arg(long, global = true, value_name = "FILE", value_parser = home_path(), help_heading = HEADING)]
    http_token_file: Option<PathBuf>,
    /// Another host name under which clients reach the server, `NAME` or `NAME:PORT`; repeatable
    #[arg(long, global = true, value_name = "NAME", help_heading = HEADING)]
    http_allow_host: Vec<String>,
}

impl Http {
    /// Selects HTTP, as `--mode http` does.
    pub(super) fn select_http(&mut self) {
        self.mode = Some("http".to_owned());
    }

    /// The settings of the HTTP transport; none for stdio.
    ///
    /// # Errors
    /// An invalid option or variable.
    pub(super) fn read(
        &self,
        environment: &Environment,
    ) -> Result<Option<HttpOptions>, HttpOptionError> {
        let option_or_variable = |flag: &Option<String>, option: &str, variable: &str| {
            let flagged = flag.clone().map(|value| (value, option.to_owned()));
            flagged.or_else(|| Some((environment.get(variable)?.to_owned(), variable.to_owned())))
        };
        match option_or_variable(&self.mode, "--mode", "CONTREE_MCP_MODE") {
            None => return self.stdio(),
            Some((mode, _)) if mode.eq_ignore_ascii_case("stdio") => return self.stdio(),
            Some((mode, _)) if mode.eq_ignore_ascii_case("http") => {}
            Some((mode, given_by)) => return Err(HttpOptionError::Mode { given_by, mode }),
        }
        let listen = match option_or_variable(
            &self.http_listen,
            "--http-listen",
            "CONTREE_MCP_HTTP_LISTEN",
        ) {
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some((text, _)) if text.eq_ignore_ascii_case("localhost") => {
                IpAddr::V4(Ipv4Addr::LOCALHOST)
            }
            Some((text, given_by)) => text
                .trim_start_matches('[')
                .trim_end_matches(']')
                .parse()
                .map_err(|_| HttpOptionError::Address { given_by, text })?,
        };
        let port = match option_or_variable(&self.http_port, "--http-port", "CONTREE_MCP_HTTP_PORT")
        {
            None => PORT,
            Some((text, given_by)) => text
                .parse()
                .map_err(|_| HttpOptionError::Port { given_by, text })?,
        };
        let mut options = HttpOptions::new(listen, port);
        for host in &self.http_allow_host {
            if !is_host(host) {
                return Err(HttpOptionError::Host(host.clone()));
            }
            options.allowed_hosts.push(host.clone());
        }
        if let Some(path) = &self.http_token_file {
            options.token = Some(token_file::read_mcp_token(path)?);
        }
        Ok(Some(options))
    }

    /// Whether any of these options was given.
    #[cfg(all(feature = "engine", target_os = "linux"))]
    pub(super) fn is_given(&self) -> bool {
        self.mode.is_some()
            || self.http_listen.is_some()
            || self.http_port.is_some()
            || self.http_token_file.is_some()
            || !self.http_allow_host.is_empty()
    }

    /// The path of the token file.
    pub(super) fn token_file(&self) -> Option<&PathBuf> {
        self.http_token_file.as_ref()
    }

    fn stdio(&self) -> Result<Option<HttpOptions>, HttpOptionError> {
        if self.http_token_file.is_some() || !self.http_allow_host.is_empty() {
            return Err(HttpOptionError::WithoutHttp);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        http: &Http,
        variables: &[(&str, &str)],
    ) -> Result<Option<HttpOptions>, HttpOptionError> {
        http.read(&variables.iter().copied().collect())
    }

    #[test]
    fn a_flag_wins_over_a_variable() {
        let http = Http {
            http_port: Some("0".into()),
            ..Http::default()
        };
        let variables = [
            ("CONTREE_MCP_MODE", "HTTP"),
            ("CONTREE_MCP_HTTP_PORT", "17"),
            ("CONTREE_MCP_HTTP_LISTEN", "::1"),
        ];
        let options = read(&http, &variables).unwrap().unwrap();
        assert_eq!(
            (options.listen.to_string().as_str(), options.port),
            ("::1", 0)
        );
        assert!(read(&Http::default(), &[]).unwrap().is_none());
        assert!(
            read(&Http::default(), &[("CONTREE_MCP_MODE", "stdio")])
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn invalid_values_are_named() {
        for (variables, word) in [
            ([("CONTREE_MCP_MODE", "sse"), ("", "")], "CONTREE_MCP_MODE"),
            (
                [("CONTREE_MCP_MODE", "http"), ("CONTREE_MCP_HTTP_PORT", "x")],
                "CONTREE_MCP_HTTP_PORT",
            ),
            (
                [
                    ("CONTREE_MCP_MODE", "http"),
                    ("CONTREE_MCP_HTTP_LISTEN", "here"),
                ],
                "CONTREE_MCP_HTTP_LISTEN",
            ),
        ] {
            let problem = read(&Http::default(), &variables).unwrap_err().to_string();
            assert!(problem.contains(word), "{problem}");
        }
    }
}
