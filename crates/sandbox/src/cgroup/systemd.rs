//! A group of this program's own under systemd.
//!
//! Controllers can be had only below a group without processes of its own, and systemd leaves a group to a program only if it was asked
//! to (`Delegate=yes`); elsewhere it sets back what others change. Login sessions are not such groups. So a program that runs sandboxes
//! asks the manager for a scope for itself alone, as other engines do for their containers, and goes into a group below it: then the
//! sandboxes' groups can be beside it. Nothing else is moved.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::files::{make, set};
use super::hierarchy::unified;
use crate::os::programs::find_program;
use crate::os::users::user_name;

/// The group below the one that was left to this program, in which it is itself.
pub(super) const LEAF: &str = "contree-engine";

/// How long systemd may take to answer and to do what it said, and how often it is looked whether it has done it: no event tells.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

/// Whether systemd is the first process here, in charge of all groups that it has not left to others.
pub(super) fn under_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Puts this program, and nothing else, where it can have groups for its sandboxes, if systemd lets it. `stays` says that the program is to
/// outlive the login session it was started in: then it leaves that one only for a manager that stays as well.
pub(super) fn enter(stays: bool) {
    if !under_systemd() {
        return;
    }
    let Some(own) = unified() else { return };
    if named(&own) == LEAF {
        return;
    }
    if is_alone(&own) && is_delegated(&own) {
        into_leaf(&own);
    } else if may_leave(&own, stays)
        && let Some(scope) = ask_for_scope(&own)
        && is_alone(&scope)
    {
        into_leaf(&scope);
    }
}

/// What to do for groups to be had, where systemd is in charge of them.
pub(super) fn remedy() -> Option<String> {
    if !under_systemd() {
        return None;
    }
    let own = unified()?;
    let root = rustix::process::geteuid().is_root();
    Some(remedy_for(&own, root, root || user_bus().is_some()))
}

fn remedy_for(own: &Path, root: bool, bus: bool) -> String {
    let is_ours = named(own) == LEAF;
    if is_ours && in_user_manager(own) {
        // Before 252 a user's manager has no cpu, unless it is given it.
        return "give the managers of users the controllers: `systemctl edit user@.service` as root with `[Service]` and `Delegate=cpu memory pids`, and log in anew".into();
    }
    let unit = named(if is_ours {
        own.parent().unwrap_or(own)
    } else {
        own
    });
    if unit.ends_with(".service") {
        let user = if in_user_manager(own) { "--user " } else { "" };
        return format!(
            "give {unit} the line `Delegate=yes` (`systemctl {user}edit {unit}`) and let it start nothing beside the engine"
        );
    }
    match (root, bus) {
        (true, _) => "start the engine by `systemd-run --scope -p Delegate=yes`".into(),
        (false, true) => {
            "run `loginctl enable-linger` and start the engine again; where it may end with the login session, it does to start it by `systemd-run --user --scope -p Delegate=yes`".into()
        }
        (false, false) => format!(
            "give this user a systemd of its own: install dbus-user-session and run `loginctl enable-linger {}` as root",
            own_name().unwrap_or_else(|| rustix::process::getuid().as_raw().to_string())
        ),
    }
}

fn named(group: &Path) -> &str {
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

/// Whether no other process is in the group itself.
fn is_alone(group: &Path) -> bool {
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    members.trim() == std::process::id().to_string()
}

/// Whether systemd leaves what is below the group to this program.
fn is_delegated(group: &Path) -> bool {
    let unit = named(group);
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
    if user.is_root() || !fs::metadata(group).is_ok_and(|about| about.uid() == user.as_raw()) {
        return false;
    }
    // The system's manager gives a user what it delegates, and nothing else. The user's own has everything, and leaves no mark.
    !in_user_manager(group) || is_delegated_by_user_manager(unit)
}

fn is_delegated_by_user_manager(unit: &str) -> bool {
    let Some(mut command) = to_manager("systemctl") else {
        return false;
    };
    command.args(["show", "--value", "--property=Delegate", "--", unit]);
    answer(command).is_some_and(|answer| answer.trim() == "yes")
}

/// Whether it does no harm if this program leaves its group. A service would lose it, and a program that is to stay would end with the
/// session, which its group alone does not.
fn may_leave(own: &Path, stays: bool) -> bool {
    let unit = named(own);
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

/// The directory and the socket by which the user's manager is reached, if there is one.
fn user_bus() -> Option<(PathBuf, PathBuf)> {
    let user = rustix::process::geteuid().as_raw();
    let directory = PathBuf::from(format!("/run/user/{user}"));
    let socket = directory.join("bus");
    let about = fs::metadata(&socket).ok()?;
    (about.uid() == user && about.file_type().is_socket()).then_some((directory, socket))
}

/// A program of systemd's that is to speak with this user's manager; with the system's, if this is root. The environment may be another
/// user's, or have been emptied.
fn to_manager(program: &str) -> Option<Command> {
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

/// What a program prints if it succeeds in time; it must be short.
fn answer(mut command: Command) -> Option<String> {
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
    let said = std::io::read_to_string(child.stdout.take()?).ok()?;
    succeeded.then_some(said)
}

/// Waits for the end of a child, but not for ever.
fn ends_in_time(child: &Child) -> bool {
    let late = PATIENCE.try_into().unwrap_or_default();
    let Ok(end) = pidfd_open(Pid::from_child(child), PidfdFlags::empty()) else {
        return false;
    };
    let mut ends = [PollFd::new(&end, PollFlags::IN)];
    retry_on_intr(|| poll(&mut ends, Some(&late))).is_ok_and(|count| count == 1)
}

/// Has this process put into a new scope, and gives its group.
fn ask_for_scope(own: &Path) -> Option<PathBuf> {
    let mut command = to_manager("busctl")?;
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
    answer(command)?;
    // The answer is that it will be done.
    let late = Instant::now() + PATIENCE;
    while Instant::now() < late {
        let group = unified();
        if group.as_deref().is_some_and(|group| group != own) {
            return group;
        }
        std::thread::sleep(PAUSE);
    }
    None
}

fn into_leaf(group: &Path) {
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
    fn a_service_is_not_left_and_a_session_only_by_what_ends_with_it() {
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
    fn the_remedy_is_one_for_where_the_program_is() {
        let service = Path::new("/sys/fs/cgroup/system.slice/agent.service");
        let said = remedy_for(service, false, true);
        assert!(said.contains("`systemctl edit agent.service`"), "{said}");
        let service = PathBuf::from(format!("{USERS}/user@7.service/app.slice/agent.service"));
        let said = remedy_for(&service, false, true);
        assert!(
            said.contains("`systemctl --user edit agent.service`"),
            "{said}"
        );
        let leaf = PathBuf::from(format!("/sys/fs/cgroup/system.slice/agent.service/{LEAF}"));
        let said = remedy_for(&leaf, false, true);
        assert!(said.contains("`systemctl edit agent.service`"), "{said}");
        let leaf = format!("{USERS}/user@7.service/app.slice/contree-1-2.scope/{LEAF}");
        let said = remedy_for(Path::new(&leaf), false, true);
        assert!(said.contains("`systemctl edit user@.service`"), "{said}");
        let session = PathBuf::from(format!("{USERS}/session-3.scope"));
        let said = remedy_for(&session, false, true);
        assert!(said.contains("systemd-run --user --scope"), "{said}");
        let said = remedy_for(&session, false, false);
        assert!(said.contains("loginctl enable-linger "), "{said}");
        let said = remedy_for(&session, true, true);
        assert!(said.contains("`systemd-run --scope"), "{said}");
    }

    #[test]
    fn a_program_is_heard_if_it_succeeds() {
        let shell = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            answer(command)
        };
        assert_eq!(shell("sleep 0.05; echo yes"), Some("yes\n".to_owned()));
        assert_eq!(shell("echo no; exit 1"), None);
        assert_eq!(answer(Command::new("/nowhere/at/all")), None);
    }

    #[test]
    fn what_other_processes_are_in_is_not_for_this_one_alone() {
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
        // A directory of this user's, and no unit of systemd's.
        assert!(!is_delegated(group.path()));
    }
}
