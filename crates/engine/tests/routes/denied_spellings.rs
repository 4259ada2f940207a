//! Tests that no spelling of an address or a name leads to a service of this machine, its neighbours
//! or its cloud.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::network::{PROXY, ProtectedService, bash, connections};
use crate::support::{FinishedOperation, TestEngine};

/// Spellings of denied addresses and names, as the host of a URL has them.
const SPELLINGS: [&str; 34] = [
    "127.0.0.1",
    "127.0.0.1.",
    "localhost",
    "LOCALHOST.",
    "x.localhost",
    "localhost.localdomain",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",
    "127.8.8.8",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1%lo]",
    "[::1%25lo]",
    "public.example@127.0.0.1",
    "127.0.0.1%2f.example",
    "169.254.169.254",
    "10.0.0.1",
    "metadata.google.internal",
    "vm.local",
];

#[tokio::test]
async fn no_spelling_reaches_a_service_of_this_machine_through_the_proxy() {
    let service = ProtectedService::start();
    let port = service.port;
    let mut script = format!(
        "ask() {{ exec 3<>/dev/tcp/{PROXY} && printf '%b' \"$1\" >&3 && read -r line <&3; echo \"$line\"; exec 3>&- 3<&-; }}\n"
    );
    for host in SPELLINGS {
        for head in [
            format!("CONNECT {host}:{port} HTTP/1.1"),
            format!("GET http://{host}:{port}/ HTTP/1.1"),
        ] {
            script.push_str(&format!(
                "ask '{head}\\r\\nHost: public.example\\r\\nConnection: close\\r\\n\\r\\n'\n"
            ));
        }
    }
    // Neither the Host header nor the sandbox's own loopback leads to the service.
    script.push_str(&format!(
        "ask 'GET / HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\nConnection: close\\r\\n\\r\\n'\n"
    ));
    for host in ["127.0.0.1", "localhost", "::1", "0.0.0.0"] {
        script.push_str(&format!(
            "if (: </dev/tcp/{host}/{port}) 2>/dev/null; then echo REACHED {host}; fi\n"
        ));
    }
    let local = TestEngine::shared().await;
    let done = bash(&local, &script, json!({})).await;
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines.len(), 2 * SPELLINGS.len() + 1, "{done:?}");
    for (line, spelling) in lines.iter().zip(SPELLINGS.iter().flat_map(|s| [s, s])) {
        // A spelling that is not a valid URL is a bad request.
        let refused = [
            "HTTP/1.1 403 Forbidden by sandbox policy: ",
            "HTTP/1.1 400 ",
        ];
        assert!(
            refused.iter().any(|status| line.starts_with(status)),
            "{spelling}: {line}"
        );
    }
    assert_eq!(service.connections.load(Ordering::SeqCst), 0);
    // The output has a summary, and the log has an event for each connection.
    let last = done.stderr.lines().last().unwrap();
    assert!(
        last.starts_with("contree: ")
            && last.contains("connections were denied by the network policy"),
        "{done:?}"
    );
    let network = connections(&done);
    assert!(network.len() > SPELLINGS.len(), "{network:?}");
    assert_eq!(network[0]["x-connection"]["verdict"], "denied");
    assert_eq!(network[0]["x-connection"]["host"], "127.0.0.1");
    assert_eq!(network.last().unwrap()["x-connections"]["allowed"], 0);
    // The service works, so the count of 0 means that no connection reached it.
    drop(std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    while service.connections.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Connects to each spelling as the host of a connection, and looks each up at two name servers by
/// UDP and at one by TCP. Prints `SPELLING: OUTCOME of the connection, CODES of the look-ups`.
const WITHOUT_PROXY: &str = r"
import errno, socket, struct, sys
def connect(host, port):
    try: socket.create_connection((host, port), timeout=60); return 'CONNECTED'
    except socket.gaierror: return 'no name'
    except TimeoutError: return 'TIMEOUT'
    except OSError as e: return errno.errorcode.get(e.errno, str(e))
def query(server, name, kind, tcp):
    labels = [l.encode() for l in name.rstrip('.').split('.')]
    q = struct.pack('>HHHHHH', 7, 0x100, 1, 0, 0, 0) + b''.join(bytes([len(l)]) + l for l in labels) + b'\0' + struct.pack('>HH', kind, 1)
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM); s.settimeout(60)
    try:
        s.connect((server, 53)); s.sendall(struct.pack('>H', len(q)) * tcp + q)
        if tcp: f = s.makefile('rb'); r = f.read(struct.unpack('>H', f.read(2))[0])
        else: r = s.recv(600)
    except OSError as e: return errno.errorcode.get(e.errno, str(e)), None
    code, answers = r[3] & 15, struct.unpack('>H', r[6:8])[0]
    return code, socket.inet_ntoa(r[-4:]) if answers else None
port = int(sys.argv[1])
for spelling in sys.argv[2:]:
    host = spelling.removeprefix('[').removesuffix(']').split('@')[-1]
    outcomes = [connect(host, port), connect(spelling, port)]
    codes = []
    for server, tcp in (('127.0.0.1', 0), ('8.8.8.8', 0), ('8.8.8.8', 1)):
        for kind in (1, 28):
            code, address = query(server, spelling, kind, tcp)
            codes.append(code)
            if address: outcomes.append(connect(address, port))
    print(spelling, ' '.join(outcomes), codes, sep='|')
";

/// The arguments of a run of [`WITHOUT_PROXY`].
fn without_proxy(port: u16) -> Value {
    let mut args = vec!["-c".to_owned(), WITHOUT_PROXY.to_owned(), port.to_string()];
    args.extend(SPELLINGS.map(str::to_owned));
    json!({"shell": false, "args": args})
}

/// The outcomes and the codes of each spelling.
fn outcomes(done: &FinishedOperation) -> Vec<(&str, Vec<&str>, &str)> {
    let lines: Vec<_> = done
        .stdout
        .lines()
        .filter_map(|line| {
            let mut parts = line.split('|');
            let (spelling, outcomes) = (parts.next()?, parts.next()?);
            let outcomes = outcomes.replace("no name", "no-name");
            let outcomes = outcomes.split(' ').map(|text| match text {
                "no-name" => "no name",
                "ECONNREFUSED" => "ECONNREFUSED",
                "EHOSTUNREACH" => "EHOSTUNREACH",
                "ENETUNREACH" => "ENETUNREACH",
                "EADDRNOTAVAIL" => "EADDRNOTAVAIL",
                "EINVAL" => "EINVAL",
                other => panic!("{spelling}: {other}"),
            });
            Some((spelling, outcomes.collect(), parts.next()?))
        })
        .collect();
    assert_eq!(lines.len(), SPELLINGS.len(), "{done:?}");
    lines
}

#[tokio::test]
async fn no_spelling_reaches_a_service_of_this_machine_without_the_proxy() {
    let service = ProtectedService::start();
    let local = TestEngine::shared().await;
    let done = local.run("python3", without_proxy(service.port)).await;
    for (spelling, outcomes, codes) in outcomes(&done) {
        match spelling {
            // The engine denies a connection to these. The addresses have no look-up that works.
            "169.254.169.254" | "10.0.0.1" => {
                assert_eq!(outcomes, ["EHOSTUNREACH"; 2], "{spelling}");
                assert_eq!(codes, "[3, 3, 3, 3, 3, 3]", "{spelling}");
            }
            "metadata.google.internal" | "vm.local" | "localhost.localdomain" => {
                // The image may know the last name.
                assert_eq!(outcomes[2..], ["EHOSTUNREACH"; 3], "{spelling}");
                assert_eq!(codes, "[0, 0, 0, 0, 0, 0]", "{spelling}");
            }
            // The sandbox's own loopback, where nothing listens.
            "localhost" | "LOCALHOST." | "x.localhost" => {
                assert_eq!(outcomes, ["ECONNREFUSED"; 5], "{spelling}");
                assert_eq!(codes, "[0, 0, 0, 0, 0, 0]", "{spelling}");
            }
            // All others are no names, so no look-up leads anywhere.
            _ => {
                assert_eq!(outcomes.len(), 2, "{spelling}");
                assert_eq!(codes, "[3, 3, 3, 3, 3, 3]", "{spelling}");
            }
        }
    }
    assert_eq!(service.connections.load(Ordering::SeqCst), 0);
    let network = connections(&done);
    let denied = |host: &str| {
        let events = network.iter().map(|event| &event["x-connection"]);
        let mut events = events.filter(|event| event["host"] == host);
        let all = events.clone().all(|event| event["verdict"] == "denied");
        all && events.next().is_some()
    };
    for host in [
        "169.254.169.254",
        "10.0.0.1",
        "metadata.google.internal",
        "vm.local",
    ] {
        assert!(denied(host), "{host}: {network:?}");
    }
    let last = done.stderr.lines().last().unwrap_or_default();
    assert!(
        last.contains("connections were denied by the network policy"),
        "{done:?}"
    );
}

#[tokio::test]
async fn without_a_network_no_spelling_leads_anywhere() {
    let service = ProtectedService::start();
    let local = TestEngine::shared().await;
    let mut body = without_proxy(service.port);
    body["networking"] = json!({"enabled": false});
    let done = local.run("python3", body).await;
    for (spelling, outcomes, codes) in outcomes(&done) {
        // No name server answers, not even at 127.0.0.1.
        assert_eq!(
            codes,
            "['ECONNREFUSED', 'ECONNREFUSED', 'ENETUNREACH', 'ENETUNREACH', 'ENETUNREACH', 'ENETUNREACH']",
            "{spelling}"
        );
        assert_eq!(outcomes.len(), 2, "{spelling}");
        assert!(
            !outcomes.contains(&"EHOSTUNREACH"),
            "{spelling}: {outcomes:?}"
        );
    }
    assert_eq!(service.connections.load(Ordering::SeqCst), 0);
    assert_eq!(done.stderr, "", "{done:?}");
    assert!(connections(&done).is_empty(), "{done:?}");
}
