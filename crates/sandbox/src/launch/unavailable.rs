//! Reasons why a machine cannot run sandboxes, each with a remedy.

use std::path::PathBuf;

/// The reason why this machine cannot run a sandbox. Its message is one sentence that ends with the
/// remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}; {}", self.detail(), self.remedy())]
#[non_exhaustive]
pub enum Unavailable {
    /// No user namespace can be made.
    NamespacesForbidden {
        /// The cause, as a clause.
        why: String,
        /// The remedy, in the imperative.
        remedy: String,
    },
    /// A user namespace has no capabilities, because of Ubuntu's AppArmor restriction.
    AppArmor,
    /// procfs cannot be mounted because parts of `/proc` are covered by mounts, as in containers.
    ProcMasked,
    /// The data directory's file system cannot hold the upper directory of an overlay.
    DataDirectory {
        /// The data directory.
        path: PathBuf,
        /// Its file system, such as `overlayfs`.
        filesystem: String,
        /// The remedy, in the imperative.
        remedy: String,
    },
    /// `vm.memfd_noexec=2` forbids executing the in-memory copy of the init.
    MemfdNoexec,
    /// `/proc` is not mounted at all.
    NoProc,
    /// The kernel lacks a required feature.
    Kernel {
        /// The missing feature, as a clause.
        lacks: String,
    },
    /// The ids that the store was made with can no longer be mapped.
    IdMap {
        /// The ids that the store needs, and why they cannot be mapped.
        why: String,
        /// The remedy, in the imperative.
        remedy: String,
    },
}

impl Unavailable {
    /// The defect, without the remedy.
    pub fn detail(&self) -> String {
        match self {
            Self::NamespacesForbidden { why, .. } => {
                format!("sandboxes need user namespaces, which this system forbids ({why})")
            }
            Self::AppArmor => "AppArmor denies capabilities in user namespaces of ordinary users \
                (kernel.apparmor_restrict_unprivileged_userns=1), so no sandbox can be set up"
                .into(),
            Self::ProcMasked => {
                "procfs cannot be mounted in a sandbox because parts of /proc are mounted over here, as in a container".into()
            }
            Self::DataDirectory {
                path, filesystem, ..
            } => format!(
                "the data directory {} is on {filesystem}, which cannot hold the writable layer of a sandbox",
                path.display()
            ),
            Self::MemfdNoexec => {
                "vm.memfd_noexec=2 forbids the in-memory file that a sandbox is started from".into()
            }
            Self::NoProc => "/proc is not mounted here, and no sandbox can be started without it".into(),
            Self::Kernel { lacks } => format!("this kernel {lacks}"),
            Self::IdMap { why, .. } => why.clone(),
        }
    }

    /// The remedy, in the imperative.
    pub fn remedy(&self) -> String {
        match self {
            Self::NamespacesForbidden { remedy, .. }
            | Self::DataDirectory { remedy, .. }
            | Self::IdMap { remedy, .. } => remedy.clone(),
            Self::AppArmor => "run `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root \
                (and put it into /etc/sysctl.d to keep it), or give this program an AppArmor profile with `userns,`"
                .into(),
            Self::ProcMasked => "start the container with an unmasked /proc (docker: `--security-opt systempaths=unconfined`; \
                podman: `--security-opt unmask=ALL`; kubernetes: `procMount: Unmasked`)"
                .into(),
            Self::MemfdNoexec => "run `sysctl -w vm.memfd_noexec=1` as root".into(),
            Self::NoProc => "mount it with `mount -t proc proc /proc`".into(),
            Self::Kernel { .. } => "use Linux 5.12 or newer with user namespaces and overlayfs".into(),
        }
    }
}
