//! `doctor --fix`: commands that repair the settings of the machine.
//!
//! Each command is shown as it is run. It adds to the machine's settings, and replaces no file that
//! exists already.

use std::io::{BufRead, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::output::{print, print_message};
use super::super::process::ProcessError;
use super::{CheckState, DoctorCheck};

/// A repair: its purpose, its commands for a shell of root, and the way to undo it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fix {
    what: String,
    commands: String,
    undo: String,
}

/// The facts about this machine that decide its repairs.
#[derive(Debug)]
pub(super) struct Facts {
    /// The directory of AppArmor's profiles.
    profiles: PathBuf,
    /// The program that needs a profile.
    program: PathBuf,
}

impl Facts {
    pub(super) fn read() -> Self {
        Self {
            profiles: PathBuf::from("/etc/apparmor.d"),
            program: std::env::current_exe().unwrap_or_default(),
        }
    }
}

/// The repairs for the checks that failed.
pub(super) fn plan(checks: &[DoctorCheck], facts: &Facts) -> Vec<Fix> {
    let mut fixes: Vec<Fix> = Vec::new();
    for check in checks {
        if check.area != "sandbox" || check.state == CheckState::Fine {
            continue;
        }
        if check.name == "AppArmor" {
            fixes.extend(app_armor(facts));
            continue;
        }
        let commands = check.remedy.as_deref().map(commands_of).unwrap_or_default();
        for fix in mend(&commands) {
            if !fixes.contains(&fix) {
                fixes.push(fix);
            }
        }
    }
    fixes
}

/// The texts between backticks.
fn commands_of(remedy: &str) -> Vec<&str> {
    remedy.split('`').skip(1).step_by(2).collect()
}

/// The repairs that a remedy names.
fn mend(commands: &[&str]) -> Vec<Fix> {
    let mut fixes = Vec::new();
    let mut install = None;
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            ["sysctl", "-w", setting] => fixes.extend(sysctl(setting)),
            ["apt-get", "install", package] => {
                install = Some(format!("apt-get install -y {package}"))
            }
            ["dnf", "install", package] => install = Some(format!("dnf install -y {package}")),
            ["pacman", "-S", package] => install = Some(format!("pacman -S --noconfirm {package}")),
            ["zypper", "install", package] => {
                install = Some(format!("zypper -n install {package}"))
            }
            ["apk", "add", _] => install = Some((*command).to_owned()),
            [
                "usermod",
                "--add-subuids",
                uids,
                "--add-subgids",
                gids,
                user,
            ] => {
                let first = install.take().map(|line| format!("{line}\n"));
                fixes.push(Fix {
                    what: format!("give {user} a range of subordinate ids, so that a sandbox has users other than root"),
                    commands: format!("{}{command}", first.unwrap_or_default()),
                    undo: format!("usermod --del-subuids {uids} --del-subgids {gids} {user}"),
                });
            }
            _ => {}
        }
    }
    fixes
}

/// Sets a kernel setting now, and at each start of the machine.
fn sysctl(setting: &str) -> Option<Fix> {
    let (name, value) = setting.split_once('=')?;
    let is_plain = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
    };
    if !is_plain(name) || !is_plain(value) {
        return None;
    }
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    let last = name.rsplit('.').next().unwrap_or(name).replace('_', "-");
    let file = format!("/etc/sysctl.d/60-contree-{last}.conf");
    Some(Fix {
        what: format!("set {name} to {value}, now and at each start"),
        commands: format!(
            "echo {value} > {path}\nmkdir -p /etc/sysctl.d\n[ -e {file} ] || echo '{name} = {value}' > {file}"
        ),
        undo: format!("rm {file}, and set {name} to its earlier value"),
    })
}

/// Gives this program an AppArmor profile that allows user namespaces.
fn app_armor(facts: &Facts) -> Option<Fix> {
    // Parsers without this file do not know the rule.
    if !facts.profiles.join("abi/4.0").exists() {
        return None;
    }
    let program = facts.program.to_str().filter(|path| {
        path.starts_with('/')
            && path
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-+ ".contains(c))
    })?;
    let quoted = format!("\"{program}\"");
    let mut names = (1..100).map(|number| match number {
        1 => "contree-mcp".to_owned(),
        number => format!("contree-mcp-{number}"),
    });
    let name = names.find(|name| {
        let file = facts.profiles.join(name);
        !file.exists() || has_profile_of(&file, program)
    })?;
    let file = facts.profiles.join(&name);
    let file = file.to_str()?;
    let load = format!("apparmor_parser --replace {file}");
    let commands = if Path::new(file).exists() {
        load
    } else {
        format!(
            "cat > {file} <<'END'\nabi <abi/4.0>,\ninclude <tunables/global>\n\nprofile {name} {quoted} flags=(unconfined) {{\n  userns,\n  include if exists <local/{name}>\n}}\nEND\n{load}"
        )
    };
    Some(Fix {
        what: format!("let {program} make user namespaces, by an AppArmor profile"),
        commands,
        undo: format!("apparmor_parser --remove {file} && rm {file}"),
    })
}

/// Whether a profile is for the program.
fn has_profile_of(file: &Path, program: &str) -> bool {
    let names_program = |word: &str| {
        let word = word.trim_matches('"');
        match (word.find('{'), word.find('}')) {
            (Some(start), Some(end)) if start < end => {
                let (before, after) = (&word[..start], &word[end + 1..]);
                word[start + 1..end]
                    .split(',')
                    .any(|one| format!("{before}{one}{after}") == program)
            }
            _ => word == program,
        }
    };
    std::fs::read_to_string(file).is_ok_and(|text| {
        text.lines()
            .filter(|line| line.trim_start().starts_with("profile "))
            .any(|line| {
                line.contains(&format!("\"{program}\""))
                    || line.split_whitespace().any(names_program)
            })
    })
}

/// The outcome of `--fix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FixState {
    /// At least one repair was made, so the checks are worth repeating.
    Done,
    /// Nothing was done.
    Nothing,
}

/// Offers each repair, and makes those that the user agrees to.
///
/// # Errors
/// If standard output cannot be written.
pub(super) fn offer(fixes: &[Fix], yes: bool) -> Result<FixState, ProcessError> {
    if fixes.is_empty() {
        print("\nNothing here can be mended by a command.\n")?;
        return Ok(FixState::Nothing);
    }
    let mut state = FixState::Nothing;
    for fix in fixes {
        let shown: Vec<String> = fix
            .commands
            .lines()
            .map(|line| format!("    {line}"))
            .collect();
        print(&format!(
            "\nTo {}, as root:\n\n{}\n\n  To take it back: {}\n",
            fix.what,
            shown.join("\n"),
            fix.undo
        ))?;
        if !yes && !agrees()? {
            print("Not done.\n")?;
            continue;
        }
        let Some(mut command) = as_root(&fix.commands) else {
            print_message("this needs root, and there is no sudo: run these lines as root");
            continue;
        };
        match command.status() {
            Ok(status) if status.success() => {
                print("Done.\n")?;
                state = FixState::Done;
            }
            Ok(status) => print_message(format_args!("the commands failed ({status})")),
            Err(error) => print_message(format_args!("cannot run the commands: {error}")),
        }
    }
    Ok(state)
}

/// Asks on the terminal. Anything but `y` or `yes` is a no.
fn agrees() -> Result<bool, ProcessError> {
    print("Do it? [y/N] ")?;
    let mut answer = String::new();
    if std::io::stdin().lock().read_line(&mut answer).is_err() {
        answer.clear();
    }
    if !std::io::stdin().is_terminal() {
        // The answer from a pipe leaves no line end on the terminal.
        let _ = writeln!(std::io::stdout());
    }
    let answer = answer.trim().to_ascii_lowercase();
    Ok(answer == "y" || answer == "yes")
}

/// The command that runs shell lines as root. `None` if this user cannot become root.
fn as_root(commands: &str) -> Option<Command> {
    let script = format!("set -e\n{commands}");
    #[cfg(unix)]
    if !rustix::process::geteuid().is_root() {
        let path = std::env::var_os("PATH")?;
        let sudo = std::env::split_paths(&path)
            .map(|directory| directory.join("sudo"))
            .find(|program| program.is_file())?;
        let mut command = Command::new(sudo);
        command.args(["--", "sh", "-c", &script]);
        return Some(command);
    }
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, state: CheckState, remedy: &str) -> DoctorCheck {
        DoctorCheck::new("sandbox", name, state, "detail").remedy(remedy)
    }

    fn facts(profiles: &Path) -> Facts {
        Facts {
            profiles: profiles.to_owned(),
            program: "/opt/my programs/contree-mcp".into(),
        }
    }

    #[test]
    fn a_kernel_setting_is_set_now_and_for_later() {
        let checks = [
            check(
                "user namespaces",
                CheckState::Missing,
                "run `sysctl -w user.max_user_namespaces=15000` as root",
            ),
            check("in-memory program", CheckState::Fine, "`sysctl -w a.b=1`"),
        ];
        let fixes = plan(&checks, &facts(Path::new("/none")));
        assert_eq!(fixes.len(), 1, "{fixes:?}");
        assert!(
            fixes[0]
                .commands
                .contains("echo 15000 > /proc/sys/user/max_user_namespaces")
        );
        assert!(
            fixes[0]
                .commands
                .contains("[ -e /etc/sysctl.d/60-contree-max-user-namespaces.conf ] ||")
        );
    }

    #[test]
    fn a_range_of_ids_needs_the_helpers_first() {
        let remedy = "run `apt-get install uidmap` as root, then `usermod --add-subuids 1-2 --add-subgids 1-2 me` (any free range will do), and set X";
        let checks = [
            check("id map", CheckState::Degraded, remedy),
            check("recorded ids", CheckState::Degraded, remedy),
        ];
        let fixes = plan(&checks, &facts(Path::new("/none")));
        assert_eq!(fixes.len(), 1, "{fixes:?}");
        assert_eq!(
            fixes[0].commands,
            "apt-get install -y uidmap\nusermod --add-subuids 1-2 --add-subgids 1-2 me"
        );
        assert!(fixes[0].undo.contains("--del-subuids 1-2"));
    }

    #[test]
    fn an_existing_profile_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let checks = [check(
            "AppArmor",
            CheckState::Missing,
            "run `sysctl -w x.y=0` as root",
        )];
        let facts = facts(folder.path());
        assert_eq!(plan(&checks, &facts), [], "the parser knows no `userns`");
        std::fs::create_dir(folder.path().join("abi")).unwrap();
        std::fs::write(folder.path().join("abi/4.0"), "").unwrap();
        let fixes = plan(&checks, &facts);
        assert!(
            fixes[0]
                .commands
                .contains("profile contree-mcp \"/opt/my programs/contree-mcp\"")
        );
        assert!(!fixes[0].commands.contains("sysctl"));

        std::fs::write(
            folder.path().join("contree-mcp"),
            "profile contree-mcp /usr/bin/contree-mcp {}\n",
        )
        .unwrap();
        let fixes = plan(&checks, &facts);
        assert!(fixes[0].commands.contains("/contree-mcp-2 <<"), "{fixes:?}");
    }

    #[test]
    fn a_profile_that_is_there_is_only_loaded() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("abi")).unwrap();
        std::fs::write(folder.path().join("abi/4.0"), "").unwrap();
        let checks = [check("AppArmor", CheckState::Missing, "")];
        for (program, attachment) in [
            ("/usr/bin/contree-mcp", "/usr/bin/{contree,contree-mcp}"),
            (
                "/opt/my programs/contree-mcp",
                "\"/opt/my programs/contree-mcp\"",
            ),
        ] {
            let file = folder.path().join("contree-mcp");
            std::fs::write(&file, format!("profile contree-mcp {attachment} {{\n}}\n")).unwrap();
            let facts = Facts {
                profiles: folder.path().to_owned(),
                program: program.into(),
            };
            let expected = format!("apparmor_parser --replace {}", file.display());
            assert_eq!(plan(&checks, &facts)[0].commands, expected);
        }
    }

    #[test]
    fn commands_that_no_one_should_run_unasked_are_not_offered() {
        for remedy in [
            "start it with `--security-opt seccomp=unconfined`",
            "mount it with `mount -t proc proc /proc`",
            "run `sysctl -w a.b=1;reboot` as root",
            "run `contree-mcp engine check`",
        ] {
            let checks = [check("user namespaces", CheckState::Missing, remedy)];
            assert_eq!(plan(&checks, &facts(Path::new("/none"))), [], "{remedy}");
        }
    }
}
