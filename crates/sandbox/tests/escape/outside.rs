//! The outside of the test: targets on this machine that no process inside may reach, and the
//! sandbox with the probe.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::exit;
use std::thread;
use std::time::Duration;

use contree_sandbox::{
    Command, FileCopy, LayerId, LayerStore, Network, Sandbox, SandboxSpec, SideFile,
    SideFileContent, StoreOptions,
};

use crate::neighbour::Neighbour;
use crate::packets::Packets;

/// The process limit that the flood tests.
const MAX_PROCESSES: u32 = 330;
/// The port on which the test listens for the sandbox, as a proxy does.
const PROXY: u16 = 3128;
/// The port on which a server of another sandbox listens.
pub(crate) const NEIGHBOUR: u16 = 18_080;
/// The fewest attempts of a complete run. Fewer mean that the probe stopped early.
const MIN_ATTEMPTS: usize = 150;

pub(crate) fn run() {
    let directory = tempfile::Builder::new()
        .prefix("contree-escape-")
        .tempdir()
        .unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).unwrap();
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let name = format!("contree-escape-{}", std::process::id());
    let _abstract =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    // At the machine's own addresses too.
    let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
    tcp.set_nonblocking(true).unwrap();
    let shared = format!("/dev/shm/{name}");
    fs::write(&shared, "secret").unwrap();

    let root = directory.path().join("store");
    let mut options = StoreOptions::default();
    options.directories = vec!["files".into()];
    let store = LayerStore::open(&root, options).unwrap();
    store.stage_host_layer(LayerId(1)).unwrap();
    let program = root.join("files/probe");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o644)).unwrap();

    let spec = SandboxSpec {
        layers: vec![LayerId(1)],
        hostname: "box".into(),
        directories: Vec::new(),
        files: vec![FileCopy {
            source: "files/probe".into(),
            path: "/probe".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        }],
        changes: Vec::new(),
        side_files: vec![SideFile {
            name: "beside".into(),
            content: SideFileContent::new(b"beside the image").unwrap(),
            unless_exists: Vec::new(),
            mount_over: Some("/etc/resolv.conf".into()),
            after: Vec::new(),
        }],
        temporary_lines: Vec::new(),
        shared_memory_bytes: 64 << 20,
        network: Network::Loopback,
        max_processes: MAX_PROCESSES,
        max_layer_bytes: None,
        limits: contree_sandbox::Limits::default(),
    };
    let range = if store.id_map().is_single() {
        "single"
    } else {
        "range"
    };
    let arguments = [
        "--inside",
        secret.to_str().unwrap(),
        socket.to_str().unwrap(),
        &name,
        &tcp.local_addr().unwrap().port().to_string(),
        &shared,
        &MAX_PROCESSES.to_string(),
        range,
        &std::process::id().to_string(),
        &PROXY.to_string(),
        &own_address(),
        &NEIGHBOUR.to_string(),
    ];
    let uids: &[u32] = if store.id_map().is_single() {
        &[0]
    } else {
        &[0, 1000]
    };
    let mut failed = false;
    for network in [
        Network::Listener { port: PROXY },
        Network::Intercepted { port: PROXY },
    ] {
        for &uid in uids {
            println!(
                "escape attempts as uid {uid}, ids: {}, network: {network:?}",
                store.id_map().describe()
            );
            let spec = SandboxSpec {
                network,
                ..spec.clone()
            };
            let neighbour = Neighbour::start(&store, &spec);
            let run = store.create_run(&format!("escape-{uid}")).unwrap();
            let sandbox = Sandbox::start(&store, &run, &spec).unwrap();
            let packets = sandbox.take_packets().map(Packets::hold);
            if let Some(why) = sandbox.interception_refusal() {
                println!("not checked: this machine intercepts no packets: {why}");
            }
            let mut command = probe(arguments.iter().map(OsString::from).collect());
            command.args.push(packets.is_some().to_string().into());
            (command.uid, command.gid) = (uid, uid);
            let listener = sandbox.take_listener().unwrap();
            listener.set_nonblocking(false).unwrap();
            let proxy = thread::spawn(move || answer(&listener));
            let process = sandbox.exec(&command).unwrap();
            drop(process.stdin);
            let mut output = String::new();
            File::from(process.stdout)
                .read_to_string(&mut output)
                .unwrap();
            let mut errors = String::new();
            File::from(process.stderr)
                .read_to_string(&mut errors)
                .unwrap();
            let ended = process.exit.blocking_recv().unwrap();
            sandbox.finish(false).unwrap();
            // The end of the sandbox ends its connections, and every accept on its network.
            proxy.join().unwrap();
            store.remove_run(run.name()).unwrap();
            failed |= !judge(&output, &errors, ended.code);
            if let Some(packets) = packets {
                failed |= !packets.judge();
            }
            failed |= !neighbour.judge(&store);
            // Nothing inside has reached the machine's port.
            if let Ok((_, from)) = tcp.accept() {
                println!("HOLE the machine's port was reached from {from}");
                failed = true;
            }
        }
    }
    let _ = fs::remove_file(&shared);
    store.remove_layer(LayerId(1)).unwrap();
    drop(directory);
    if failed {
        exit(1);
    }
}

/// The command that starts this program inside.
pub(crate) fn probe(args: Vec<OsString>) -> Command {
    Command {
        program: "/probe".into(),
        args,
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        default_home: None,
        cwd: "/".into(),
        uid: 0,
        gid: 0,
    }
}

/// An address of this machine that is not loopback. Finding it sends nothing.
fn own_address() -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let address = socket
        .connect("192.0.2.1:9")
        .and_then(|()| socket.local_addr());
    address.map_or_else(|_| "127.0.0.1".to_owned(), |found| found.ip().to_string())
}

/// Answers each connection as a proxy does, until one sends `over`.
fn answer(listener: &TcpListener) {
    for connection in listener.incoming() {
        let Ok(mut connection) = connection else {
            return;
        };
        let mut question = [0; 4];
        let _ = connection.set_read_timeout(Some(Duration::from_secs(30)));
        if connection.read_exact(&mut question).is_err() {
            continue;
        }
        if &question == b"over" {
            return;
        }
        let _ = connection.write_all(b"proxy");
    }
}

fn judge(output: &str, errors: &str, code: Option<i32>) -> bool {
    let held = output
        .lines()
        .filter(|line| line.starts_with("held "))
        .count();
    let holes: Vec<_> = output
        .lines()
        .filter(|line| line.starts_with("HOLE "))
        .collect();
    for hole in &holes {
        println!("{hole}");
    }
    println!("{held} attempts held, {} holes", holes.len());
    let complete = code == Some(0)
        && output.lines().last() == Some("done")
        && held + holes.len() >= MIN_ATTEMPTS;
    if !complete {
        println!("the probe did not come to its end: {code:?}\n{output}\n{errors}");
    }
    complete && holes.is_empty()
}
