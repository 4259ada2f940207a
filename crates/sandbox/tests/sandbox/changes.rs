//! Tests of change detection and of chains of layers.

use contree_sandbox::{LayerStore, Sandbox, SandboxSpec, StoreOptions};

use crate::support::*;

#[test]
fn changes_are_detected_with_their_reason() {
    let (_, base) = commit(
        &[HOST],
        "mkdir -p /d/e; echo x >/d/f; echo y >/d/e/g; ln -s f /d/l; mkfifo /d/p; chmod 750 /d/e",
    );
    let layers = [base.unwrap(), HOST];
    let unchanged = [
        "true",
        "cat /d/f; ls -R /d",
        "touch /d/new; rm /d/new",
        "mkdir -p /d/x/y/z; touch /d/x/y/z/w; rm -r /d/x",
        "touch /d /d/e /",
        "chmod 700 /d/e; chmod 750 /d/e",
        "touch /tmp/x; rm /tmp/x",
        "echo x >/dev/shm/x; echo x >/dev/null",
    ];
    let changed = [
        ("rm /d/f", "removed /d/f"),
        ("echo z >/d/new", "changed /d/new"),
        ("chmod 600 /d/f", "changed /d/f"),
        // The file was copied up, so it is a new file.
        ("chmod 600 /d/f; chmod 644 /d/f", "changed /d/f"),
        ("chmod 700 /d/e", "changed the mode of /d/e"),
        ("chmod 555 /", "changed the mode of /"),
        (
            "rm -r /d/e; mkdir -m 750 /d/e",
            "replaced the directory /d/e",
        ),
        ("rm -r /d/e", "removed /d/e"),
        ("mkdir /empty", "made the directory /empty"),
        ("ln -s x /link", "changed /link"),
        ("mkfifo /fifo", "changed /fifo"),
        ("rm /d/f; mkdir /d/f", "made the directory /d/f"),
    ];
    for script in unchanged {
        let (finished, _) = commit(&layers, script);
        assert_eq!(finished.changed, Some(false), "{script}: {finished:?}");
    }
    for (script, reason) in changed {
        let (finished, _) = commit(&layers, script);
        assert_eq!(finished.changed, Some(true), "{script}");
        assert_eq!(finished.reason.as_deref(), Some(reason), "{script}");
    }
    let (finished, _) = commit(&layers, "head -c 100000 /dev/urandom >/d/new");
    assert!(finished.upper_bytes >= 100_000, "{finished:?}");
    if !store().id_map().is_single() {
        let (finished, _) = commit(&layers, "chown 1000:1000 /d/e");
        assert_eq!(
            finished.reason.as_deref(),
            Some("changed the owner of /d/e")
        );
        let (finished, _) = commit(
            &layers,
            "chown 1000:1000 /d/e; chown 0:0 /d/e; chmod 750 /d/e",
        );
        assert_eq!(finished.changed, Some(false), "{finished:?}");
    }
}

#[test]
fn the_size_of_a_layer_is_its_disk_space() {
    let (finished, _) = commit(&[HOST], "head -c 3000000 /dev/urandom >/a; ln /a /b");
    assert!(
        (3_000_000..4_000_000).contains(&finished.upper_bytes),
        "{finished:?}"
    );
}

#[test]
fn two_commits_on_one_layer_are_independent() {
    let (_, first) = commit(
        &[HOST],
        "echo one >/one; rm /etc/hostname 2>/dev/null; rm /etc/passwd; rm -r /usr/share; mkdir /usr/share",
    );
    let first = first.unwrap();
    let (_, left) = commit(&[first, HOST], "echo left >/one; echo left >/left");
    let (_, right) = commit(
        &[first, HOST],
        "cat /one; test ! -e /left; echo right >/right",
    );
    let see = |layers: &[_], script: &str| {
        let run = run();
        let spec = SandboxSpec {
            layers: layers.to_vec(),
            ..spec()
        };
        let sandbox = Sandbox::start(store(), &run, &spec).unwrap();
        output(&sandbox, &shell(script)).stdout
    };
    let (left, right) = (left.unwrap(), right.unwrap());
    assert_eq!(
        see(
            &[left, first, HOST],
            "cat /one /left; ls /right 2>/dev/null"
        ),
        "left\nleft\n"
    );
    assert_eq!(
        see(
            &[right, first, HOST],
            "cat /one /right; ls /left 2>/dev/null"
        ),
        "one\nright\n"
    );
    // Deleted files stay deleted, and a replaced directory stays empty.
    assert_eq!(
        see(
            &[right, first, HOST],
            "ls /etc/passwd 2>/dev/null; ls -A /usr/share"
        ),
        ""
    );
    assert_eq!(
        see(
            &[HOST],
            "test -e /etc/passwd && echo there; ls /one 2>/dev/null"
        ),
        "there\n"
    );
}

#[test]
fn deep_chains_look_the_same_with_both_mount_methods() {
    let mut layers = vec![HOST];
    for number in 0..12 {
        let (_, layer) = commit(
            &layers,
            &format!(
                "echo {number} >/n; echo {number} >/n{number}; rm -f /n{}",
                number - 1
            ),
        );
        layers.insert(0, layer.unwrap());
    }
    let mut options = StoreOptions::default();
    options.old_mount = true;
    let old = LayerStore::open(store().root(), options).unwrap();
    for store in [store(), &old] {
        let run = store.create_run(&format!("deep-{}", fresh())).unwrap();
        let spec = SandboxSpec {
            layers: layers.clone(),
            ..spec()
        };
        let sandbox = Sandbox::start(store, &run, &spec).unwrap();
        let done = output(
            &sandbox,
            &shell("cat /n; echo /n*; touch /x; rm /x; rm /n11; echo z >/z"),
        );
        assert_eq!(done.stdout, "11\n/n /n11\n", "{done:?}");
        let finished = sandbox.finish(true).unwrap();
        assert_eq!(finished.changed, Some(true));
        let view = contree_sandbox::View::open(store, &layers).unwrap();
        assert_eq!(view.stat("/n11".as_ref()).unwrap().size, 3);
        assert!(view.stat("/n10".as_ref()).is_err());
        store.remove_run(run.name()).unwrap();
    }
}

#[test]
fn a_root_directory_that_was_changed_is_kept() {
    let (_, layer) = commit(&[HOST], "chmod 511 /; echo x >/x");
    let layers = [layer.unwrap(), HOST];
    let (finished, _) = commit(&layers, "test $(stat -c %a /) = 511");
    assert_eq!(finished.changed, Some(false), "{finished:?}");
}

#[test]
fn directories_deeper_than_a_path_can_be_long() {
    let script = "d=$(printf 'a%.0s' $(seq 200)); mkdir /c; i=0; while [ $i -lt 40 ]; do mkdir /x && mv /c /x/$d && mv /x /c || exit 9; i=$((i+1)); done";
    let (finished, layer) = commit(&[HOST], script);
    assert_eq!(finished.changed, Some(true));
    store().remove_layer(layer.unwrap()).unwrap();
    assert!(!store().layer_exists(layer.unwrap()));
}

#[test]
fn directories_without_permissions_are_removed() {
    let script = "mkdir -p /a/b/c; touch /a/b/c/f; chmod 0 /a/b/c /a/b /a; if [ $(id -u) = 0 ]; then chown 1000:1000 /a/b 2>/dev/null; fi; true";
    let (finished, layer) = commit(&[HOST], script);
    assert_eq!(finished.changed, Some(true));
    store().remove_layer(layer.unwrap()).unwrap();
    assert!(
        !store()
            .root()
            .join("layers")
            .join(layer.unwrap().0.to_string())
            .exists()
    );
}

#[test]
fn a_hard_link_to_a_file_of_the_image_has_its_inode_number() {
    let (_, base) = commit(&[HOST], "echo x >/file; echo y >/twice; ln /twice /again");
    let layers = vec![base.unwrap(), HOST];
    let (_run, sandbox) = start_with(&SandboxSpec { layers, ..spec() });
    // As `git clone` does for a repository on the same file system.
    let script = "before=$(stat -c %i,%s,%u,%g,%f /file); ln /file /link
        stat -c %h /file /link; cat /link
        test \"$before\" = \"$(stat -c %i,%s,%u,%g,%f /link)\" && echo same";
    let done = output(&sandbox, &shell(script));
    // Only this machine's root can mount such an overlay.
    let user_namespace = std::fs::read_link("/proc/self/ns/user").unwrap();
    let is_machine_root =
        rustix::process::geteuid().is_root() && user_namespace.as_os_str() == "user:[4026531837]";
    let same = if is_machine_root { "same\n" } else { "" };
    assert_eq!(done.stdout, format!("2\n2\nx\n{same}"), "{done:?}");
    // Other names of a file stay with the old content, during the run and after its commit.
    let script = "echo new >>/twice; cat /again";
    assert_eq!(output(&sandbox, &shell(script)).stdout, "y\n");
}
