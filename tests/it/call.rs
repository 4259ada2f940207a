//! `contree-mcp call`, `tools` and `doctor`: arguments, streams and exit statuses of the program.

use std::io::{Read, Write};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::stub::{IMAGE, Stub};
use crate::support::{Home, signal};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A stub service with its own runtime, and a home directory configured for it.
struct CloudSetup {
    home: Home,
    stub: Stub,
    url: String,
    _runtime: Runtime,
}

impl CloudSetup {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let stub = Stub::default();
        let url = runtime.block_on(stub.start());
        Self {
            home: Home::new(),
            stub,
            url,
            _runtime: runtime,
        }
    }

    fn call(&self, arguments: &[&str]) -> Output {
        self.home
            .command_for(&self.url)
            .arg("call")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Starts `contree-mcp call`, whose output the caller reads.
    fn spawn_call(&self, arguments: &[&str]) -> Child {
        self.home
            .command_for(&self.url)
            .arg("call")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Starts `contree-mcp call`, and returns once its operation runs.
    fn spawn_running_call(&self, arguments: &[&str]) -> Child {
        let child = self.spawn_call(arguments);
        let until = Instant::now() + Duration::from_secs(30);
        while !self.stub.statuses().contains_key("EXECUTING") && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    }

    fn call_ok(&self, arguments: &[&str]) -> Value {
        let output = self.call(arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            stderr(&output)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `call` on the embedded engine.
fn local(home: &Home, arguments: &[&str]) -> Output {
    home.command()
        .arg("call")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

mod arguments {
    use super::*;

    #[test]
    fn pairs_objects_files_and_standard_input() {
        let cloud = CloudSetup::new();
        std::fs::write(cloud.home.path().join("script"), "exit 4").unwrap();
        let forms: &[&[&str]] = &[
            &["run", "image=tag:base", "command=exit 4", "timeout=5"],
            &[
                "run",
                r#"{"image": "tag:base", "command": "exit 4", "timeout": 5}"#,
            ],
            &[
                "run",
                r#"{"image": "tag:base"}"#,
                "command=@script",
                "timeout=5",
            ],
            &["run", "image=tag:base", "command=@~/script", "timeout=5"],
        ];
        for form in forms {
            let result = cloud.call_ok(form);
            assert_eq!(
                (&result["exit_code"], &result["stdout"]),
                (&json!(4), &json!("exit 4\n")),
                "{form:?}"
            );
        }
        for spawned in cloud.stub.spawned() {
            assert_eq!(
                (&spawned["image"], &spawned["timeout"]),
                (&json!("tag:base"), &json!(5)),
                "{spawned}"
            );
        }

        let mut child = cloud
            .home
            .command_for(&cloud.url)
            .args(["call", "run", "image=tag:base", "command=@-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(b"from stdin")
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            stdout(&output).contains("from stdin\\n"),
            "{}",
            stdout(&output)
        );

        assert_eq!(
            cloud.call_ok(&["run", "image=tag:base", "command=@@x"])["stdout"],
            "@x\n"
        );
    }

    #[test]
    fn options_may_stand_anywhere() {
        let cloud = CloudSetup::new();
        for line in [
            [
                "--backend",
                "cloud",
                "call",
                "--raw",
                "run",
                "image=tag:base",
                "command=exit 9",
            ],
            [
                "call",
                "--backend",
                "cloud",
                "run",
                "--raw",
                "image=tag:base",
                "command=exit 9",
            ],
            [
                "call",
                "run",
                "image=tag:base",
                "command=exit 9",
                "--raw",
                "--backend",
                "cloud",
            ],
        ] {
            let output = cloud
                .home
                .command_for(&cloud.url)
                .args(line)
                .output()
                .unwrap();
            assert_eq!(
                output.status.code(),
                Some(9),
                "{line:?}: {}",
                stderr(&output)
            );
        }
    }

    #[test]
    fn an_array_grows_by_repetition() {
        let cloud = CloudSetup::new();
        let id = |command: &str| {
            cloud.call_ok(&[
                "run",
                "image=tag:base",
                &format!("command={command}"),
                "wait=false",
            ])["operation_id"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let (a, b) = (id("one"), id("two"));
        let result = cloud.call_ok(&[
            "wait_operations",
            &format!("operation_ids={a}"),
            &format!("operation_ids={b}"),
        ]);
        assert_eq!(result["completed"].as_array().unwrap().len(), 2, "{result}");
    }

    #[test]
    fn obsolete_options_are_accepted_with_one_warning() {
        let cloud = CloudSetup::new();
        let output = cloud
            .home
            .command_for(&cloud.url)
            .args([
                "--cache-files",
                "/x",
                "--cache-prune-days",
                "5",
                "--http-port",
                "1",
                "call",
                "whoami",
            ])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(
            stderr(&output).matches("--cache-files").count(),
            1,
            "{}",
            stderr(&output)
        );
        let help = stdout(&cloud.home.command().arg("--help").output().unwrap());
        assert!(
            help.contains("--backend") && !help.contains("--cache"),
            "{help}"
        );
    }
}

mod statuses {
    use super::*;

    #[test]
    fn a_command_that_fails_is_a_result() {
        let cloud = CloudSetup::new();
        let output = cloud.call(&["run", "image=tag:base", "command=exit 7"]);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(
            serde_json::from_str::<Value>(&stdout(&output)).unwrap()["exit_code"],
            7
        );
    }

    #[test]
    fn a_failing_tool_is_status_1_with_a_message() {
        let cloud = CloudSetup::new();
        for (arguments, expected) in [
            (&["run", "image=tag:missing", "command=x"][..], "404"),
            (
                &["run", "image=tag:base", "command=fail"][..],
                "FAILED: the init process broke",
            ),
            (&["run", "image=base", "command=x"][..], "tag:base"),
            (
                &["run", "imge=tag:base", "command=x"][..],
                "did you mean `image`?",
            ),
            (
                &["get_operation", "operation_id=nonsense"][..],
                "operation_id",
            ),
            (&["upload"][..], "exactly one"),
        ] {
            let output = cloud.call(arguments);
            assert_eq!(
                output.status.code(),
                Some(1),
                "{arguments:?}: {}",
                stderr(&output)
            );
            assert!(
                stderr(&output).contains(expected),
                "{arguments:?}: {}",
                stderr(&output)
            );
            assert!(output.stdout.is_empty());
        }
    }

    #[test]
    fn a_wrong_command_line_is_status_2() {
        let cloud = CloudSetup::new();
        for arguments in [
            &["no_such_tool"][..],
            &["run", "image"][..],
            &["run", "image=tag:base", "command=x", "timeout=soon"][..],
            &["run", "image=tag:base", "image=tag:base"][..],
            &["run", "{not json"][..],
            &["run", "command=@/no/such/file"][..],
            &["--no-such-option", "run"][..],
            &["--backend", "clowd", "run"][..],
            &["--raw", "list_operations"][..],
            &["--raw", "run", "image=tag:base", "command=x", "wait=false"][..],
        ] {
            let output = cloud.call(arguments);
            assert_eq!(
                output.status.code(),
                Some(2),
                "{arguments:?}: {}",
                stderr(&output)
            );
            assert!(!output.stderr.is_empty());
        }
        assert!(cloud.stub.spawned().is_empty());
        let output = cloud
            .home
            .command()
            .args(["--mode", "sse"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
    }

    #[test]
    fn a_missing_backend_is_reported() {
        let home = Home::new();
        let run = |arguments: &[&str]| {
            home.command()
                .env("CONTREE_URL", "https://c.example")
                .args(arguments)
                .output()
                .unwrap()
        };
        let output = run(&["call", "whoami"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("there is a URL (CONTREE_URL) but no token"),
            "{}",
            stderr(&output)
        );
        let output = run(&["call", "--raw", "run", "image=tag:x", "command=x"]);
        assert_eq!(output.status.code(), Some(125));
    }

    #[test]
    fn an_unreachable_backend_is_named() {
        let home = Home::new();
        // A port without a listener.
        let url = "http://127.0.0.1:1";
        for (arguments, expected) in [
            (&["list_images"][..], "The backend is at http://127.0.0.1:1"),
            (&["whoami"][..], "The backend in use is cloud (found "),
        ] {
            let output = home
                .command_for(url)
                .arg("call")
                .args(arguments)
                .output()
                .unwrap();
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(
                said.contains(expected) && said.contains(url) && !said.contains("a-secret-token"),
                "{said}"
            );
        }
    }
}

mod raw {
    use super::*;

    #[test]
    fn the_status_is_the_commands() {
        let cloud = CloudSetup::new();
        for (command, status) in [
            ("hello", 0),
            ("exit 3", 3),
            ("exit 255", 255),
            ("signal 9", 137),
            ("fail", 125),
        ] {
            let output = cloud.call(&[
                "--raw",
                "run",
                "image=tag:base",
                &format!("command={command}"),
            ]);
            assert_eq!(
                output.status.code(),
                Some(status),
                "{command}: {}",
                stderr(&output)
            );
        }
        assert!(
            cloud
                .stub
                .spawned()
                .iter()
                .all(|spawned| spawned["truncate_output_at"] == 10 * 1024 * 1024)
        );
    }

    #[test]
    fn truncated_output_is_reported_on_standard_error() {
        let cloud = CloudSetup::new();
        let output = cloud.call(&["--raw", "run", "image=tag:base", "command=big"]);
        assert_eq!(output.stdout.len(), 8000);
        assert!(
            stderr(&output)
                .contains("the output is incomplete (standard output: truncated from 20000 bytes"),
            "{}",
            stderr(&output)
        );
    }

    #[test]
    fn content_is_printed_unchanged() {
        let cloud = CloudSetup::new();
        let read = |path: &str| {
            cloud
                .call(&[
                    "--raw",
                    "read_file",
                    &format!("image={IMAGE}"),
                    &format!("path={path}"),
                ])
                .stdout
        };
        assert_eq!(read("/text"), b"one\ntwo\nthree\n");
        assert_eq!(read("/binary"), [0xff, 0x00, 0x01]);
    }

    #[test]
    fn output_arrives_while_the_command_runs() {
        let cloud = CloudSetup::new();
        let child = endless(&cloud);
        signal(child.id(), "INT");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
        assert_eq!(cloud.stub.statuses(), [("CANCELLED".to_owned(), 1)].into());
    }

    /// Starts a command that writes without end, and returns once it writes.
    fn endless(cloud: &CloudSetup) -> Child {
        let mut child = cloud.spawn_call(&["--raw", "run", "image=tag:base", "command=sleep"]);
        let mut first = [0; 7];
        let stdout = child.stdout.as_mut().unwrap();
        stdout.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"line 0\n");
        child
    }

    #[test]
    fn each_signal_has_its_exit_status() {
        let cloud = CloudSetup::new();
        for (name, status) in [("TERM", 143), ("HUP", 129)] {
            let child = endless(&cloud);
            signal(child.id(), name);
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
        }
    }

    #[test]
    fn a_signal_ends_a_call_without_polling() {
        let cloud = CloudSetup::new();
        let child = cloud.spawn_running_call(&["run", "image=tag:base", "command=linger"]);
        signal(child.id(), "TERM");
        let output = child.wait_with_output().unwrap();
        let said = stderr(&output);
        assert!(said.contains("was stopped"), "{said}");
        assert_eq!(cloud.stub.statuses(), [("CANCELLED".to_owned(), 1)].into());
    }

    #[test]
    fn a_closed_reader_ends_the_command() {
        let cloud = CloudSetup::new();
        let mut child = endless(&cloud);
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), stderr(&output).as_str()),
            (Some(141), "")
        );
        assert_eq!(cloud.stub.statuses(), [("CANCELLED".to_owned(), 1)].into());
    }

    #[test]
    fn failed_writes_are_reported() {
        let cloud = CloudSetup::new();
        for (arguments, status) in [
            (
                &["call", "--raw", "run", "image=tag:base", "command=x"][..],
                125,
            ),
            (
                &["call", "--raw", "read_file", "image=tag:base", "path=/text"][..],
                125,
            ),
            (&["call", "whoami"][..], 1),
            (&["tools", "--format", "json"][..], 1),
            (&["doctor"][..], 1),
        ] {
            let full = std::fs::File::options()
                .write(true)
                .open("/dev/full")
                .unwrap();
            let output = cloud
                .home
                .command_for(&cloud.url)
                .args(arguments)
                .stdout(full)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(status), "{arguments:?}");
            assert_eq!(
                stderr(&output)
                    .matches("cannot write to standard output: ")
                    .count(),
                1,
                "{arguments:?}: {}",
                stderr(&output)
            );
        }
    }

    #[test]
    fn an_interrupt_cancels_and_waits() {
        let cloud = CloudSetup::new();
        let child = cloud.spawn_running_call(&["run", "image=tag:base", "command=sleep"]);
        signal(child.id(), "INT");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("cancelled"), "{}", stderr(&output));
        assert_eq!(cloud.stub.statuses(), [("CANCELLED".to_owned(), 1)].into());
    }

    #[test]
    fn a_run_that_somebody_else_cancelled_is_no_success() {
        let cloud = CloudSetup::new();
        for (option, status) in [(None, 3), (Some("--raw"), 125)] {
            let mut arguments: Vec<&str> = option.into_iter().collect();
            arguments.extend(["run", "image=tag:base", "command=sleep"]);
            let child = cloud.spawn_running_call(&arguments);
            cloud.stub.cancel_all();
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
        }
        // Looking at a cancelled operation succeeds.
        let listed = cloud.call_ok(&["list_operations"]);
        let id = listed["operations"][0]["uuid"].as_str().unwrap().to_owned();
        let shown = cloud.call_ok(&["get_operation", &format!("operation_id={id}")]);
        assert_eq!(shown["status"], "CANCELLED");
    }
}

mod on_the_engine {
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
        let listed: Value =
            serde_json::from_slice(&local(&home, &["list_operations"]).stdout).unwrap();
        assert_eq!(listed["operations"][0]["status"], "CANCELLED", "{listed}");
    }
}

mod other_commands {
    use super::*;

    #[test]
    fn tools_are_listed_as_text_and_json() {
        let home = Home::new();
        let text = stdout(&home.command().arg("tools").output().unwrap());
        assert!(text.contains("run command image [shell=true]"), "{text}");
        let json: Value = serde_json::from_slice(
            &home
                .command()
                .args(["tools", "--format", "json"])
                .output()
                .unwrap()
                .stdout,
        )
        .unwrap();
        assert!(
            json.as_array()
                .unwrap()
                .iter()
                .any(|tool| tool["name"] == "run" && tool["inputSchema"]["type"] == "object")
        );
    }

    #[test]
    fn the_version_is_printed() {
        let home = Home::new();
        let text = stdout(&home.command().arg("-V").output().unwrap());
        let version = env!("CARGO_PKG_VERSION");
        let commit = text.trim().strip_prefix(&format!("contree-mcp {version}"));
        let is_hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let commit = commit
            .unwrap()
            .trim_start_matches(" (")
            .trim_end_matches(')');
        assert!(is_hexadecimal(commit), "{text}");
        let other = stdout(&home.contree().arg("-V").output().unwrap());
        assert_eq!(other, text.replace("contree-mcp", "contree"));
    }

    #[test]
    fn the_doctor_checks_a_service() {
        let cloud = CloudSetup::new();
        let run = |url: &str| {
            cloud
                .home
                .command_for(url)
                .args(["doctor", "--json"])
                .output()
                .unwrap()
        };
        let output = run(&cloud.url);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (output.status.code(), &report["backend"], &report["runs"]),
            (Some(0), &json!("cloud"), &json!(true)),
            "{report}"
        );
        assert!(!report.to_string().contains("a-secret-token"));
        // A port without a listener.
        let output = run("http://127.0.0.1:1");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (output.status.code(), &report["runs"]),
            (Some(1), &json!(false)),
            "{report}"
        );
    }

    #[test]
    fn the_doctor_reports_missing_parts() {
        let home = Home::new();
        let output = home
            .command()
            .env("CONTREE_TOKEN", "secret")
            .arg("doctor")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = stdout(&output);
        assert!(
            text.contains("missing") && text.contains("no URL") && !text.contains("secret"),
            "{text}"
        );
        let output = home
            .command()
            .env("CONTREE_DATA_DIR", "/proc/nowhere/data")
            .arg("doctor")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
        assert!(
            stdout(&output).contains("CONTREE_DATA_DIR"),
            "{}",
            stdout(&output)
        );
    }

    #[test]
    fn the_doctor_makes_a_sandbox() {
        let home = Home::new();
        let output = home.command().args(["doctor", "--json"]).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (output.status.code(), &report["backend"]),
            (Some(0), &json!("local")),
            "{report}"
        );
        for check in report["checks"].as_array().unwrap() {
            assert!(
                ["fine", "degraded", "missing"].contains(&check["state"].as_str().unwrap()),
                "{check}"
            );
            assert!(
                check["state"] == "fine"
                    || check["remedy"].is_string()
                    || ["note", "network"].contains(&check["name"].as_str().unwrap()),
                "{check}"
            );
        }
    }
}
