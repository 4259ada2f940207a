//! The network options of the embedded engine's sandboxes.

use clap::Args;

#[cfg(all(feature = "engine", target_os = "linux"))]
use crate::config::Environment;
#[cfg(all(feature = "engine", target_os = "linux"))]
use crate::engine::{EgressRule, EgressRuleError, EngineError, LocalConfig, NetworkMode};

/// The help heading. The options that select the backend have the same one.
const BACKEND_HEADING: &str = "Backend options";

/// The warning on standard error if sandboxes share the network of this machine.
#[cfg(all(feature = "engine", target_os = "linux"))]
const HOST_WARNING: &str = "WARNING: --network host: commands in sandboxes reach everything that this machine reaches, including services on its \
127.0.0.1 and its abstract unix sockets; nothing is filtered";

/// An invalid network option or variable.
#[derive(Debug, thiserror::Error)]
pub(super) enum NetworkError {
    #[cfg(all(feature = "engine", target_os = "linux"))]
    #[error("CONTREE_NETWORK: {0}")]
    Mode(#[source] EngineError),
    #[cfg(all(feature = "engine", target_os = "linux"))]
    #[error("CONTREE_TRANSPARENT_NETWORK: {0}")]
    Transparent(#[source] EngineError),
    #[cfg(all(feature = "engine", target_os = "linux"))]
    #[error(transparent)]
    Rule(#[from] EgressRuleError),
}

#[derive(Args, Debug, Clone, Default)]
pub(super) struct NetworkOptions {
    /// Network of the embedded engine's sandboxes: public hosts by TCP, filtered, and DNS (proxy,
    /// the default), the network of this machine (host), or none [env: CONTREE_NETWORK]
    #[arg(long, global = true, value_name = "proxy|host|none", value_parser = ["proxy", "host", "none"], help_heading = BACKEND_HEADING)]
    network: Option<String>,
    /// Network of programs that do not know the proxy: TCP by the same rules where this machine
    /// permits it (auto, the default), or none (off)
    /// [env: CONTREE_TRANSPARENT_NETWORK]
    #[arg(long, global = true, value_name = "auto|off", value_parser = ["auto", "off"], help_heading = BACKEND_HEADING)]
    transparent_network: Option<String>,
    /// Host that the proxy lets sandboxes reach; if any is given, it refuses all others.
    /// HOST[:PORT][+private], where HOST is a name, *.NAME, *, an address or a network; repeatable
    /// [env: CONTREE_EGRESS_ALLOW, separated by commas]
    #[arg(long, global = true, value_name = "RULE", help_heading = BACKEND_HEADING)]
    egress_allow: Vec<String>,
    /// Host that the proxy refuses, even if it is allowed; repeatable [env: CONTREE_EGRESS_DENY]
    #[arg(long, global = true, value_name = "RULE", help_heading = BACKEND_HEADING)]
    egress_deny: Vec<String>,
}

#[cfg(all(feature = "engine", target_os = "linux"))]
impl NetworkOptions {
    /// Applies the options to the engine's settings. An option takes precedence over its variable.
    ///
    /// # Errors
    /// The first invalid option or variable.
    pub(super) fn configure(
        &self,
        environment: &Environment,
        config: &mut LocalConfig,
    ) -> Result<(), NetworkError> {
        // `contree run --network default` means the engine's setting.
        let mode = self
            .network
            .as_deref()
            .filter(|mode| *mode != "default")
            .or_else(|| environment.get("CONTREE_NETWORK"));
        if let Some(mode) = mode.filter(|mode| !mode.is_empty()) {
            config.network = mode.parse().map_err(NetworkError::Mode)?;
        }
        let transparent = self
            .transparent_network
            .as_deref()
            .or_else(|| environment.get("CONTREE_TRANSPARENT_NETWORK"));
        if let Some(mode) = transparent.filter(|mode| !mode.is_empty()) {
            config.transparent_network = mode.parse().map_err(NetworkError::Transparent)?;
        }
        config.egress_allow = rules(&self.egress_allow, environment, "CONTREE_EGRESS_ALLOW")?;
        config.egress_deny = rules(&self.egress_deny, environment, "CONTREE_EGRESS_DENY")?;
        Ok(())
    }
}

#[cfg(all(feature = "engine", target_os = "linux"))]
fn rules(
    given: &[String],
    environment: &Environment,
    variable: &str,
) -> Result<Vec<EgressRule>, NetworkError> {
    let text = if given.is_empty() {
        environment.get(variable).unwrap_or_default().to_owned()
    } else {
        given.join(",")
    };
    Ok(EgressRule::parse_list(&text)?)
}

/// Warns about settings that weaken the sandbox.
#[cfg(all(feature = "engine", target_os = "linux"))]
pub(super) fn warn(config: &LocalConfig) {
    if config.network == NetworkMode::Host {
        super::output::print_message(HOST_WARNING);
    }
}

#[cfg(all(test, feature = "engine", target_os = "linux"))]
mod tests {
    use super::*;
    use crate::engine::TransparentNetwork;

    fn configured(
        options: NetworkOptions,
        variables: &[(&str, &str)],
    ) -> Result<LocalConfig, NetworkError> {
        let mut config = LocalConfig::new("/nowhere");
        options
            .configure(&variables.iter().copied().collect(), &mut config)
            .map(|()| config)
    }

    #[test]
    fn options_come_before_variables() {
        let variables = [
            ("CONTREE_NETWORK", "none"),
            ("CONTREE_TRANSPARENT_NETWORK", "off"),
            ("CONTREE_EGRESS_ALLOW", "a.example, b.example:80+private"),
            ("CONTREE_EGRESS_DENY", "c.example"),
        ];
        let config = configured(NetworkOptions::default(), &variables).unwrap();
        assert_eq!(config.network, NetworkMode::None);
        assert_eq!(config.transparent_network, TransparentNetwork::Off);
        assert_eq!(
            (config.egress_allow.len(), config.egress_deny.len()),
            (2, 1)
        );
        let options = NetworkOptions {
            network: Some("host".to_owned()),
            transparent_network: Some("auto".to_owned()),
            egress_allow: vec!["d.example".to_owned()],
            ..NetworkOptions::default()
        };
        let config = configured(options, &variables).unwrap();
        assert_eq!(config.network, NetworkMode::Host);
        assert_eq!(config.transparent_network, TransparentNetwork::Auto);
        assert_eq!(config.egress_allow[0].to_string(), "d.example");
        assert_eq!(config.egress_deny[0].to_string(), "c.example");
        let config = configured(NetworkOptions::default(), &[]).unwrap();
        assert_eq!(config.network, NetworkMode::Proxy);
    }

    #[test]
    fn invalid_variables_are_reported() {
        let bad = |name, value| {
            let result = configured(NetworkOptions::default(), &[(name, value)]);
            result.unwrap_err().to_string()
        };
        assert!(bad("CONTREE_NETWORK", "all").contains("`proxy`, `host` or `none`"));
        assert!(bad("CONTREE_TRANSPARENT_NETWORK", "on").contains("`auto` or `off`"));
        assert!(bad("CONTREE_EGRESS_ALLOW", "https://x.example").contains("HOST[:PORT]"));
    }
}
