//! A store with this machine's own programs, and functions that run commands on it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use contree_sandbox::{
    Command, ControlGroups, Exit, LayerId, LayerStore, Process, RunDir, Sandbox, SandboxOutcome,
    SandboxSpec, StoreOptions,
};

/// The layer with this machine's programs.
pub(crate) const HOST: LayerId = LayerId(1);

static NEXT: AtomicU64 = AtomicU64::new(100);

/// A number that no other test uses.
pub(crate) fn fresh() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The store for all tests of this program, removed at its end.
pub(crate) fn store() -> &'static LayerStore {
    static STORE: OnceLock<LayerStore> = OnceLock::new();
    STORE.get_or_init(|| {
        let root = directory().join("store");
        // As the engine does, so that a flood of another test does not stop the start of a sandbox.
        contree_sandbox::raise_descriptor_limit();
        // Enter a control group as the engine does, so that limits are tested wherever possible.
        ControlGroups::enter(false);
        let store = LayerStore::open(&root, options()).unwrap();
        let report = store.stage_host_layer(HOST).unwrap();
        assert!(report.files > 50, "{report:?}");
        store
    })
}

/// Store options with a directory for files that are copied into sandboxes.
pub(crate) fn options() -> StoreOptions {
    let mut options = StoreOptions::default();
    options.directories = vec!["files".into()];
    options
}

/// A directory for this process in `CONTREE_TEST_DIR`, or else in the directory for temporary
/// files.
pub(crate) fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let base =
            std::env::var_os("CONTREE_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = tempfile::Builder::new()
            .prefix("contree-sandbox-test-")
            .tempdir_in(base)
            .unwrap();
        // SAFETY: the handler is a plain function that runs once, when the tests are over.
        unsafe { libc::atexit(clean_up) };
        directory.keep()
    })
}

/// Removes the store. Statics are not dropped, and only the store can remove files of other ids.
extern "C" fn clean_up() {
    let store = store();
    store.remove_leftover_groups();
    for name in store.runs().unwrap_or_default() {
        let _ = store.remove_run(&name);
    }
    for id in (1..=NEXT.load(Ordering::Relaxed)).map(LayerId) {
        let _ = store.remove_layer(id);
    }
    // Overlayfs leaves directories without permissions.
    let _ = std::process::Command::new("chmod")
        .args(["-R", "u+rwX"])
        .arg(directory())
        .status();
    let _ = std::fs::remove_dir_all(directory());
}

/// Keeps other tests of this program, also those in other processes, from floods of descriptors in
/// flight while the value lives. The kernel counts them for the user, so two floods add up.
pub(crate) fn only_flood_of_descriptors() -> File {
    let program = File::open(std::env::current_exe().unwrap()).unwrap();
    program.lock().unwrap();
    program
}

/// The description of a sandbox on this machine's programs.
pub(crate) fn spec() -> SandboxSpec {
    SandboxSpec {
        layers: vec![HOST],
        hostname: "box".into(),
        directories: Vec::new(),
        changes: Vec::new(),
        files: Vec::new(),
        side_files: Vec::new(),
        temporary_lines: Vec::new(),
        shared_memory_bytes: 64 << 20,
        network: contree_sandbox::Network::Loopback,
        max_processes: 400,
        max_layer_bytes: None,
        limits: contree_sandbox::Limits::default(),
    }
}

/// A run directory with a unique name.
pub(crate) fn run() -> RunDir {
    // The name includes the process id, because control groups are found by it.
    let name = format!("run-{}-{}", std::process::id(), fresh());
    store().create_run(&name).unwrap()
}

/// Starts a sandbox on this machine's programs.
pub(crate) fn start() -> (RunDir, Sandbox) {
    start_with(&spec())
}

pub(crate) fn start_with(spec: &SandboxSpec) -> (RunDir, Sandbox) {
    let run = run();
    let sandbox = Sandbox::start(store(), &run, spec).unwrap();
    (run, sandbox)
}

/// A shell command.
pub(crate) fn shell(script: &str) -> Command {
    command("/bin/sh", &["-c", script])
}

pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    Command {
        program: program.into(),
        args: args.iter().map(OsString::from).collect(),
        env: vec![(
            "PATH".into(),
            "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into(),
        )],
        default_home: None,
        cwd: "/".into(),
        uid: 0,
        gid: 0,
    }
}

/// The output of a command.
#[derive(Debug)]
pub(crate) struct Output {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end, without input.
pub(crate) fn output(sandbox: &Sandbox, command: &Command) -> Output {
    collect(sandbox.exec(command).unwrap(), Vec::new())
}

/// Writes input to a command and collects its output.
pub(crate) fn collect(process: Process, input: Vec<u8>) -> Output {
    let Process {
        stdin,
        stdout,
        stderr,
        exit,
        ..
    } = process;
    let feed = thread::spawn(move || {
        // The command may exit without reading all input.
        let _ = File::from(stdin).write_all(&input);
    });
    let stdout = thread::spawn(move || read(stdout));
    let stderr = thread::spawn(move || read(stderr));
    let exit = exit.blocking_recv().unwrap();
    feed.join().unwrap();
    Output {
        exit,
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    }
}

pub(crate) fn read(fd: OwnedFd) -> String {
    let mut bytes = Vec::new();
    File::from(fd).read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Runs a script in a new sandbox on `layers`, and commits its changes if there are any.
pub(crate) fn commit(layers: &[LayerId], script: &str) -> (SandboxOutcome, Option<LayerId>) {
    let run = run();
    let spec = SandboxSpec {
        layers: layers.to_vec(),
        ..spec()
    };
    let sandbox = Sandbox::start(store(), &run, &spec).unwrap();
    let done = output(&sandbox, &shell(script));
    assert_eq!(done.exit.code, Some(0), "{script}: {done:?}");
    let finished = sandbox.finish(true).unwrap();
    let layer = finished.changed.unwrap().then(|| {
        let id = LayerId(fresh());
        store().commit(&run, id).unwrap();
        id
    });
    store().remove_run(run.name()).unwrap();
    (finished, layer)
}
