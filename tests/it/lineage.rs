//! Lineage of images on both backends, also for clients that made none of the images.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use crate::support::Home;
use crate::support::raw::RawClient;
use crate::support::stub::{IMAGE, Stub};
use serde_json::{Value, json};

/// Runs a command and returns the UUID of its result image.
fn run_for_image(raw: &mut RawClient, image: &str, command: &str) -> String {
    let result = raw.call_ok(
        "run",
        json!({"image": image, "command": command, "disposable": false}),
    );
    result["result_image_uuid"].as_str().unwrap().to_owned()
}

/// Reads the lineage of an image.
fn lineage(raw: &mut RawClient, image: &str) -> Value {
    let uri = format!("contree://image/{image}/lineage");
    let answer = raw.request("resources/read", json!({"uri": uri}));
    let text = answer["result"]["contents"][0]["text"].as_str();
    serde_json::from_str(text.unwrap_or_else(|| panic!("{answer}"))).unwrap()
}

fn image_set(images: &Value) -> BTreeSet<&str> {
    let images = images.as_array().unwrap();
    let set: BTreeSet<&str> = images.iter().map(|image| image.as_str().unwrap()).collect();
    assert_eq!(set.len(), images.len(), "{images:?}");
    set
}

/// Checks that other clients, which made none or some of the images, report the same lineage as the
/// client that made them.
///
/// `client` returns the program for a client with the given name. Each client has its own state
/// directory.
fn check_lineage(client: impl Fn(&str) -> Command) {
    let mut first = RawClient::initialized(client("first"), "2025-11-25");
    let root = run_for_image(&mut first, "tag:host", "true");
    let one = run_for_image(&mut first, "tag:host", "echo 1 > /one");
    let two = run_for_image(&mut first, &one, "echo 2 > /two");
    let three = run_for_image(&mut first, &two, "echo 3 > /three");
    let other = run_for_image(&mut first, &one, "echo 4 > /four");
    let of_three = |raw: &mut RawClient| {
        let found = lineage(raw, &three);
        assert_eq!(found["ancestors"], json!([two, one, root]), "{found}");
        assert_eq!(found["image"], json!(three));
        assert_eq!(found["parent"], json!(two));
        assert_eq!(found["root"], json!(root));
        assert_eq!(found["depth"], json!(3));
        assert_eq!(found["is_known"], json!(true));
        assert_eq!(found["data"]["source"], "echo 3 > /three", "{found}");
        assert_eq!(found["data"]["kind"], "instance", "{found}");
    };
    of_three(&mut first);
    // A client with an empty store finds all of it at the backend.
    let mut second = RawClient::modern(client("second"));
    of_three(&mut second);
    for raw in [&mut first, &mut second] {
        let found = lineage(raw, &one);
        assert_eq!(
            image_set(&found["children"]),
            BTreeSet::from([&*two, &*other])
        );
        assert_eq!(image_set(&found["ancestors"]), BTreeSet::from([&*root]));
        let found = lineage(raw, "tag:host");
        assert_eq!(
            (&found["image"], &found["depth"]),
            (&json!(root), &json!(0))
        );
        assert_eq!(
            (&found["root"], &found["parent"]),
            (&json!(root), &Value::Null)
        );
        assert_eq!(image_set(&found["children"]), BTreeSet::from([&*one]));
    }
    // A new image is known to both clients, also to the one that has asked before.
    let four = run_for_image(&mut second, &three, "echo 5 > /five");
    for raw in [&mut first, &mut second] {
        assert_eq!(
            image_set(&lineage(raw, &three)["children"]),
            BTreeSet::from([&*four])
        );
        let found = lineage(raw, &four);
        assert_eq!(
            found["ancestors"],
            json!([three, two, one, root]),
            "{found}"
        );
        assert_eq!(found["data"]["source"], "echo 5 > /five", "{found}");
    }
    // A command that changes nothing makes no image and gets no child.
    assert_eq!(run_for_image(&mut second, &four, "true"), four);
    let found = lineage(&mut first, &four);
    assert_eq!(
        (&found["parent"], &found["children"]),
        (&json!(three), &json!([]))
    );
}

#[test]
fn all_clients_of_the_embedded_engine_see_the_same_lineage() {
    let home = Home::new();
    check_lineage(|name| {
        let mut command = home.command();
        command.env("CONTREE_STATE_DIR", home.path().join(name));
        command
    });
}

/// The engine as a service, for clients that know only its address and token.
struct Service {
    child: Child,
    url: String,
}

impl Service {
    fn start(home: &Home) -> Self {
        let token = home.path().join("token");
        std::fs::write(&token, "a-secret-token").unwrap();
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut child = home
            .command()
            .args(["engine", "serve", "--listen", "127.0.0.1:0", "--token-file"])
            .arg(&token)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let address = line.split(" on ").nth(1)?;
                Some(address.split(',').next()?.to_owned())
            })
            .unwrap();
        // Keep reading, so that the engine never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn all_clients_of_a_service_see_the_same_lineage() {
    let home = Home::new();
    let service = Service::start(&home);
    let homes = [Home::new(), Home::new()];
    check_lineage(|name| homes[usize::from(name == "second")].command_for(&service.url));
}

/// The stub has records that only a hosted service has: public images without an origin, imports,
/// and operations that made no image or have not ended.
#[test]
fn the_lineage_of_images_that_others_made_is_complete() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stub = Stub::default();
    let url = runtime.block_on(stub.start());
    let image = |n: u32| format!("55555555-5555-4555-8555-{n:012}");
    let run = |source: &str, result: &str, command: &str| {
        stub.add_operation(json!({
            "image_uuid": source, "result_image_uuid": result,
            "metadata": {"command": command, "image": source},
        }))
    };
    run(IMAGE, &image(1), "one");
    run(&image(1), &image(2), "two");
    let third = run(&image(2), &image(3), "three");
    run(&image(3), &image(3), "true");
    stub.add_operation(json!({"image_uuid": image(2), "status": "FAILED", "error": "no"}));
    stub.add_operation(
        json!({"image_uuid": image(2), "metadata": {"command": "disposable", "image": image(2)}}),
    );
    stub.add_operation(json!({
        "image_uuid": image(2), "status": "EXECUTING", "metadata": {"command": "sleep", "image": image(2)},
    }));
    stub.add_operation(json!({
        "kind": "image_import", "image_uuid": image(9), "result_image_uuid": image(9),
        "metadata": {"registry": {"url": "docker://registry.example/base:1"}, "tag": "base"},
    }));
    run(&image(9), &image(10), "ten");

    let home = Home::new();
    let mut raw = RawClient::initialized(home.command_for(&url), "2025-11-25");
    let found = lineage(&mut raw, &image(3));
    assert_eq!(
        found["ancestors"],
        json!([image(2), image(1), IMAGE]),
        "{found}"
    );
    assert_eq!(found["data"]["source"], "three", "{found}");
    assert_eq!(found["data"]["operation_uuid"], json!(third), "{found}");
    assert_eq!(found["children"], json!([]), "{found}");
    assert_eq!(lineage(&mut raw, &image(2))["children"], json!([image(3)]));
    let public = lineage(&mut raw, IMAGE);
    assert_eq!(
        (&public["is_known"], &public["depth"], &public["root"]),
        (&json!(false), &json!(0), &json!(IMAGE)),
        "{public}"
    );
    assert_eq!(public["children"], json!([image(1)]), "{public}");
    let imported = lineage(&mut raw, &image(9));
    assert_eq!(
        (
            &imported["is_known"],
            &imported["parent"],
            &imported["root"]
        ),
        (&json!(true), &Value::Null, &json!(image(9))),
        "{imported}"
    );
    assert_eq!(imported["data"]["kind"], "image_import", "{imported}");
    assert_eq!(
        imported["data"]["source"], "docker://registry.example/base:1",
        "{imported}"
    );
    assert_eq!(
        lineage(&mut raw, &image(10))["ancestors"],
        json!([image(9)])
    );
    // A known lineage costs only the requests for new operations.
    stub.take_requests();
    lineage(&mut raw, &image(3));
    let requests = stub.take_requests();
    assert!(requests.len() <= 2, "{requests:?}");
}

#[test]
fn the_root_is_reported_at_any_depth() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stub = Stub::default();
    let url = runtime.block_on(stub.start());
    let image = |n: u32| match n {
        0 => IMAGE.to_owned(),
        n => format!("55555555-5555-4555-8555-{n:012}"),
    };
    for n in 0..1200 {
        stub.add_operation(json!({"image_uuid": image(n), "result_image_uuid": image(n + 1)}));
    }
    let home = Home::new();
    let mut raw = RawClient::initialized(home.command_for(&url), "2025-11-25");
    let far = lineage(&mut raw, &image(1200));
    assert_eq!((&far["depth"], &far["root"]), (&json!(1200), &json!(IMAGE)));
    assert_eq!(far["ancestors"].as_array().unwrap().len(), 1000);
    assert_eq!(far["ancestors"][999], json!(image(200)));
    assert_eq!(far["truncated"], true);
    let near = lineage(&mut raw, &image(1000));
    assert_eq!(near["ancestors"].as_array().unwrap().len(), 1000);
    assert_eq!(near.get("truncated"), None);
}
