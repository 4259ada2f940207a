//! The network for `doctor`: what sandboxes reach, and whether package registries are among it.

use std::net::ToSocketAddrs as _;
use std::time::{Duration, Instant};

use contree_sandbox::{Check, CheckState};

use super::network::Egress;
use super::settings::{EgressSettings, NetworkMode};

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
    let mode = settings.network;
    let egress = Egress::new(settings, false);
    let about = egress.describe();
    match mode {
        NetworkMode::Host => Check::new(
            NAME,
            CheckState::Degraded,
            about,
            Some("leave --network and CONTREE_NETWORK out for the filtering proxy".to_owned()),
        ),
        NetworkMode::None => Check::new(
            NAME,
            CheckState::Degraded,
            about,
            Some(
                "leave --network and CONTREE_NETWORK out to let commands install packages"
                    .to_owned(),
            ),
        ),
        NetworkMode::Proxy => match egress.upstream() {
            Err(why) => Check::new(
                NAME,
                CheckState::Degraded,
                format!("{about}: {why}"),
                Some(
                    "set https_proxy and http_proxy to an http:// proxy, or unset them".to_owned(),
                ),
            ),
            Ok(Some(_)) => Check::new(NAME, CheckState::Fine, about, None),
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
            CheckState::Degraded,
            format!("{about}; this machine cannot resolve the names of package registries"),
            Some("check the machine's resolver, or set https_proxy and http_proxy if it goes through a proxy".to_owned()),
        ),
        None => check(CheckState::Fine, about, None),
        Some((_, why)) => {
            let rules: Vec<String> = denied.iter().map(|(name, _)| format!("{name}+private")).collect();
            check(
                CheckState::Degraded,
                format!("{about}; {why}"),
                Some(format!(
                    "if that is a mirror you trust, let its names be private: CONTREE_EGRESS_ALLOW='*,{}'",
                    rules.join(",")
                )),
            )
        }
    }
}
