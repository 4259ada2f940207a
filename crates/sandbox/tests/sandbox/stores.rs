//! Tests of stores: locks, names, ids.

use std::time::{Duration, Instant};
use std::{fs, thread};

use contree_sandbox::{
    Check, CheckState, Error, LayerId, LayerStore, Sandbox, StoreError, StoreOptions, Unavailable,
    diagnose,
};

use crate::support::*;

fn open(name: &str) -> LayerStore {
    LayerStore::open(&directory().join(name), StoreOptions::default()).unwrap()
}

#[test]
fn a_run_belongs_to_one_process_at_a_time() {
    let store = open("locks");
    let other = open("locks");
    let run = store.create_run("one").unwrap();
    assert!(store.create_run("one").is_err());
    assert_eq!(other.runs().unwrap(), ["one"]);
    // The other handle stands for another process: the lock is on the open file.
    assert!(other.run_is_live("one").unwrap());
    assert!(matches!(
        other.remove_run("one"),
        Err(Error::Store(StoreError::Busy(_)))
    ));
    drop(run);
    // A process that another test starts shares the lock until it executes its program.
    let deadline = Instant::now() + Duration::from_secs(20);
    while other.run_is_live("one").unwrap() {
        assert!(Instant::now() < deadline, "the lock is still held");
        thread::yield_now();
    }
    other.remove_run("one").unwrap();
    other.remove_run("one").unwrap();
    assert!(!other.run_is_live("one").unwrap());
    assert!(store.runs().unwrap().is_empty());
    for name in ["", "..", ".hidden", "a/b", "a b", "ä"] {
        assert!(
            matches!(
                store.create_run(name),
                Err(Error::Store(StoreError::Name(_)))
            ),
            "{name}"
        );
    }
}

#[test]
fn a_process_can_remove_a_run_that_it_holds() {
    let store = open("own");
    let run = store.create_run("mine").unwrap();
    store.remove_run(run.name()).unwrap();
    assert!(store.runs().unwrap().is_empty());
}

#[test]
fn a_commit_makes_a_layer_once() {
    let store = open("commits");
    let run = store.create_run("r").unwrap();
    fs::write(run.path().join("L/d/file"), "x").unwrap();
    store.commit(&run, LayerId(7)).unwrap();
    assert!(store.layer_exists(LayerId(7)));
    assert_eq!(
        fs::read_to_string(store.root().join("l/7/file")).unwrap(),
        "x"
    );
    let again = store.create_run("s").unwrap();
    assert!(matches!(
        store.commit(&again, LayerId(7)),
        Err(Error::Store(StoreError::LayerExists(_)))
    ));
    store.sync().unwrap();
    store.remove_layer(LayerId(7)).unwrap();
    store.remove_layer(LayerId(7)).unwrap();
    assert!(!store.layer_exists(LayerId(7)));
}

#[test]
fn the_ids_are_recorded_with_the_first_use() {
    let store = open("ids");
    let record = store.root().join("idmap");
    assert!(!record.exists());
    let _run = store.create_run("r").unwrap();
    let first = fs::read_to_string(&record).unwrap();
    assert_eq!(open("ids").id_map(), store.id_map());
    let (uid, gid) = store.id_map().root_owner();
    assert!(uid != 0 && gid != 0, "root of this machine is never mapped");
    assert_eq!(fs::read_to_string(&record).unwrap(), first);
    fs::write(&record, "{").unwrap();
    let error = LayerStore::open(store.root(), StoreOptions::default()).unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
}

/// Options with a record of ids for this test alone.
fn with_record(name: &str) -> StoreOptions {
    let mut options = StoreOptions::default();
    options.id_record = directory().join(name).join("ids.json");
    options
}

/// What `diagnose` says about the recorded ids of a store.
fn recorded_ids(store: &LayerStore, options: &StoreOptions) -> Check {
    let checks = diagnose(store.root(), options);
    let check = checks
        .into_iter()
        .find(|check| check.name == "recorded ids");
    check.unwrap()
}

#[test]
fn two_stores_of_root_have_different_ids_and_a_copy_is_reported() {
    if !rustix::process::geteuid().is_root() {
        // All stores of an ordinary user have the ids that belong to this user.
        return;
    }
    let options = with_record("record");
    let open = |name: &str| LayerStore::open(&directory().join(name), options.clone()).unwrap();
    let (one, two) = (open("first"), open("second"));
    assert_ne!(one.id_map().root_owner(), two.id_map().root_owner());
    let _runs = (one.create_run("r").unwrap(), two.create_run("r").unwrap());
    // Ids are the same when the store is opened again, and a copy has those of its files.
    assert_eq!(open("first").id_map(), one.id_map());
    let copy = directory().join("copy");
    fs::create_dir_all(&copy).unwrap();
    fs::copy(one.root().join("idmap"), copy.join("idmap")).unwrap();
    assert_eq!(open("copy").id_map(), one.id_map());
    assert_ne!(
        open("third").id_map().root_owner(),
        one.id_map().root_owner()
    );
    assert_eq!(recorded_ids(&two, &options).state, CheckState::Fine);
    let shared = recorded_ids(&one, &options);
    assert_eq!(shared.state, CheckState::Degraded, "{shared:?}");
    assert!(shared.detail.contains(copy.to_str().unwrap()), "{shared:?}");
}

#[test]
fn a_store_of_an_earlier_release_keeps_its_ids_and_no_new_one_gets_them() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let options = with_record("former-record");
    let former = directory().join("former");
    fs::create_dir_all(&former).unwrap();
    let extents = r#"[{"inside":0,"outside":1879048192,"count":65536}]"#;
    let map = format!(
        r#"{{"kind":"range","writer":"root","engine":0,"uids":{extents},"gids":{extents}}}"#
    );
    fs::write(former.join("idmap"), map).unwrap();
    // The new store is made before the engine sees the former one again.
    let new = LayerStore::open(&directory().join("newer"), options.clone()).unwrap();
    let former = LayerStore::open(&former, options.clone()).unwrap();
    assert_eq!(former.id_map().root_owner(), (1_879_048_192, 1_879_048_192));
    assert_ne!(new.id_map().root_owner(), former.id_map().root_owner());
}

#[test]
fn a_damaged_record_of_ids_stops_new_stores_alone() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let options = with_record("damaged-record");
    let old = LayerStore::open(&directory().join("before-damage"), options.clone()).unwrap();
    let _run = old.create_run("r").unwrap();
    fs::write(&options.id_record, "{").unwrap();
    let error = LayerStore::open(&directory().join("after-damage"), options.clone()).unwrap_err();
    assert!(error.to_string().contains("ids.json is damaged"), "{error}");
    assert!(error.to_string().contains("remove it"), "{error}");
    LayerStore::open(old.root(), options).unwrap();
}

#[test]
fn a_record_of_ids_that_cannot_be_written_stops_no_store_and_is_reported() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut options = StoreOptions::default();
    let file = directory().join("no-directory");
    fs::write(&file, "").unwrap();
    options.id_record = file.join("ids.json");
    let open = || LayerStore::open(&directory().join("unrecorded"), options.clone()).unwrap();
    let store = open();
    let _run = store.create_run("r").unwrap();
    assert_eq!(open().id_map(), store.id_map());
    let recorded = recorded_ids(&store, &options);
    assert_eq!(recorded.state, CheckState::Degraded, "{recorded:?}");
    assert!(recorded.detail.contains("ids.json"), "{recorded:?}");
    assert!(recorded.remedy.is_some(), "{recorded:?}");
}

#[test]
fn a_caller_can_add_directories_and_name_its_settings() {
    let root = directory().join("settings");
    let mut options = StoreOptions::default();
    options.directories = vec!["notes".into()];
    options.directory_setting = Some("WHERE".into());
    let store = LayerStore::open(&root, options.clone()).unwrap();
    assert!(store.root().join("notes").is_dir());
    fs::write(root.join("idmap"), "{").unwrap();
    let of = |options| LayerStore::open(&root, options).unwrap_err().to_string();
    let (named, unnamed) = (of(options), of(StoreOptions::default()));
    assert!(
        named.ends_with(", or set WHERE to a new directory"),
        "{named}"
    );
    assert!(unnamed.ends_with(", or use a new directory"), "{unnamed}");
}

#[test]
fn the_store_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let store = open("closed");
    let _run = store.create_run("r").unwrap();
    let mode = fs::metadata(store.root()).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "{mode:o}");
}

#[test]
fn another_users_store_is_refused() {
    use std::os::unix::fs::MetadataExt;
    // For an ordinary user, /usr belongs to another user everywhere. Root makes such a directory.
    let path = directory().join("foreign");
    fs::create_dir_all(&path).unwrap();
    if fs::metadata(&path).unwrap().uid() == 0 {
        std::os::unix::fs::chown(&path, Some(1234), None).unwrap();
        let error = LayerStore::open(&path, StoreOptions::default()).unwrap_err();
        assert!(error.to_string().contains("user with id 1234"), "{error}");
    } else {
        let error = LayerStore::open("/usr".as_ref(), StoreOptions::default()).unwrap_err();
        assert!(error.to_string().contains("user with id 0"), "{error}");
    }
}

#[test]
fn ids_that_cannot_be_mapped_any_more_are_an_error_with_a_remedy() {
    let store = open("lost");
    let _run = store.create_run("r").unwrap();
    let record = store.root().join("idmap");
    let engine = rustix::process::geteuid().as_raw();
    // No process may map these ids: for root they exceed the highest id, and other users were never
    // granted them.
    let (writer, extents) = match engine {
        0 => (
            "root",
            r#"[{"inside":0,"outside":4294967200,"count":65536}]"#,
        ),
        _ => ("own", r#"[{"inside":0,"outside":4294967200,"count":1}]"#),
    };
    let map = format!(
        r#"{{"kind":"range","writer":"{writer}","engine":{engine},"uids":{extents},"gids":{extents}}}"#
    );
    fs::write(&record, map).unwrap();
    let store = open("lost");
    let base = fs::read_to_string(&record).unwrap();
    let run = store.create_run("s").unwrap();
    fs::create_dir_all(store.root().join("layers/1/d")).unwrap();
    let error = Sandbox::start(&store, &run, &spec()).unwrap_err();
    assert!(
        matches!(error, Error::Unavailable(Unavailable::IdMap { .. })),
        "{error:?}"
    );
    let message = error.to_string();
    assert!(
        message.contains("cannot be mapped any more")
            && message.ends_with(" or use a new directory"),
        "{message}"
    );
    assert_eq!(fs::read_to_string(&record).unwrap(), base);
    let checks = diagnose(store.root(), &StoreOptions::default());
    let recorded = checks
        .iter()
        .find(|check| check.name == "recorded ids")
        .unwrap();
    assert_eq!(recorded.state, CheckState::Missing);
}
