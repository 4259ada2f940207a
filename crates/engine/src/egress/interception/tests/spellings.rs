//! Tests that a denied host stays denied, whichever way a program names it. No route leads out of
//! these sandboxes, and the policy opens no network of this machine to them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use super::{Fixture, server};
use crate::egress::policy::Policy;
use crate::egress::rules::EgressRule;

/// Functions of the scripts: `connect` returns the name of the error, and `query` the code and the
/// addresses of a name server's answer.
const FUNCTIONS: &str = r"
import errno, socket, struct
assert [l.split(':')[0].strip() for l in open('/proc/net/dev')][2:] == ['lo']

def connect(host, port=80):
    try:
        s = socket.create_connection((host, port), timeout=30)
        return 'CONNECTED' if s.recv(1) else 'CLOSED'
    except socket.gaierror as e: return 'no name'
    except TimeoutError: return 'TIMEOUT'
    except OSError as e: return errno.errorcode.get(e.errno, str(e))

def query(server, labels, kind=1, tcp=False):
    if isinstance(labels, str): labels = [l.encode() for l in labels.rstrip('.').split('.')]
    q = struct.pack('>HHHHHH', 7, 0x100, 1, 0, 0, 0)
    q += b''.join(bytes([len(l)]) + l for l in labels) + b'\0' + struct.pack('>HH', kind, 1)
    if tcp:
        s = socket.create_connection((server, 53), timeout=30)
        s.sendall(struct.pack('>H', len(q)) + q)
        f = s.makefile('rb'); r = f.read(struct.unpack('>H', f.read(2))[0])
    else:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(30)
        s.connect((server, 53)); s.send(q); r = s.recv(600)
    id, flags, _, answers, _, _ = struct.unpack('>HHHHHH', r[:12])
    return flags & 15, socket.inet_ntoa(r[-4:]) if answers else None
";

/// A sandbox without open networks, whose names resolve as `names` says.
fn strict(allow: &str, deny: &str, names: &[(&str, &[&str])]) -> Fixture {
    let policy = Policy::new(
        EgressRule::parse_list(allow).expect(allow),
        EgressRule::parse_list(deny).expect(deny),
    );
    let names: HashMap<String, Vec<IpAddr>> = names
        .iter()
        .map(|(name, addresses)| {
            let addresses = addresses.iter().map(|text| text.parse().expect(text));
            ((*name).to_owned(), addresses.collect())
        })
        .collect();
    let resolver = Arc::new(move |name: &str| {
        let found = names.get(name).cloned();
        found.ok_or_else(|| std::io::Error::other("Name or service not known"))
    });
    Fixture::with_policy(policy, resolver, 128, |_| ())
}

#[tokio::test]
async fn every_address_of_a_denied_network_is_refused_at_once() {
    let fixture = strict("", "203.0.113.0/24", &[]);
    let done = fixture
        .python(&format!(
            "{FUNCTIONS}\n\
             for host in '0.1.2.3 10.0.0.1 172.16.0.1 192.168.0.1 100.64.0.1 100.100.100.200 169.254.169.254 169.254.0.1 \\\n\
                 168.63.129.16 192.0.0.192 192.88.99.1 198.18.0.0 198.18.0.1 198.18.77.77 198.19.254.255 198.19.255.255 \\\n\
                 203.0.113.9 240.0.0.1 255.255.255.254 167772161 0xa000001 0xa.1 012.0.0.1 10.1 0x0a.0x0.0x0.0x1 \\\n\
                 2851995649 0xa9fea9fe 169.254.43518 0251.0376.0251.0376 ::ffff:10.0.0.1 ::ffff:a00:1 ::ffff:169.254.169.254 \\\n\
                 ::ffff:203.0.113.9 ::ffff:198.18.0.1'.split():\n\
             \x20   print(host, connect(host))"
        ))
        .await;
    let lines: Vec<&str> = done.text.lines().collect();
    assert_eq!(lines.len(), 34, "{done:?}");
    for line in &lines {
        assert!(line.ends_with(" EHOSTUNREACH"), "{line}: {done:?}");
    }
    let (denied, connections) = fixture.end().await;
    let denied = denied.expect("a summary");
    assert!(denied.starts_with("34 connections were denied"), "{denied}");
    let all_denied = connections.iter().all(|c| c["verdict"] == "denied");
    assert!(all_denied, "{connections:?}");
}

#[tokio::test]
async fn addresses_that_are_no_host_lead_nowhere() {
    let fixture = strict("", "", &[]);
    // Those of the sandbox's own loopback, broadcast, multicast and IPv6.
    let done = fixture
        .python(&format!(
            "{FUNCTIONS}\n\
             for host in '127.0.0.1 127.8.8.8 127.1 2130706433 0x7f.1 0177.0.0.1 0 0.0.0.0 :: ::1 ::ffff:127.0.0.1 ::ffff:0:0 \\\n\
                 localhost LOCALHOST. x.localhost 198.19.255.251 198.19.255.253 255.255.255.255 224.0.0.1 239.255.255.250 \\\n\
                 ::127.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::7f00:1 2002:7f00:1:: 2001:db8::1 \\\n\
                 fe80::1%lo fe80::1%1 fd00:ec2::254 ff02::1%lo 2606:4700:4700::1111'.split():\n\
             \x20   print(host, connect(host, 81))"
        ))
        .await;
    let lines: Vec<&str> = done.text.lines().collect();
    assert_eq!(lines.len(), 32, "{done:?}");
    let errors = [
        " ECONNREFUSED",
        " ENETUNREACH",
        " EHOSTUNREACH",
        " EADDRNOTAVAIL",
        " EACCES",
        " EINVAL",
        " no name",
    ];
    for line in &lines {
        let failed = errors.iter().any(|error| line.ends_with(error));
        assert!(failed, "{line}: {done:?}");
    }
    let (denied, connections) = fixture.end().await;
    // None of them is a connection to the outside. 198.19.255.253 is the engine's own peer.
    assert_eq!((denied, connections), (None, vec![]));
}

#[tokio::test]
async fn names_that_lead_to_denied_addresses_are_denied() {
    let names: &[(&str, &[&str])] = &[
        // Also the addresses of a name that is another name for a denied host: the resolver follows
        // it.
        ("alias.test", &["10.0.0.1"]),
        ("loop.test", &["127.0.0.1"]),
        ("loop6.test", &["::1"]),
        ("zero.test", &["0.0.0.0"]),
        ("metadata.test", &["169.254.169.254"]),
        ("mapped.test", &["::ffff:10.0.0.1"]),
        ("compatible.test", &["::10.0.0.1"]),
        ("nat64.test", &["64:ff9b::a00:1"]),
        ("local-nat64.test", &["64:ff9b:1::a00:1"]),
        ("sixtofour.test", &["2002:a00:1::1"]),
        ("link.test", &["fe80::1"]),
        ("unique.test", &["fd00:ec2::254"]),
        ("given.test", &["198.18.0.1"]),
        ("own.test", &["198.19.255.252"]),
        ("ruled.test", &["203.0.113.9"]),
        ("all.test", &["10.0.0.1", "fd00::1", "169.254.169.254"]),
    ];
    let fixture = strict("", "203.0.113.0/24", names);
    let list: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    let done = fixture
        .python(&format!(
            "{FUNCTIONS}\n\
             for name in '{}'.split():\n\
             \x20   print(connect(name), connect(name.upper() + '.'), query('8.8.8.8', name) == query('127.0.0.1', name.upper()), query('9.9.9.9', name, 28))",
            list.join(" ")
        ))
        .await;
    let expected = "EHOSTUNREACH EHOSTUNREACH True (0, None)\n".repeat(list.len());
    assert_eq!(done.text, expected, "{done:?}");
    let (denied, connections) = fixture.end().await;
    assert!(denied.is_some());
    assert_eq!(connections.len(), 2 * list.len(), "{connections:?}");
}

#[tokio::test]
async fn a_name_whose_address_changes_is_checked_at_each_connection() {
    let address = server().await;
    let answers = Arc::new(Mutex::new(0));
    let count = Arc::clone(&answers);
    let mut policy = Policy::new(Vec::new(), Vec::new());
    policy.open = vec!["127.0.0.2/32".parse().expect("a network")];
    // The first answer is allowed, and all later ones are this machine.
    let resolver = Arc::new(move |_: &str| {
        let mut count = count.lock().expect("a lock");
        *count += 1;
        let last = if *count == 1 { 2 } else { 1 };
        Ok(vec![IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))])
    });
    let fixture = Fixture::with_policy(policy, resolver, 128, |_| ());
    let port = address.port();
    let done = fixture
        .python(&format!(
            "{FUNCTIONS}\n\
             found = socket.gethostbyname('rebinding.test')\n\
             print(connect('rebinding.test', {port}), connect(found, {port}), connect('Rebinding.Test.', {port}))"
        ))
        .await;
    assert_eq!(
        done.text, "EHOSTUNREACH EHOSTUNREACH EHOSTUNREACH\n",
        "{done:?}"
    );
    assert_eq!(*answers.lock().expect("a lock"), 4);
    fixture.end().await;
}

#[tokio::test]
async fn a_denied_name_is_denied_in_every_spelling_and_never_looked_up() {
    let names: &[(&str, &[&str])] = &[("fine.test", &["203.0.113.9"])];
    let fixture = strict("", "denied.test, *.below.test", names);
    let done = fixture
        .python(&format!(
            "{FUNCTIONS}\n\
             for name in ('denied.test', 'DENIED.test', 'Denied.Test.', 'x.below.test', 'X.Y.BELOW.TEST.', '\\uff44\\uff45nied.test',\n\
             \x20       'metadata.google.internal', 'METADATA.google.internal.', 'vm.local', 'a.localdomain', 'router.home.arpa', 'x.internal.'):\n\
             \x20   print(connect(name))\n\
             for tcp in (False, True):\n\
             \x20   one = query('8.8.8.8', 'denied.test', tcp=tcp)\n\
             \x20   print(one[0], connect(one[1]), one == query('203.0.113.53', 'DENIED.TEST', tcp=tcp), query('198.18.5.5', [b'denied.test'], tcp=tcp)[0])\n\
             \x20   print([query('1.1.1.1', labels, tcp=tcp)[0] for labels in ([b'denied\\0', b'test'], [b'denied ', b'test'], [b'\\xc3\\xa9', b'test'], [b'a@denied', b'test'], [b'10', b'1'], [b'0xa000001'])])"
        ))
        .await;
    let expected = "EHOSTUNREACH\n".repeat(12)
        + "0 EHOSTUNREACH True 3\n[3, 3, 3, 3, 3, 3]\n"
            .repeat(2)
            .as_str();
    assert_eq!(done.text, expected, "{done:?}");
    let looked_up = fixture.looked_up.lock().expect("a lock").clone();
    assert_eq!(looked_up, Vec::<String>::new());
    fixture.end().await;
}

#[tokio::test]
async fn with_an_allow_list_all_else_is_denied_and_never_looked_up() {
    let names: &[(&str, &[&str])] = &[("secret.test", &["203.0.113.9"])];
    let fixture = strict("allowed.test:443", "", names);
    let done = fixture
        .python(&format!(
            "{FUNCTIONS}\n\
             print(connect('secret.test'), connect('203.0.113.9'), connect('8.8.8.8', 443), connect('data.in.a.name.secret.test'))\n\
             print(query('8.8.8.8', 'secret.test') == query('8.8.8.8', 'secret.test', tcp=True))\n\
             u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(30); u.connect(('8.8.8.8', 443)); u.send(b'x')\n\
             try: print(u.recv(1))\n\
             except OSError as e: print(errno.errorcode[e.errno])"
        ))
        .await;
    assert_eq!(
        done.text, "EHOSTUNREACH EHOSTUNREACH EHOSTUNREACH EHOSTUNREACH\nTrue\nECONNREFUSED\n",
        "{done:?}"
    );
    let looked_up = fixture.looked_up.lock().expect("a lock").clone();
    assert_eq!(looked_up, Vec::<String>::new());
    fixture.end().await;
}

#[tokio::test]
async fn an_address_of_a_name_is_one_of_its_sandbox_alone() {
    let address = server().await;
    let port = address.port();
    let (first, second) = (Fixture::start("", ""), Fixture::start("", ""));
    let found = first
        .python(&format!(
            "{FUNCTIONS}\nprint(socket.gethostbyname('server.example'))"
        ))
        .await;
    let found = found.text.trim().to_owned();
    assert!(found.starts_with("198.18."), "{found}");
    // The request of a client ends with its first bytes.
    let script = format!(
        "{FUNCTIONS}\n\
         s = socket.socket(); s.settimeout(30)\n\
         try:\n\
         \x20   s.connect(('{found}', {port})); s.sendall(b'x\\n'); print(s.recv(100))\n\
         except OSError as e: print(errno.errorcode[e.errno])"
    );
    assert_eq!(first.python(&script).await.text, "b'answer: x\\n'\n");
    assert_eq!(second.python(&script).await.text, "EHOSTUNREACH\n");
    first.end().await;
    let (denied, _) = second.end().await;
    let denied = denied.expect("a summary");
    assert!(denied.contains("a benchmarking address"), "{denied}");
}

#[tokio::test]
async fn bytes_in_the_first_packet_and_routes_in_its_header_do_not_pass_the_check() {
    let fixture = strict("", "", &[]);
    // MSG_FASTOPEN is 0x20000000. A loose source route leads over 203.0.113.9 to 10.0.0.1.
    let done = fixture
        .python(&format!(
            "{FUNCTIONS}\n\
             def attempt(work):\n\
             \x20   s = socket.socket(); s.settimeout(30)\n\
             \x20   try: work(s); return 'CONNECTED'\n\
             \x20   except TimeoutError: return 'TIMEOUT'\n\
             \x20   except OSError as e: return errno.errorcode[e.errno]\n\
             print(attempt(lambda s: (s.sendto(b'early', 0x20000000, ('10.0.0.1', 80)), s.recv(1))))\n\
             def routed(s):\n\
             \x20   s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([131, 7, 4]) + socket.inet_aton('169.254.169.254') + b'\\0')\n\
             \x20   s.connect(('10.0.0.1', 80))\n\
             print(attempt(routed))\n\
             def bound(s): s.bind(('127.0.0.1', 0)); s.settimeout(2); s.connect(('10.0.0.1', 80))\n\
             print(attempt(bound))"
        ))
        .await;
    let lines: Vec<&str> = done.text.lines().collect();
    assert_eq!(lines.len(), 3, "{done:?}");
    assert!(!done.text.contains("CONNECTED"), "{done:?}");
    assert!(lines[..2].iter().all(|line| *line != "TIMEOUT"), "{done:?}");
    let (_, connections) = fixture.end().await;
    let all_denied = connections.iter().all(|c| c["verdict"] == "denied");
    assert!(all_denied, "{connections:?}");
}
