//! Tests with fake hosts: layouts, links and libraries that the machine running the tests does not
//! have.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::closure::ClosureFinder;
use super::host::{CopyRefusal, Host};
use super::write::RootWriter;
use super::{HostError, build_from, make_plan};

struct FakeHost {
    root: tempfile::TempDir,
}

impl FakeHost {
    fn new() -> FakeHost {
        FakeHost {
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn host(&self) -> Host {
        Host::new(self.root.path())
    }

    fn at(&self, path: &str) -> PathBuf {
        let target = self.root.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        target
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &FakeHost {
        fs::write(self.at(path), content).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn link(&self, path: &str, target: &str) -> &FakeHost {
        symlink(target, self.at(path)).unwrap();
        self
    }

    fn elf(&self, path: &str, elf: &ElfBuilder) -> &FakeHost {
        self.file(path, elf.bytes())
    }

    fn closure(&self, path: &str) -> Result<Vec<String>, CopyRefusal> {
        let host = self.host();
        let programs = super::programs::directories();
        let nodes = ClosureFinder::new(&host, &programs).find_closure(Path::new(path))?;
        Ok(nodes
            .into_iter()
            .map(|(path, _)| path.display().to_string())
            .collect())
    }
}

/// A 64-bit ELF file with only a loader's name and a dynamic section.
#[derive(Default)]
struct ElfBuilder {
    interpreter: Option<&'static str>,
    entries: Vec<(u64, &'static str)>,
    machine: Option<u16>,
}

const NEEDED: u64 = 1;
const SONAME: u64 = 14;
const RPATH: u64 = 15;
const RUNPATH: u64 = 29;
const X86_64: u16 = 62;

impl ElfBuilder {
    fn library(entries: &[(u64, &'static str)]) -> ElfBuilder {
        ElfBuilder {
            entries: entries.to_vec(),
            ..ElfBuilder::default()
        }
    }

    fn program(entries: &[(u64, &'static str)]) -> ElfBuilder {
        ElfBuilder {
            interpreter: Some("/lib64/ld.so"),
            ..ElfBuilder::library(entries)
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut strings = vec![0];
        let mut dynamic: Vec<(u64, u64)> = Vec::new();
        for (tag, value) in &self.entries {
            dynamic.push((*tag, strings.len() as u64));
            strings.extend_from_slice(value.as_bytes());
            strings.push(0);
        }
        let interpreter = self
            .interpreter
            .map(|path| [path.as_bytes(), &[0]].concat())
            .unwrap_or_default();
        let tables = 64 + 3 * 56;
        let interpreter_at = tables as u64;
        let strings_at = interpreter_at + interpreter.len() as u64;
        let dynamic_at = (strings_at + strings.len() as u64).next_multiple_of(8);
        let base = 0x1000;
        dynamic.extend([(5, base + strings_at), (10, strings.len() as u64), (0, 0)]);
        let dynamic_size = dynamic.len() as u64 * 16;
        let total = dynamic_at + dynamic_size;

        let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let mut put = |value: u64, size: usize| out.extend_from_slice(&value.to_le_bytes()[..size]);
        // Type, machine, version, entry, program headers, section headers, flags, sizes.
        for (value, size) in [
            (3, 2),
            (u64::from(self.machine.unwrap_or(X86_64)), 2),
            (1, 4),
            (0, 8),
            (64, 8),
            (0, 8),
            (0, 4),
            (64, 2),
            (56, 2),
            (3, 2),
            (64, 2),
            (0, 2),
            (0, 2),
        ] {
            put(value, size);
        }
        let interpreter_kind = if self.interpreter.is_some() { 3 } else { 0 };
        for (kind, offset, size) in [
            (1, 0, total),
            (interpreter_kind, interpreter_at, interpreter.len() as u64),
            (2, dynamic_at, dynamic_size),
        ] {
            for (value, width) in [
                (kind, 4),
                (4, 4),
                (offset, 8),
                (base + offset, 8),
                (base + offset, 8),
                (size, 8),
                (size, 8),
                (8, 8),
            ] {
                put(value, width);
            }
        }
        out.extend_from_slice(&interpreter);
        out.extend_from_slice(&strings);
        out.resize(dynamic_at as usize, 0);
        for (tag, value) in dynamic {
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&value.to_le_bytes());
        }
        out
    }
}

/// A host with merged directories, as Debian since 12, and a loader.
fn merged() -> FakeHost {
    let host = FakeHost::new();
    host.link("/bin", "usr/bin")
        .link("/lib", "usr/lib")
        .link("/lib64", "usr/lib64");
    host.elf(
        "/usr/lib/x86_64-linux-gnu/ld-2.so",
        &ElfBuilder::library(&[(SONAME, "ld.so")]),
    );
    host.link("/usr/lib64/ld.so", "/lib/x86_64-linux-gnu/ld-2.so");
    host.elf(
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        &ElfBuilder::library(&[(SONAME, "libc.so.6"), (NEEDED, "ld.so")]),
    );
    host
}

#[test]
fn a_program_brings_its_loader_its_libraries_and_the_links_to_them() {
    let host = merged();
    host.elf(
        "/usr/bin/tool",
        &ElfBuilder::program(&[(NEEDED, "liba.so.1"), (NEEDED, "libc.so.6")]),
    );
    host.link("/usr/lib/x86_64-linux-gnu/liba.so.1", "liba.so.1.2");
    host.elf(
        "/usr/lib/x86_64-linux-gnu/liba.so.1.2",
        &ElfBuilder::library(&[(NEEDED, "libc.so.6")]),
    );
    let found = host.closure("/bin/tool").unwrap();
    for expected in [
        "/bin",
        "/usr/bin/tool",
        "/lib64",
        "/usr/lib64/ld.so",
        "/usr/lib/x86_64-linux-gnu/ld-2.so",
        "/lib",
        "/usr/lib/x86_64-linux-gnu/liba.so.1",
        "/usr/lib/x86_64-linux-gnu/liba.so.1.2",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
    ] {
        assert!(
            found.iter().any(|path| path == expected),
            "{expected} is not in {found:?}"
        );
    }
}

#[test]
fn search_paths_of_a_program_apply_to_its_libraries() {
    let host = merged();
    host.elf(
        "/usr/bin/tool",
        &ElfBuilder::program(&[(RPATH, "$ORIGIN/../lib/tool:/nowhere"), (NEEDED, "liba.so")]),
    );
    host.elf(
        "/usr/lib/tool/liba.so",
        &ElfBuilder::library(&[(NEEDED, "libb.so")]),
    );
    host.elf("/usr/lib/tool/libb.so", &ElfBuilder::library(&[]));
    let found = host.closure("/usr/bin/tool").unwrap();
    assert!(
        found.contains(&"/usr/lib/tool/libb.so".to_owned()),
        "{found:?}"
    );
}

#[test]
fn a_runpath_holds_for_its_own_object_alone() {
    let host = merged();
    host.elf(
        "/usr/bin/tool",
        &ElfBuilder::program(&[(RUNPATH, "${ORIGIN}/../lib/tool"), (NEEDED, "liba.so")]),
    );
    host.elf(
        "/usr/lib/tool/liba.so",
        &ElfBuilder::library(&[(NEEDED, "libb.so")]),
    );
    host.elf("/usr/lib/tool/libb.so", &ElfBuilder::library(&[]));
    let refusal = host.closure("/usr/bin/tool").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "library libb.so, which /usr/lib/tool/liba.so needs, was not found"
    );
    // If the program itself loads the library, its libraries find it too.
    host.elf(
        "/usr/bin/tool",
        &ElfBuilder::program(&[
            (RUNPATH, "${ORIGIN}/../lib/tool"),
            (NEEDED, "libb.so"),
            (NEEDED, "liba.so"),
        ]),
    );
    host.closure("/usr/bin/tool").unwrap();
}

#[test]
fn a_library_of_another_architecture_is_passed_over() {
    let host = merged();
    host.elf(
        "/usr/bin/tool",
        &ElfBuilder::program(&[(NEEDED, "liba.so")]),
    );
    host.elf(
        "/usr/lib/x86_64-linux-gnu/liba.so",
        &ElfBuilder {
            machine: Some(183),
            ..ElfBuilder::library(&[])
        },
    );
    host.elf("/usr/lib/liba.so", &ElfBuilder::library(&[]));
    let found = host.closure("/usr/bin/tool").unwrap();
    assert!(found.contains(&"/usr/lib/liba.so".to_owned()), "{found:?}");
    assert!(
        !found.contains(&"/usr/lib/x86_64-linux-gnu/liba.so".to_owned()),
        "{found:?}"
    );
}

#[test]
fn a_library_in_a_configured_directory_gets_a_link() {
    let host = merged();
    host.file("/etc/ld.so.conf", "/usr/lib/special\n");
    host.elf(
        "/usr/bin/tool",
        &ElfBuilder::program(&[(NEEDED, "libs.so.1")]),
    );
    host.elf("/usr/lib/special/libs.so.1", &ElfBuilder::library(&[]));
    let found = host.closure("/usr/bin/tool").unwrap();
    assert!(
        found.contains(&"/usr/lib/x86_64-linux-gnu/libs.so.1".to_owned()),
        "{found:?}"
    );
    assert!(
        found.contains(&"/usr/lib/special/libs.so.1".to_owned()),
        "{found:?}"
    );
}

#[test]
fn libraries_that_need_each_other_do_not_loop() {
    let host = merged();
    host.elf(
        "/usr/bin/tool",
        &ElfBuilder::program(&[(NEEDED, "liba.so")]),
    );
    host.elf(
        "/usr/lib/liba.so",
        &ElfBuilder::library(&[(NEEDED, "libb.so")]),
    );
    host.elf(
        "/usr/lib/libb.so",
        &ElfBuilder::library(&[(NEEDED, "liba.so")]),
    );
    host.closure("/usr/bin/tool").unwrap();
}

#[test]
fn a_script_brings_its_interpreter() {
    let host = merged();
    host.elf(
        "/usr/bin/dash",
        &ElfBuilder::program(&[(NEEDED, "libc.so.6")]),
    )
    .link("/usr/bin/sh", "dash");
    host.elf("/usr/bin/env", &ElfBuilder::program(&[]));
    host.file("/usr/bin/plain", "#! /bin/sh -e\n")
        .file("/usr/bin/by-env", "#!/usr/bin/env -S dash -u\n")
        .file("/usr/bin/loop", "#!/usr/bin/loop\n");
    host.file("/usr/bin/foreign", "#!/opt/bin/ruby\n")
        .file("/opt/bin/ruby", "x");
    assert!(
        host.closure("/usr/bin/plain")
            .unwrap()
            .contains(&"/usr/lib/x86_64-linux-gnu/libc.so.6".to_owned())
    );
    let by_env = host.closure("/usr/bin/by-env").unwrap();
    assert!(
        ["/usr/bin/env", "/usr/bin/dash"]
            .iter()
            .all(|path| by_env.iter().any(|found| found == path)),
        "{by_env:?}"
    );
    assert!(
        host.closure("/usr/bin/loop")
            .unwrap_err()
            .to_string()
            .contains("/usr/bin/loop leads through more than")
    );
    let refusal = host.closure("/usr/bin/foreign").unwrap_err().to_string();
    assert_eq!(
        refusal,
        "interpreter /opt/bin/ruby of /usr/bin/foreign: /opt/bin/ruby is outside the trees that may be copied"
    );
}

#[test]
fn links_are_followed_and_loops_end() {
    let host = FakeHost::new();
    host.link("/bin", "usr/bin")
        .link("/usr/bin/awk", "/etc/alternatives/awk")
        .link("/etc/alternatives/awk", "../../bin/./mawk")
        .file("/usr/bin/mawk", "x");
    let resolved = host.host().resolve(Path::new("/bin/awk")).unwrap();
    assert_eq!(resolved.path, Path::new("/usr/bin/mawk"));
    let links: Vec<_> = resolved
        .links
        .iter()
        .map(|(path, _)| path.to_str().unwrap())
        .collect();
    assert_eq!(
        links,
        ["/bin", "/usr/bin/awk", "/etc/alternatives/awk", "/bin"]
    );

    host.link("/usr/bin/one", "two").link("/usr/bin/two", "one");
    assert!(matches!(
        host.host().resolve(Path::new("/usr/bin/one")),
        Err(CopyRefusal::Links(_))
    ));
}

#[test]
fn nothing_outside_the_allowed_trees_is_taken() {
    let host = FakeHost::new();
    host.file("/home/me/tool", "secret")
        .file("/etc/shadow", "secret")
        .file("/usr/bin/real", "x");
    host.link("/usr/bin/home", "/home/me/tool")
        .link("/usr/bin/up", "../../etc/shadow")
        .link("/opt", "usr/bin")
        .link("/usr/bin/mine", "/home/me/link");
    host.link("/home/me/link", "/usr/bin/real");
    for path in [
        "/usr/bin/home",
        "/usr/bin/up",
        "/usr/bin/mine",
        "/opt/real",
        "/etc/shadow",
    ] {
        assert!(
            matches!(
                host.host().resolve(Path::new(path)),
                Err(CopyRefusal::Outside(_))
            ),
            "{path}"
        );
    }
    fs::set_permissions(host.at("/usr/bin/real"), fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(
        host.host().resolve(Path::new("/usr/bin/real")),
        Err(CopyRefusal::Private(_))
    ));
}

#[test]
fn an_unmerged_system_keeps_its_layout() {
    let host = FakeHost::new();
    let program = ElfBuilder::program(&[(NEEDED, "libc.so.6")]);
    host.elf("/lib64/ld.so", &ElfBuilder::library(&[]))
        .elf("/lib/x86_64-linux-gnu/libc.so.6", &ElfBuilder::library(&[]));
    host.elf("/bin/sh", &program)
        .elf("/bin/cat", &program)
        .elf("/usr/bin/env", &program);
    let new = tempfile::tempdir().unwrap();
    let report = build_from(&host.host(), new.path(), None).unwrap();
    for path in [
        "bin/sh",
        "bin/cat",
        "usr/bin/env",
        "lib64/ld.so",
        "lib/x86_64-linux-gnu/libc.so.6",
    ] {
        assert!(
            new.path().join(path).symlink_metadata().unwrap().is_file(),
            "{path}"
        );
    }
    assert!(new.path().join("bin").symlink_metadata().unwrap().is_dir());
    assert!(
        report
            .skipped
            .contains(&("git".to_owned(), "not installed".to_owned()))
    );
    let passwd = fs::read_to_string(new.path().join("etc/passwd")).unwrap();
    assert!(passwd.starts_with("root:x:0:0:root:/root:/bin/sh\n"));
}

#[test]
fn programs_of_a_system_with_a_store_are_linked_to_the_store() {
    let host = FakeHost::new();
    let store = "/nix/store/abc-tools";
    let program = || ElfBuilder {
        interpreter: Some("/nix/store/abc-glibc/lib/ld.so"),
        ..ElfBuilder::library(&[(RUNPATH, "/nix/store/abc-glibc/lib"), (NEEDED, "libc.so.6")])
    };
    host.elf("/nix/store/abc-glibc/lib/ld.so", &ElfBuilder::library(&[]))
        .elf(
            "/nix/store/abc-glibc/lib/libc.so.6",
            &ElfBuilder::library(&[]),
        );
    host.elf(&format!("{store}/bin/bash"), &program())
        .link(&format!("{store}/bin/sh"), "bash")
        .elf(&format!("{store}/bin/coreutils"), &program());
    host.link(&format!("{store}/bin/cat"), "coreutils");
    host.link("/bin/sh", &format!("{store}/bin/sh"))
        .link("/run/current-system", "/nix/store/abc-system")
        .link("/nix/store/abc-system/sw", store);
    let new = tempfile::tempdir().unwrap();
    build_from(&host.host(), new.path(), None).unwrap();
    assert_eq!(
        fs::read_link(new.path().join("bin/sh")).unwrap(),
        Path::new("/nix/store/abc-tools/bin/sh")
    );
    assert_eq!(
        fs::read_link(new.path().join("usr/bin/cat")).unwrap(),
        Path::new("/nix/store/abc-tools/bin/coreutils")
    );
    assert!(
        new.path()
            .join("nix/store/abc-glibc/lib/libc.so.6")
            .is_file()
    );
}

#[test]
fn without_a_shell_there_is_no_root() {
    let host = FakeHost::new();
    host.elf("/usr/bin/sh", &ElfBuilder::program(&[]));
    let new = tempfile::tempdir().unwrap();
    let error = build_from(&host.host(), new.path(), None).unwrap_err();
    let expected = "cannot make an image of this machine's programs: /bin/sh: interpreter /lib64/ld.so of /usr/bin/sh: not installed; import an image instead";
    assert_eq!(error.to_string(), expected);
    assert_eq!(fs::read_dir(new.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_that_is_not_empty_is_refused() {
    let new = tempfile::tempdir().unwrap();
    fs::write(new.path().join("mine"), "x").unwrap();
    let error = build_from(&merged().host(), new.path(), None).unwrap_err();
    assert!(matches!(error, HostError::NotEmpty { .. }));
}

#[test]
fn a_file_that_is_replaced_or_removed_before_its_copy_has_changed() {
    for replaced in [true, false] {
        let host = merged();
        host.elf("/usr/bin/sh", &ElfBuilder::program(&[]));
        let (plan, _) = make_plan(&host.host()).unwrap();
        if replaced {
            fs::copy(host.at("/usr/bin/sh"), host.at("/usr/bin/new")).unwrap();
            fs::rename(host.at("/usr/bin/new"), host.at("/usr/bin/sh")).unwrap();
        } else {
            fs::remove_file(host.at("/usr/bin/sh")).unwrap();
        }
        let new = tempfile::tempdir().unwrap();
        let written = RootWriter::new(&host.host(), new.path(), None).write(&plan);
        let path = Path::new("/usr/bin/sh");
        assert!(
            matches!(written, Err(HostError::Changed { path: changed }) if changed == path),
            "replaced: {replaced}"
        );
    }
}

#[test]
fn modes_times_and_hard_links_are_preserved() {
    let host = merged();
    host.elf("/usr/bin/sh", &ElfBuilder::program(&[]))
        .elf("/usr/bin/git", &ElfBuilder::program(&[]))
        .file("/usr/lib/git-core/git-remote-http", "#!/bin/sh\n");
    fs::set_permissions(host.at("/usr/bin/git"), fs::Permissions::from_mode(0o6775)).unwrap();
    fs::hard_link(
        host.at("/usr/bin/git"),
        host.at("/usr/lib/git-core/git-log"),
    )
    .unwrap();
    fs::copy(host.at("/usr/bin/git"), host.at("/usr/lib/git-core/git")).unwrap();
    host.link("/usr/lib/git-core/git-add", "git")
        .link("/usr/lib/git-core/git-remote-https", "git-remote-http");
    host.file("/usr/lib/git-core/git-daemon", "#!/bin/sh\n")
        .file("/usr/share/git-core/templates/hooks/x.sample", "x");
    let new = tempfile::tempdir().unwrap();
    build_from(&host.host(), new.path(), None).unwrap();
    let stat = |path: &str| fs::symlink_metadata(new.path().join(path)).unwrap();
    let git = stat("usr/bin/git");
    assert_eq!(git.mode() & 0o7777, 0o755);
    assert_eq!(
        git.modified().unwrap(),
        fs::metadata(host.at("/usr/bin/git"))
            .unwrap()
            .modified()
            .unwrap()
    );
    for path in ["usr/lib/git-core/git-log", "usr/lib/git-core/git"] {
        assert_eq!(stat(path).ino(), git.ino(), "{path}");
    }
    assert!(stat("usr/lib/git-core/git-add").is_symlink());
    assert!(stat("usr/lib/git-core/git-remote-https").is_symlink());
    assert!(!new.path().join("usr/lib/git-core/git-daemon").exists());
    assert!(
        new.path()
            .join("usr/share/git-core/templates/hooks/x.sample")
            .exists()
    );
    assert_eq!(stat("tmp").mode() & 0o7777, 0o1777);
    assert_eq!(stat("root").mode() & 0o7777, 0o700);
    assert_eq!(stat("").mode() & 0o7777, 0o755);
}

#[test]
fn python_comes_with_its_library_but_not_with_added_packages() {
    let host = merged();
    host.elf("/usr/bin/sh", &ElfBuilder::program(&[]))
        .elf("/usr/bin/python3.9", &ElfBuilder::program(&[]))
        .link("/usr/bin/python3", "python3.9");
    for path in [
        "os.py",
        "__pycache__/os.cpython-39.pyc",
        "json/__init__.py",
        "test/regrtest.py",
        "site-packages/private.py",
        "config-3.9/libpython.a",
    ] {
        host.file(&format!("/usr/lib/python3.9/{path}"), "x");
    }
    host.elf(
        "/usr/lib/python3.9/lib-dynload/_ssl.cpython-39.so",
        &ElfBuilder::library(&[(NEEDED, "libssl.so.1")]),
    )
    .elf("/usr/lib/libssl.so.1", &ElfBuilder::library(&[]));
    host.elf(
        "/usr/lib/python3.9/lib-dynload/_gone.cpython-39.so",
        &ElfBuilder::library(&[(NEEDED, "libgone.so.1")]),
    );
    host.link(
        "/usr/lib/python3.9/sitecustomize.py",
        "/etc/python3.9/sitecustomize.py",
    )
    .file("/etc/python3.9/sitecustomize.py", "secret");
    let new = tempfile::tempdir().unwrap();
    let report = build_from(&host.host(), new.path(), None).unwrap();
    let library = new.path().join("usr/lib/python3.9");
    for path in [
        "os.py",
        "__pycache__/os.cpython-39.pyc",
        "json/__init__.py",
        "lib-dynload/_ssl.cpython-39.so",
        "../libssl.so.1",
    ] {
        assert!(library.join(path).exists(), "{path}");
    }
    for path in [
        "test",
        "site-packages",
        "config-3.9",
        "sitecustomize.py",
        "lib-dynload/_gone.cpython-39.so",
    ] {
        assert!(library.join(path).symlink_metadata().is_err(), "{path}");
    }
    assert!(!new.path().join("etc/python3.9").exists());
    let skipped: Vec<_> = report
        .skipped
        .iter()
        .map(|(program, _)| Path::new(program).file_name().unwrap_or(OsStr::new("")))
        .collect();
    assert!(
        skipped.contains(&OsStr::new("sitecustomize.py"))
            && skipped.contains(&OsStr::new("_gone.cpython-39.so")),
        "{skipped:?}"
    );
}
