//! The network section of `doctor`: the addresses that sandboxes may reach, and whether these
//! include package registries.

use std::net::ToSocketAddrs as _;
use std::time::{Duration, Instant};

use contree_sandbox::{Check, CheckState};

use super::certificates;
use super::network::Egress;
use super::settings::{EgressSettings, NetworkMode};

/// Package registries that commands commonly use. `doctor` checks whether sandboxes may reach them.
const PACKAGE_REGISTRIES: &[&str] = &[
    "deb.debian.org",
    "files.pythonhosted.org",
    "index.crates.io",
    "pypi.org",
    "registry.npmjs.org",
    "static.crates.io",
];

/// How long the lookup of all names may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// Reports for `doctor` what sandboxes may reach with these settings, and which certificate
/// authorities they trust.
pub(crate) fn checks(settings: EgressSettings) -> Vec<Check> {
    let certificates = match settings.network {
        NetworkMode::None => None,
        NetworkMode::Proxy | NetworkMode::Host => {
            certificates::check(&settings.named_certificates, settings.trust_host_ca)
        }
    };
    std::iter::once(check(settings))
        .chain(certificates)
        .collect()
}

/// Reports which addresses sandboxes may reach with these settings, and whether these include the
/// package registries.
fn check(settings: EgressSettings) -> Check {
    const NAME: &str = "network";
    let mode = settings.network;
    let egress = Egress::new(settings, false);
    let about = egress.describe();
    match mode {
        NetworkMode::Host => Check::new(
            NAME,
            CheckState::Degraded,
            about,
            Some("leave out --network and CONTREE_NETWORK to use the filtering proxy".to_owned()),
        ),
        NetworkMode::None => Check::new(
            NAME,
            CheckState::Degraded,
            about,
            Some(
                "leave out --network and CONTREE_NETWORK to let commands install packages"
                    .to_owned(),
            ),
        ),
        NetworkMode::Proxy => match egress.upstream() {
            Err(error) => Check::new(
                NAME,
                CheckState::Degraded,
                format!("{about}: {error}"),
                Some(
                    "set https_proxy and http_proxy to an http:// proxy, or unset them".to_owned(),
                ),
            ),
            Ok(Some(_)) => Check::new(NAME, CheckState::Fine, about, None),
            Ok(None) => check_registries(&egress, about),
        },
    }
}

/// Resolves the registries' names here and checks their addresses against the policy.
fn check_registries(egress: &Egress, about: String) -> Check {
    let (sender, receiver) = std::sync::mpsc::channel();
    for name in PACKAGE_REGISTRIES {
        let sender = sender.clone();
        // A thread for each name, because a silent resolver must not delay the others.
        std::thread::spawn(move || {
            let addresses = (*name, 0_u16)
                .to_socket_addrs()
                .map(|found| found.map(|found| found.ip()).collect::<Vec<_>>());
            let _ = sender.send((*name, addresses));
        });
    }
    drop(sender);
    let deadline = Instant::now() + LOOKUP_TIMEOUT;
    let mut denied = Vec::new();
    let mut resolved = 0;
    while let Ok((name, addresses)) =
        receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()))
    {
        let Ok(addresses) = addresses else { continue };
        resolved += 1;
        if let Some(reason) = egress.denial_reason(name, &addresses) {
            denied.push((name, reason));
        }
    }
    denied.sort();
    let result = |state, detail, remedy| Check::new("network", state, detail, remedy);
    match denied.first() {
        None if resolved == 0 => result(
            CheckState::Degraded,
            format!("{about}; this machine cannot resolve the names of package registries"),
            Some("check the machine's resolver, or set https_proxy and http_proxy if it goes through a proxy".to_owned()),
        ),
        None => result(CheckState::Fine, about, None),
        Some((_, reason)) => {
            let rules: Vec<String> = denied.iter().map(|(name, _)| format!("{name}+private")).collect();
            result(
                CheckState::Degraded,
                format!("{about}; {reason}"),
                Some(format!(
                    "if you trust this mirror, allow its private addresses: CONTREE_EGRESS_ALLOW='*,{}'",
                    rules.join(",")
                )),
            )
        }
    }
}
