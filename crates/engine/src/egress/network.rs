//! The network of an engine's sandboxes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contree_sandbox::{Network, Sandbox, SideFile};

use super::access::{Access, PORT};
use super::connection_log::ConnectionLog;
use super::dial::Dialer;
use super::policy::{self, Policy};
use super::provide::{self, Provisions};
use super::proxy::Proxy;
use super::settings::{EgressSettings, NetworkMode, ProxyVariables};
use super::upstream::{self, Purpose, Upstream};
use super::{counted, target};
use crate::api::request::SpawnRequest;
use crate::api::types::EventDataNetwork;
use crate::operation::events::EventLog;

/// What the processes of a sandbox are told of its network.
pub(crate) struct Variables {
    access: Access,
    side_files: Vec<PathBuf>,
    machine: Arc<ProxyVariables>,
}

impl Variables {
    /// Adds it to a process's environment. It is not part of what `preserve_env` saves.
    pub(crate) fn add(&self, env: &mut BTreeMap<String, String>, request: &SpawnRequest) {
        provide::add_variables(env, request, self.access, &self.machine, &self.side_files);
    }
}

/// The network of an engine's sandboxes.
pub(crate) struct Egress {
    mode: NetworkMode,
    single: bool,
    dialer: Arc<Dialer>,
    provisions: Provisions,
    machine: Arc<ProxyVariables>,
    side_directory: PathBuf,
}

impl Egress {
    /// `single`: sandboxes have one user id alone.
    pub(crate) fn new(settings: EgressSettings, single: bool) -> Self {
        let policy = Policy::new(settings.allow, settings.deny);
        let upstream = Upstream::new(&settings.machine);
        Self {
            mode: settings.network,
            single,
            dialer: Arc::new(Dialer::new(policy, upstream)),
            provisions: Provisions::default(),
            machine: Arc::new(settings.machine),
            side_directory: Path::new("/dev").join(settings.side_directory),
        }
    }

    /// What a request gets. The API's default is a network.
    pub(crate) fn access(&self, request: &SpawnRequest) -> Access {
        let wanted = request
            .networking
            .as_ref()
            .is_none_or(|networking| networking.enabled);
        match self.mode {
            _ if !wanted => Access::Loopback,
            NetworkMode::Proxy => Access::Proxy,
            NetworkMode::Host => Access::Host,
            NetworkMode::None => Access::Refused,
        }
    }

    /// What the sandbox of such a command is started with.
    pub(crate) fn sandbox(&self, access: Access) -> (Network, Vec<SideFile>) {
        let network = match access {
            Access::Loopback | Access::Refused => Network::Loopback,
            Access::Proxy => Network::Listener { port: PORT },
            Access::Host => Network::Host,
        };
        (network, self.provisions.side_files(access, self.single))
    }

    /// What tools need to use it, for the processes of a sandbox that is up.
    pub(crate) fn variables(&self, access: Access, sandbox: &Sandbox) -> Variables {
        Variables {
            access,
            side_files: sandbox
                .side_files()
                .iter()
                .map(|name| self.side_directory.join(name))
                .collect(),
            machine: Arc::clone(&self.machine),
        }
    }

    /// Begins to serve the sandbox's listener, if it has one. Needs a runtime.
    pub(crate) fn serve(&self, sandbox: &Sandbox, log: &Arc<EventLog>) -> Option<Proxy> {
        let listener = sandbox.take_listener()?;
        Proxy::start(
            listener,
            Arc::clone(&self.dialer),
            ConnectionLog::new(Arc::clone(log)),
            counted::IDLE,
        )
        .inspect_err(|error| tracing::error!(%error, "cannot serve a sandbox's proxy"))
        .ok()
    }

    /// What stands at the end of a result, and in its log, if the request asked in so many words for what this engine does not give.
    pub(crate) fn refusal(&self, request: &SpawnRequest) -> Option<&'static str> {
        let asked = request
            .networking
            .as_ref()
            .is_some_and(|networking| networking.enabled);
        (asked && self.access(request) == Access::Refused)
            .then_some("this engine gives sandboxes no network (--network none): the command had its own loopback alone")
    }

    /// One word for `whoami`.
    pub(crate) fn name(&self) -> &'static str {
        match self.mode {
            NetworkMode::Proxy => "proxy",
            NetworkMode::Host => "host",
            NetworkMode::None => "loopback",
        }
    }

    /// Sentences for `whoami` and `doctor`.
    pub(crate) fn describe(&self) -> String {
        match self.mode {
            NetworkMode::None => "sandboxes have no network but their own loopback (--network none)".to_owned(),
            NetworkMode::Host => "sandboxes share this machine's network, its loopback services and abstract sockets too (--network host): \
                nothing is filtered"
                .to_owned(),
            NetworkMode::Proxy => {
                let mut text = format!(
                    "sandboxes reach HTTP and HTTPS through a filtering proxy ({}); no DNS, UDP or other TCP, and never this machine",
                    self.dialer.policy.describe()
                );
                match self.upstream() {
                    Ok(Some(via)) => text.push_str(&format!("; on through this machine's own proxy {via}, which resolves names for itself")),
                    Ok(None) => {}
                    Err(why) => text.push_str(&format!("; {why}")),
                }
                text
            }
        }
    }

    pub(super) fn upstream(&self) -> Result<Option<upstream::Via>, upstream::UpstreamError> {
        let anywhere = target::Target {
            host: target::Host::Name("example.com".to_owned()),
            port: 443,
        };
        self.dialer.upstream.via(&anywhere, Purpose::Tunnel)
    }

    /// Why a name with these addresses cannot be reached although its user may want it to be, if so.
    pub(super) fn hindrance(&self, name: &str, addresses: &[IpAddr]) -> Option<String> {
        let target = target::Target::parse(name, Some(443)).ok()?;
        // A name that the rules leave out is left out on purpose.
        let named = self.dialer.policy.name(&target).ok()?;
        let judged: Result<Vec<()>, policy::Denied> = addresses
            .iter()
            .map(|address| self.dialer.policy.address(&target, named, *address))
            .collect();
        judged.err().map(|why| format!("{name}: {why}"))
    }
}

/// The event that says that there is no network.
pub(crate) fn refused_event(why: &str) -> EventDataNetwork {
    EventDataNetwork {
        interfaces: Vec::new(),
        configured: None,
        error: Some(why.to_owned()),
        x_connection: None,
        x_connections: None,
    }
}
