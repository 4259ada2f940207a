//! Tests of reading images without running anything from them.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use contree_sandbox::{EntryKind, LayerId, View, ViewError, Walk};

use crate::support::*;

fn layer(script: &str) -> Vec<LayerId> {
    let (_, layer) = commit(&[HOST], script);
    vec![layer.unwrap(), HOST]
}

fn text(view: &View, path: &str) -> String {
    let mut text = String::new();
    view.open_file(path.as_ref())
        .unwrap()
        .0
        .read_to_string(&mut text)
        .unwrap();
    text
}

#[test]
fn entries_are_described_as_seen_inside() {
    let layers = layer(
        "mkdir -m 2750 /d; printf 12345 >/d/f; ln /d/f /d/h; ln -s f /d/l; touch -d @1700000000 /d/f; chmod 4711 /d/f; rm /etc/passwd",
    );
    let view = View::open(store(), &layers).unwrap();
    let directory = view.stat("/d".as_ref()).unwrap();
    assert_eq!(
        (directory.kind, directory.mode, directory.uid, directory.gid),
        (EntryKind::Directory, 0o42750, 0, 0)
    );
    let entries = view.list("/d".as_ref()).unwrap();
    let names: Vec<_> = entries
        .iter()
        .map(|entry| entry.name.to_str().unwrap())
        .collect();
    assert_eq!(names, ["f", "h", "l"]);
    let file = &entries[0];
    assert_eq!(
        (file.kind, file.size, file.mode, file.nlink, file.mtime),
        (EntryKind::File, 5, 0o104711, 2, 1_700_000_000)
    );
    assert_eq!(
        (entries[2].kind, entries[2].target.as_deref()),
        (EntryKind::Symlink, Some(OsStr::new("f")))
    );
    assert_eq!(view.stat("/d/l".as_ref()).unwrap().kind, EntryKind::Symlink);
    assert_eq!(text(&view, "/d/l"), "12345");
    assert_eq!(view.stat("/".as_ref()).unwrap().name, "/");
    assert!(matches!(
        view.stat("/etc/passwd".as_ref()),
        Err(ViewError::NotFound)
    ));
    assert!(matches!(
        view.list("/d/f".as_ref()),
        Err(ViewError::NotADirectory)
    ));
    assert!(matches!(
        view.open_file("/d".as_ref()),
        Err(ViewError::NotAFile)
    ));
    assert!(matches!(
        view.stat("/d/f/x".as_ref()),
        Err(ViewError::NotADirectory)
    ));
    assert!(matches!(
        view.stat(Path::new(&"x/".repeat(5000))),
        Err(ViewError::NotFound)
    ));
}

#[test]
fn a_single_layer_can_be_looked_into() {
    let view = View::open(store(), &[HOST]).unwrap();
    assert!(text(&view, "/etc/passwd").contains("root"));
    assert!(view.list("/proc".as_ref()).unwrap().is_empty());
}

#[test]
fn owners_and_files_of_other_users_are_seen() {
    if store().id_map().is_single() {
        return;
    }
    let layers =
        layer("mkdir /h; echo secret >/h/s; chown -R 1000:1001 /h; chmod 700 /h; chmod 600 /h/s");
    let view = View::open(store(), &layers).unwrap();
    let entry = &view.list("/h".as_ref()).unwrap()[0];
    assert_eq!((entry.uid, entry.gid), (1000, 1001));
    assert_eq!(text(&view, "/h/s"), "secret\n");
}

#[test]
fn no_path_leads_out_and_no_file_hangs_the_view() {
    let outside = directory().join("secret");
    std::fs::write(&outside, "secret").unwrap();
    let script = format!(
        "ln -s {outside} /a; ln -s ../../../../../../../..{outside} /b; ln -s /proc/self/exe /c; ln -s / /r; ln -s loop /loop; mkfifo /fifo; mkdir /d; ln -s .. /d/up",
        outside = outside.display()
    );
    let view = View::open(store(), &layer(&script)).unwrap();
    for path in [
        "/a",
        "/b",
        "/c",
        "/r/a",
        "/d/up/up/a",
        "/../../../../../etc/shadow",
    ] {
        assert!(
            matches!(view.open_file(path.as_ref()), Err(ViewError::NotFound)),
            "{path}"
        );
    }
    assert!(matches!(
        view.open_file("/loop".as_ref()),
        Err(ViewError::TooManyLinks)
    ));
    assert!(matches!(
        view.open_file("/fifo".as_ref()),
        Err(ViewError::NotAFile)
    ));
    assert_eq!(view.stat("/fifo".as_ref()).unwrap().kind, EntryKind::Fifo);
    assert_eq!(
        view.stat("/d/up/d/up/a".as_ref()).unwrap().kind,
        EntryKind::Symlink
    );
}

#[test]
fn names_that_are_not_utf_8_stay_unchanged() {
    let layers = layer(
        "mkdir /n; touch \"$(printf '/n/caf\\351')\"; ln -s \"$(printf 'to\\377')\" /n/link; echo x >\"$(printf '/n/new\\nline')\"",
    );
    let view = View::open(store(), &layers).unwrap();
    let entries = view.list("/n".as_ref()).unwrap();
    let names: Vec<OsString> = entries.iter().map(|entry| entry.name.clone()).collect();
    assert_eq!(
        names,
        [
            OsString::from_vec(b"caf\xe9".to_vec()),
            "link".into(),
            "new\nline".into()
        ]
    );
    assert_eq!(
        entries[1].target.as_deref(),
        Some(OsStr::from_bytes(b"to\xff"))
    );
    assert!(
        view.stat(Path::new(OsStr::from_bytes(b"/n/caf\xe9")))
            .is_ok()
    );
}

#[test]
fn large_directories_are_listed_in_full() {
    let view = View::open(
        store(),
        &layer(
            "mkdir /many; cd /many; seq -f 'a-rather-long-name-for-a-file-%06g' 5000 | xargs touch",
        ),
    )
    .unwrap();
    let entries = view.list("/many".as_ref()).unwrap();
    assert_eq!(entries.len(), 5000);
    assert_eq!(entries[4999].name, "a-rather-long-name-for-a-file-005000");
}

#[test]
fn a_view_is_shared_between_threads_and_its_files_outlive_it() {
    let view = Arc::new(View::open(store(), &layer("echo x >/x")).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let view = view.clone();
            std::thread::spawn(move || (0..50).for_each(|_| assert_eq!(text(&view, "/x"), "x\n")))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let (mut file, _) = view.open_file("/x".as_ref()).unwrap();
    drop(view);
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "x\n");
}

/// Collects all entries of a walk, with the content of regular files.
fn walk_entries(walk: &mut Walk, root: &str, avoid: &str) -> Vec<(String, EntryKind, String)> {
    let mut all = Vec::new();
    assert_eq!(
        walk.start(root.as_ref()).unwrap().kind,
        EntryKind::Directory
    );
    let mut enter = false;
    while walk.next(enter).unwrap() {
        let count = walk.entries().len();
        assert!(
            walk.entries()[..count - 1]
                .iter()
                .all(|item| item.entry.kind != EntryKind::Directory)
        );
        let mut opened = Vec::new();
        let all_indices: Vec<usize> = (0..count).collect();
        for indices in all_indices.chunks(Walk::MAX_OPEN) {
            opened.extend(walk.open(indices).unwrap());
        }
        for (item, file) in walk.entries().iter().zip(opened) {
            assert_eq!(file.is_ok(), item.entry.kind == EntryKind::File, "{item:?}");
            let mut content = String::new();
            if let Ok(mut file) = file {
                file.read_to_string(&mut content).unwrap();
            }
            let path = walk.directory().join(&item.entry.name);
            all.push((
                path.to_string_lossy().into_owned(),
                item.entry.kind,
                content,
            ));
        }
        enter = walk.ends_with_directory()
            && walk.entries()[count - 1].entry.name.to_str() != Some(avoid);
    }
    all
}

#[test]
fn a_walk_returns_every_entry_once_and_opens_only_files() {
    let layers = layer(
        "mkdir -p /w/b/c/d /w/a /w/z/skip/more /w/empty/empty; echo 1 >/w/b/c/d/f; echo 2 >/w/b/x; echo 3 >/w/z/y; ln -s / /w/a/root; \
         mkfifo /w/b/fifo; ln /w/b/x /w/a/same; echo no >/w/z/skip/more/f; ln -s w /v; echo hidden >/w/.h; chmod 0 /w/b/x /w/z /w/b/c",
    );
    let mut walk = Walk::new(View::open(store(), &layers).unwrap());
    let all = walk_entries(&mut walk, "/v", "skip");
    let summary: Vec<(&str, EntryKind, &str)> = all
        .iter()
        .map(|(path, kind, content)| (path.as_str(), *kind, content.trim_end()))
        .collect();
    assert_eq!(
        summary,
        [
            (".h", EntryKind::File, "hidden"),
            ("a", EntryKind::Directory, ""),
            ("a/root", EntryKind::Symlink, ""),
            ("a/same", EntryKind::File, "2"),
            ("b", EntryKind::Directory, ""),
            ("b/fifo", EntryKind::Fifo, ""),
            ("b/x", EntryKind::File, "2"),
            ("b/c", EntryKind::Directory, ""),
            ("b/c/d", EntryKind::Directory, ""),
            ("b/c/d/f", EntryKind::File, "1"),
            ("empty", EntryKind::Directory, ""),
            ("empty/empty", EntryKind::Directory, ""),
            ("z", EntryKind::Directory, ""),
            ("z/y", EntryKind::File, "3"),
            ("z/skip", EntryKind::Directory, ""),
        ]
    );
    assert_eq!(walk.start("/w/b/x".as_ref()).unwrap().kind, EntryKind::File);
    assert!(!walk.next(true).unwrap());
    assert_eq!(
        walk.start("/w/b/fifo".as_ref()).unwrap().kind,
        EntryKind::Fifo
    );
    assert!(matches!(
        walk.start("/w/none".as_ref()),
        Err(ViewError::NotFound)
    ));
    // A walk can be abandoned and started again.
    assert_eq!(
        walk_entries(&mut walk, "/w/b", ""),
        walk_entries(&mut walk, "/w/b", "")
    );
}

#[test]
fn a_walk_goes_deeper_than_a_path_and_through_large_directories() {
    let layers = layer(
        "mkdir -p /w/many /w/deep; cd /w/many; seq -f 'a-rather-long-name-for-a-file-%06g' 3000 | xargs touch; \
         n=$(printf '%0200d' 0); cd /w/deep; for i in $(seq 60); do mkdir $n; cd -P $n; done; echo bottom >f",
    );
    let mut walk = Walk::new(View::open(store(), &layers).unwrap());
    let all = walk_entries(&mut walk, "/w", "");
    assert_eq!(all.len(), 2 + 3000 + 60 + 1);
    let (path, _, content) = all.iter().find(|(path, ..)| path.ends_with("/f")).unwrap();
    assert_eq!(
        (path.len(), content.as_str()),
        (4 + 60 * 201 + 2, "bottom\n")
    );
    let names: Vec<&str> = all
        .iter()
        .filter_map(|(path, ..)| path.strip_prefix("many/"))
        .collect();
    assert!(names.is_sorted() && names.len() == 3000);
}
