//! Tests of connections into a sandbox.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use contree_sandbox::{Error, Network, Process, Sandbox, SandboxSpec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::support::*;

fn inside(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A server that answers each connection with `answer`, and what it received. It listens when it
/// has written a line.
fn serve(sandbox: &Sandbox, host: &str, port: u16, answer: &str) -> Process {
    let program = format!(
        r#"
import socket, sys
family = socket.AF_INET6 if ":" in "{host}" else socket.AF_INET
server = socket.create_server(("{host}", {port}), family=family)
print("ready", flush=True)
while True:
    client, _ = server.accept()
    client.sendall(b"{answer} " + client.recv(100))
    client.close()
"#
    );
    let mut process = sandbox
        .exec(&command("python3", &["-c", &program]))
        .unwrap();
    let mut line = [0; 6];
    let mut stdout = std::fs::File::from(process.stdout);
    stdout.read_exact(&mut line).unwrap();
    process.stdout = stdout.into();
    process
}

/// Waits until a connection that has begun is established.
fn established(stream: TcpStream) -> std::io::Result<TcpStream> {
    let timeout = Timespec::try_from(Duration::from_secs(30)).unwrap();
    let mut polled = [PollFd::new(&stream, PollFlags::OUT)];
    assert_eq!(poll(&mut polled, Some(&timeout)).unwrap(), 1);
    match stream.take_error()? {
        Some(error) => Err(error),
        None => {
            stream.set_nonblocking(false)?;
            Ok(stream)
        }
    }
}

fn ask(sandbox: &Sandbox, address: SocketAddr) -> String {
    let mut stream = established(sandbox.connect(address).unwrap()).unwrap();
    stream.write_all(b"question").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_caller_connects_to_servers_inside() {
    let (_run, sandbox) = start();
    let _any = serve(&sandbox, "0.0.0.0", 8000, "any");
    let _local = serve(&sandbox, "127.0.0.1", 8001, "local");
    let _six = serve(&sandbox, "::1", 8002, "six");
    assert_eq!(ask(&sandbox, inside(8000)), "any question");
    assert_eq!(ask(&sandbox, inside(8001)), "local question");
    assert_eq!(
        ask(&sandbox, (Ipv6Addr::LOCALHOST, 8002).into()),
        "six question"
    );
    // The same address as in the sandbox, which is independent of this machine.
    assert_eq!(ask(&sandbox, inside(8000)), "any question");
    sandbox.finish(false).unwrap();
}

#[test]
fn ports_of_this_machine_and_of_other_sandboxes_are_out_of_reach() {
    let (_run, sandbox) = start();
    let (_other_run, other) = start();
    let _neighbour = serve(&other, "0.0.0.0", 8010, "neighbour");
    let machine = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = machine.local_addr().unwrap().port();
    for port in [8010, port] {
        let refused = sandbox.connect(inside(port)).map(established);
        let error = match refused {
            Err(Error::Connect { error, .. }) | Ok(Err(error)) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    assert_eq!(ask(&other, inside(8010)), "neighbour question");
    machine.set_nonblocking(true).unwrap();
    assert!(machine.accept().is_err(), "this machine was reached");
    for address in [
        "8.8.8.8:53",
        "10.0.0.1:80",
        "0.0.0.0:80",
        "[::]:80",
        "[fe80::1]:80",
    ] {
        let error = sandbox.connect(address.parse().unwrap()).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{address}: {error}");
    }
}

#[test]
fn a_sandbox_that_shares_the_network_is_not_connected_to() {
    let shared = SandboxSpec {
        network: Network::Host,
        ..spec()
    };
    let machine = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = machine.local_addr().unwrap().port();
    let (_run, sandbox) = start_with(&shared);
    let error = sandbox.connect(inside(port)).unwrap_err();
    assert!(
        matches!(&error, Error::Connect { error, .. } if error.raw_os_error() == Some(libc::EPERM)),
        "{error}"
    );
}

#[test]
fn a_server_that_never_accepts_holds_up_neither_pid_1_nor_the_end() {
    let (_run, sandbox) = start();
    let program = r#"
import socket, time
server = socket.socket()
server.bind(("127.0.0.1", 8020))
server.listen(0)
print("ready", flush=True)
time.sleep(600)
"#;
    let process = sandbox.exec(&command("python3", &["-c", program])).unwrap();
    let mut line = [0; 6];
    std::fs::File::from(process.stdout)
        .read_exact(&mut line)
        .unwrap();
    let begun = Instant::now();
    let streams: Vec<TcpStream> = (0..200)
        .map(|_| sandbox.connect(inside(8020)).unwrap())
        .collect();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(output(&sandbox, &shell("echo fine")).stdout, "fine\n");
    sandbox.finish(false).unwrap();
    drop(streams);
}

#[test]
fn connections_left_open_do_not_delay_the_end_of_a_sandbox() {
    let (_run, sandbox) = start();
    let _server = serve(&sandbox, "127.0.0.1", 8030, "x");
    let mut stream = established(sandbox.connect(inside(8030)).unwrap()).unwrap();
    sandbox.finish(false).unwrap();
    let mut rest = Vec::new();
    // Closed or reset, but not open.
    let _ = stream.read_to_end(&mut rest);
}
