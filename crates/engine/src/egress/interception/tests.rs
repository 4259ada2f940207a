//! Tests of the network of programs that know no proxy, in real sandboxes. The servers listen on
//! this machine's loopback, to which the tests' resolver leads and which the tests' policy allows.
//! Nothing leaves this machine.

mod spellings;

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use contree_sandbox::{
    Command, LayerId, LayerStore, Limits, Network, RunDir, Sandbox, SandboxSpec, StoreOptions,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::egress::connection_log::ConnectionLog;
use crate::egress::dial::Dialer;
use crate::egress::lookup::{LookupPool, Resolver};
use crate::egress::policy::Policy;
use crate::egress::proxy::{Proxy, ProxyLimits};
use crate::egress::rules::EgressRule;
use crate::egress::traffic;
use crate::egress::upstream::Upstream;
use crate::operation::events;

/// The layer with this machine's programs.
const HOST: LayerId = LayerId(1);

/// A sandbox with the network under test. Fields are dropped in this order.
struct Fixture {
    proxy: Proxy,
    sandbox: Arc<Sandbox>,
    _run: RunDir,
    store: LayerStore,
    folder: tempfile::TempDir,
    /// The names that were looked up on this machine.
    looked_up: Arc<Mutex<Vec<String>>>,
}

/// The output of a script, and its exit code, which failed assertions show.
#[derive(Debug, PartialEq)]
struct Output {
    text: String,
    code: Option<i32>,
}

/// The description of a sandbox on this machine's programs.
fn spec(network: Network) -> SandboxSpec {
    SandboxSpec {
        layers: vec![HOST],
        hostname: "box".into(),
        directories: vec![],
        files: vec![],
        changes: vec![],
        side_files: vec![],
        temporary_lines: vec![],
        shared_memory_bytes: 64 << 20,
        network,
        max_processes: 1000,
        max_layer_bytes: None,
        limits: Limits::default(),
    }
}

impl Fixture {
    /// A sandbox with these rules. Names below `example` resolve to 127.0.0.1, `private.test` to
    /// 10.0.0.1, and no others exist.
    fn start(allow: &str, deny: &str) -> Self {
        Self::with_limit(allow, deny, 128)
    }

    fn with_limit(allow: &str, deny: &str, connections: usize) -> Self {
        Self::with_image(allow, deny, connections, |_| ())
    }

    /// `change` gets the directory of the image's only layer.
    fn with_image(allow: &str, deny: &str, connections: usize, change: impl FnOnce(&Path)) -> Self {
        let resolver = Arc::new(|name: &str| match name {
            "private.test" => Ok(vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))]),
            "later.test" => Err(std::io::Error::other(
                "Temporary failure in name resolution",
            )),
            name if name.ends_with(".example") => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
            _ => Err(std::io::Error::other("Name or service not known")),
        });
        let mut policy = Policy::new(
            EgressRule::parse_list(allow).expect(allow),
            EgressRule::parse_list(deny).expect(deny),
        );
        policy.open = vec!["127.0.0.0/8".parse().expect("a network")];
        Self::with_policy(policy, resolver, connections, change)
    }

    /// A sandbox whose connections have this policy and whose names this resolver resolves.
    fn with_policy(
        policy: Policy,
        resolver: Resolver,
        connections: usize,
        change: impl FnOnce(&Path),
    ) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("contree-test-")
            .tempdir_in(
                std::env::var_os("CONTREE_TEST_DIR").map_or_else(std::env::temp_dir, Into::into),
            )
            .expect("a folder");
        let store = LayerStore::open(&folder.path().join("store"), StoreOptions::default())
            .expect("a store");
        store
            .stage_host_layer(HOST)
            .expect("this machine's programs");
        change(&folder.path().join("store/layers/1/d"));
        let run = store.create_run("run").expect("a run directory");
        let spec = spec(Network::Intercepted { port: 3128 });
        let sandbox = Sandbox::start(&store, &run, &spec).expect("a sandbox");
        assert_eq!(sandbox.interception_refusal(), None);
        let looked_up: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut dialer = Dialer::new(policy, Upstream::none());
        let names = Arc::clone(&looked_up);
        let lookups = LookupPool::with_resolver(Arc::new(move |name: &str| {
            names.lock().expect("a lock").push(name.to_owned());
            resolver(name)
        }));
        dialer.lookups = Arc::new(lookups);
        let log = events::EventLog::create(&folder.path().join("log")).expect("a log");
        let proxy = Proxy::start(
            sandbox.take_listener().expect("a listener"),
            sandbox.take_packets(),
            Arc::new(dialer),
            ConnectionLog::new(Arc::new(log)),
            ProxyLimits {
                connections,
                idle: traffic::IDLE_TIMEOUT,
            },
        )
        .expect("a proxy");
        Self {
            proxy,
            sandbox: Arc::new(sandbox),
            _run: run,
            store,
            folder,
            looked_up,
        }
    }

    /// Runs a program with a script. Its output has both streams.
    async fn run(&self, program: &str, script: &str) -> Output {
        let command = Command {
            program: program.into(),
            args: vec!["-c".into(), script.into()],
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            default_home: Some("/tmp".into()),
            cwd: "/".into(),
            uid: 0,
            gid: 0,
        };
        let sandbox = Arc::clone(&self.sandbox);
        tokio::task::spawn_blocking(move || {
            let process = sandbox.exec(&command).expect("a process");
            drop(process.stdin);
            let errors = std::thread::spawn(move || {
                let mut text = String::new();
                File::from(process.stderr)
                    .read_to_string(&mut text)
                    .map(|_| text)
            });
            let mut text = String::new();
            File::from(process.stdout)
                .read_to_string(&mut text)
                .expect("output");
            text.push_str(&errors.join().expect("a thread").expect("errors"));
            let exit = process.exit.blocking_recv().expect("an exit");
            Output {
                text,
                code: exit.code,
            }
        })
        .await
        .expect("a task")
    }

    async fn python(&self, script: &str) -> Output {
        self.run("python3", script).await
    }

    /// Ends the sandbox. Returns the summary of denials, and the connections.
    async fn end(self) -> (Option<String>, Vec<Value>) {
        let denied = self.proxy.close().await;
        let sandbox = self.sandbox;
        tokio::task::spawn_blocking(move || {
            Arc::into_inner(sandbox).expect("the sandbox").finish(false)
        })
        .await
        .expect("a task")
        .expect("an end");
        let mut reader = events::EventReader::open(&self.folder.path().join("log")).expect("a log");
        let mut connections = Vec::new();
        loop {
            let records = reader.next().expect("events");
            if records.is_empty() {
                break;
            }
            connections.extend(
                records
                    .iter()
                    .map(|record| record.data()["x-connection"].clone()),
            );
        }
        connections.retain(|connection| !connection.is_null());
        self.store.remove_run("run").expect("removed");
        self.store.remove_layer(HOST).expect("removed");
        (denied, connections)
    }
}

/// A server that answers the first bytes of a client with `answer: BYTES`, and HTTP requests with a
/// page.
async fn server() -> SocketAddr {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> =
        LazyLock::new(|| tokio::runtime::Runtime::new().expect("a runtime"));
    RUNTIME
        .spawn(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
            let address = listener.local_addr().expect("an address");
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let mut request = vec![0; 1024];
                        let count = stream.read(&mut request).await.unwrap_or(0);
                        request.truncate(count);
                        let text = String::from_utf8_lossy(&request);
                        let answer = if text.starts_with("GET ") {
                            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\npage\n"
                                .to_owned()
                        } else {
                            format!("answer: {text}")
                        };
                        let _ = stream.write_all(answer.as_bytes()).await;
                        let _ = stream.shutdown().await;
                    });
                }
            });
            address
        })
        .await
        .expect("a server")
}

#[tokio::test]
async fn programs_connect_by_name_without_any_settings() {
    let address = server().await;
    let port = address.port();
    let fixture = Fixture::start("", "");
    let done = fixture
        .python(&format!(
            "import socket\n\
             s = socket.create_connection(('server.example', {port}))\n\
             peer = s.getpeername(); s.sendall(b'one\\n'); s.shutdown(socket.SHUT_WR)\n\
             print(s.makefile().read().strip())\n\
             print(peer == (socket.gethostbyname('SERVER.example'), {port}))"
        ))
        .await;
    assert_eq!(done.text, "answer: one\nTrue\n", "{done:?}");
    let done = fixture
        .python(&format!(
            "import asyncio\n\
             async def ask(n):\n\
             \x20   r, w = await asyncio.open_connection('server.example', {port})\n\
             \x20   w.write(b'%d\\n' % n)\n\
             \x20   return await r.read()\n\
             async def main():\n\
             \x20   answers = await asyncio.gather(*(ask(n) for n in range(60)))\n\
             \x20   print(answers == [b'answer: %d\\n' % n for n in range(60)])\n\
             asyncio.run(main())"
        ))
        .await;
    assert_eq!(done.text, "True\n", "{done:?}");
    let done = fixture
        .run("bash", &format!("exec 3<>/dev/tcp/server.example/{port}; echo bash >&3; cat <&3; curl -sS http://other.example:{port}/"))
        .await;
    assert_eq!(done.text, "answer: bash\npage\n", "{done:?}");
    let (denied, connections) = fixture.end().await;
    assert_eq!(denied, None);
    assert_eq!(connections.len(), 63, "{connections:?}");
    for connection in &connections {
        assert_eq!(connection["verdict"], "allowed");
        assert_eq!(connection["method"], "TCP");
        assert_eq!(connection["port"], port);
        assert_eq!(connection["address"], "127.0.0.1");
    }
    assert_eq!(connections[0]["host"], "server.example");
    assert_eq!(connections[62]["host"], "other.example");
}

#[tokio::test]
async fn large_transfers_arrive_whole_in_both_directions() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("an address").port();
    let fixture = Fixture::start("", "");
    const BYTES: usize = 50_000_000;
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut received = Vec::with_capacity(BYTES);
        stream.read_to_end(&mut received).await.expect("bytes");
        stream.write_all(&received).await.expect("write");
        received.len()
    });
    let done = fixture
        .python(&format!(
            "import socket, hashlib\n\
             data = bytes(range(251)) * ({BYTES} // 251 + 1)\n\
             data = data[:{BYTES}]\n\
             s = socket.create_connection(('bulk.example', {port}))\n\
             s.sendall(data); s.shutdown(socket.SHUT_WR)\n\
             print(s.makefile('rb').read() == data)"
        ))
        .await;
    assert_eq!(done.text, "True\n", "{done:?}");
    assert_eq!(echo.await.expect("a task"), BYTES);
    fixture.end().await;
}

#[tokio::test]
async fn refused_and_denied_connections_have_the_errors_of_a_real_network() {
    let address = server().await;
    let port = address.port();
    let closed = {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        unused.local_addr().expect("an address").port()
    };
    let fixture = Fixture::start("", "denied.example, *:9999");
    let hosts = format!(
        "[('closed.example', {closed}), ('denied.example', {port}), ('private.test', 80),\n\
         ('10.0.0.1', {port}), ('169.254.169.254', 80), ('100.100.100.200', 80), ('::ffff:10.1.2.3', {port}),\n\
         ('::ffff:169.254.169.254', 80), ('2851995649', 80), ('0xa000001', 80), ('198.18.77.77', {port}), ('203.0.113.9', 25),\n\
         ('server.example', 9999), ('server.example', 465), ('missing.test', 80), ('later.test', 80), ('printer.local', 80)]"
    );
    let done = fixture
        .python(&format!(
            "import socket, errno\n\
             for host, port in {hosts}:\n\
             \x20   try:\n\
             \x20       socket.create_connection((host, port), timeout=20); print(host, 'REACHED')\n\
             \x20   except socket.gaierror as e: print(host, e.errno)\n\
             \x20   except OSError as e: print(host, errno.errorcode.get(e.errno, e))"
        ))
        .await;
    let expected = "closed.example ECONNREFUSED\ndenied.example EHOSTUNREACH\nprivate.test EHOSTUNREACH\n\
        10.0.0.1 EHOSTUNREACH\n169.254.169.254 EHOSTUNREACH\n100.100.100.200 EHOSTUNREACH\n\
        ::ffff:10.1.2.3 EHOSTUNREACH\n::ffff:169.254.169.254 EHOSTUNREACH\n2851995649 EHOSTUNREACH\n\
        0xa000001 EHOSTUNREACH\n198.18.77.77 EHOSTUNREACH\n203.0.113.9 EHOSTUNREACH\n\
        server.example EHOSTUNREACH\nserver.example EHOSTUNREACH\nmissing.test -2\nlater.test -3\n\
        printer.local EHOSTUNREACH\n";
    assert_eq!(done.text, expected, "{done:?}");
    // A denied name is never looked up.
    let names = fixture.looked_up.lock().expect("a lock").clone();
    assert!(!names.contains(&"denied.example".to_owned()), "{names:?}");
    assert!(!names.contains(&"printer.local".to_owned()), "{names:?}");
    let (denied, connections) = fixture.end().await;
    let denied = denied.expect("a summary");
    assert!(
        denied.starts_with("14 connections were denied by the network policy of this sandbox: denied.example is denied by the rule denied.example"),
        "{denied}"
    );
    let verdicts: Vec<_> = connections
        .iter()
        .map(|connection| {
            (
                connection["host"].as_str().unwrap_or_default(),
                connection["verdict"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(verdicts[0], ("closed.example", "failed"));
    assert_eq!(verdicts[1], ("denied.example", "denied"));
    assert!(
        verdicts[1..]
            .iter()
            .all(|(_, verdict)| *verdict == "denied"),
        "{verdicts:?}"
    );
}

#[tokio::test]
async fn an_allow_list_holds_for_names_and_for_addresses() {
    let address = server().await;
    let port = address.port();
    let fixture = Fixture::start(
        &format!("allowed.example:{port}, 127.0.0.1:{port}"),
        "*.below.example",
    );
    let done = fixture
        .python(&format!(
            "import socket\n\
             def ask(host, port={port}):\n\
             \x20   try:\n\
             \x20       s = socket.create_connection((host, port), timeout=20)\n\
             \x20       s.sendall(b'x\\n'); print(host, s.makefile().read().strip())\n\
             \x20   except OSError as e: print(host, e.strerror)\n\
             ask('allowed.example'); ask('allowed.example', 1); ask('by-address.example'); ask('x.below.example')\n\
             ask(socket.gethostbyname('allowed.example')); ask('203.0.113.7')"
        ))
        .await;
    let lines: Vec<&str> = done.text.lines().collect();
    assert_eq!(lines.len(), 6, "{done:?}");
    assert_eq!(lines[0], "allowed.example answer: x");
    assert_eq!(lines[1], "allowed.example No route to host");
    // A rule about an address allows a name that has it.
    assert_eq!(lines[2], "by-address.example answer: x");
    assert_eq!(lines[3], "x.below.example No route to host");
    assert!(lines[4].ends_with(" answer: x"), "{done:?}");
    assert_eq!(lines[5], "203.0.113.7 No route to host");
    fixture.end().await;
}

#[tokio::test]
async fn names_are_answered_whichever_server_is_asked() {
    let fixture = Fixture::start("", "");
    let done = fixture
        .python(
            "import socket, struct\n\
             def ask(server, name, kind):\n\
             \x20   q = struct.pack('>HHHHHH', 7, 0x100, 1, 0, 0, 0)\n\
             \x20   q += b''.join(bytes([len(l)]) + l for l in name.encode().split(b'.')) + b'\\0' + struct.pack('>HH', kind, 1)\n\
             \x20   s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20)\n\
             \x20   s.connect((server, 53)); s.send(q); r = s.recv(600)\n\
             \x20   id, flags, _, answers, _, _ = struct.unpack('>HHHHHH', r[:12])\n\
             \x20   return flags & 15, answers, socket.inet_ntoa(r[-4:]) if answers else ''\n\
             one = ask('127.0.0.1', 'one.example', 1)\n\
             print(one[:2], one[2].startswith('198.18.'))\n\
             print(one == ask('8.8.8.8', 'ONE.example', 1), one != ask('203.0.113.53', 'two.example', 1))\n\
             print(ask('127.0.0.1', 'one.example', 28), ask('9.9.9.9', 'missing.test', 1), ask('9.9.9.9', '127.1', 1), ask('1.1.1.1', 'x.localhost', 1))\n\
             s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20); s.connect(('203.0.113.7', 123)); s.send(b'x')\n\
             try: s.recv(1)\n\
             except ConnectionRefusedError: print('refused')",
        )
        .await;
    assert_eq!(
        done.text,
        "(0, 1) True\nTrue True\n(0, 0, '') (3, 0, '') (3, 0, '') (0, 1, '127.0.0.1')\nrefused\n",
        "{done:?}"
    );
    fixture.end().await;
}

#[tokio::test]
async fn a_sandbox_has_its_own_servers_and_no_raw_sockets() {
    let fixture = Fixture::start("", "");
    let done = fixture
        .python(
            "import socket, errno\n\
             own = socket.socket(); own.bind(('0.0.0.0', 443)); own.listen()\n\
             c = socket.create_connection(('127.0.0.1', 443)); own.accept()[0].sendall(b'own')\n\
             print(c.recv(3))\n\
             def fails(*what):\n\
             \x20   try: socket.socket(*what); return 'MADE'\n\
             \x20   except OSError as e: return errno.errorcode[e.errno]\n\
             print(fails(socket.AF_PACKET, socket.SOCK_RAW, 0x300), fails(socket.AF_INET, socket.SOCK_RAW, 1), fails(socket.AF_INET, socket.SOCK_RAW, 255))\n\
             def reaches(address, port):\n\
             \x20   s = socket.socket(); s.settimeout(20)\n\
             \x20   try: s.connect((address, port)); return s.recv(1)\n\
             \x20   except OSError as e: return type(e).__name__\n\
             print(reaches('198.19.255.252', 3129), reaches('198.19.255.253', 7))",
        )
        .await;
    let lines: Vec<&str> = done.text.lines().collect();
    assert_eq!(lines[0], "b'own'", "{done:?}");
    assert!(!lines[1].contains("MADE"), "{done:?}");
    // The listener closes what the engine has not redirected, and the other end does not exist.
    assert_eq!(lines[2], "b'' ConnectionRefusedError", "{done:?}");
    fixture.end().await;
}

#[tokio::test]
async fn a_flood_of_connections_and_names_is_bounded_and_ends() {
    let address = server().await;
    let port = address.port();
    let fixture = Fixture::with_limit("", "", 4);
    // No route leads out of the sandbox: the flood ends at the engine, which denies it.
    let done = fixture
        .python(
            "import socket, os\n\
             assert [l.split(':')[0].strip() for l in open('/proc/net/dev')][2:] == ['lo']\n\
             sent = 0\n\
             for n in range(10000):\n\
             \x20   s = socket.socket(); s.setblocking(False)\n\
             \x20   s.connect_ex(('10.%d.%d.1' % (n // 250, n % 250), 80)); s.close(); sent += 1\n\
             q = bytes.fromhex('000701000001000000000000') + b'\\x04flod\\x04test\\0' + bytes.fromhex('00010001')\n\
             u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             for n in range(10000):\n\
             \x20   u.sendto(q, ('127.0.0.1', 53)); u.sendto(q, ('8.8.8.8', 53)); sent += 2\n\
             print(sent)",
        )
        .await;
    assert_eq!((done.text.as_str(), done.code), ("30000\n", Some(0)));
    // The sandbox itself goes on.
    let started = Instant::now();
    let done = fixture
        .python(&format!(
            "import socket\n\
             s = socket.create_connection(('after.example', {port}), timeout=60); s.sendall(b'x\\n'); print(s.makefile().read())"
        ))
        .await;
    assert_eq!(done.text, "answer: x\n\n", "{done:?}");
    assert!(started.elapsed() < Duration::from_secs(60));
    let (denied, connections) = fixture.end().await;
    assert!(denied.expect("a summary").len() < 2000);
    assert!(connections.len() <= 1000, "{}", connections.len());
}

/// Prints the cost of a connection: `cargo test --release -p contree-engine --lib -- --ignored
/// --nocapture the_cost_of_a_connection`.
#[tokio::test]
#[ignore = "a measurement"]
async fn the_cost_of_a_connection() {
    let address = server().await;
    let port = address.port();
    let script = |host: &str| {
        format!(
            "import socket, time\n\
             def ask():\n\
             \x20   start = time.perf_counter()\n\
             \x20   s = socket.create_connection(('{host}', {port})); took = time.perf_counter() - start\n\
             \x20   s.sendall(b'x\\n'); s.recv(100); s.close(); return took\n\
             ask(); times = sorted(ask() for _ in range(500))\n\
             print('%s: median %.0f µs, 99 of 100 below %.0f µs' % ('{host}', times[250] * 1e6, times[495] * 1e6))"
        )
    };
    let direct = std::process::Command::new("python3")
        .args(["-c", &script("127.0.0.1")])
        .output()
        .expect("python");
    println!(
        "on this machine, {}",
        String::from_utf8_lossy(&direct.stdout)
    );
    let fixture = Fixture::start("", "");
    println!(
        "in a sandbox, {}",
        fixture.python(&script("server.example")).await.text
    );
    fixture.end().await;
}

/// Prints how the programs of this machine fare, with an allowed and a denied name. It links all of
/// `/usr` into an image, so `CONTREE_TEST_DIR` must be on the same file system.
#[tokio::test]
#[ignore = "needs the programs"]
async fn the_table_of_programs() {
    let address = server().await;
    let port = address.port();
    let fixture = Fixture::with_image("*.example", "", 128, |layer| {
        let copy = |from: &str, to: &Path| {
            let status = std::process::Command::new("cp")
                .args(["-al", "--remove-destination", from])
                .arg(to)
                .status();
            assert!(status.expect("cp").success(), "{from}");
        };
        for part in [
            "bin",
            "lib",
            "share/postgresql-common",
            "share/perl5",
            "share/perl",
        ] {
            let to = layer.join("usr").join(part);
            std::fs::create_dir_all(&to).expect("a directory");
            copy(&format!("/usr/{part}/."), &to);
        }
        for etc in ["/etc/java-17-openjdk", "/etc/ssh", "/etc/alternatives"] {
            copy(etc, &layer.join("etc"));
        }
        let java = "import java.net.*; import java.net.http.*; class F { public static void main(String[] a) throws Exception { \
            System.out.println(HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(a[0])).build(), HttpResponse.BodyHandlers.ofString()).body()); \
            System.out.println(new String(new URL(a[0]).openStream().readAllBytes())); } }";
        std::fs::write(layer.join("F.java"), java).expect("a file");
    });
    for host in ["server.example", "denied.test", "203.0.113.7"] {
        let url = format!("http://{host}:{port}/");
        for command in [
            format!("curl -sS {url}"),
            format!("wget -qO- {url}"),
            format!("git ls-remote git://{host}:{port}/x"),
            format!("ssh -o BatchMode=yes -o StrictHostKeyChecking=no -p {port} {host}"),
            format!(
                "/usr/lib/postgresql/*/bin/psql 'host={host} port={port} user=x connect_timeout=20'"
            ),
            format!(
                "node -e \"fetch('{url}').then(r => r.text()).then(console.log).catch(e => console.log(String(e.cause)))\""
            ),
            format!("java /F.java {url}"),
        ] {
            let done = fixture
                .run("bash", &format!("timeout 120 {command} 2>&1 | tail -4"))
                .await;
            println!("== {command}\n{}", done.text);
        }
    }
    let (denied, connections) = fixture.end().await;
    println!("{denied:?}");
    for connection in connections {
        println!("{connection}");
    }
}

/// Prints the time that the network adds to the start of a sandbox: `cargo test --release -p
/// contree-engine --lib -- --ignored --nocapture the_cost_of_a_start`.
#[tokio::test]
#[ignore = "a measurement"]
async fn the_cost_of_a_start() {
    let fixture = Fixture::start("", "");
    let networks = [
        Network::Listener { port: 3128 },
        Network::Intercepted { port: 3128 },
    ];
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..60 {
        for (network, times) in networks.into_iter().zip(&mut times) {
            let name = format!("start-{round}-{}", times.len());
            let run = fixture
                .store
                .create_run(&format!("{name}-{network:?}").replace([' ', '{', '}', ':'], ""))
                .expect("a run");
            let start = Instant::now();
            let sandbox = Sandbox::start(&fixture.store, &run, &spec(network)).expect("a sandbox");
            times.push(start.elapsed());
            sandbox.finish(false).expect("an end");
            fixture.store.remove_run(run.name()).expect("removed");
        }
    }
    for (network, mut times) in networks.into_iter().zip(times) {
        times.sort();
        println!("{network:?}: median {:?}", times[30]);
    }
    fixture.end().await;
}
