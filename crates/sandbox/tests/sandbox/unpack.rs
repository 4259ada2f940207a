//! Tests of unpacking archives into layers, also of archives that try to write outside.

use std::io::Write as _;
use std::path::Path;

use contree_sandbox::{EntryKind, Error, LayerId, UnpackLimits, UnpackReport, View};
use tar::{Builder, EntryType, Header};

use crate::support::{fresh, store};

const LIMITS: UnpackLimits = UnpackLimits {
    entries: 1000,
    bytes: 1 << 30,
};

/// A builder of archives that does not check paths.
struct Archive(Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn add(mut self, path: &str, kind: EntryType, link: &str, content: &[u8]) -> Self {
        self.push(path, kind, link, content, 0o755, 0);
        self
    }

    fn push(
        &mut self,
        path: &str,
        kind: EntryType,
        link: &str,
        content: &[u8],
        mode: u32,
        id: u64,
    ) {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(id);
        header.set_gid(id);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.add(path, EntryType::Regular, "", content.as_bytes())
    }

    fn directory(self, path: &str) -> Self {
        self.add(path, EntryType::Directory, "", b"")
    }

    fn symlink(self, path: &str, to: &str) -> Self {
        self.add(path, EntryType::Symlink, to, b"")
    }

    fn link(self, path: &str, to: &str) -> Self {
        self.add(path, EntryType::Link, to, b"")
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0
            .append_pax_extensions(records.iter().copied())
            .unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    fn layer(self, below: &[LayerId]) -> Result<(LayerId, UnpackReport), Error> {
        unpack(&self.bytes(), below, LIMITS)
    }

    fn refused(self) -> String {
        match self.layer(&[]) {
            Err(Error::Archive(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }
}

fn unpack(
    archive: &[u8],
    below: &[LayerId],
    limits: UnpackLimits,
) -> Result<(LayerId, UnpackReport), Error> {
    let id = LayerId(fresh());
    let run = store().create_run(&format!("unpack-{}", id.0)).unwrap();
    let (unpacking, mut stream) = store().unpack(&run, below, limits)?;
    // Writing fails if the archive is refused before its end.
    let _ = stream.write_all(archive);
    drop(stream);
    let done = unpacking.wait();
    if done.is_ok() {
        store().commit(&run, id).unwrap();
    }
    let name = run.name().to_owned();
    store().remove_run(&name).unwrap();
    Ok((id, done?))
}

fn names(view: &View, path: &str) -> Vec<String> {
    view.list(Path::new(path))
        .unwrap()
        .into_iter()
        .map(|entry| entry.name.into_string().unwrap())
        .collect()
}

fn text(view: &View, path: &str) -> String {
    std::io::read_to_string(view.open_file(Path::new(path)).unwrap().0).unwrap()
}

#[test]
fn a_bottom_layer_has_the_files_of_the_archive() {
    let mut archive = Archive::new()
        .directory("etc/")
        .file("./etc/motd", "hello\n")
        .file("/absolute/is/inside", "x")
        .symlink("bin", "usr/bin")
        .link("etc/motd2", "etc/motd")
        .add("pipe", EntryType::Fifo, "", b"")
        .add("dev/null", EntryType::Char, "", b"")
        .file(".wh.nothing", "");
    archive.push("su", EntryType::Regular, "", b"x", 0o4755, 0);
    archive.push("shadow", EntryType::Regular, "", b"", 0o640, 42);
    archive.push("far", EntryType::Regular, "", b"", 0o640, 1_000_000);
    let (id, done) = archive
        .pax(&[
            ("SCHILY.xattr.user.kept", b"1"),
            ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
        ])
        .directory("marked/")
        .layer(&[])
        .unwrap();
    let single = store().id_map().is_single();
    assert_eq!((done.devices, done.entries), (1, 12));
    assert_eq!(done.all_root, if single { 2 } else { 0 });
    assert_eq!(done.unknown_owners, u64::from(!single));
    assert!(done.bytes > 0);
    let view = View::open(store(), &[id]).unwrap();
    for name in ["proc", "sys", "dev"] {
        assert_eq!(
            view.stat(Path::new(name)).unwrap().kind,
            EntryKind::Directory
        );
    }
    assert_eq!(text(&view, "/etc/motd2"), "hello\n");
    assert_eq!(text(&view, "/absolute/is/inside"), "x");
    let stat = |path: &str| view.stat(Path::new(path)).unwrap();
    assert_eq!(
        (stat("/etc/motd").nlink, stat("/etc").mtime),
        (2, 1_000_000_000)
    );
    assert_eq!(stat("/bin").target.unwrap(), "usr/bin");
    assert_eq!(stat("/pipe").kind, EntryKind::Fifo);
    assert_eq!(
        (stat("/su").mode & 0o7777, stat("/shadow").mode & 0o7777),
        (0o4755, 0o640)
    );
    let owner = |id| if single { 0 } else { id };
    assert_eq!(
        (stat("/shadow").uid, stat("/far").uid),
        (owner(42), owner(65_534))
    );
    assert_eq!(names(&view, "/dev"), [""; 0]);
    assert!(!names(&view, "/").iter().any(|name| name.starts_with(".wh")));
}

#[test]
fn a_layer_removes_and_replaces_what_is_below() {
    let mut base = Archive::new()
        .file("gone", "")
        .directory("dir/")
        .file("dir/old", "old")
        .file("dir/kept", "kept")
        .directory("opaque/")
        .file("opaque/old", "")
        .directory("replaced/")
        .file("replaced/old", "")
        .directory("early/")
        .file("early/old", "")
        .file("file", "below\n")
        .symlink("lib", "usr/lib");
    base.push("secret/", EntryType::Directory, "", b"", 0o700, 0);
    let (below, _) = base.layer(&[]).unwrap();
    let (top, done) = Archive::new()
        .file(".wh.gone", "")
        .file(".wh.never-there", "")
        .file("nowhere/.wh.x", "")
        .file(".wh.proc", "")
        .file("dir/.wh.old", "")
        .file("opaque/new", "new")
        .file("opaque/.wh..wh..opq", "")
        .file(".wh..wh.aufs", "")
        // A whiteout hides only lower files, never those of its own layer, in any order.
        .file("replaced/new", "")
        .file(".wh.replaced", "")
        .file(".wh.early", "")
        .file("early/new", "")
        // A hard link to a file of the layer below.
        .link("again", "file")
        // The directory of this file is not in the archive.
        .file("secret/x", "")
        .layer(&[below])
        .unwrap();
    assert_eq!(done.entries, 14);
    let view = View::open(store(), &[top, below]).unwrap();
    let root = names(&view, "/");
    assert!(
        !root.contains(&"gone".to_owned()) && !root.contains(&"nowhere".to_owned()),
        "{root:?}"
    );
    assert_eq!(names(&view, "/dir"), ["kept"]);
    assert_eq!(names(&view, "/opaque"), ["new"]);
    assert_eq!(names(&view, "/replaced"), ["new"]);
    assert_eq!(names(&view, "/early"), ["new"]);
    assert_eq!(
        view.stat(Path::new("/secret")).unwrap().mode & 0o7777,
        0o700
    );
    assert_eq!(view.stat(Path::new("/dir")).unwrap().mtime, 1_000_000_000);
    assert_eq!(text(&view, "/again"), "below\n");
    assert_eq!(view.stat(Path::new("/file")).unwrap().nlink, 2);
    // An opaque whiteout at the root hides everything.
    let (cleared, _) = Archive::new()
        .file(".wh..wh..opq", "")
        .file("file", "new\n")
        .layer(&[top, below])
        .unwrap();
    let view = View::open(store(), &[cleared, top, below]).unwrap();
    assert_eq!(names(&view, "/"), ["dev", "file", "proc", "sys"]);
    assert_eq!(text(&view, "/file"), "new\n");
}

#[test]
fn a_hard_link_leads_to_any_kind_of_file_of_a_lower_layer() {
    let mut base = Archive::new()
        .symlink("lib/libx.so", "libx.so.1")
        .file("old", "content");
    base.push("pipe", EntryType::Fifo, "", b"", 0o640, 0);
    let (below, _) = base.layer(&[]).unwrap();
    let (top, _) = Archive::new()
        .link("usr/libx.so", "lib/libx.so")
        .link("pipe2", "pipe")
        // A copy of the target is no file of this layer, so the whiteout removes it.
        .link("new", "old")
        .file(".wh.old", "")
        .layer(&[below])
        .unwrap();
    let view = View::open(store(), &[top, below]).unwrap();
    let stat = |path: &str| view.stat(Path::new(path)).unwrap();
    for path in ["/usr/libx.so", "/lib/libx.so"] {
        assert_eq!(stat(path).kind, EntryKind::Symlink, "{path}");
        assert_eq!(stat(path).target.unwrap(), "libx.so.1", "{path}");
        assert_eq!((stat(path).nlink, stat(path).mtime), (2, 1_000_000_000));
    }
    let pipe = stat("/pipe2");
    assert_eq!(
        (pipe.kind, pipe.mode & 0o7777, pipe.nlink),
        (EntryKind::Fifo, 0o640, 2)
    );
    assert_eq!(text(&view, "/new"), "content");
    assert!(!names(&view, "/").contains(&"old".to_owned()));
    // In the other order there is nothing to link to.
    let refused = Archive::new()
        .file(".wh.old", "")
        .link("new", "old")
        .layer(&[below])
        .unwrap_err()
        .to_string();
    assert!(refused.contains("not a file"), "{refused}");
    let refused = Archive::new()
        .link("directory", "lib")
        .layer(&[below])
        .unwrap_err()
        .to_string();
    assert!(refused.contains("not in the image"), "{refused}");
}

#[test]
fn hard_links_to_left_out_devices_are_left_out() {
    let (id, done) = Archive::new()
        .add("dev/tty", EntryType::Char, "", b"")
        .link("dev/console", "dev/tty")
        .link("dev/other", "dev/console")
        .layer(&[])
        .unwrap();
    assert_eq!((done.devices, done.entries), (3, 3));
    let view = View::open(store(), &[id]).unwrap();
    assert_eq!(names(&view, "/dev"), [""; 0]);
}

#[test]
fn files_of_aufs_are_not_part_of_the_image() {
    let (below, _) = Archive::new().file("kept", "").layer(&[]).unwrap();
    let (id, _) = Archive::new()
        .directory("./")
        .file(".wh..wh.aufs", "")
        .directory(".wh..wh.orph/")
        .file(".wh..wh.orph/orphan", "")
        .directory(".wh..wh.plnk/")
        // The name of a stored file has the numbers of two inodes.
        .file(".wh..wh.plnk/85.1234", "linked")
        .symlink(".wh..wh.plnk/86.1234", "/etc")
        .link("usr/one", ".wh..wh.plnk/85.1234")
        .link("two", "/.wh..wh.plnk/85.1234")
        .layer(&[below])
        .unwrap();
    let view = View::open(store(), &[id, below]).unwrap();
    assert_eq!(
        names(&view, "/"),
        ["dev", "kept", "proc", "sys", "two", "usr"]
    );
    assert_eq!(text(&view, "/usr/one"), "linked");
    assert_eq!(view.stat(Path::new("/two")).unwrap().nlink, 2);
    assert_eq!(view.stat(Path::new("/")).unwrap().mtime, 1_000_000_000);
}

#[test]
fn later_members_replace_earlier_ones() {
    let (id, _) = Archive::new()
        .directory("a/")
        .file("a/below", "")
        .file("a", "now a file")
        .file("b", "")
        .directory("b/")
        .file("b/below", "")
        .symlink("c", "a")
        .file("c", "not through it")
        .layer(&[])
        .unwrap();
    let view = View::open(store(), &[id]).unwrap();
    assert_eq!(text(&view, "/a"), "now a file");
    assert_eq!(names(&view, "/b"), ["below"]);
    assert_eq!(text(&view, "/c"), "not through it");
}

#[test]
fn holes_stay_holes() {
    let (id, done) = Archive::new()
        .pax(&[
            ("GNU.sparse.size", b"50000000"),
            ("GNU.sparse.map", b"40000000,5"),
            ("GNU.sparse.name", b"sparse"),
        ])
        .file("GNUSparseFile.0/sparse", "abcde")
        .layer(&[])
        .unwrap();
    assert!(done.bytes < 1_000_000, "{done:?}");
    let view = View::open(store(), &[id]).unwrap();
    let content = text(&view, "/sparse");
    assert_eq!(
        (content.len(), &content[40_000_000..40_000_005]),
        (50_000_000, "abcde")
    );
}

#[test]
fn members_that_lead_out_are_refused() {
    for (archive, reason) in [
        (Archive::new().file("../escaped", "x"), ".."),
        (Archive::new().file("a/../../escaped", "x"), ".."),
        (
            Archive::new()
                .symlink("out", "/tmp")
                .file("out/escaped", "x"),
            "symbolic link",
        ),
        (
            Archive::new().symlink("out", "..").file("out/escaped", "x"),
            "symbolic link",
        ),
        (
            Archive::new()
                .symlink("a", ".")
                .directory("a/b/")
                .file("a/b/c", ""),
            "symbolic link",
        ),
        (
            Archive::new().link("out", "../../../etc/passwd"),
            "out of the image",
        ),
        (
            Archive::new().link("out", "/etc/passwd"),
            "not in the image",
        ),
        (
            Archive::new().symlink("l", "/etc").link("out", "l/passwd"),
            "symbolic link",
        ),
        (Archive::new().symlink("proc", "/"), "must be a directory"),
        (Archive::new().file(".", ""), "root"),
        (Archive::new().file("a/.wh.", ""), "whiteout without a name"),
        (
            Archive::new().file("a/.wh...", ""),
            "whiteout without a name",
        ),
        (
            Archive::new().pax(&[("path", b"a\0b")]).file("x", ""),
            "NUL",
        ),
        (
            Archive::new().pax(&[("path", &[b'x'; 5000])]).file("x", ""),
            "4095",
        ),
        (
            Archive::new().pax(&[("path", &[b'x'; 300])]).file("x", ""),
            "too long",
        ),
        (
            Archive::new()
                .pax(&[("path", &b"d/".repeat(600))])
                .directory("x"),
            "512",
        ),
        (
            Archive::new().file("f", "").file("f/below", ""),
            "other members are inside it",
        ),
        (
            Archive::new()
                .pax(&[("size", b"9000000000")])
                .file("x", "small"),
            "larger than the bound",
        ),
    ] {
        let message = archive.refused();
        assert!(message.contains(reason), "{message}");
    }
    assert!(!Path::new("/tmp/escaped").exists());
}

#[test]
fn limits_are_enforced() {
    let many = (0..20).fold(Archive::new(), |archive, n| {
        archive.file(&n.to_string(), "0123456789")
    });
    let bytes = many.bytes();
    for (entries, size, reason) in [
        (19, 1000, "more than 19 members"),
        (20, 199, "bound on its size"),
    ] {
        let limits = UnpackLimits {
            entries,
            bytes: size,
        };
        let refused = unpack(&bytes, &[], limits).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
    let limits = UnpackLimits {
        entries: 20,
        bytes: 200,
    };
    unpack(&bytes, &[], limits).unwrap();
    let cut = unpack(&bytes[..517], &[], limits).unwrap_err().to_string();
    assert!(cut.contains("ends too early"), "{cut}");
    let other = unpack(b"no tar archive", &[], limits)
        .unwrap_err()
        .to_string();
    assert!(other.contains("ends too early"), "{other}");
}

#[test]
fn unpacking_can_be_stopped() {
    let run = store().create_run("unpack-stopped").unwrap();
    let (unpacking, mut stream) = store().unpack(&run, &[], LIMITS).unwrap();
    stream
        .write_all(&Archive::new().file("a", "x").bytes()[..512])
        .unwrap();
    unpacking.stop();
    assert!(matches!(unpacking.wait(), Err(Error::Gone)));
    drop(stream);
    store().remove_run("unpack-stopped").unwrap();
    assert!(!run.path().exists());
}
