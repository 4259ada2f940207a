//! Measures the latency of a sandbox and of a command in it. Prints medians and 95th percentiles in
//! milliseconds.
//!
//! `cargo run --release -p contree-sandbox --example latency`

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::time::Instant;

    use contree_sandbox::{Command, LayerId, LayerStore, Sandbox, SandboxSpec, StoreOptions, View};

    const ROUNDS: usize = 50;

    let directory = std::env::temp_dir().join(format!("contree-latency-{}", std::process::id()));
    let store = LayerStore::open(&directory, StoreOptions::default())?;
    let staging = Instant::now();
    let report = store.stage_host_layer(LayerId(1))?;
    println!("ids: {}", store.id_map().describe());
    println!(
        "host layer: {} files, {} MB, {:?}",
        report.files,
        report.bytes >> 20,
        staging.elapsed()
    );
    let spec = SandboxSpec {
        layers: vec![LayerId(1)],
        hostname: "box".into(),
        directories: Vec::new(),
        changes: Vec::new(),
        files: Vec::new(),
        side_files: Vec::new(),
        temporary_lines: Vec::new(),
        shared_memory_bytes: 64 << 20,
        network: contree_sandbox::Network::Loopback,
        max_processes: 1000,
        max_layer_bytes: None,
        limits: contree_sandbox::Limits::default(),
    };
    let command = Command {
        program: "/bin/true".into(),
        args: Vec::new(),
        env: Vec::new(),
        default_home: None,
        cwd: "/".into(),
        uid: 0,
        gid: 0,
    };
    let mut times: [Vec<f64>; 5] = Default::default();
    let mut note =
        |row: usize, since: Instant| times[row].push(since.elapsed().as_secs_f64() * 1000.0);
    for round in 0..ROUNDS {
        let all = Instant::now();
        let run = store.create_run(&format!("run-{round}"))?;
        let start = Instant::now();
        let sandbox = Sandbox::start(&store, &run, &spec)?;
        note(1, start);
        let exec = Instant::now();
        let process = sandbox.exec(&command)?;
        process.exit.blocking_recv()?;
        note(2, exec);
        let finish = Instant::now();
        sandbox.finish(true)?;
        note(3, finish);
        store.remove_run(run.name())?;
        note(0, all);
        let look = Instant::now();
        View::open(&store, &[LayerId(1)])?.list("/usr/bin".as_ref())?;
        note(4, look);
    }
    store.remove_layer(LayerId(1))?;
    std::fs::remove_dir_all(&directory)?;
    let names = [
        "run directory to its removal",
        "start to ready",
        "exec to exit",
        "finish with inspection",
        "view and list of /usr/bin",
    ];
    for (name, mut row) in names.into_iter().zip(times) {
        row.sort_by(f64::total_cmp);
        println!(
            "{name}: {:.2} ({:.2})",
            row[ROUNDS / 2],
            row[ROUNDS * 95 / 100]
        );
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {}
