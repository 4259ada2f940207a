//! Checks whether sandboxes can run on this machine, and proposes remedies.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;

use crate::cgroup::control_groups::ControlGroups;
use crate::error::Error;
use crate::ids::IdMap;
use crate::ids::record::{RecordError, sharers};
use crate::ids::remedy;
use crate::launch::handshake::try_map;
use crate::launch::host_info::{HostInfo, filesystem};
use crate::launch::unavailable::Unavailable;
use crate::layers::LayerStore;
use crate::options::StoreOptions;
use crate::os::error::CallContext;
use crate::protocol::spec::{Limits, Network, SandboxSpec};
use crate::sandbox::Sandbox;
use crate::store::layout::read_map;
use crate::store::runs::RunDir;

/// The state of a prerequisite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CheckState {
    /// The prerequisite is met.
    Fine,
    /// Sandboxes run, but with fewer guarantees or features.
    Degraded,
    /// The prerequisite is missing, and no sandbox can run.
    Missing,
}

/// The result of checking one prerequisite.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Check {
    /// The prerequisite's name, such as `user namespaces`.
    pub name: &'static str,
    /// The prerequisite's state.
    pub state: CheckState,
    /// The finding.
    pub detail: String,
    /// The remedy, in the imperative, if there is one.
    pub remedy: Option<String>,
}

impl Check {
    /// Creates the result of a check.
    #[must_use]
    pub fn new(
        name: &'static str,
        state: CheckState,
        detail: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        Self {
            name,
            state,
            detail: detail.into(),
            remedy,
        }
    }

    fn fine(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, CheckState::Fine, detail, None)
    }
}

const MEMFD: &str = "in-memory program";
const NAMESPACES: &str = "user namespaces";
const IDS: &str = "id map";
const APPARMOR: &str = "AppArmor";
const OVERLAY: &str = "data directory";
const PROC: &str = "procfs";
const SANDBOX: &str = "sandbox";

/// The port of the listener in a test sandbox. It is in the sandbox's own network.
const TRIAL_PORT: u16 = 3128;

/// Checks each prerequisite and starts a real sandbox in the data directory. Existing files there
/// are not touched, and the id map of a new store is not recorded.
pub fn diagnose(root: &Path, options: &StoreOptions) -> Vec<Check> {
    let trial = try_sandbox(root, options);
    let host = HostInfo::read(root);
    let mut checks = Vec::new();
    let failed_at = match &trial {
        Ok(_) => None,
        Err(Error::Unavailable(unavailable)) => Some(prerequisite_of(unavailable)),
        Err(_) => Some(SANDBOX),
    };
    // A start needs them in this order, so those before the failed one are met.
    let prerequisites: [(&str, &dyn Fn() -> Check); 6] = [
        (MEMFD, &|| {
            Check::fine(MEMFD, "the init is run from a sealed in-memory file")
        }),
        (NAMESPACES, &|| Check::fine(NAMESPACES, "can be made")),
        (IDS, &|| {
            id_map_check(trial.as_ref().ok().map(|trial| &trial.map), options)
        }),
        (APPARMOR, &|| {
            let detail = if host.apparmor && !host.root {
                "restricts others, not this program"
            } else {
                "does not restrict user namespaces"
            };
            Check::fine(APPARMOR, detail)
        }),
        (OVERLAY, &|| {
            Check::fine(
                OVERLAY,
                format!(
                    "{} is on {}, which holds layers",
                    root.display(),
                    filesystem(root)
                ),
            )
        }),
        (PROC, &|| Check::fine(PROC, "can be mounted in a sandbox")),
    ];
    for (name, check) in prerequisites {
        if failed_at == Some(name) {
            break;
        }
        // Any other failure does not show which prerequisites are met.
        if failed_at != Some(SANDBOX) {
            checks.push(check());
        }
    }
    match &trial {
        Ok(trial) => {
            checks.push(Check::fine("system call filter", "installed"));
            checks.push(interception(trial));
            checks.push(process_bound());
            checks.push(control_groups());
            checks.push(recorded_ids(root, options));
            checks.push(Check::fine(
                SANDBOX,
                format!("a test sandbox started and ended in {}", root.display()),
            ));
        }
        Err(Error::Unavailable(unavailable)) => {
            checks.push(Check::new(
                prerequisite_of(unavailable),
                CheckState::Missing,
                unavailable.detail(),
                Some(unavailable.remedy()),
            ));
        }
        Err(error) => checks.push(Check::new(
            SANDBOX,
            CheckState::Missing,
            error.to_string(),
            matches!(error, Error::Os(_)).then(|| {
                let choose = options.choose_directory();
                format!("{choose} a directory that you can write")
            }),
        )),
    }
    checks
}

/// The name of the missing prerequisite.
fn prerequisite_of(unavailable: &Unavailable) -> &'static str {
    match unavailable {
        Unavailable::NamespacesForbidden { .. } | Unavailable::Kernel { .. } => NAMESPACES,
        Unavailable::AppArmor => APPARMOR,
        Unavailable::ProcMasked => PROC,
        Unavailable::DataDirectory { .. } => OVERLAY,
        Unavailable::MemfdNoexec | Unavailable::NoProc => MEMFD,
        Unavailable::IdMap { .. } => IDS,
    }
}

fn id_map_check(map: Option<&IdMap>, options: &StoreOptions) -> Check {
    match map {
        None => Check::fine(IDS, "ids can be mapped"),
        Some(map) if map.is_single() => Check::new(
            IDS,
            CheckState::Degraded,
            format!("{map}: only root exists inside, and programs that change their user fail"),
            Some(remedy::instruction_for_range(options)),
        ),
        Some(map) => Check::fine(IDS, map.describe()),
    }
}

/// Checks the ids that the existing store was made with.
fn recorded_ids(root: &Path, options: &StoreOptions) -> Check {
    const NAME: &str = "recorded ids";
    match read_map(root, options) {
        Ok(None) => Check::fine(NAME, "none yet: the data directory is new"),
        Ok(Some(map)) => match try_map(options, &map) {
            Ok(()) if map.is_single() => Check::new(
                NAME,
                CheckState::Degraded,
                map.describe(),
                Some(remedy::instruction_for_range(options)),
            ),
            Ok(()) => match other_stores(&options.id_record, root, &map) {
                Err(error) => unusable_record(&map, &error),
                Ok(others) if !others.is_empty() => shared_ids(&map, &others, options),
                Ok(_) => Check::fine(NAME, map.describe()),
            },
            Err(Error::Unavailable(unavailable)) => Check::new(
                NAME,
                CheckState::Missing,
                unavailable.detail(),
                Some(unavailable.remedy()),
            ),
            Err(error) => Check::new(NAME, CheckState::Missing, error.to_string(), None),
        },
        Err(error) => Check::new(NAME, CheckState::Missing, error.to_string(), None),
    }
}

/// The other stores that have this store's ids.
fn other_stores(record: &Path, root: &Path, map: &IdMap) -> Result<Vec<PathBuf>, RecordError> {
    let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    sharers(record, &root, map)
}

/// The check of a store whose ids cannot be recorded for other stores.
fn unusable_record(map: &IdMap, error: &RecordError) -> Check {
    Check::new(
        "recorded ids",
        CheckState::Degraded,
        format!(
            "{map}, which a new data directory may get too, since the record of ids cannot be used: {error}"
        ),
        Some(error.remedy().into()),
    )
}

/// The check of a store whose ids other stores have too. It may be a copy, or of an earlier
/// release.
fn shared_ids(map: &IdMap, others: &[PathBuf], options: &StoreOptions) -> Check {
    let shown: Vec<String> = others
        .iter()
        .take(3)
        .map(|path| path.display().to_string())
        .collect();
    Check::new(
        "recorded ids",
        CheckState::Degraded,
        format!(
            "{map}, which {} has too: their sandboxes share what the kernel counts for each user",
            shown.join(", ")
        ),
        Some(format!(
            "{} a new directory, which gets ids of its own",
            options.choose_directory()
        )),
    )
}

fn process_bound() -> Check {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let limits = Limits {
        processes: Some(1),
        ..Limits::default()
    };
    process_bound_of(&release, ControlGroups::get().refusal(&limits).is_none())
}

/// Checks the process limit for a kernel release. `grouped` is true if control groups enforce it.
fn process_bound_of(release: &str, grouped: bool) -> Check {
    const NAME: &str = "process bound";
    let mut numbers = release
        .split(['.', '-'])
        .map(|number| number.parse().unwrap_or(0_u32));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if grouped || version >= (6, 14) {
        return Check::fine(NAME, "holds for a whole sandbox");
    }
    Check::new(
        NAME,
        CheckState::Degraded,
        format!(
            "without a control group, Linux {release} limits processes per user of a sandbox, not per sandbox"
        ),
        Some("use control groups, or Linux 6.14 or newer".into()),
    )
}

fn control_groups() -> Check {
    const NAME: &str = "control groups";
    let groups = ControlGroups::get();
    let remedy = groups.remedy();
    let state = if remedy.is_some() {
        CheckState::Degraded
    } else {
        CheckState::Fine
    };
    Check::new(NAME, state, groups.describe(), remedy)
}

/// The findings of a test sandbox.
struct Trial {
    map: IdMap,
    /// The reason why the packets of a sandbox cannot be intercepted.
    interception_refusal: Option<String>,
}

/// Reports whether programs that know no proxy can have a network.
fn interception(trial: &Trial) -> Check {
    const NAME: &str = "transparent network";
    match &trial.interception_refusal {
        None => Check::fine(NAME, "programs that know no proxy can have a network"),
        Some(reason) => Check::new(
            NAME,
            CheckState::Degraded,
            format!("programs that know no proxy have no network, since a sandbox {reason}"),
            Some("let the programs use the proxy".into()),
        ),
    }
}

/// Makes a temporary store in the data directory, starts a sandbox in it, and removes both.
fn try_sandbox(root: &Path, options: &StoreOptions) -> Result<Trial, Error> {
    let existed = root.exists();
    fs::create_dir_all(root).context_path("make the directory", root)?;
    let store_path = root.join(format!(".doctor-{}", std::process::id()));
    let result = try_store(&store_path, options);
    let removed = fs::remove_dir_all(&store_path).or_else(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Ok(())
        } else {
            Err(error)
        }
    });
    if !existed {
        // This fails if something else was put into the directory, which is fine.
        let _ = fs::remove_dir(root);
    }
    let trial = result.map_err(|error| match error {
        // The error names the caller's directory, not the temporary store in it.
        Error::Unavailable(Unavailable::DataDirectory {
            filesystem, remedy, ..
        }) => Unavailable::DataDirectory {
            path: root.to_owned(),
            filesystem,
            remedy,
        }
        .into(),
        other => other,
    })?;
    removed.context_path("remove", &store_path)?;
    Ok(trial)
}

fn try_store(store_path: &Path, options: &StoreOptions) -> Result<Trial, Error> {
    let store = LayerStore::open(store_path, options.clone())?;
    let run = store.create_run("doctor")?;
    let result = try_run(&store, &run);
    let removed = store.remove_run("doctor");
    let interception_refusal = result?;
    removed?;
    Ok(Trial {
        map: store.id_map().clone(),
        interception_refusal,
    })
}

/// Returns the reason why the packets of a sandbox cannot be intercepted, if there is one.
fn try_run(store: &LayerStore, run: &RunDir) -> Result<Option<String>, Error> {
    // The image has no programs: the check covers everything up to the point where one would run.
    let base = run.path().join("L/base");
    let (uid, gid) = store.id_map().root_owner();
    for directory in ["", "proc", "sys", "dev"] {
        let path = base.join(directory);
        fs::create_dir(&path).context_path("make the directory", &path)?;
        let owner = (
            rustix::fs::Uid::from_raw(uid),
            rustix::fs::Gid::from_raw(gid),
        );
        rustix::fs::chownat(
            rustix::fs::CWD,
            &path,
            Some(owner.0),
            Some(owner.1),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .context_path("change the owner of", &path)?;
    }
    let spec = SandboxSpec {
        layers: Vec::new(),
        hostname: "doctor".into(),
        directories: Vec::new(),
        changes: Vec::new(),
        files: Vec::new(),
        side_files: Vec::new(),
        temporary_lines: Vec::new(),
        shared_memory_bytes: 64 << 20,
        network: Network::Intercepted { port: TRIAL_PORT },
        max_processes: 400,
        max_layer_bytes: None,
        limits: Limits::default(),
    };
    let lower = PathBuf::from("run").join(run.name()).join("L/base");
    let sandbox = Sandbox::boot(store, run, &spec, vec![lower])?;
    let refusal = sandbox.interception_refusal().map(str::to_owned);
    sandbox.finish(true)?;
    Ok(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_bounded_by_a_newer_kernel_or_by_control_groups() {
        for (release, grouped, state) in [
            ("6.1.0-50-cloud-amd64", false, CheckState::Degraded),
            ("6.1.0-50-cloud-amd64", true, CheckState::Fine),
            ("6.14.0", false, CheckState::Fine),
            ("7.0-rc1", false, CheckState::Fine),
        ] {
            assert_eq!(process_bound_of(release, grouped).state, state, "{release}");
        }
    }
}
