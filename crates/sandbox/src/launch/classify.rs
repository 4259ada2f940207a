//! Explains a failed step by the state of the machine.

use std::path::Path;

use rustix::io::Errno;

use super::host_info::HostInfo;
use super::unavailable::Unavailable;
use crate::error::Error;
use crate::ids::write::MapError;
use crate::ids::{IdMap, MapKind, remedy};
use crate::options::StoreOptions;
use crate::protocol::step::Step;
use crate::protocol::step_failure::StepFailure;
use crate::store::layout::StoreLayout;

/// The error that reports a failed step. If the machine is the cause, it includes a remedy.
pub(crate) fn explain(store: &StoreLayout, failure: StepFailure) -> Error {
    let host = HostInfo::read(store.root());
    if let Some(error) = disk_full(&failure, &host) {
        return error;
    }
    match unavailable(&failure, &host, store.options()) {
        Some(unavailable) => unavailable.into(),
        None => plain_error(failure),
    }
}

/// The error for a step that failed because the data directory's file system is full.
///
/// overlayfs mounts an upper directory read-only, and reports no error, if it cannot make its own
/// directory there.
fn disk_full(failure: &StepFailure, host: &HostInfo) -> Option<Error> {
    let errno = failure.cause.errno();
    let on_disk = matches!(
        failure.step,
        Step::Upper | Step::Overlay | Step::OverlayReadOnly | Step::PlaceFile | Step::MakeDirectory
    );
    let refused = matches!(errno, Some(Errno::NOSPC | Errno::DQUOT));
    let exhausted = match host.exhausted {
        Some(exhausted) if on_disk && (refused || failure.step == Step::OverlayReadOnly) => {
            exhausted
        }
        None if on_disk && refused => "block",
        _ => return None,
    };
    Some(Error::DiskFull {
        path: host.data_directory.clone(),
        exhausted,
    })
}

/// The error for ids that cannot be mapped.
pub(crate) fn map_error(map: &IdMap, error: &MapError, options: &StoreOptions) -> Error {
    map_unavailable(map, error, &HostInfo::read(Path::new("/")), options).into()
}

/// The defect of the machine that explains a failed step, if there is one.
fn unavailable(
    failure: &StepFailure,
    host: &HostInfo,
    options: &StoreOptions,
) -> Option<Unavailable> {
    let errno = failure.cause.errno()?;
    let refused = matches!(errno, Errno::PERM | Errno::ACCESS);
    if failure.step == Step::UserNamespace {
        return Some(namespaces_unavailable(errno, host));
    }
    let needs_capabilities = matches!(
        failure.step,
        Step::BecomeRoot
            | Step::Upper
            | Step::PidNamespace
            | Step::Namespaces
            | Step::NetworkNamespace
            | Step::PrivateMounts
            | Step::Overlay
            | Step::Proc
    );
    if needs_capabilities && refused && host.apparmor && !host.root {
        return Some(Unavailable::AppArmor);
    }
    match failure.step {
        Step::Proc if refused => Some(Unavailable::ProcMasked),
        // A container's system call filter allows namespaces to its root alone. Or it refuses the
        // calls that only the root of a namespace may make.
        Step::Hostname if refused && host.container => Some(namespaces_unavailable(errno, host)),
        Step::Namespaces | Step::PidNamespace | Step::NetworkNamespace if errno == Errno::INVAL => {
            Some(Unavailable::Kernel {
                lacks: format!("cannot {}", failure.step),
            })
        }
        Step::Namespaces | Step::PidNamespace | Step::NetworkNamespace
            if matches!(errno, Errno::NOSPC | Errno::USERS) =>
        {
            Some(Unavailable::NamespacesForbidden {
                why: "the limit on namespaces in /proc/sys/user is reached".into(),
                remedy: "raise the user.max_*_namespaces sysctls as root".into(),
            })
        }
        Step::Namespaces | Step::PidNamespace | Step::NetworkNamespace | Step::PrivateMounts
            if refused =>
        {
            Some(namespaces_unavailable(errno, host))
        }
        Step::Overlay if matches!(errno, Errno::NODEV | Errno::NOSYS) => {
            Some(Unavailable::Kernel {
                lacks: "has no overlayfs".into(),
            })
        }
        Step::Upper if errno == Errno::OPNOTSUPP => Some(unsuitable_data_directory(host, options)),
        Step::OverlayReadOnly => Some(unsuitable_data_directory(host, options)),
        Step::Overlay
            if matches!(
                errno,
                Errno::INVAL
                    | Errno::OPNOTSUPP
                    | Errno::PERM
                    | Errno::ROFS
                    | Errno::REMOTE
                    | Errno::STALE
            ) =>
        {
            Some(unsuitable_data_directory(host, options))
        }
        _ => None,
    }
}

fn unsuitable_data_directory(host: &HostInfo, options: &StoreOptions) -> Unavailable {
    Unavailable::DataDirectory {
        path: host.data_directory.clone(),
        filesystem: host.filesystem.clone(),
        remedy: format!(
            "{} a directory on a local file system such as ext4, xfs or btrfs",
            options.choose_directory()
        ),
    }
}

/// The instruction to start a container in which an ordinary user can run sandboxes.
const OPEN_CONTAINER: &str = "start it as an ordinary user with `--security-opt seccomp=unconfined` and \
    `--security-opt systempaths=unconfined` (podman: `--security-opt unmask=ALL`)";

/// The reason why this machine makes no user namespace, or makes it without capabilities.
fn namespaces_unavailable(errno: Errno, host: &HostInfo) -> Unavailable {
    let (why, remedy) =
        if host.max_user_namespaces == Some(0) || matches!(errno, Errno::NOSPC | Errno::USERS) {
            let cause = match host.max_user_namespaces {
                Some(limit) => format!("user.max_user_namespaces is {limit}"),
                None => "the limit on user namespaces is reached".into(),
            };
            (
                cause,
                "run `sysctl -w user.max_user_namespaces=15000` as root".into(),
            )
        } else if errno == Errno::INVAL || errno == Errno::NOSYS {
            return Unavailable::Kernel {
                lacks: "has no user namespaces".into(),
            };
        } else if host.unprivileged_clone == Some(0) && !host.root {
            (
                "kernel.unprivileged_userns_clone is 0".into(),
                "run `sysctl -w kernel.unprivileged_userns_clone=1` as root".into(),
            )
        } else if host.apparmor && !host.root {
            return Unavailable::AppArmor;
        } else if host.container {
            (
                "this is a container whose runtime refuses them, or calls that they need".into(),
                format!("{OPEN_CONTAINER}, or run outside of it"),
            )
        } else {
            (
            format!("the kernel answers {}", std::io::Error::from(errno)),
            "look for a security policy (seccomp, SELinux, AppArmor, a chroot) that refuses them"
                .to_owned(),
        )
        };
    Unavailable::NamespacesForbidden { why, remedy }
}

/// Explains why the store's ids cannot be mapped.
fn map_unavailable(
    map: &IdMap,
    error: &MapError,
    host: &HostInfo,
    options: &StoreOptions,
) -> Unavailable {
    if host.apparmor && !host.root && map.kind() == MapKind::Single {
        return Unavailable::AppArmor;
    }
    // Sandboxes of root have an owner without a user, so only this capability can map their ids.
    if matches!(error, MapError::Refused { .. }) && host.root && !host.can_administrate {
        return Unavailable::IdMap {
            why: "root has no capability CAP_SYS_ADMIN here, as in a container, so it cannot map the ids of a sandbox".into(),
            remedy: format!("{OPEN_CONTAINER}, or add `--cap-add SYS_ADMIN`"),
        };
    }
    let remedy = match error {
        MapError::Helper { .. } => remedy::instruction_to_restore_range(options),
        MapError::Refused { .. } => {
            format!(
                "run as the user that made the data directory, and in the same container, or {} a new directory",
                options.choose_directory()
            )
        }
    };
    Unavailable::IdMap {
        why: format!(
            "the data directory's files belong to {map}, and these ids cannot be mapped any more: {error}"
        ),
        remedy,
    }
}

/// The error for a failure that the machine's state does not explain.
pub(crate) fn plain_error(failure: StepFailure) -> Error {
    let subject = failure.subject.unwrap_or_default();
    if matches!(failure.step, Step::PlaceFile | Step::MakeDirectory) {
        let reason = match failure.cause.errno() {
            Some(Errno::XDEV) => {
                "it leads into /proc, /sys or /dev, which are not part of the image".into()
            }
            Some(Errno::EXIST) => "a symbolic link in the path has no target".into(),
            Some(Errno::NOTDIR) => "a part of the path is not a directory".into(),
            Some(Errno::ISDIR) => "a directory is already there".into(),
            Some(Errno::INVAL) => "its owner does not exist in the sandbox".into(),
            _ => std::io::Error::from(failure.cause).to_string(),
        };
        return Error::Placement {
            path: subject.into(),
            reason,
        };
    }
    Error::Setup {
        step: failure.step,
        subject: (!subject.is_empty()).then_some(subject),
        error: failure.cause.into(),
    }
}

#[cfg(test)]
mod tests;
