//! Gets a control group for this program from systemd.
//!
//! Controllers are available only below a group that contains no processes itself. Systemd
//! delegates a group only on request (`Delegate=yes`) and reverts changes elsewhere. Login sessions
//! are not delegated.
//!
//! So a program that runs sandboxes asks the manager for a scope for itself, as other engines do
//! for their containers. It moves into a group below the scope, and the sandboxes' groups are made
//! beside that group. No other process is moved.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::files::{make, set};
use super::hierarchy::own_v2_group;
use crate::os::programs::find_program;
use crate::os::users::user_name;

/// The group that contains this program, below its delegated group.
pub(super) const LEAF: &str = "contree-engine";

/// The time-out for systemd to answer and to complete a request.
const SYSTEMD_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between checks for completion. Systemd sends no event for it.
const POLL_PAUSE: Duration = Duration::from_millis(1);

/// Returns true if systemd manages this system's groups, except those that it has delegated.
pub(super) fn under_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Moves only this program to a group where it can make groups for its sandboxes, if systemd allows
/// it.
///
/// `stays` is true if the program must outlive its login session. The program then leaves the
/// session's group only for a manager that outlives the session too.
pub(super) fn enter(stays: bool) {
    if !under_systemd() {
        return;
    }
    let Some(own) = own_v2_group() else { return };
    if unit_name(&own) == LEAF {
        return;
    }
    if is_alone(&own) && is_delegated(&own) {
        move_into_leaf(&own);
    } else if may_leave(&own, stays)
        && let Some(scope) = ask_for_scope(&own)
        && is_alone(&scope)
    {
        move_into_leaf(&scope);
    }
}

/// The instruction to get control groups, if systemd manages them.
pub(super) fn remedy() -> Option<String> {
    if !under_systemd() {
        return None;
    }
    let own = own_v2_group()?;
    let root = rustix::process::geteuid().is_root();
    Some(remedy_for(&own, root, root || user_bus().is_some()))
}

fn remedy_for(own: &Path, root: bool, bus: bool) -> String {
    let is_ours = unit_name(own) == LEAF;
    if is_ours && in_user_manager(own) {
        // Before version 252 a user's manager has no cpu controller by default.
        return "delegate the controllers to users' managers: run `systemctl edit user@.service` as root, add `[Service]` and `Delegate=cpu memory pids`, and log in again".into();
    }
    let unit = unit_name(if is_ours {
        own.parent().unwrap_or(own)
    } else {
        own
    });
    if unit.ends_with(".service") {
        let user = if in_user_manager(own) { "--user " } else { "" };
        return format!(
            "add `Delegate=yes` to {unit} (`systemctl {user}edit {unit}`) and start only the engine in it"
        );
    }
    match (root, bus) {
        (true, _) => "start the engine with `systemd-run --scope -p Delegate=yes`".into(),
        (false, true) => {
            "run `loginctl enable-linger` and start the engine again; if it may end with the login session, start it with `systemd-run --user --scope -p Delegate=yes` instead".into()
        }
        (false, false) => format!(
            "give this user a systemd manager of its own: install dbus-user-session and run `loginctl enable-linger {}` as root",
            own_name().unwrap_or_else(|| rustix::process::getuid().as_raw().to_string())
        ),
    }
}

fn unit_name(group: &Path) -> &str {
    group
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn in_user_manager(group: &Path) -> bool {
    group
        .components()
        .filter_map(|part| part.as_os_str().to_str())
        .any(|part| part.starts_with("user@") && part.ends_with(".service"))
}

/// Returns true if this process is the only one in the group itself.
fn is_alone(group: &Path) -> bool {
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    members.trim() == std::process::id().to_string()
}

/// Returns true if systemd has delegated the group to this program.
fn is_delegated(group: &Path) -> bool {
    let unit = unit_name(group);
    if !unit.ends_with(".scope") && !unit.ends_with(".service") {
        return false;
    }
    let marked = ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 8];
        rustix::fs::getxattr(group, *name, &mut value[..])
            .is_ok_and(|size| value.get(..size) == Some(b"1"))
    });
    if marked {
        return true;
    }
    let user = rustix::process::geteuid();
    if user.is_root() || !fs::metadata(group).is_ok_and(|metadata| metadata.uid() == user.as_raw())
    {
        return false;
    }
    // The system's manager makes a user the owner of delegated groups only. The user's manager owns
    // all its groups and marks none.
    !in_user_manager(group) || is_delegated_by_user_manager(unit)
}

fn is_delegated_by_user_manager(unit: &str) -> bool {
    let Some(mut command) = manager_command("systemctl") else {
        return false;
    };
    command.args(["show", "--value", "--property=Delegate", "--", unit]);
    output_of(command).is_some_and(|output| output.trim() == "yes")
}

/// Returns true if this program can safely leave its group.
///
/// - It stays in the group of a service, which would lose it.
/// - A program that must outlive the session leaves the session's group only if the user's manager
///   lingers. Otherwise it would end with the manager; in the session's group it does not end.
fn may_leave(own: &Path, stays: bool) -> bool {
    let unit = unit_name(own);
    if !unit.ends_with(".scope") {
        return false;
    }
    !stays
        || rustix::process::geteuid().is_root()
        || !unit.starts_with("session-")
        || own_name().is_some_and(|name| Path::new("/var/lib/systemd/linger").join(name).exists())
}

fn own_name() -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    user_name(&passwd, rustix::process::getuid().as_raw()).or_else(|| std::env::var("USER").ok())
}

/// The runtime directory and the bus socket of the user's manager, if there is one.
fn user_bus() -> Option<(PathBuf, PathBuf)> {
    let user = rustix::process::geteuid().as_raw();
    let directory = PathBuf::from(format!("/run/user/{user}"));
    let socket = directory.join("bus");
    let metadata = fs::metadata(&socket).ok()?;
    (metadata.uid() == user && metadata.file_type().is_socket()).then_some((directory, socket))
}

/// A systemd command that talks to this user's manager, or for root to the system's. It sets the
/// variables that locate the bus: inherited ones may be another user's, or missing.
fn manager_command(program: &str) -> Option<Command> {
    let mut command = Command::new(find_program(program)?);
    if rustix::process::geteuid().is_root() {
        command.arg("--system");
    } else {
        let (directory, socket) = user_bus()?;
        let mut address = std::ffi::OsString::from("unix:path=");
        address.push(socket);
        command
            .arg("--user")
            .env("XDG_RUNTIME_DIR", directory)
            .env("DBUS_SESSION_BUS_ADDRESS", address);
    }
    Some(command)
}

/// Runs a command and returns its output, which must fit into a pipe. Returns `None` if it fails or
/// takes longer than [`SYSTEMD_TIMEOUT`].
fn output_of(mut command: Command) -> Option<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    if !ends_in_time(&child) {
        let _ = child.kill();
    }
    let succeeded = child.wait().is_ok_and(|status| status.success());
    let output = std::io::read_to_string(child.stdout.take()?).ok()?;
    succeeded.then_some(output)
}

/// Waits for the end of a child, up to the time-out.
fn ends_in_time(child: &Child) -> bool {
    let deadline = SYSTEMD_TIMEOUT.try_into().unwrap_or_default();
    let Ok(end) = pidfd_open(Pid::from_child(child), PidfdFlags::empty()) else {
        return false;
    };
    let mut ends = [PollFd::new(&end, PollFlags::IN)];
    retry_on_intr(|| poll(&mut ends, Some(&deadline))).is_ok_and(|count| count == 1)
}

/// Asks the manager to move this process into a new scope, and returns the scope's group.
fn ask_for_scope(own: &Path) -> Option<PathBuf> {
    let mut command = manager_command("busctl")?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let process = std::process::id().to_string();
    let scope = format!("contree-{process}-{:x}.scope", now.as_micros());
    let unbounded = u64::MAX.to_string();
    command.args([
        "--quiet",
        "call",
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        "StartTransientUnit",
        "ssa(sv)a(sa(sv))",
    ]);
    command.args([&scope, "fail", "5"]);
    command.args(["PIDs", "au", "1", &process]);
    command.args(["Delegate", "b", "true"]);
    command.args(["TasksMax", "t", &unbounded]);
    command.args(["CollectMode", "s", "inactive-or-failed"]);
    command.args(["Description", "s", "Engine of contree-sandbox", "0"]);
    output_of(command)?;
    // The manager answers before the move is done.
    let deadline = Instant::now() + SYSTEMD_TIMEOUT;
    while Instant::now() < deadline {
        let group = own_v2_group();
        if group.as_deref().is_some_and(|group| group != own) {
            return group;
        }
        std::thread::sleep(POLL_PAUSE);
    }
    None
}

fn move_into_leaf(group: &Path) {
    let leaf = group.join(LEAF);
    if make(&leaf).is_ok() && set(&leaf, "cgroup.procs", "0").is_err() {
        let _ = fs::remove_dir(&leaf);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "/sys/fs/cgroup/user.slice/user-7.slice";

    #[test]
    fn a_program_leaves_no_service_and_leaves_a_session_only_if_it_may_end_with_it() {
        let in_users = |end: &str| PathBuf::from(format!("{USERS}/{end}"));
        assert!(may_leave(&in_users("session-3.scope"), false));
        assert!(may_leave(
            &in_users("user@7.service/app.slice/app-terminal-1.scope"),
            true
        ));
        for stays in [true, false] {
            assert!(!may_leave(
                &in_users("user@7.service/app.slice/agent.service"),
                stays
            ));
            assert!(!may_leave(Path::new("/sys/fs/cgroup/a"), stays));
        }
    }

    #[test]
    fn the_remedy_depends_on_the_programs_group() {
        let service = Path::new("/sys/fs/cgroup/system.slice/agent.service");
        let message = remedy_for(service, false, true);
        assert!(
            message.contains("`systemctl edit agent.service`"),
            "{message}"
        );
        let service = PathBuf::from(format!("{USERS}/user@7.service/app.slice/agent.service"));
        let message = remedy_for(&service, false, true);
        assert!(
            message.contains("`systemctl --user edit agent.service`"),
            "{message}"
        );
        let leaf = PathBuf::from(format!("/sys/fs/cgroup/system.slice/agent.service/{LEAF}"));
        let message = remedy_for(&leaf, false, true);
        assert!(
            message.contains("`systemctl edit agent.service`"),
            "{message}"
        );
        let leaf = format!("{USERS}/user@7.service/app.slice/contree-1-2.scope/{LEAF}");
        let message = remedy_for(Path::new(&leaf), false, true);
        assert!(
            message.contains("`systemctl edit user@.service`"),
            "{message}"
        );
        let session = PathBuf::from(format!("{USERS}/session-3.scope"));
        let message = remedy_for(&session, false, true);
        assert!(message.contains("systemd-run --user --scope"), "{message}");
        let message = remedy_for(&session, false, false);
        assert!(message.contains("loginctl enable-linger "), "{message}");
        let message = remedy_for(&session, true, true);
        assert!(message.contains("`systemd-run --scope"), "{message}");
    }

    #[test]
    fn the_output_of_a_successful_command_is_returned() {
        let shell = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            output_of(command)
        };
        assert_eq!(shell("sleep 0.05; echo yes"), Some("yes\n".to_owned()));
        assert_eq!(shell("echo no; exit 1"), None);
        assert_eq!(output_of(Command::new("/nowhere/at/all")), None);
    }

    #[test]
    fn a_group_with_other_processes_is_not_for_this_process_alone() {
        let group = tempfile::tempdir().unwrap();
        let own = std::process::id();
        for (members, alone) in [
            (format!("{own}\n"), true),
            (format!("1\n{own}\n"), false),
            (String::new(), false),
        ] {
            fs::write(group.path().join("cgroup.procs"), members).unwrap();
            assert_eq!(is_alone(group.path()), alone);
        }
        // The directory belongs to this user but is not a unit of systemd.
        assert!(!is_delegated(group.path()));
    }
}
