//! Checks of the program's surroundings: the clock and the proxy.

use std::time::{Duration, SystemTime};

use url::Url;

use super::{CheckState, DoctorCheck};
use crate::config::Environment;

const AREA: &str = "machine";

/// How far the clock may be behind the program's own file.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The variables that name a proxy, in the order in which clients read them.
const PROXY_VARIABLES: [&str; 6] = [
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "HTTP_PROXY",
    "all_proxy",
    "ALL_PROXY",
];

pub(super) fn checks(environment: &Environment) -> Vec<DoctorCheck> {
    let program = std::env::current_exe()
        .and_then(std::fs::metadata)
        .and_then(|found| found.modified())
        .ok();
    vec![clock(SystemTime::now(), program), proxy(environment)]
}

/// Compares the clock with the time of this program's file. A clock that is behind makes
/// certificates look invalid.
fn clock(now: SystemTime, program: Option<SystemTime>) -> DoctorCheck {
    const NAME: &str = "clock";
    let behind = program
        .and_then(|program| program.duration_since(now).ok())
        .filter(|behind| *behind > CLOCK_TOLERANCE);
    match behind {
        None => DoctorCheck::new(AREA, NAME, CheckState::Fine, "plausible"),
        Some(behind) => DoctorCheck::new(
            AREA,
            NAME,
            CheckState::Degraded,
            format!(
                "it is {} days behind the file of this program, so certificates may look invalid",
                behind.as_secs() / (24 * 60 * 60)
            ),
        )
        .remedy("set the clock, for instance with `timedatectl set-ntp true` as root"),
    }
}

/// Reports the proxy that the environment names, without its credentials.
fn proxy(environment: &Environment) -> DoctorCheck {
    const NAME: &str = "proxy";
    let set = PROXY_VARIABLES
        .iter()
        .find_map(|name| Some((name, environment.get(name)?)));
    let Some((name, value)) = set else {
        return DoctorCheck::new(AREA, NAME, CheckState::Fine, "none is set");
    };
    let host = |text: &str| {
        let url = Url::parse(text).ok().filter(Url::has_host);
        let with_scheme = || match text.contains("://") {
            true => None,
            false => Url::parse(&format!("http://{text}")).ok(),
        };
        let url = url.or_else(with_scheme)?;
        let port = url.port().map(|port| format!(":{port}"));
        Some(format!("{}{}", url.host_str()?, port.unwrap_or_default()))
    };
    match host(value) {
        Some(host) => {
            DoctorCheck::new(AREA, NAME, CheckState::Fine, format!("{name} names {host}"))
        }
        None => DoctorCheck::new(
            AREA,
            NAME,
            CheckState::Degraded,
            format!("{name} is not the URL of a proxy"),
        )
        .remedy(format!(
            "set {name} to a URL such as http://proxy.example:3128, or unset it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_is_reported() {
        let built = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(clock(built - day / 2, Some(built)).state, CheckState::Fine);
        assert_eq!(
            clock(built + day * 900, Some(built)).state,
            CheckState::Fine
        );
        assert_eq!(clock(built, None).state, CheckState::Fine);
        let check = clock(built - day * 30, Some(built));
        assert_eq!(check.state, CheckState::Degraded);
        assert!(check.detail.contains("30 days"), "{}", check.detail);
    }

    #[test]
    fn a_proxy_is_named_without_its_password() {
        let of = |value: &str| proxy(&[("https_proxy", value)].into_iter().collect());
        for value in [
            "http://me:secret@proxy.example:3128/",
            "me:secret@proxy.example:3128",
        ] {
            let check = of(value);
            assert!(
                check.detail.ends_with("names proxy.example:3128"),
                "{}",
                check.detail
            );
        }
        assert_eq!(of("http://").state, CheckState::Degraded);
        assert_eq!(proxy(&Environment::default()).state, CheckState::Fine);
    }
}
