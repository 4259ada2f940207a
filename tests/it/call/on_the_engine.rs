//! Calls on the embedded engine.

use super::*;

#[test]
fn streams_and_statuses_are_those_of_the_command() {
    let home = Home::new();
    let output = local(
        &home,
        &[
            "--raw",
            "run",
            "image=tag:host",
            "command=id -u; echo $((6*7)); echo bad >&2; exit 3",
        ],
    );
    assert_eq!(
        (stdout(&output).as_str(), stderr(&output).as_str()),
        ("0\n42\n", "bad\n")
    );
    assert_eq!(output.status.code(), Some(3));

    let output = local(
        &home,
        &["--raw", "run", "image=tag:host", "command=kill -9 $$"],
    );
    assert_eq!(output.status.code(), Some(137), "{}", stderr(&output));
    let output = local(
        &home,
        &[
            "--raw",
            "run",
            "image=tag:host",
            "command=sleep 20",
            "timeout=1",
        ],
    );
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    let output = local(
        &home,
        &[
            "--raw",
            "run",
            "image=tag:host",
            "command=/no/such/program",
            "shell=false",
        ],
    );
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    let output = local(
        &home,
        &[
            "--raw",
            "run",
            "image=tag:host",
            "command=head -c 300000 /dev/zero",
        ],
    );
    assert_eq!(output.stdout.len(), 300_000);
}

#[test]
fn an_image_is_shown_with_the_requested_tag_and_errors_come_from_the_engine() {
    let home = Home::new();
    let get = |image: &str| local(&home, &["get_image", &format!("image={image}")]);
    let host: Value = serde_json::from_slice(&get("tag:host").stdout).unwrap();
    let uuid = format!("image_uuid={}", host["uuid"].as_str().unwrap());
    for tag in ["a", "z"] {
        local(&home, &["set_tag", &uuid, &format!("tag={tag}")]);
    }
    for tag in ["a", "z", "host"] {
        let output = get(&format!("tag:{tag}"));
        let image: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", stderr(&output)));
        assert_eq!(
            (&image["tag"], &image["uuid"]),
            (&json!(tag), &host["uuid"]),
            "{image}"
        );
    }
    let said = stderr(&get("tag:missing"));
    assert!(
        !said.is_empty() && !said.contains("backend answered"),
        "{said}"
    );
}

/// The directory of a link and that of its target may have different neighbouring files.
#[test]
fn an_import_reads_the_checked_file() {
    let home = Home::new();
    let place = home.path().join("allowed");
    std::fs::create_dir_all(place.join("real:")).unwrap();
    for archive in [place.join("real"), home.path().join("secret")] {
        tar::Builder::new(std::fs::File::create(archive).unwrap())
            .finish()
            .unwrap();
    }
    std::os::unix::fs::symlink("real", place.join("link")).unwrap();
    let import = |name: &str| {
        let mut command = home.command();
        command
            .arg("--allow-path")
            .arg(&place)
            .args(["call", "import_image"]);
        command.arg(format!("registry_url=rootfs:{}/{name}", place.display()));
        command.output().unwrap()
    };
    assert!(import("link").status.success(), "{:?}", import("link"));
    for name in ["link:/../../secret", "link:/x", "link:1", "../secret"] {
        let output = import(name);
        assert!(!output.status.success(), "{name}: {output:?}");
        let advice = stderr(&output);
        assert!(!advice.contains("registry_auth"), "{name}: {advice}");
    }
    let said = import("link:/../../secret");
    assert!(stderr(&said).contains("not a valid image name"), "{said:?}");
}

#[test]
fn a_call_waits_until_its_operation_ends() {
    let home = Home::new();
    let output = local(
        &home,
        &[
            "run",
            "image=tag:host",
            "command=sleep 3; echo over",
            "wait=false",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("waiting until operation"),
        "{}",
        stderr(&output)
    );
    let started: Value = serde_json::from_slice(&output.stdout).unwrap();
    let id = format!("operation_id={}", started["operation_id"].as_str().unwrap());
    let ended: Value =
        serde_json::from_slice(&local(&home, &["get_operation", &id]).stdout).unwrap();
    assert_eq!(
        (&ended["status"], &ended["stdout"]),
        (&json!("SUCCESS"), &json!("over\n")),
        "{ended}"
    );
}

#[test]
fn an_interrupt_cancels_a_running_operation() {
    let home = Home::new();
    let mut child = home
        .command()
        .args([
            "call",
            "run",
            "image=tag:host",
            "command=sleep 60",
            "wait=false",
            "timeout=90",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut byte = [0];
    while !said.contains("Ctrl-C") {
        assert_eq!(
            child.stderr.as_mut().unwrap().read(&mut byte).unwrap(),
            1,
            "{said}"
        );
        said.push(byte[0] as char);
    }
    let begun = Instant::now();
    signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(30));
    let listed: Value = serde_json::from_slice(&local(&home, &["list_operations"]).stdout).unwrap();
    assert_eq!(listed["operations"][0]["status"], "CANCELLED", "{listed}");
}
