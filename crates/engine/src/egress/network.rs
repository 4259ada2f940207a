//! The network of an engine's sandboxes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use contree_sandbox::{Network, Sandbox, SideFile, TemporaryLines};

use super::connection_log::ConnectionLog;
use super::denial::Denial;
use super::dial::Dialer;
use super::network_access::{NetworkAccess, PROXY_PORT};
use super::policy::Policy;
use super::provisions::{self, Provisions};
use super::proxy::{Proxy, ProxyLimits};
use super::run_network::{RunNetwork, RunNetworkError};
use super::settings::{EgressSettings, NetworkMode, ProxyVariables, TransparentNetwork};
use super::upstream::{self, ConnectionPurpose, Upstream};
use super::{target, tool_settings, traffic};
use crate::api::request::SpawnRequest;
use crate::api::types::EventDataNetwork;
use crate::operation::events::EventLog;

/// The environment variables that tell a sandbox's processes about its network.
pub(crate) struct NetworkVariables {
    access: NetworkAccess,
    side_files: Vec<PathBuf>,
    machine: Arc<ProxyVariables>,
}

impl NetworkVariables {
    /// Adds the variables to a process's environment. `preserve_env` does not save them.
    pub(crate) fn add(&self, env: &mut BTreeMap<String, String>, request: &SpawnRequest) {
        provisions::add_variables(env, request, self.access, &self.machine, &self.side_files);
    }
}

/// The network that a sandbox starts with.
pub(crate) struct SandboxNetwork {
    pub(crate) network: Network,
    /// Files that let tools use the network.
    pub(crate) side_files: Vec<SideFile>,
    /// Settings in the image's own files.
    pub(crate) temporary_lines: Vec<TemporaryLines>,
}

/// The network of an engine's sandboxes.
pub(crate) struct Egress {
    mode: NetworkMode,
    transparent: TransparentNetwork,
    /// The reason why the kernel does not permit the transparent network, from the last sandbox.
    refusal: Mutex<Option<String>>,
    single_user: bool,
    dialer: Arc<Dialer>,
    provisions: Provisions,
    machine: Arc<ProxyVariables>,
    side_directory: PathBuf,
    /// Concurrent connections of one sandbox.
    max_connections: usize,
}

/// The most concurrent connections of one sandbox.
const MAX_CONNECTIONS: usize = 128;
/// The open files of a connection: the one to the sandbox, and the one to the outside.
const FILES_OF_CONNECTION: u64 = 2;

/// The connections of each sandbox, so that all sandboxes together use at most half of the files
/// that the engine may open.
fn connection_share(open_files: u64, sandboxes: usize) -> usize {
    let files_of_sandbox = open_files / 2 / (sandboxes.max(1) as u64);
    let connections = usize::try_from(files_of_sandbox / FILES_OF_CONNECTION);
    connections.map_or(MAX_CONNECTIONS, |share| share.clamp(1, MAX_CONNECTIONS))
}

impl Egress {
    /// Builds the network of an engine. `single_user` states that sandboxes have a single user id.
    pub(crate) fn new(settings: EgressSettings, single_user: bool) -> Self {
        let policy = Policy::new(settings.allow, settings.deny);
        let upstream = Upstream::new(&settings.machine);
        Self {
            mode: settings.network,
            transparent: settings.transparent,
            refusal: Mutex::default(),
            single_user,
            dialer: Arc::new(Dialer::new(policy, upstream)),
            provisions: Provisions::new(settings.trust_host_ca, settings.named_certificates),
            machine: Arc::new(settings.machine),
            side_directory: Path::new("/dev").join(settings.side_directory),
            max_connections: connection_share(
                contree_sandbox::descriptor_limit(),
                settings.max_sandboxes,
            ),
        }
    }

    /// The network that a request gets. By default the API enables networking.
    pub(crate) fn access(&self, request: &SpawnRequest) -> NetworkAccess {
        let wanted = request
            .networking
            .as_ref()
            .is_none_or(|networking| networking.enabled);
        match self.mode {
            _ if !wanted => NetworkAccess::Loopback,
            NetworkMode::Proxy => NetworkAccess::Proxy,
            NetworkMode::Host => NetworkAccess::Host,
            NetworkMode::None => NetworkAccess::Unavailable,
        }
    }

    /// The network and the settings for it that a sandbox starts with.
    pub(crate) fn sandbox_network(
        &self,
        access: NetworkAccess,
        request: &SpawnRequest,
    ) -> SandboxNetwork {
        let network = match access {
            NetworkAccess::Loopback | NetworkAccess::Unavailable => Network::Loopback,
            NetworkAccess::Proxy => match self.transparent {
                TransparentNetwork::Auto => Network::Intercepted { port: PROXY_PORT },
                TransparentNetwork::Off => Network::Listener { port: PROXY_PORT },
            },
            NetworkAccess::Host => Network::Host,
        };
        // The values that the request leaves to the engine.
        let mut variables = BTreeMap::new();
        provisions::add_variables(&mut variables, request, access, &self.machine, &[]);
        let mut temporary_lines = tool_settings::lines(access, &variables, self.single_user);
        temporary_lines.extend_from_slice(self.provisions.certificate_lines(access));
        SandboxNetwork {
            network,
            side_files: self.provisions.side_files(access, self.single_user),
            temporary_lines,
        }
    }

    /// The variables that let tools use the network, for processes of a running sandbox.
    pub(crate) fn variables(&self, access: NetworkAccess, sandbox: &Sandbox) -> NetworkVariables {
        NetworkVariables {
            access,
            side_files: sandbox
                .side_files()
                .iter()
                .map(|name| self.side_directory.join(name))
                .collect(),
            machine: Arc::clone(&self.machine),
        }
    }

    /// Checks that the network of a request can be given to it, and is no wider than the engine's.
    ///
    /// # Errors
    /// The reason why it cannot.
    pub(crate) fn check(&self, request: &SpawnRequest) -> Result<(), RunNetworkError> {
        RunNetwork::of(request)?;
        if self.mode == NetworkMode::Host
            && request.x_network.is_some()
            && self.access(request) == NetworkAccess::Host
        {
            return Err(RunNetworkError::Unfiltered);
        }
        Ok(())
    }

    /// The dialer of a run, which is narrower than the engine's if the request says so. `None` for
    /// a request that [`check`](Self::check) refuses.
    fn run_dialer(&self, request: &SpawnRequest) -> Option<Arc<Dialer>> {
        Some(match RunNetwork::of(request).ok()? {
            RunNetwork::Hosts(rules) => Arc::new(self.dialer.narrowed(rules)),
            RunNetwork::Default => Arc::clone(&self.dialer),
        })
    }

    /// Starts to serve the sandbox's listener, if it has one. Needs a Tokio runtime.
    pub(crate) fn serve(
        &self,
        sandbox: &Sandbox,
        log: &Arc<EventLog>,
        request: &SpawnRequest,
    ) -> Option<Proxy> {
        let listener = sandbox.take_listener()?;
        let refusal = sandbox.interception_refusal().map(str::to_owned);
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
        Proxy::start(
            listener,
            sandbox.take_packets(),
            self.run_dialer(request)?,
            ConnectionLog::new(Arc::clone(log)),
            ProxyLimits {
                connections: self.max_connections,
                idle: traffic::IDLE_TIMEOUT,
            },
        )
        .inspect_err(|error| tracing::error!(%error, "cannot serve a sandbox's proxy"))
        .ok()
    }

    /// The notice for the result and its log if the request explicitly enables networking and this
    /// engine gives none.
    pub(crate) fn missing_network_notice(&self, request: &SpawnRequest) -> Option<&'static str> {
        let requested = request
            .networking
            .as_ref()
            .is_some_and(|networking| networking.enabled);
        (requested && self.access(request) == NetworkAccess::Unavailable)
            .then_some("this engine gives sandboxes no network (--network none): the command had only its own loopback")
    }

    /// The mode's name for `whoami`.
    pub(crate) fn name(&self) -> &'static str {
        match self.mode {
            NetworkMode::Proxy => "proxy",
            NetworkMode::Host => "host",
            NetworkMode::None => "loopback",
        }
    }

    /// A description for `whoami` and `doctor`.
    pub(crate) fn describe(&self) -> String {
        match self.mode {
            NetworkMode::None => "sandboxes have no network but their own loopback (--network none)".to_owned(),
            NetworkMode::Host => "sandboxes share this machine's network, its loopback services and abstract sockets too (--network host): \
                nothing is filtered"
                .to_owned(),
            NetworkMode::Proxy => {
                let policy = self.dialer.policy.describe();
                let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
                let mut text = match (self.transparent, refusal.as_deref()) {
                    (TransparentNetwork::Auto, None) => format!(
                        "sandboxes reach the outside by name and by TCP, and through a filtering proxy, both with one policy ({policy}); \
                        no UDP except DNS, IPv6 only through the proxy, and never this machine"
                    ),
                    (mode, refusal) => {
                        let mut text = format!(
                            "sandboxes reach HTTP and HTTPS, and other protocols by CONNECT, through a filtering proxy ({policy}); \
                            no DNS, no UDP, no direct TCP, and never this machine"
                        );
                        match (mode, refusal) {
                            (TransparentNetwork::Auto, Some(reason)) => text.push_str(&format!(
                                "; there is no transparent network here, since a sandbox {reason}"
                            )),
                            _ => text.push_str(" (--transparent-network off)"),
                        }
                        text
                    }
                };
                match self.upstream() {
                    Ok(Some(via)) => text.push_str(&format!("; it forwards to this machine's own proxy {via}, which resolves names itself")),
                    Ok(None) => {}
                    Err(error) => text.push_str(&format!("; {error}")),
                }
                text
            }
        }
    }

    /// The machine's proxy for an HTTPS connection to a public name.
    pub(super) fn upstream(
        &self,
    ) -> Result<Option<upstream::UpstreamProxy>, upstream::UpstreamError> {
        let example = target::Target {
            host: target::Host::Name("example.com".to_owned()),
            port: 443,
        };
        self.dialer
            .upstream
            .proxy_for(&example, ConnectionPurpose::Tunnel)
    }

    /// The reason why the policy denies a name with these addresses. `None` if it allows them or if
    /// the rules exclude the name itself.
    pub(super) fn denial_reason(&self, name: &str, addresses: &[IpAddr]) -> Option<String> {
        let target = target::Target::parse(name, Some(443)).ok()?;
        // Rules that exclude a name do so on purpose.
        let name_decision = self.dialer.policy.check_name(&target).ok()?;
        let allowed: Result<Vec<()>, Denial> = addresses
            .iter()
            .map(|address| {
                self.dialer
                    .policy
                    .check_address(&target, name_decision, *address)
            })
            .collect();
        allowed.err().map(|denial| format!("{name}: {denial}"))
    }
}

/// The event that reports a missing network.
pub(crate) fn missing_network_event(why: &str) -> EventDataNetwork {
    EventDataNetwork {
        interfaces: Vec::new(),
        configured: None,
        error: Some(why.to_owned()),
        x_connection: None,
        x_connections: None,
        x_port: None,
        x_ports: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sandboxes_together_leave_half_of_the_files_to_the_engine() {
        for (open_files, sandboxes, share) in [
            (65_536, 8, 128),
            (65_536, 256, 64),
            (1024, 8, 32),
            (1024, 1000, 1),
            (u64::MAX, 0, 128),
        ] {
            assert_eq!(connection_share(open_files, sandboxes), share);
        }
    }
}
