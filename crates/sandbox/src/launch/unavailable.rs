//! Why a machine cannot run sandboxes, each with its remedy, in one sentence.

use std::path::PathBuf;

/// A machine that cannot run a sandbox. Displayed as one sentence that ends with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}; {}", self.detail(), self.remedy())]
#[non_exhaustive]
pub enum Unavailable {
    /// No user namespace can be made.
    NamespacesForbidden {
        /// What forbids it, as a clause.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// A user namespace is made but has no rights: Ubuntu's AppArmor restriction.
    AppArmor,
    /// procfs cannot be mounted because parts of `/proc` are mounted over, as container runtimes do.
    ProcMasked,
    /// The data directory's file system cannot hold the writable layer of an overlay.
    DataDirectory {
        /// The data directory.
        path: PathBuf,
        /// Its file system, as `overlayfs`.
        filesystem: String,
        /// What to do.
        remedy: String,
    },
    /// `vm.memfd_noexec=2` forbids the in-memory file that the init is run from.
    MemfdNoexec,
    /// `/proc` is not mounted at all.
    NoProc,
    /// The kernel lacks something that is needed.
    Kernel {
        /// What it lacks, as a clause.
        lacks: String,
    },
    /// The ids that the store was made with cannot be mapped any more.
    IdMap {
        /// What the store needs and why that is not to be had.
        why: String,
        /// What to do.
        remedy: String,
    },
}

impl Unavailable {
    /// What is wrong, without the remedy.
    pub fn detail(&self) -> String {
        match self {
            Self::NamespacesForbidden { why, .. } => {
                format!("sandboxes need user namespaces, which this system forbids ({why})")
            }
            Self::AppArmor => "AppArmor takes the rights from user namespaces of ordinary users here \
                (kernel.apparmor_restrict_unprivileged_userns=1), so that no sandbox can be set up"
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

    /// What to do about it, in the imperative.
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
