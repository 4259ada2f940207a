#![allow(clippy::unwrap_used, reason = "tests")]

use super::real_paths::create_directories;
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
            assert_eq!(
                access.check_path(&resolve_existing_part(path)),
                Err(AccessRefusal::Secret)
            );
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

/// Makes a home directory with these files.
fn home_with(files: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().canonicalize().unwrap();
    for file in files {
        let path = home.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    (folder, home)
}

#[test]
fn credentials_of_common_programs_are_refused() {
    let files = [
        ".vault-token",
        ".terraform.d/credentials.tfrc.json",
        ".m2/settings.xml",
        ".gradle/gradle.properties",
        ".config/rclone/rclone.conf",
        ".s3cfg",
        ".boto",
        ".config/doctl/config.yaml",
        ".fly/config.yml",
        ".snowflake/connections.toml",
        ".databrickscfg",
        ".claude/.credentials.json",
        ".codex/auth.json",
        ".gemini/oauth_creds.json",
        ".config/github-copilot/apps.json",
        ".config/op/config",
        ".mozilla/firefox/p/logins.json",
        ".config/google-chrome/Default/Cookies",
        "Library/Application Support/Google/Chrome/Default/Cookies",
        ".bash_history",
        ".zsh_history",
        ".bitcoin/wallet.dat",
        ".my.cnf",
        ".cache/huggingface/token",
        ".config/sops/age/keys.txt",
        ".oci/config",
        ".Xauthority",
        // File systems may treat upper and lower case as equal.
        ".SSH/id",
    ];
    let (_own, own) = home_with(&files);
    let (_other, other) = home_with(&files);
    let access = LocalAccess::everything().with_homes([own.clone(), other.clone()]);
    for file in files {
        for home in [&own, &other] {
            let error = access.open("path", &home.join(file)).unwrap_err();
            assert!(error.to_string().contains("credentials"), "{file}: {error}");
        }
    }
    for (file, is_secret) in [
        ("/home/somebody/.aws/credentials", true),
        ("/Users/somebody/Library/Keychains/login.keychain-db", true),
        ("/tmp/krb5cc_1000", true),
        ("/home/somebody/work/.env", false),
        ("/srv/project/.ssh/config", false),
    ] {
        let judged = access.check_path(Path::new(file));
        assert_eq!(judged == Err(AccessRefusal::Secret), is_secret, "{file}");
    }
    // The home of root is that of this machine's list of users.
    let root = LocalAccess::everything().check_path(Path::new("/root/.ssh/id"));
    assert_eq!(root, Err(AccessRefusal::Secret));
}

#[test]
fn files_that_run_by_themselves_are_not_written() {
    let (_folder, home) = home_with(&[
        "dot/bashrc",
        "dot/nvim/init.lua",
        "work/main.py",
        "work/.git/HEAD",
    ]);
    std::os::unix::fs::symlink("dot/bashrc", home.join(".bashrc")).unwrap();
    std::fs::create_dir_all(home.join(".config")).unwrap();
    std::os::unix::fs::symlink("../dot/nvim", home.join(".config/nvim")).unwrap();
    std::os::unix::fs::symlink(".git", home.join("work/link")).unwrap();
    let access = LocalAccess::everything().with_homes([home.clone()]);
    for file in [
        ".bashrc",
        "dot/bashrc",
        "dot/nvim/init.lua",
        ".config/nvim/init.lua",
        ".profile",
        ".config/autostart/x.desktop",
        ".config/systemd/user/x.service",
        ".local/bin/ls",
        "work/.git/hooks/pre-commit",
        "work/.GIT/config",
        "work/link/hooks/pre-commit",
        "work/.vscode/tasks.json",
        "work/.mcp.json",
        "work/.claude/settings.json",
        "work/.envrc",
        "Library/LaunchAgents/x.plist",
        "/etc/cron.d/x",
        "/var/spool/cron/crontabs/root",
        "/home/somebody/.bashrc",
    ] {
        let error = access
            .destination("destination", &home.join(file))
            .unwrap_err();
        assert!(error.to_string().contains("by itself"), "{file}: {error}");
        let error = access
            .check_destination("destination", &home.join(file))
            .unwrap_err();
        assert!(error.to_string().contains("by itself"), "{file}: {error}");
    }
    for missing in [
        ".config/autostart",
        ".local",
        "work/.git/hooks",
        "work/.vscode",
        "Library",
    ] {
        assert!(!home.join(missing).exists(), "{missing} was created");
    }
    // Reading is no danger.
    access.open("path", &home.join(".bashrc")).unwrap();
    for (file, replaces) in [
        ("work/main.py", true),
        ("work/.claude/worktrees/a/b", false),
    ] {
        let destination = access.destination("destination", &home.join(file)).unwrap();
        assert_eq!(destination.replaced_mode.is_some(), replaces, "{file}");
    }
}

#[test]
fn an_allowed_path_must_name_the_protected_path_itself() {
    let (_folder, home) =
        home_with(&["work/.git/config", "work/main.py", ".config/systemd/user/a"]);
    std::fs::create_dir_all(home.join(".claude/hooks/deep/.git")).unwrap();
    let allowed = |named: &str, file: &str| {
        let access = LocalAccess::only([home.join(named)]).unwrap();
        let access = access.with_homes([home.clone()]);
        access.destination("destination", &home.join(file)).is_ok()
    };
    assert!(allowed("work", "work/main.py"));
    assert!(!allowed("work", "work/.git/config"));
    assert!(!allowed("", "work/.git/config"));
    assert!(allowed("work/.git", "work/.git/config"));
    assert!(allowed("work/.git/config", "work/.git/config"));
    // A protected path names those in it, but a directory in a protected path does not.
    assert!(allowed(".config/systemd", ".config/systemd/user/a"));
    assert!(!allowed(
        ".claude/hooks/deep",
        ".claude/hooks/deep/.git/config"
    ));
    assert!(allowed(".claude/hooks/deep", ".claude/hooks/deep/file"));
}

#[test]
fn directories_are_created_only_where_they_were_judged() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (inside, outside) = (root.join("in"), root.join("out"));
    for directory in [&inside, &outside] {
        std::fs::create_dir(directory).unwrap();
    }
    std::os::unix::fs::symlink(outside.join("missing"), inside.join("dangling")).unwrap();
    let access = LocalAccess::only([&inside]).unwrap();
    assert!(
        access
            .destination("destination", &inside.join("dangling/a/b"))
            .is_err()
    );
    assert!(
        access
            .destination("destination", &outside.join("a/b"))
            .is_err()
    );
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    // A link that appears after the check is not followed.
    let opened = File::open(&inside).unwrap();
    std::os::unix::fs::symlink(&outside, inside.join("late")).unwrap();
    let missing = ["late".into(), "new".into()];
    assert!(create_directories(opened, &inside, &missing).is_err());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    let opened = File::open(&inside).unwrap();
    create_directories(opened, &inside, &["a".into(), "b".into()]).unwrap();
    assert!(inside.join("a/b").is_dir());
}

#[test]
fn the_document_lists_all_protected_paths() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/local-files.md");
    let document = std::fs::read_to_string(path).unwrap();
    let quoted = |paths: &[&str]| {
        let paths = paths.iter().map(|path| format!("`{path}`"));
        paths.collect::<Vec<_>>().join(", ")
    };
    let mut expected = Vec::new();
    for table in [
        credential_table::HOME,
        credential_table::SYSTEM,
        startup_table::HOME,
        startup_table::ANYWHERE,
        startup_table::SYSTEM,
    ] {
        for (program, paths) in table {
            expected.push(format!("| {program} | {} |", quoted(paths)));
        }
    }
    for (variable, names) in credential_table::VARIABLES
        .iter()
        .chain(startup_table::VARIABLES)
    {
        let names = match *names {
            [""] => "its path".to_owned(),
            names => quoted(names),
        };
        expected.push(format!("| `{variable}` | {names} |"));
    }
    let rows = document.lines().filter(|line| line.starts_with("| "));
    let heads = ["| Program |", "| Kept ", "| Read by |", "| Variable |"];
    let listed: Vec<&str> = rows
        .filter(|row| !heads.iter().any(|head| row.starts_with(head)))
        .collect();
    assert_eq!(listed, expected);
    for (program, paths) in startup_table::ANYWHERE {
        for path in *paths {
            assert!(path.split('/').count() <= 2, "{program}: {path}");
        }
    }
}
