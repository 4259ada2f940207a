//! Tests of what commands see around them: temporary lines, /sys, /dev/shm and HOME.

use contree_sandbox::{
    FileCopy, LayerId, LayerStore, LineFormat, Sandbox, SandboxOutcome, SandboxSpec, SideFile,
    SideFileContent, TemporaryLines,
};

use crate::support::{
    HOST, Output, commit, fresh, options, output, run, shell, spec, start, start_with, store,
};

fn lines(path: &str, format: LineFormat, lines: &[&str], make_if: Option<&str>) -> TemporaryLines {
    TemporaryLines {
        path: path.into(),
        format,
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        make_if: make_if.map(Into::into),
        mode: 0o644,
    }
}

/// Lines for files of each format.
fn all_lines() -> Vec<TemporaryLines> {
    vec![
        lines(
            "/etc/hosts",
            LineFormat::Hosts,
            &["127.0.0.1 localhost", "127.0.0.1 box"],
            Some("/"),
        ),
        lines(
            "/etc/environment",
            LineFormat::Assignments,
            &["a=1", "b=2"],
            Some("/etc/pam.d"),
        ),
        lines("/conf.d/own", LineFormat::Text, &["own"], Some("/conf.d")),
        lines("/opt/*/settings", LineFormat::Assignments, &["x=y"], None),
    ]
}

/// Runs a script on layers with the lines, and commits its changes if there are any.
fn commit_with_lines(
    layers: &[LayerId],
    script: &str,
) -> (Output, SandboxOutcome, Option<LayerId>) {
    let run = run();
    let spec = SandboxSpec {
        layers: layers.to_vec(),
        temporary_lines: all_lines(),
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
    (done, finished, layer)
}

/// The output of a script on layers, without any lines.
fn see(layers: &[LayerId], script: &str) -> String {
    let spec = SandboxSpec {
        layers: layers.to_vec(),
        ..spec()
    };
    let (_run, sandbox) = start_with(&spec);
    output(&sandbox, &shell(script)).stdout
}

/// An image without /etc/hosts, with files of every kind that gets lines.
fn image() -> Vec<LayerId> {
    let script = "rm /etc/hosts; mkdir -p /etc/pam.d /conf.d /opt/one /opt/two /opt/three; \
                  printf 'a=own\nlast' >/etc/environment; chmod 600 /etc/environment; \
                  echo z=0 >/opt/one/settings; ln -s /etc/environment /opt/two/settings";
    let (_, layer) = commit(&[HOST], script);
    vec![layer.unwrap(), HOST]
}

#[test]
fn temporary_lines_are_seen_and_not_stored() {
    let image = image();
    let script = "cat /etc/hosts /etc/environment /conf.d/own /opt/one/settings; \
                  stat -c %a /etc/hosts /etc/environment; ls /opt/three";
    let (done, finished, _) = commit_with_lines(&image, script);
    let mark = "# Present only while this sandbox runs.";
    let expected = [
        mark,
        "127.0.0.1 localhost",
        "127.0.0.1 box",
        "a=own",
        "last",
        mark,
        "b=2",
        mark,
        "own",
        "z=0",
        mark,
        "x=y",
        "644",
        "600",
    ];
    assert_eq!(
        done.stdout.lines().collect::<Vec<_>>(),
        expected,
        "{done:?}"
    );
    assert_eq!(finished.changed, Some(false), "{finished:?}");
    assert_eq!(finished.upper_bytes, 0, "{finished:?}");
    // An image with another change has nothing of the lines either.
    let (_, _, layer) = commit_with_lines(&image, "echo new >/new");
    let changed = [&[layer.unwrap()], image.as_slice()].concat();
    let script = "ls -d /etc/hosts /conf.d/own 2>/dev/null; \
                  cat /new /etc/environment /opt/one/settings";
    assert_eq!(see(&changed, script), "new\na=own\nlastz=0\n");
}

#[test]
fn a_changed_file_is_stored_without_the_lines() {
    let image = image();
    let script = "echo '10.0.0.1 other' >>/etc/hosts; sed -i s/own/changed/ /etc/environment; \
                  echo mine >/conf.d/own; rm /opt/one/settings";
    let (_, finished, layer) = commit_with_lines(&image, script);
    assert_eq!(finished.changed, Some(true));
    let changed = [&[layer.unwrap()], image.as_slice()].concat();
    let stored = "cat /etc/hosts /etc/environment; echo; cat /conf.d/own; ls /opt/one";
    assert_eq!(
        see(&changed, stored),
        "10.0.0.1 other\na=changed\nlast\n\nmine\n"
    );
    // The next sandbox has the lines again, where the files still lack them.
    let (done, _, _) = commit_with_lines(&changed, "cat /etc/hosts /conf.d/own; ls /opt/one");
    assert!(done.stdout.contains("127.0.0.1 box"), "{done:?}");
    assert!(done.stdout.ends_with("127.0.0.1 box\nmine\n"), "{done:?}");
}

#[test]
fn removing_and_replacing_files_with_lines_works() {
    let image = image();
    let script = "rm /etc/hosts && test ! -e /etc/hosts && rm -r /conf.d && \
                  mv /opt/one/settings /opt/one/moved && mkdir /etc/hosts";
    let (_, _, layer) = commit_with_lines(&image, script);
    let changed = [&[layer.unwrap()], image.as_slice()].concat();
    let stored = "stat -c %F /etc/hosts; ls -d /conf.d 2>/dev/null; ls /opt/one";
    assert_eq!(see(&changed, stored), "directory\nmoved\n");
    let (done, finished, _) = commit_with_lines(&changed, "ls -A /etc/hosts");
    assert_eq!(done.stdout, "");
    assert_eq!(finished.changed, Some(false), "{finished:?}");
    // A removed file of the image stays removed, and one that only had lines was never there.
    let (_, finished, layer) = commit_with_lines(&image, "rm /etc/environment /etc/hosts");
    assert_eq!(finished.changed, Some(true));
    let removed = [&[layer.unwrap()], image.as_slice()].concat();
    assert_eq!(
        see(&removed, "ls /etc/environment /etc/hosts 2>/dev/null"),
        ""
    );
    let (_, finished, _) = commit_with_lines(&image, "rm /etc/hosts /conf.d/own");
    assert_eq!(finished.changed, Some(false), "{finished:?}");
}

#[test]
fn files_of_the_caller_get_no_lines() {
    let source = format!("files/hosts-{}", fresh());
    std::fs::write(store().root().join(&source), "10.0.0.1 placed\n").unwrap();
    let spec = SandboxSpec {
        files: vec![FileCopy {
            source: source.into(),
            path: "/etc/hosts".into(),
            mode: 0o644,
            uid: 0,
            gid: 0,
        }],
        temporary_lines: all_lines(),
        ..spec()
    };
    let (_run, sandbox) = start_with(&spec);
    let done = output(&sandbox, &shell("cat /etc/hosts"));
    assert_eq!(done.stdout, "10.0.0.1 placed\n", "{done:?}");
}

#[test]
fn an_image_without_directories_gets_those_of_its_names() {
    let (_, layer) = commit(&[HOST], "rm -r /etc");
    let image = [layer.unwrap(), HOST];
    let (done, finished, _) = commit_with_lines(&image, "cat /etc/hosts; ls /etc");
    assert!(done.stdout.ends_with("127.0.0.1 box\nhosts\n"), "{done:?}");
    assert_eq!(finished.changed, Some(false), "{finished:?}");
}

#[test]
fn sys_describes_processors_and_nothing_else() {
    let (_run, sandbox) = start();
    let script = "ls /sys /sys/devices /sys/devices/system; cat /sys/devices/system/cpu/online; \
                  echo x >/sys/devices/system/cpu/online || rm -rf /sys/devices || touch /sys/x || echo held";
    let done = output(&sandbox, &shell(script));
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    assert!(done.stdout.contains(&online), "{done:?}");
    assert!(done.stdout.ends_with("held\n"), "{done:?}");
    let names = done
        .stdout
        .lines()
        .take_while(|line| *line != online.trim());
    for name in names.filter(|name| !name.is_empty() && !name.ends_with(':')) {
        let known = ["cpu", "devices", "kernel", "node", "system"];
        assert!(known.contains(&name), "{name}: {done:?}");
    }
    // The list of mounts shows no path of this machine.
    let done = output(&sandbox, &shell("grep ' /sys ' /proc/self/mountinfo"));
    let directory = store().root().file_name().unwrap().to_str().unwrap();
    assert!(
        done.stdout.contains(" ro,") && !done.stdout.contains(directory),
        "{done:?}"
    );
    let finished = sandbox.finish(true).unwrap();
    assert_eq!(finished.changed, Some(false), "{finished:?}");
}

#[test]
fn sys_describes_processors_on_older_kernels_too() {
    let mut options = options();
    options.old_mount = true;
    let store = LayerStore::open(store().root(), options).unwrap();
    let run = store.create_run(&format!("run-{}", fresh())).unwrap();
    let sandbox = Sandbox::start(&store, &run, &spec()).unwrap();
    let script =
        "cat /sys/devices/system/cpu/online; touch /sys/devices/x 2>/dev/null || echo held";
    let done = output(&sandbox, &shell(script));
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    assert_eq!(done.stdout, format!("{online}held\n"), "{done:?}");
    sandbox.finish(false).unwrap();
    store.remove_run(run.name()).unwrap();
}

#[test]
fn the_caller_chooses_the_size_of_shared_memory() {
    for kibibytes in [512, 300 << 10] {
        let spec = SandboxSpec {
            shared_memory_bytes: kibibytes << 10,
            ..spec()
        };
        let (_run, sandbox) = start_with(&spec);
        let done = output(
            &sandbox,
            &shell("df -k /dev/shm | tail -n 1 | (read -r _ size _; echo $size)"),
        );
        assert_eq!(done.stdout, format!("{kibibytes}\n"), "{done:?}");
    }
}

#[test]
fn home_is_that_of_the_images_user() {
    let script = "echo 'app:x:0:0:First:/srv/app:/bin/sh' >/new; cat /etc/passwd >>/new; mv /new /etc/passwd";
    let (_, named) = commit(&[HOST], script);
    let (_, nameless) = commit(&[HOST], "rm /etc/passwd && mkfifo /etc/passwd");
    for (layer, home) in [
        (Some(named.unwrap()), "/srv/app"),
        (Some(nameless.unwrap()), "/default"),
        (None, "/root"),
    ] {
        let spec = SandboxSpec {
            layers: layer.into_iter().chain([HOST]).collect(),
            ..spec()
        };
        let (_run, sandbox) = start_with(&spec);
        let mut command = shell("echo ${HOME-none}");
        assert_eq!(output(&sandbox, &command).stdout, "none\n");
        command.default_home = Some("/default".into());
        assert_eq!(output(&sandbox, &command).stdout, format!("{home}\n"));
        command.env.push(("HOME".into(), "/own".into()));
        assert_eq!(output(&sandbox, &command).stdout, "/own\n");
    }
}

#[test]
fn a_side_file_may_begin_with_a_file_of_the_image() {
    let (_, layer) = commit(
        &[HOST],
        "printf image >/etc/bundle; ln -s bundle /etc/link; mkfifo /etc/pipe",
    );
    let side = |name: &str, after: &[&str]| SideFile {
        name: name.into(),
        content: SideFileContent::new(b"machine\n").unwrap(),
        unless_exists: Vec::new(),
        mount_over: None,
        after: after.iter().map(Into::into).collect(),
    };
    let spec = SandboxSpec {
        layers: vec![layer.unwrap(), HOST],
        side_files: vec![
            side(
                "both",
                &["/nowhere", "/etc/pipe", "/etc/link", "/etc/passwd"],
            ),
            side("alone", &["/nowhere"]),
        ],
        ..spec()
    };
    let (_run, sandbox) = start_with(&spec);
    let done = output(&sandbox, &shell("cd /dev/side-files; cat both alone"));
    assert_eq!(done.stdout, "image\nmachine\nmachine\n", "{done:?}");
}
