use super::*;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

async fn insert_upload(store: &Store, sha256: &'static str) -> Result<(), StoreError> {
    store
        .write(move |c| uploads::insert(c, "b", sha256, "u"))
        .await
}

async fn find_upload(store: &Store, sha256: &'static str) -> Option<String> {
    store
        .read(move |c| uploads::find(c, "b", sha256))
        .await
        .unwrap()
}

#[test]
fn an_upload_used_since_the_check_is_not_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_owned();
    run(async {
        let store = Store::at(directory);
        insert_upload(&store, "a").await.unwrap();
        for (checked_at, expected) in [(0, Some("u".to_owned())), (i64::MAX, None)] {
            let delete = move |c: &Transaction<'_>| uploads::delete(c, "b", "a", checked_at);
            store.write(delete).await.unwrap();
            assert_eq!(find_upload(&store, "a").await, expected);
        }
    });
}

#[test]
fn only_the_owner_can_read_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("a/state");
    run(async {
        let store = Store::at(directory.clone());
        assert!(!directory.exists(), "the store is opened at its first use");
        insert_upload(&store, "s").await.unwrap();
        let again = Store::at(directory.clone());
        assert_eq!(find_upload(&again, "s").await, Some("u".into()));
        assert!(store.notes().is_empty());
    });
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
}

#[test]
fn a_corrupt_store_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let text = "this is a text that is long enough to be read as a header".repeat(20);
    std::fs::write(folder.path().join(FILE), &text).unwrap();
    run(async {
        let store = Store::at(folder.path().to_owned());
        insert_upload(&store, "s").await.unwrap();
        assert_eq!(find_upload(&store, "s").await, Some("u".into()));
        assert!(
            store.notes()[0].contains("a new store was started"),
            "{:?}",
            store.notes()
        );
        let again = Store::at(folder.path().to_owned());
        assert_eq!(find_upload(&again, "s").await, Some("u".into()));
        assert!(again.notes().is_empty());
    });
    let aside = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("broken-"))
        .unwrap();
    assert_eq!(std::fs::read_to_string(aside).unwrap(), text);
}

#[test]
fn a_store_found_corrupt_while_open_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        let store = Store::at(folder.path().to_owned());
        for sha256 in ["a", "b", "c"] {
            insert_upload(&store, sha256).await.unwrap();
        }
        drop(store);
        let path = folder.path().join(FILE);
        let connection = Connection::open(&path).unwrap();
        let query = "SELECT rootpage FROM sqlite_schema WHERE name = 'uploads'";
        let page: usize = connection.query_row(query, [], |row| row.get(0)).unwrap();
        drop(connection);
        let mut bytes = std::fs::read(&path).unwrap();
        // The schema stays; the page of the table is overwritten.
        bytes[(page - 1) * 4096..page * 4096].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let store = Store::at(folder.path().to_owned());
        assert!(insert_upload(&store, "d").await.is_err());
        insert_upload(&store, "d").await.unwrap();
        assert_eq!(find_upload(&store, "d").await, Some("u".into()));
        assert!(!store.notes().is_empty());
    });
}

#[test]
fn a_newer_or_unreachable_store_is_left_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let newer = folder.path().join("newer");
    std::fs::create_dir(&newer).unwrap();
    let connection = Connection::open(newer.join(FILE)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for (directory, why) in [
        (newer, "newer release"),
        (file.join("below"), "cannot open"),
    ] {
        run(async {
            let store = Store::at(directory);
            insert_upload(&store, "s").await.unwrap();
            assert_eq!(find_upload(&store, "s").await, Some("u".into()));
            assert!(store.notes()[0].contains(why), "{:?}", store.notes());
            // Ids and credentials would be lost with the process.
            let insert = |c: &Transaction<'_>| states::insert(c, "b", "d", "/s", None, b"[]");
            let error = store.write_durably(insert).await.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            // They may be in the file, so they do not count as unknown.
            let error = store.read_durably(|c| states::find(c, 1)).await;
            let error = error.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        });
    }
}

#[test]
fn many_writers_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..6 {
            let directory = folder.path().to_owned();
            scope.spawn(move || {
                run(async {
                    let store = Store::at(directory);
                    for n in 0..40 {
                        let sha256 = format!("{writer}-{n}");
                        store
                            .write(move |c| {
                                uploads::find(c, "b", &sha256)?;
                                uploads::insert(c, "b", &sha256, "u")
                            })
                            .await
                            .unwrap();
                    }
                });
            });
        }
    });
    let store = Store::at(folder.path().to_owned());
    let count = run(store.read(|c| {
        Ok(c.query_row("SELECT count(*) FROM uploads", [], |row| {
            row.get::<_, i64>(0)
        })?)
    }));
    assert_eq!(count.unwrap(), 240);
}
