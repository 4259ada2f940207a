//! Remedies for a missing range of ids, specific to this system.

use std::fs;

use super::subordinate::first_free;
use crate::options::StoreOptions;
use crate::os::programs::find_program;

/// The instruction to install newuidmap and newgidmap with the system's package manager.
fn install_uidmap() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    match install_for(&release) {
        Some(command) => format!("run `{command}` as root"),
        None => "install newuidmap and newgidmap (the package is called uidmap or shadow)".into(),
    }
}

fn install_for(release: &str) -> Option<&'static str> {
    let names = release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches(['"', '\'']).split_whitespace());
    for name in names {
        return Some(match name {
            "debian" | "ubuntu" => "apt-get install uidmap",
            "fedora" | "rhel" | "centos" => "dnf install shadow-utils",
            "arch" => "pacman -S shadow",
            "alpine" => "apk add shadow-uidmap",
            "suse" | "opensuse" => "zypper install shadow",
            _ => continue,
        });
    }
    None
}

/// The instruction to get a range of ids for a store that is opened with these options.
pub(crate) fn instruction_for_range(options: &StoreOptions) -> String {
    if rustix::process::geteuid().is_root() {
        return "give this container a larger range of ids, or run outside of it".into();
    }
    let user =
        std::env::var("USER").unwrap_or_else(|_| rustix::process::getuid().as_raw().to_string());
    let grants =
        ["/etc/subuid", "/etc/subgid"].map(|file| fs::read_to_string(file).unwrap_or_default());
    let first = first_free(grants.iter().map(String::as_str));
    let range = format!("{first}-{}", first + 65_535);
    let grant = format!(
        "`usermod --add-subuids {range} --add-subgids {range} {user}` (any free range will do)"
    );
    let steps = if find_program("newuidmap").is_some() {
        format!("run {grant} as root")
    } else {
        format!("{}, then {grant}", install_uidmap())
    };
    format!(
        "{steps}, and {} a new directory if this one is in use",
        options.choose_directory()
    )
}

/// The instruction to restore a map that can no longer be written.
pub(crate) fn instruction_to_restore_range(options: &StoreOptions) -> String {
    format!(
        "{} and restore the former lines of /etc/subuid and /etc/subgid, or {} a new directory",
        install_uidmap(),
        options.choose_directory()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_of_distributions_has_its_command() {
        for (release, expected) in [
            (
                "NAME=\"Debian\"\nID=debian\n",
                Some("apt-get install uidmap"),
            ),
            (
                "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n",
                Some("apt-get install uidmap"),
            ),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                Some("dnf install shadow-utils"),
            ),
            ("ID=alpine\n", Some("apk add shadow-uidmap")),
            ("ID=nixos\n", None),
            ("", None),
        ] {
            assert_eq!(install_for(release), expected, "{release}");
        }
    }
}
