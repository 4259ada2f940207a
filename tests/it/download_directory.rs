//! Downloads of whole directories: what they keep, where they may go, and killed processes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Stdio};

use crate::support::Home;
use crate::support::raw::RawClient;
use serde_json::{Value, json};

fn commit(raw: &mut RawClient, command: &str) -> Value {
    let arguments = json!({"image": "tag:host", "command": command, "disposable": false});
    let ended = raw.call_ok("run", arguments);
    assert_eq!(ended["exit_code"], 0, "{ended}");
    ended["result_image_uuid"].clone()
}

const MAKE: &str = "mkdir -p /out/d/e /out/empty; cd /out; echo one > a; echo two > d/b; chmod 750 a; chmod 700 empty; \
    ln -s d/b link; ln -s /etc/passwd leads-out; ln a hard; mkfifo pipe; mkdir -p .git; echo x > .git/config; \
    touch -h -d '2001-02-03 04:05:06Z' a link empty; chmod 4711 d/b";

#[test]
fn a_directory_is_copied_whole_into_a_new_or_empty_place() {
    let home = Home::new();
    let mut raw = RawClient::initialized(home.command(), "2025-11-25");
    let image = commit(&mut raw, MAKE);
    let empty = home.path().join("empty-place");
    fs::create_dir(&empty).unwrap();
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o700)).unwrap();
    for place in ["new/deep/place", "empty-place"] {
        let place = home.path().join(place);
        let arguments = json!({"image": image, "path": "/out", "destination": place});
        let saved = raw.call_ok("download", arguments.clone());
        assert_eq!(
            (&saved["files"], &saved["links"], &saved["directories"]),
            (&json!(3), &json!(1), &json!(3)),
            "{saved}"
        );
        let skipped: Vec<&str> = saved["skipped"]
            .as_array()
            .unwrap()
            .iter()
            .map(|path| path["path"].as_str().unwrap())
            .collect();
        assert_eq!(skipped.len(), 4, "{saved}");
        for path in [".git", ".git/config", "leads-out", "pipe"] {
            assert!(skipped.contains(&path), "{saved}");
            assert!(place.join(path).symlink_metadata().is_err(), "{path}");
        }
        let mode = |path: &str| {
            let found = place.join(path).symlink_metadata().unwrap();
            (found.permissions().mode() & 0o7777, found.mtime())
        };
        assert_eq!(fs::read_to_string(place.join("link")).unwrap(), "two\n");
        assert_eq!(mode("a"), (0o750, 981_173_106));
        assert_eq!(mode("empty"), (0o700, 981_173_106));
        assert_eq!(mode("link").1, 981_173_106);
        assert_eq!(mode("d/b").0, 0o711, "set-id bits are not kept");
        let inode = |path: &str| place.join(path).metadata().unwrap().ino();
        assert_eq!(inode("a"), inode("hard"));
        // A place that existed keeps its permissions.
        let bits = place.metadata().unwrap().permissions().mode() & 0o777;
        assert!(place != empty || bits == 0o700, "{bits:o}");
        // Now something is there.
        let refused = raw.call_error("download", arguments);
        assert!(refused.contains("overwrite"), "{refused}");
    }
}

#[test]
fn an_existing_directory_is_overwritten_only_if_asked() {
    let home = Home::new();
    let mut raw = RawClient::initialized(home.command(), "2025-11-25");
    let image = commit(&mut raw, MAKE);
    let place = home.path().join("place");
    let outside = home.path().join("outside");
    fs::create_dir_all(place.join("link/with")).unwrap();
    fs::write(place.join("link/with/files"), "kept").unwrap();
    fs::write(place.join("mine"), "kept").unwrap();
    fs::write(place.join("a"), "old").unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, place.join("d")).unwrap();
    let mut arguments = json!({"image": image, "path": "/out", "destination": place});
    raw.call_error("download", arguments.clone());
    assert_eq!(fs::read_to_string(place.join("a")).unwrap(), "old");
    arguments["overwrite"] = json!(true);
    let saved = raw.call_ok("download", arguments);
    assert_eq!(saved["replaced"], true, "{saved}");
    assert_eq!(fs::read_to_string(place.join("a")).unwrap(), "one\n");
    assert_eq!(fs::read_to_string(place.join("mine")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(place.join("d/b")).unwrap(), "two\n");
    assert_eq!(
        fs::read_to_string(place.join("link/with/files")).unwrap(),
        "kept"
    );
    assert_eq!(
        fs::read_dir(&outside).unwrap().count(),
        0,
        "nothing goes through a link"
    );
    let skipped = saved["skipped"].to_string();
    assert!(
        skipped.contains("a directory with files is there"),
        "{saved}"
    );
}

fn call(home: &Home, arguments: &[String]) -> Child {
    home.command()
        .args(["call", "download"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Number of files in the staging directory in a directory; `None` if there is none.
fn staged(parent: &Path) -> Option<usize> {
    let entries = fs::read_dir(parent).unwrap().flatten();
    let staging = entries.map(|entry| entry.path()).find(|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with(".contree-part-")
    })?;
    Some(fs::read_dir(staging.join("content")).map_or(0, Iterator::count))
}

#[test]
fn a_killed_download_of_a_directory_leaves_nothing_half_and_a_repeat_finishes() {
    let home = Home::new();
    let mut raw = RawClient::initialized(home.command(), "2025-11-25");
    let make = "mkdir /out; cd /out; seq 20000 > f0; for n in $(seq 1 299); do cp f0 f$n; done";
    let image = commit(&mut raw, make);
    let expected: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    let is_whole = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text == expected);
    let mut kills = 0;
    for step in 0..6 {
        let parent = home.path().join(format!("parent{step}"));
        let place = parent.join("place");
        fs::create_dir(&parent).unwrap();
        let overwrites = step >= 4;
        if overwrites {
            fs::create_dir(&place).unwrap();
            fs::write(place.join("f0"), "old").unwrap();
        }
        let arguments = [
            format!("image={}", image.as_str().unwrap()),
            "path=/out".to_owned(),
            format!("destination={}", place.display()),
            format!("overwrite={overwrites}"),
        ];
        let mut child = call(&home, &arguments);
        let happened = || match step {
            0 => staged(&parent).is_some(),
            1 => staged(&parent) >= Some(1),
            2 => staged(&parent) >= Some(150),
            3 => place.exists(),
            4 => staged(&place) >= Some(200),
            _ => place.join("f1").exists(),
        };
        loop {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            if happened() {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
                break;
            }
        }
        if overwrites {
            for entry in fs::read_dir(&place).unwrap().flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                let is_staging = name.to_string_lossy().starts_with(".contree-part-");
                let is_old =
                    name == "f0" && fs::read_to_string(&path).is_ok_and(|text| text == "old");
                assert!(is_staging || is_old || is_whole(&path), "{step}: {name:?}");
            }
        } else if place.exists() {
            assert!(
                (0..300).all(|n| is_whole(&place.join(format!("f{n}")))),
                "{step}"
            );
            fs::remove_dir_all(&place).unwrap();
        }
        assert!(call(&home, &arguments).wait().unwrap().success(), "{step}");
        assert!(
            (0..300).all(|n| is_whole(&place.join(format!("f{n}")))),
            "{step}"
        );
        assert_eq!((staged(&parent), staged(&place)), (None, None), "{step}");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 300, "{step}");
    }
    assert!(kills >= 3, "only {kills} calls were killed in time");
}
