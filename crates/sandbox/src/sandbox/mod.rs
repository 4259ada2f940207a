//! A running sandbox, as the engine controls it.

mod commands;
mod connection;
mod ending;
mod network_ends;
mod snapshot;

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use self::connection::Connection;
use self::network_ends::NetworkEnds;
use self::snapshot::SnapshotSource;
use crate::cgroup::group::{ReachedMemoryLimit, SandboxGroup};
use crate::error::Error;
use crate::launch::handshake::{InitProcess, SetupResult};
use crate::layers::LayerStore;
use crate::os::error::CallContext;
use crate::os::process_tree;
use crate::packet::InterceptedPackets;
use crate::protocol::boot::{Boot, SandboxBoot, SideFileBoot};
use crate::protocol::spec::{Limits, SandboxSpec};
use crate::spec_check::check_spec;
use crate::store::runs::RunDir;

/// A sandbox: an init and the commands started in it. Dropping it kills everything inside and waits
/// until it has ended.
#[derive(Debug)]
pub struct Sandbox {
    store: LayerStore,
    max_layer_bytes: Option<u64>,
    connection: Arc<Connection>,
    reader: Option<JoinHandle<()>>,
    /// Closed when the reader thread has seen the end of the sandbox.
    end: Mutex<Receiver<()>>,
    side_files: Vec<String>,
    made_directories: Vec<PathBuf>,
    listener: Mutex<Option<TcpListener>>,
    snapshot_source: SnapshotSource,
    packets: Mutex<Option<InterceptedPackets>>,
    interception_refusal: Option<String>,
    /// Declared last: it is dropped after the init, which is in the group.
    group: SandboxGroup,
}

impl Sandbox {
    /// Starts a sandbox on an image, with its upper directory in a run directory. The directories
    /// and files of `spec` exist before anything runs.
    ///
    /// # Errors
    /// - [`Error::Unavailable`] if this machine cannot run sandboxes.
    /// - [`Error::Placement`] if a file or directory cannot be put in place.
    /// - [`Error::LayerTooLarge`] or [`Error::LayerTooManyFiles`] if those files exceed the limit
    ///   of the writable layer.
    /// - [`Error::DiskNearlyFull`] if they leave too little free space.
    pub fn start(store: &LayerStore, run: &RunDir, spec: &SandboxSpec) -> Result<Self, Error> {
        check_spec(store.layout(), spec)?;
        Self::boot(store, run, spec, store.lowers(&spec.layers)?)
    }

    /// Starts a sandbox on lower directories, which need not be layers.
    pub(crate) fn boot(
        store: &LayerStore,
        run: &RunDir,
        spec: &SandboxSpec,
        lowers: Vec<PathBuf>,
    ) -> Result<Self, Error> {
        let user_namespace = std::fs::read_link("/proc/self/ns/user")
            .context("read the link of the engine's user namespace")?;
        // The first stage and, with a limit of the layer, its allocator.
        let engine_processes = 1 + u32::from(spec.max_layer_bytes.is_some());
        let mut group = SandboxGroup::make(
            store.root(),
            run.name(),
            &spec.limits,
            spec.max_processes,
            engine_processes,
        )
        .map_err(|error| Error::Invalid(error.to_string()))?;
        let join_files = group.take_join_files();
        let probe_upper = !store.layout().is_upper_probed();
        let run_directory = Path::new("run").join(run.name());
        let snapshot_source = SnapshotSource {
            upper: run_directory.join("L/d"),
            lowers: lowers.clone(),
            temporary_lines: spec.temporary_lines.clone(),
        };
        let boot = Boot::Sandbox(Box::new(SandboxBoot {
            user_namespace,
            charged_user: store.id_map().charged_user(),
            lowers,
            run: run_directory,
            hostname: spec.hostname.clone(),
            directories: spec.directories.clone(),
            changes: spec.changes.clone(),
            files: spec.files.clone(),
            side_directory: format!("dev/{}", store.layout().options().side_directory),
            side_files: spec
                .side_files
                .iter()
                .map(|file| SideFileBoot {
                    name: file.name.clone(),
                    unless_exists: file.unless_exists.clone(),
                    mount_over: file.mount_over.clone(),
                    after: file.after.clone(),
                })
                .collect(),
            temporary_lines: spec.temporary_lines.clone(),
            shared_memory_bytes: spec.shared_memory_bytes,
            machine_view: store.layout().machine_view().map(Path::to_owned),
            network: spec.network,
            max_processes: spec.limits.processes.unwrap_or(spec.max_processes),
            max_layer_bytes: spec.max_layer_bytes,
            control_group_files: join_files.len(),
            has_other_groups: !store.id_map().is_single(),
            old_mount: store.layout().old_mount(),
            probe_upper,
        }));
        let contents: Vec<_> = spec
            .side_files
            .iter()
            .map(|file| file.content.0.as_fd())
            .chain(join_files.iter().map(AsFd::as_fd))
            .collect();
        let (
            init,
            SetupResult {
                side_files,
                directories,
                network_sockets,
                interception_refusal,
            },
        ) = InitProcess::start_with_files(store.layout(), &boot, &contents)?;
        drop(join_files);
        // Limits that the caller did not request may be missing.
        if spec.limits != Limits::default() && !group.is_entered() {
            return Err(Error::Invalid(
                "limits: the kernel does not let the sandbox join its control group".into(),
            ));
        }
        let NetworkEnds { listener, packets } = NetworkEnds::sort(
            spec.network,
            network_sockets,
            interception_refusal.is_some(),
        )?;
        let side_files = side_files
            .into_iter()
            .filter_map(|index| spec.side_files.get(index))
            .map(|file| file.name.clone())
            .collect();
        let made_directories = directories
            .into_iter()
            .filter_map(|index| spec.directories.get(index))
            .map(|directory| directory.path.clone())
            .collect();
        store.layout().set_upper_probed();
        let connection = Arc::new(Connection::new(init));
        let (end_sender, end) = mpsc::channel();
        let reader = std::thread::Builder::new()
            .name("contree-sandbox".into())
            .spawn({
                let connection = connection.clone();
                move || {
                    connection.read_replies();
                    drop(end_sender);
                }
            })
            .context("start a thread")?;
        Ok(Self {
            store: store.clone(),
            max_layer_bytes: spec.max_layer_bytes,
            connection,
            reader: Some(reader),
            side_files,
            made_directories,
            listener: Mutex::new(listener),
            packets: Mutex::new(packets),
            interception_refusal,
            end: Mutex::new(end),
            snapshot_source,
            group,
        })
    }

    /// The non-blocking socket that listens on the sandbox's loopback interface, with
    /// [`Network::Listener`](crate::Network::Listener) and
    /// [`Network::Intercepted`](crate::Network::Intercepted). Only the first call returns it. The
    /// kernel keeps the sandbox's network until the socket and every connection accepted on it are
    /// closed.
    #[must_use]
    pub fn take_listener(&self) -> Option<TcpListener> {
        self.listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The packets to foreign addresses, with
    /// [`Network::Intercepted`](crate::Network::Intercepted). Only the first call returns them.
    #[must_use]
    pub fn take_packets(&self) -> Option<InterceptedPackets> {
        self.packets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The reason why packets are not intercepted, although
    /// [`Network::Intercepted`](crate::Network::Intercepted) requests it.
    #[must_use]
    pub fn interception_refusal(&self) -> Option<&str> {
        self.interception_refusal.as_deref()
    }

    /// The memory limit that was reached, if the kernel has killed a process of the sandbox for it.
    #[must_use]
    pub fn killed_for_memory(&self) -> Option<ReachedMemoryLimit> {
        self.group.killed_for_memory()
    }

    /// The processes inside, and the memory that the sandbox uses.
    #[must_use]
    pub fn resource_use(&self) -> SandboxUse {
        let tree = process_tree::measure(self.connection.init().pid());
        // Pid 1 and the allocator of the watcher are not inside.
        let own = 1 + u64::from(self.max_layer_bytes.is_some());
        SandboxUse {
            processes: tree.processes.saturating_sub(own),
            memory_bytes: self.group.memory_bytes().unwrap_or(tree.memory_bytes),
        }
    }

    /// The names of the side files that exist in the sandbox.
    #[must_use]
    pub fn side_files(&self) -> &[String] {
        &self.side_files
    }

    /// The directories of the description that were missing in the image and are made now.
    #[must_use]
    pub fn made_directories(&self) -> &[PathBuf] {
        &self.made_directories
    }
}

/// The resources that a running sandbox uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxUse {
    /// The processes inside, without its pid 1.
    pub processes: u64,
    /// The memory in bytes. Without control groups, memory that processes share counts for each.
    pub memory_bytes: u64,
}
