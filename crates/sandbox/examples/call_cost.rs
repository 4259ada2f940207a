//! Measures how much the system call filter costs: the time of a call in a sandbox and outside.
//!
//! `cargo run --release -p contree-sandbox --example call_cost`

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("--inside") => {
            for (_, nanoseconds) in times() {
                println!("{nanoseconds}");
            }
            Ok(())
        }
        _ => compare(),
    }
}

/// Nanoseconds of a call that is always allowed, and of one whose arguments the filter checks. Each
/// is the best of several rounds.
#[cfg(target_os = "linux")]
fn times() -> Vec<(&'static str, f64)> {
    use std::os::fd::AsFd;
    use std::time::Instant;

    const CALLS: u32 = 1_000_000;
    const ROUNDS: usize = 9;

    let null = std::fs::File::open("/dev/null").ok();
    let measure = |call: &dyn Fn()| {
        let rounds = (0..ROUNDS).map(|_| {
            let begun = Instant::now();
            for _ in 0..CALLS {
                call();
            }
            begun.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
        });
        rounds.fold(f64::INFINITY, f64::min)
    };
    let parent = measure(&|| {
        std::hint::black_box(rustix::process::getppid());
    });
    // An ioctl that only sets a flag of the descriptor.
    let ioctl = measure(&|| {
        if let Some(file) = &null {
            let _ = std::hint::black_box(rustix::io::ioctl_fioclex(file.as_fd()));
        }
    });
    vec![("getppid", parent), ("ioctl", ioctl)]
}

#[cfg(target_os = "linux")]
fn compare() -> Result<(), Box<dyn std::error::Error>> {
    use std::io::Read;

    use contree_sandbox::{
        Command, FileCopy, LayerId, LayerStore, Limits, Network, Sandbox, SandboxSpec, StoreOptions,
    };

    let directory = std::env::temp_dir().join(format!("contree-call-cost-{}", std::process::id()));
    let mut options = StoreOptions::default();
    options.directories = vec!["files".into()];
    let store = LayerStore::open(&directory, options)?;
    store.stage_host_layer(LayerId(1))?;
    std::fs::copy(std::env::current_exe()?, directory.join("files/measure"))?;
    let spec = SandboxSpec {
        layers: vec![LayerId(1)],
        hostname: "box".into(),
        directories: Vec::new(),
        changes: Vec::new(),
        files: vec![FileCopy {
            source: "files/measure".into(),
            path: "/measure".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        }],
        side_files: Vec::new(),
        temporary_lines: Vec::new(),
        shared_memory_bytes: 64 << 20,
        network: Network::Loopback,
        max_processes: 1000,
        max_layer_bytes: None,
        limits: Limits::default(),
    };
    let command = Command {
        program: "/measure".into(),
        args: vec!["--inside".into()],
        env: Vec::new(),
        default_home: None,
        cwd: "/".into(),
        uid: 0,
        gid: 0,
    };
    let outside = times();
    let run = store.create_run("measure")?;
    let sandbox = Sandbox::start(&store, &run, &spec)?;
    let process = sandbox.exec(&command)?;
    drop(process.stdin);
    let mut inside = String::new();
    std::fs::File::from(process.stdout).read_to_string(&mut inside)?;
    process.exit.blocking_recv()?;
    sandbox.finish(false)?;
    store.remove_run(run.name())?;
    store.remove_layer(LayerId(1))?;
    std::fs::remove_dir_all(&directory)?;
    for ((name, outside), inside) in outside.into_iter().zip(inside.lines()) {
        let inside: f64 = inside.parse()?;
        println!(
            "{name}: {outside:.0} ns outside, {inside:.0} ns in a sandbox, {:.2} times as long",
            inside / outside
        );
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {}
