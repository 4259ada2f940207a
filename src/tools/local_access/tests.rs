use super::*;

#[test]
fn a_path_is_judged_by_its_target() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let inside = root.join("in");
    std::fs::create_dir_all(inside.join("deep")).unwrap();
    std::fs::write(root.join("outside"), "x").unwrap();
    std::fs::write(inside.join("file"), "y").unwrap();
    std::os::unix::fs::symlink(root.join("outside"), inside.join("link")).unwrap();
    std::os::unix::fs::symlink(&root, inside.join("up")).unwrap();
    let access = LocalAccess::only([&inside]).unwrap();
    assert!(access.open("path", &inside.join("file")).is_ok());
    for bad in [
        "link",
        "up/outside",
        "../outside",
        "deep/../../outside",
        "up/missing",
    ] {
        let error = access.open("path", &inside.join(bad)).unwrap_err();
        assert!(error.to_string().contains("--allow-path"), "{bad}: {error}");
        let error = access
            .destination("destination", &inside.join(bad))
            .unwrap_err();
        assert!(error.to_string().contains("--allow-path"), "{bad}: {error}");
    }
    let new = access
        .destination("destination", &inside.join("a/b/new"))
        .unwrap();
    assert_eq!(new.shown, inside.join("a/b/new"));
    std::fs::write(&new.path, "z").unwrap();
    assert_eq!(std::fs::read(inside.join("a/b/new")).unwrap(), b"z");
    assert!(LocalAccess::only([root.join("missing")]).is_err());
}

#[test]
fn credentials_must_be_named_to_be_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().canonicalize().unwrap();
    let secret = home.join(".ssh");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("id"), "x").unwrap();
    std::os::unix::fs::symlink(secret.join("id"), home.join("harmless")).unwrap();
    let all = LocalAccess::everything().with_secrets([secret.clone()]);
    let above = LocalAccess::only([&home])
        .unwrap()
        .with_secrets([secret.clone()]);
    for access in [&all, &above] {
        for path in [secret.join("id"), home.join("harmless"), secret.join("new")] {
            assert_eq!(access.check_path(&real(path)), Err(AccessRefusal::Secret));
        }
        assert!(access.open("path", &home.join("harmless")).is_err());
        assert!(
            access
                .destination("destination", &secret.join("authorized_keys"))
                .is_err()
        );
    }
    for named in [secret.clone(), secret.join("id")] {
        let access = LocalAccess::only([named])
            .unwrap()
            .with_secrets([secret.clone()]);
        assert!(access.open("path", &home.join("harmless")).is_ok());
    }
    let error = all
        .open("path", Path::new("/proc/self/environ"))
        .unwrap_err();
    assert!(error.to_string().contains("credentials"), "{error}");
}

#[test]
fn links_to_credentials_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().canonicalize().unwrap();
    let (secret, kept) = (home.join(".aws"), home.join("kept"));
    for directory in [&secret, &kept, &home.join("work")] {
        std::fs::create_dir(directory).unwrap();
    }
    std::fs::write(kept.join("aws"), "x").unwrap();
    std::os::unix::fs::symlink(kept.join("aws"), secret.join("credentials")).unwrap();
    std::os::unix::fs::symlink("credentials", secret.join("again")).unwrap();
    std::os::unix::fs::symlink(home.join("work"), secret.join("work")).unwrap();
    std::fs::write(secret.join("config"), "y").unwrap();
    std::fs::hard_link(secret.join("config"), home.join("work/hard")).unwrap();
    std::fs::write(home.join("work/one"), "z").unwrap();
    std::fs::hard_link(home.join("work/one"), home.join("work/two")).unwrap();

    std::fs::write(secret.join("later"), "v").unwrap();
    let all = LocalAccess::everything().with_secrets([secret.clone()]);
    all.open("path", &home.join("work/one")).unwrap();
    // A hard link made after the credential paths were searched is refused too.
    std::fs::hard_link(secret.join("later"), home.join("work/late")).unwrap();
    for bad in [
        "work/late",
        ".aws/credentials",
        ".aws/again",
        "kept/aws",
        "work/hard",
        ".aws/work/one",
    ] {
        let error = all.open("path", &home.join(bad)).unwrap_err();
        assert!(error.to_string().contains("credentials"), "{bad}: {error}");
        let found = home.join(bad).canonicalize().unwrap();
        if !bad.contains("one") {
            let metadata = found.metadata().unwrap();
            assert_eq!(
                all.check_metadata(&found, &metadata),
                Err(AccessRefusal::Secret),
                "{bad}"
            );
        }
    }
    for bad in [".aws/credentials", ".aws/again", "kept/aws"] {
        let error = all.destination("destination", &home.join(bad)).unwrap_err();
        assert!(error.to_string().contains("credentials"), "{bad}: {error}");
    }
    // Files in a directory that a credential path links to stay allowed.
    for good in ["work/one", "work/two"] {
        all.open("path", &home.join(good)).unwrap();
    }
    // An allowed path may name the link or its target.
    for named in [secret.join("credentials"), kept.join("aws")] {
        let access = LocalAccess::only([&named]).unwrap();
        let access = access.with_secrets([secret.clone()]);
        access.open("path", &kept.join("aws")).unwrap();
    }
    let access = LocalAccess::only([secret.join("credentials")]).unwrap();
    let access = access.with_secrets([secret.clone()]);
    access.open("path", &secret.join("credentials")).unwrap();
    assert!(access.open("path", &secret.join("config")).is_err());
    let access = LocalAccess::only([home.join("work/hard")]).unwrap();
    let access = access.with_secrets([secret]);
    access.open("path", &home.join("work/hard")).unwrap();
}

#[test]
fn no_allowed_path_forbids_everything() {
    let nothing = LocalAccess::only::<&Path>([]).unwrap();
    for path in ["/etc/hostname", "/nowhere/at/all"] {
        let error = nothing.open("path", Path::new(path)).unwrap_err();
        assert!(
            error.to_string().contains("may not access any files"),
            "{error}"
        );
    }
}

#[test]
fn a_pipe_is_opened_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let opened = LocalAccess::everything().open("path", &pipe).unwrap();
    assert!(!opened.metadata.is_file());
}
