//! Further options of the embedded engine's sandboxes.

use clap::Args;

#[cfg(all(feature = "engine", target_os = "linux"))]
use super::flag;
#[cfg(all(feature = "engine", target_os = "linux"))]
use crate::config::Environment;
#[cfg(all(feature = "engine", target_os = "linux"))]
use crate::engine::{EngineError, LocalConfig};

/// The help heading. The options that select the backend have the same one.
const BACKEND_HEADING: &str = "Backend options";

/// An invalid option or variable of the sandboxes.
#[derive(Debug, thiserror::Error)]
pub(super) enum SandboxOptionError {
    #[cfg(all(feature = "engine", target_os = "linux"))]
    #[error("CONTREE_TRUST_HOST_CA is `{}`: give true or false", .0.escape_debug())]
    TrustHostCa(String),
    #[cfg(all(feature = "engine", target_os = "linux"))]
    #[error("{0}: {1}")]
    SharedMemory(&'static str, #[source] EngineError),
    #[cfg(all(feature = "engine", target_os = "linux"))]
    #[error("CONTREE_PUBLISH: {0}")]
    Publish(#[source] EngineError),
}

#[derive(Args, Debug, Clone, Default)]
pub(super) struct SandboxOptions {
    /// Let commands in the embedded engine's sandboxes trust the certificate authorities that this
    /// machine trusts, such as a company's own. Images do not keep them
    /// [env: CONTREE_TRUST_HOST_CA]
    #[arg(long, global = true, help_heading = BACKEND_HEADING)]
    trust_host_ca: bool,
    /// Size of /dev/shm in the embedded engine's sandboxes, such as 512m or 2g; default: half of
    /// the sandbox's memory limit [env: CONTREE_SHM_SIZE]
    #[arg(long, global = true, value_name = "SIZE", help_heading = BACKEND_HEADING)]
    shm_size: Option<String>,
    /// Whether ports of the embedded engine's sandboxes may be published at 127.0.0.1 of this
    /// machine; default: allow on a terminal and for `call`, `shell` and verbs, except the servers
    /// [env: CONTREE_PUBLISH]
    #[arg(long, global = true, value_name = "allow|deny", value_parser = ["allow", "deny"], help_heading = BACKEND_HEADING)]
    publish: Option<String>,
}

#[cfg(all(feature = "engine", target_os = "linux"))]
impl SandboxOptions {
    /// Applies the options to the engine's settings. An option takes precedence over its variable.
    /// With `for_a_person`, ports may be published unless a setting forbids it.
    ///
    /// # Errors
    /// The first invalid option or variable.
    pub(super) fn configure(
        &self,
        environment: &Environment,
        for_a_person: bool,
        config: &mut LocalConfig,
    ) -> Result<(), SandboxOptionError> {
        config.trust_host_ca = match environment.get("CONTREE_TRUST_HOST_CA") {
            _ if self.trust_host_ca => true,
            None => false,
            Some(text) => {
                flag::parse(text).ok_or_else(|| SandboxOptionError::TrustHostCa(text.to_owned()))?
            }
        };
        let size = match (&self.shm_size, environment.get("CONTREE_SHM_SIZE")) {
            (Some(size), _) => Some(("--shm-size", size.as_str())),
            (None, variable) => variable.map(|size| ("CONTREE_SHM_SIZE", size)),
        };
        config.shm_size = size
            .map(|(name, size)| {
                size.parse()
                    .map_err(|error| SandboxOptionError::SharedMemory(name, error))
            })
            .transpose()?;
        // `contree run --publish` also takes ports, which are not settings of the engine.
        let is_setting = |value: &&str| matches!(*value, "allow" | "deny");
        let publish = self.publish.as_deref().filter(is_setting);
        config.publish = publish
            .or_else(|| environment.get("CONTREE_PUBLISH"))
            .map_or(Ok(for_a_person), LocalConfig::parse_publish)
            .map_err(SandboxOptionError::Publish)?;
        Ok(())
    }
}

#[cfg(all(test, feature = "engine", target_os = "linux"))]
mod tests {
    use super::*;

    fn configured(
        options: &SandboxOptions,
        variables: &[(&str, &str)],
    ) -> Result<LocalConfig, SandboxOptionError> {
        let mut config = LocalConfig::new("/nowhere");
        options
            .configure(&variables.iter().copied().collect(), false, &mut config)
            .map(|()| config)
    }

    #[test]
    fn options_come_before_variables() {
        let variables = [("CONTREE_TRUST_HOST_CA", "no"), ("CONTREE_SHM_SIZE", "1g")];
        let config = configured(&SandboxOptions::default(), &variables).unwrap();
        assert!(!config.trust_host_ca);
        assert_eq!(config.shm_size.unwrap().bytes(), 1 << 30);
        let options = SandboxOptions {
            trust_host_ca: true,
            shm_size: Some("256m".to_owned()),
            publish: None,
        };
        let config = configured(&options, &variables).unwrap();
        assert!(config.trust_host_ca);
        assert_eq!(config.shm_size.unwrap().bytes(), 256 << 20);
        let config = configured(&SandboxOptions::default(), &[]).unwrap();
        assert!(!config.trust_host_ca && config.shm_size.is_none());
        let trusting = [("CONTREE_TRUST_HOST_CA", "1")];
        let config = configured(&SandboxOptions::default(), &trusting).unwrap();
        assert!(config.trust_host_ca);
    }

    #[test]
    fn ports_are_published_for_people_or_if_a_setting_allows_it() {
        let publishes = |option: Option<&str>, variable: Option<&str>, for_a_person| {
            let options = SandboxOptions {
                publish: option.map(str::to_owned),
                ..SandboxOptions::default()
            };
            let variables = variable.map(|value| ("CONTREE_PUBLISH", value));
            let mut config = LocalConfig::new("/nowhere");
            options
                .configure(&variables.into_iter().collect(), for_a_person, &mut config)
                .unwrap();
            config.publish
        };
        for (option, variable, for_a_person, expected) in [
            (None, None, false, false),
            (None, None, true, true),
            (None, Some("allow"), false, true),
            (None, Some("deny"), true, false),
            (Some("deny"), Some("allow"), true, false),
            (Some("allow"), Some("deny"), false, true),
        ] {
            assert_eq!(publishes(option, variable, for_a_person), expected);
        }
    }

    #[test]
    fn invalid_values_name_their_option() {
        let bad = |options: SandboxOptions, variables: &[(&str, &str)]| {
            configured(&options, variables).unwrap_err().to_string()
        };
        let error = bad(
            SandboxOptions::default(),
            &[("CONTREE_TRUST_HOST_CA", "maybe")],
        );
        assert_eq!(
            error,
            "CONTREE_TRUST_HOST_CA is `maybe`: give true or false"
        );
        let error = bad(SandboxOptions::default(), &[("CONTREE_PUBLISH", "yes")]);
        assert!(error.contains("CONTREE_PUBLISH") && error.contains("`allow` or `deny`"));
        let error = bad(SandboxOptions::default(), &[("CONTREE_SHM_SIZE", "big")]);
        assert!(error.starts_with("CONTREE_SHM_SIZE: "), "{error}");
        let options = SandboxOptions {
            shm_size: Some("0".to_owned()),
            ..SandboxOptions::default()
        };
        let error = bad(options, &[]);
        assert!(
            error.starts_with("--shm-size: ") && error.contains("512m"),
            "{error}"
        );
    }
}
