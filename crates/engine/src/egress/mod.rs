//! The network of sandboxes: HTTP and HTTPS through a filtering proxy in the engine.
//!
//! A sandbox has loopback alone. A listening socket on it is handed out to the engine before any command runs; the engine
//! accepts there and dials on the machine ([`proxy`]). What may be dialled is decided by name ([`target`], [`policy`], [`rules`])
//! and by address ([`address`], [`own`]), and the address that was checked is the one connected to ([`dial`]).

mod address;
mod connection_log;
mod counted;
mod dial;
mod own;
mod policy;
mod provide;
mod proxy;
mod rules;
mod settings;
mod target;
#[cfg(test)]
mod tests;
mod upstream;

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use contree_sandbox::{Check, Network, Sandbox, SideFile, State};

use crate::api::request::SpawnRequest;
use crate::api::types::EventDataNetwork;
use crate::operation::events::EventLog;
use connection_log::ConnectionLog;
use dial::Dialer;
use policy::Policy;
use provide::Provisions;
pub(crate) use proxy::Proxy;
pub use rules::{EgressRule, EgressRuleError};
pub use settings::NetworkMode;
pub(crate) use settings::{EgressSettings, ProxyVariables};
use upstream::{Purpose, Upstream};

/// Where a sandbox finds the proxy, on its own loopback: the port that proxies are known by.
const PORT: u16 = 3128;

/// What a command reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Loopback alone, as it was asked for.
    Loopback,
    /// Loopback alone, since this engine gives no network.
    Refused,
    /// HTTP and HTTPS through the proxy.
    Proxy,
    /// All that the machine reaches.
    Host,
}

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

    fn upstream(&self) -> Result<Option<upstream::Via>, upstream::UpstreamError> {
        let anywhere = target::Target {
            host: target::Host::Name("example.com".to_owned()),
            port: 443,
        };
        self.dialer.upstream.via(&anywhere, Purpose::Tunnel)
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

/// Registries that sandboxes commonly ask, by which `doctor` sees whether they can be reached.
const REGISTRIES: &[&str] = &[
    "deb.debian.org",
    "files.pythonhosted.org",
    "index.crates.io",
    "pypi.org",
    "registry.npmjs.org",
    "static.crates.io",
];

/// How long looking their names up may take.
const LOOK: Duration = Duration::from_secs(3);

/// For `doctor`: what sandboxes of these settings reach, and whether the policy lets them reach registries of packages.
pub(crate) fn check(settings: EgressSettings) -> Check {
    const NAME: &str = "network";
    let egress = Egress::new(settings, false);
    let about = egress.describe();
    match egress.mode {
        NetworkMode::Host => Check::new(
            NAME,
            State::Degraded,
            about,
            Some("leave --network and CONTREE_NETWORK out for the filtering proxy".to_owned()),
        ),
        NetworkMode::None => Check::new(
            NAME,
            State::Degraded,
            about,
            Some(
                "leave --network and CONTREE_NETWORK out to let commands install packages"
                    .to_owned(),
            ),
        ),
        NetworkMode::Proxy => match egress.upstream() {
            Err(why) => Check::new(
                NAME,
                State::Degraded,
                format!("{about}: {why}"),
                Some(
                    "set https_proxy and http_proxy to an http:// proxy, or unset them".to_owned(),
                ),
            ),
            Ok(Some(_)) => Check::new(NAME, State::Fine, about, None),
            Ok(None) => registries(&egress, about),
        },
    }
}

fn registries(egress: &Egress, about: String) -> Check {
    let (tell, told) = std::sync::mpsc::channel();
    for name in REGISTRIES {
        let tell = tell.clone();
        // A resolver that does not answer must not hold anybody up.
        std::thread::spawn(move || {
            let found = (*name, 0_u16)
                .to_socket_addrs()
                .map(|found| found.map(|address| address.ip()).collect::<Vec<_>>());
            let _ = tell.send((*name, found));
        });
    }
    drop(tell);
    let until = Instant::now() + LOOK;
    let mut denied = Vec::new();
    let mut resolved = 0;
    while let Ok((name, found)) = told.recv_timeout(until.saturating_duration_since(Instant::now()))
    {
        let Ok(addresses) = found else { continue };
        resolved += 1;
        if let Some(why) = egress.hindrance(name, &addresses) {
            denied.push((name, why));
        }
    }
    denied.sort();
    let check = |state, detail, remedy| Check::new("network", state, detail, remedy);
    match denied.first() {
        None if resolved == 0 => check(
            State::Degraded,
            format!("{about}; this machine cannot resolve the names of package registries"),
            Some("check the machine's resolver, or set https_proxy and http_proxy if it goes through a proxy".to_owned()),
        ),
        None => check(State::Fine, about, None),
        Some((_, why)) => {
            let rules: Vec<String> = denied.iter().map(|(name, _)| format!("{name}+private")).collect();
            check(
                State::Degraded,
                format!("{about}; {why}"),
                Some(format!(
                    "if that is a mirror you trust, let its names be private: CONTREE_EGRESS_ALLOW='*,{}'",
                    rules.join(",")
                )),
            )
        }
    }
}

impl Egress {
    /// Why a name with these addresses cannot be reached although its user may want it to be, if so.
    fn hindrance(&self, name: &str, addresses: &[IpAddr]) -> Option<String> {
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
