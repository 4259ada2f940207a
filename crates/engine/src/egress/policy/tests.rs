//! Tests of the decisions of a policy.

use super::*;

fn policy(allow: &str, deny: &str) -> Policy {
    Policy::new(
        EgressRule::parse_list(allow).expect(allow),
        EgressRule::parse_list(deny).expect(deny),
    )
}

/// Checks a target whose name resolves to `address`, or that is this address.
fn decide(policy: &Policy, target: &str, address: &str) -> Result<(), String> {
    let target = Target::parse(target, Some(443)).expect(target);
    let decide = || {
        let name_decision = policy.check_name(&target)?;
        policy.check_address(&target, name_decision, address.parse().expect(address))
    };
    decide().map_err(|denial: Denial| denial.to_string())
}

const PUBLIC: &str = "93.184.216.34";

#[test]
fn without_rules_every_public_address_may_be_reached() {
    let none = policy("", "");
    assert_eq!(decide(&none, "example.com", PUBLIC), Ok(()));
    assert_eq!(decide(&none, "example.com:22", PUBLIC), Ok(()));
    assert_eq!(decide(&none, PUBLIC, PUBLIC), Ok(()));
    for (address, word) in [
        ("10.0.0.1", "private"),
        ("127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("::1", "loopback"),
        ("fd00::1", "unique local"),
    ] {
        let why = decide(&none, "rebinding.example", address).expect_err(address);
        assert!(why.contains(word) && why.contains(address), "{why}");
    }
}

#[test]
fn a_run_is_narrower_than_the_engine_and_never_wider() {
    let run = |allow: &str, deny: &str, hosts: &str| {
        policy(allow, deny).narrowed(EgressRule::parse_list(hosts).expect(hosts))
    };
    let narrow = run("", "", "example.com:443, 93.184.216.0/24:80");
    assert_eq!(decide(&narrow, "example.com", PUBLIC), Ok(()));
    // By the address of the name, which only the second rule has.
    assert_eq!(decide(&narrow, "other.example:80", PUBLIC), Ok(()));
    for (target, address) in [
        ("other.example:443", PUBLIC),
        ("example.com:22", PUBLIC),
        ("other.example:80", "1.1.1.1"),
        ("1.1.1.1:80", "1.1.1.1"),
    ] {
        let why = decide(&narrow, target, address).expect_err(target);
        assert!(why.contains("this run allows"), "{why}");
    }
    // All that the engine denies stays denied, whatever the run lists.
    for (allow, deny, hosts, target, address) in [
        ("", "example.com", "example.com", "example.com", PUBLIC),
        ("", "93.184.0.0/16", "*", "example.com", PUBLIC),
        ("only.example", "", "*, example.com", "example.com", PUBLIC),
        ("", "", "*, 10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("", "", "10.0.0.0/8, a.example", "a.example", "10.0.0.1"),
        ("", "", "127.0.0.1, localhost", "localhost", "127.0.0.1"),
        (
            "",
            "",
            "169.254.169.254",
            "169.254.169.254",
            "169.254.169.254",
        ),
        ("", "", "mail.example:25", "mail.example:25", PUBLIC),
    ] {
        let policy = run(allow, deny, hosts);
        decide(&policy, target, address).expect_err(hosts);
    }
    // Addresses that another proxy resolves are unknown, so a rule about them allows nothing.
    let target = Target::parse("other.example", Some(80)).expect("a target");
    let decision = narrow.check_name(&target).expect("by its address");
    narrow
        .check_unresolved(&target, decision)
        .expect_err("unknown");
}

#[test]
fn names_are_looked_up_if_some_port_is_allowed() {
    let decide = |allow: &str, deny: &str, name: &str| {
        policy(allow, deny).may_resolve(&Host::parse(name).expect(name))
    };
    assert!(decide("", "", "example.com"));
    assert!(decide("example.com:8443", "", "example.com"));
    assert!(decide("example.com:25", "", "example.com"));
    assert!(decide("", "example.com:443", "example.com"));
    assert!(decide("203.0.113.0/24", "", "example.com"));
    assert!(!decide("other.example", "", "example.com"));
    assert!(!decide("", "*.example.com", "a.example.com"));
    assert!(!decide("example.com:443", "example.com:443", "example.com"));
    assert!(!decide("", "", "printer.local"));
    assert!(!decide("", "", "metadata.google.internal"));
    let hosts = EgressRule::parse_list("example.com:443").expect("rules");
    let run = policy("", "").narrowed(hosts);
    let decide = |name: &str| run.may_resolve(&Host::parse(name).expect(name));
    assert!(decide("example.com"));
    assert!(!decide("other.example"));
}

#[test]
fn names_of_this_machine_are_denied_before_resolution() {
    let private_allowed = policy("*+private, localhost+private", "");
    for name in [
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "metadata.google.internal",
    ] {
        for policy in [&policy("", ""), &private_allowed] {
            let target = Target::parse(name, Some(80)).expect(name);
            policy.check_name(&target).expect_err(name);
        }
    }
    for name in [
        "vm.internal",
        "printer.local",
        "x.localdomain",
        "router.home.arpa",
    ] {
        let target = Target::parse(name, Some(80)).expect(name);
        policy("", "").check_name(&target).expect_err(name);
        policy("*", "").check_name(&target).expect_err(name);
        private_allowed.check_name(&target).expect(name);
    }
}

#[test]
fn only_listed_targets_are_allowed_and_deny_rules_win() {
    let listed = policy(
        "example.com, *.example.org:443, 198.18.0.0/15+private",
        "bad.example.org, 93.184.0.0/16:8443",
    );
    assert_eq!(decide(&listed, "example.com:8080", PUBLIC), Ok(()));
    assert_eq!(decide(&listed, "a.example.org", PUBLIC), Ok(()));
    for (target, address, word) in [
        ("a.example.org:80", PUBLIC, "allow list"),
        ("other.example", PUBLIC, "allow list"),
        ("bad.example.org", PUBLIC, "rule bad.example.org"),
        ("example.com:8443", PUBLIC, "rule 93.184.0.0/16:8443"),
        ("example.com", "10.0.0.1", "private"),
        ("8.8.8.8", "8.8.8.8", "allow list"),
    ] {
        let why = decide(&listed, target, address).expect_err(target);
        assert!(why.contains(word), "{target}: {why}");
    }
    // Allowed by its address alone.
    assert_eq!(decide(&listed, "bench.example", "198.18.0.1"), Ok(()));
    assert_eq!(decide(&listed, "198.18.0.1", "198.18.0.1"), Ok(()));
    // Without rules about addresses, an unlisted name is not resolved.
    let target = Target::parse("other.example", Some(443)).expect("a target");
    policy("example.com", "")
        .check_name(&target)
        .expect_err("unlisted");
}

#[test]
fn a_target_that_needs_an_address_is_denied_without_one() {
    let target = Target::parse("elsewhere.example", Some(443)).expect("a target");
    let listed = policy("93.184.0.0/16", "");
    let name_decision = listed.check_name(&target).expect("its addresses decide");
    let why = listed
        .check_unresolved(&target, name_decision)
        .expect_err("no address")
        .to_string();
    assert!(why.contains("allow list"), "{why}");
    let open = policy("", "");
    let name_decision = open.check_name(&target).expect("a public name");
    assert_eq!(open.check_unresolved(&target, name_decision), Ok(()));
}

#[test]
fn a_denied_address_is_denied_in_every_form() {
    let denied = policy("", "8.8.8.0/24");
    for address in [
        "8.8.8.8",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ] {
        let why = decide(&denied, "dns.example", address).expect_err(address);
        assert!(why.contains("rule 8.8.8.0/24"), "{address}: {why}");
    }
    assert_eq!(decide(&denied, "dns.example", "64:ff9b::909:909"), Ok(()));
}

#[test]
fn a_private_rule_allows_no_forbidden_address() {
    let mirror = policy("*, mirror.example+private, *.corp.example:8443+private", "");
    assert_eq!(decide(&mirror, "mirror.example", "10.1.1.1"), Ok(()));
    assert_eq!(decide(&mirror, "mirror.example", "172.16.0.80"), Ok(()));
    assert_eq!(decide(&mirror, "a.corp.example:8443", "fd12::1"), Ok(()));
    assert_eq!(decide(&mirror, "elsewhere.example", PUBLIC), Ok(()));
    decide(&mirror, "a.corp.example:443", "10.1.1.1").expect_err("another port");
    decide(&mirror, "elsewhere.example", "10.1.1.1").expect_err("another name");
    for address in [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "169.254.169.254",
        "::1",
        "::",
        "fe80::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ] {
        decide(&mirror, "mirror.example", address).expect_err(address);
    }
}

#[test]
fn mail_ports_are_denied_unless_a_rule_names_them() {
    let open = policy("", "");
    let all = policy("*, *+private", "");
    for port in ["25", "465", "587", "2525"] {
        for host in ["mail.example", PUBLIC] {
            for policy in [&open, &all] {
                let target = format!("{host}:{port}");
                let why = decide(policy, &target, PUBLIC).expect_err(&target);
                assert!(why.contains(&target) && why.contains("mail"), "{why}");
            }
        }
    }
    for port in ["24", "26", "22", "80", "443", "993", "8025", "9418"] {
        let target = format!("host.example:{port}");
        assert_eq!(decide(&open, &target, PUBLIC), Ok(()));
    }
    let relay = policy("*, relay.example:587, 93.184.0.0/16:25", "");
    assert_eq!(decide(&relay, "relay.example:587", PUBLIC), Ok(()));
    assert_eq!(decide(&relay, "mail.example:25", PUBLIC), Ok(()));
    assert_eq!(decide(&relay, "93.184.216.34:25", PUBLIC), Ok(()));
    decide(&relay, "relay.example:465", PUBLIC).expect_err("another port");
    decide(&relay, "mail.example:587", PUBLIC).expect_err("another name");
    decide(&relay, "mail.example:25", "8.8.8.8").expect_err("another address");
    let target = Target::parse("mail.example:25", None).expect("a target");
    let name_decision = relay.check_name(&target).expect("its addresses decide");
    relay
        .check_unresolved(&target, name_decision)
        .expect_err("no address");
}

#[test]
fn neighbours_are_denied_by_their_public_addresses_too() {
    let with_networks = |allow: &str| {
        let mut policy = policy(allow, "");
        policy.own_networks = ["2a01:4f8:1:2::/64", "203.0.114.0/24"]
            .map(|net| net.parse().expect(net))
            .to_vec();
        policy
    };
    let none = with_networks("");
    let listed = with_networks("*, printer.example+private");
    for address in [
        "2a01:4f8:1:2::77",
        "203.0.114.7",
        "::ffff:203.0.114.7",
        "64:ff9b::cb00:7207",
    ] {
        for policy in [&none, &listed] {
            let why = decide(policy, "neighbour.example", address).expect_err(address);
            assert!(why.contains("this machine's own"), "{why}");
        }
        assert_eq!(decide(&listed, "printer.example", address), Ok(()));
    }
    assert_eq!(decide(&none, "host.example", "2a01:4f8:1:3::77"), Ok(()));
    assert_eq!(decide(&none, "host.example", "203.0.115.7"), Ok(()));
}

#[test]
fn this_machines_own_addresses_stay_out_of_reach() {
    let private_allowed = policy("*+private", "");
    // Any address that this machine has.
    let own = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket
            .connect("192.0.2.1:9")
            .and_then(|()| socket.local_addr())
    });
    let Ok(own) = own else { return };
    let own = own.ip().to_string();
    decide(&private_allowed, "rebinding.example", &own).expect_err(&own);
    decide(&private_allowed, &own, &own).expect_err(&own);
    let mapped = format!("::ffff:{own}");
    decide(&private_allowed, "rebinding.example", &mapped).expect_err(&mapped);
}
