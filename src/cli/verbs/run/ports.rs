//! The published ports of a run.

use super::super::context::VerbContext;
use super::super::detached;
use super::super::error::VerbError;
use crate::{Changes, Command, Running};

/// A port that `--publish` names: `PORT` or `HOST_PORT:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortOption {
    port: u16,
    host_port: Option<u16>,
}

impl PortOption {
    /// Reads the values of `--publish`. `allow` and `deny` are settings of the engine.
    ///
    /// # Errors
    /// A text that is not a port, or ports together with `deny`.
    pub(super) fn parse_all(texts: &[String]) -> Result<Vec<Self>, VerbError> {
        let is_denied = texts.iter().any(|text| text == "deny");
        let ports = texts
            .iter()
            .filter(|text| !matches!(text.as_str(), "allow" | "deny"));
        let ports: Vec<Self> = ports
            .map(|text| Self::parse(text))
            .collect::<Result<_, _>>()?;
        if is_denied && !ports.is_empty() {
            return Err(VerbError::Usage(
                "--publish deny forbids every port; leave it out, or the ports".to_owned(),
            ));
        }
        Ok(ports)
    }

    fn parse(text: &str) -> Result<Self, VerbError> {
        let number = |part: &str| part.parse::<u16>().ok().filter(|port| *port > 0);
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (Some(host), port),
            None => (None, text),
        };
        let port = number(port);
        let host_port = host.map(number);
        match (port, host_port) {
            (Some(port), None) => Ok(Self {
                port,
                host_port: None,
            }),
            (Some(port), Some(Some(host_port))) => Ok(Self {
                port,
                host_port: Some(host_port),
            }),
            _ => Err(VerbError::Usage(format!(
                "--publish takes PORT or HOST_PORT:PORT, such as 8000 or 8080:8000, not `{text}`; ports are at 127.0.0.1 of the engine's machine"
            ))),
        }
    }
}

/// Requests the ports that the system chooses from the start of the command.
pub(super) fn request<C: Changes>(mut command: Command<C>, ports: &[PortOption]) -> Command<C> {
    for port in ports.iter().filter(|port| port.host_port.is_none()) {
        command = command.publish(port.port);
    }
    command
}

/// Publishes the ports of a run, and prints their addresses. A run that has ended needs none.
///
/// # Errors
/// If the backend refuses a port.
pub(super) async fn publish<C: Changes>(
    cx: &VerbContext,
    run: &Running<C>,
    ports: &[PortOption],
) -> Result<(), VerbError> {
    for port in ports {
        let published = run.publish_at(port.port, port.host_port);
        let published = tokio::select! {
            biased;
            published = published => published,
            () = cx.cancelled.cancelled() => return Ok(()),
        };
        match published {
            Ok(published) => {
                detached::say(&format!("port {} is at {}", published.port, published.url))?
            }
            Err(error)
                if error.status().is_some_and(|status| status == 409)
                    && port.host_port.is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let parse = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            PortOption::parse_all(&texts)
        };
        assert_eq!(
            parse(&["8000", "8080:80", "allow"]).unwrap(),
            [
                PortOption {
                    port: 8000,
                    host_port: None
                },
                PortOption {
                    port: 80,
                    host_port: Some(8080)
                }
            ]
        );
        for wrong in ["0", "65536", "a", ":80", "80:", "127.0.0.1:80:80"] {
            assert!(parse(&[wrong]).is_err(), "{wrong}");
        }
        assert!(parse(&["deny"]).unwrap().is_empty());
        assert!(parse(&["deny", "80"]).is_err());
    }
}
