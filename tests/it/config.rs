//! The selection of a backend from flags, environment and profile files, with one row for each
//! rule.

use std::path::Path;

use contree::config::{
    AuthType, BackendChoice, BackendSelection, CloudBackend, DEFAULT_IAM_URL, Environment,
    FIRST_RELEASE_URL, Flags, ProfileFiles, SelectedBackend, select_backend,
};

const AUTH: &str = "
[DEFAULT]
profile = work
[profile:work]
token = work-token
url = https://work.example
[profile:iam]
token = iam-token
project = p1
[profile:typed]
token = typed-token
url = https://typed.example
type = jwt
project = p2
[profile:empty]
";

fn files(auth: &str) -> ProfileFiles {
    let mut files = ProfileFiles::default();
    files.folder = "/profiles".into();
    files.first_release_path = "/old/mcp.ini".into();
    files.add(Path::new("/profiles/auth.ini"), auth);
    files
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().copied().collect()
}

fn cloud(selection: &BackendSelection) -> &CloudBackend {
    match &selection.backend {
        Ok(SelectedBackend::Cloud(cloud)) => cloud,
        other => panic!("expected the cloud, not {other:?}"),
    }
}

fn error(selection: &BackendSelection) -> String {
    selection
        .backend
        .as_ref()
        .expect_err("expected an error")
        .to_string()
}

/// (environment, token, url, project)
type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str, Option<&'a str>);

#[test]
fn each_field_comes_from_the_first_source_that_has_it() {
    let rows: &[Row<'_>] = &[
        (&[], "work-token", "https://work.example", None),
        (&[("CONTREE_TOKEN", "t")], "t", "https://work.example", None),
        (
            &[("CONTREE_TOKEN", "")],
            "work-token",
            "https://work.example",
            None,
        ),
        (
            &[("CONTREE_URL", "https://u.example")],
            "work-token",
            "https://u.example",
            None,
        ),
        (
            &[("CONTREE_PROJECT", "p")],
            "work-token",
            "https://work.example",
            Some("p"),
        ),
        (
            &[("NEBIUS_API_KEY", "n"), ("NEBIUS_AI_PROJECT", "np")],
            "n",
            "https://work.example",
            Some("np"),
        ),
        (
            &[("NEBIUS_API_KEY", "n")],
            "work-token",
            "https://work.example",
            None,
        ),
        (
            &[("NEBIUS_AI_PROJECT", "np")],
            "work-token",
            "https://work.example",
            None,
        ),
        (
            &[
                ("CONTREE_TOKEN", "t"),
                ("NEBIUS_API_KEY", "n"),
                ("NEBIUS_AI_PROJECT", "np"),
            ],
            "t",
            "https://work.example",
            Some("np"),
        ),
        (
            &[("CONTREE_PROFILE", "iam")],
            "iam-token",
            DEFAULT_IAM_URL,
            Some("p1"),
        ),
        (
            &[("CONTREE_PROFILE", "typed")],
            "typed-token",
            "https://typed.example",
            None,
        ),
        (
            &[
                ("CONTREE_MCP_TOKEN", "old"),
                ("CONTREE_MCP_URL", "https://old.example"),
            ],
            "work-token",
            "https://work.example",
            None,
        ),
    ];
    for (variables, token, url, project) in rows {
        let selection = select_backend(&Flags::default(), &environment(variables), &files(AUTH));
        let cloud = cloud(&selection);
        assert_eq!(
            (
                cloud.token.as_str(),
                cloud.url.as_str(),
                cloud.project.as_deref()
            ),
            (*token, *url, *project),
            "{variables:?}"
        );
    }
}

#[test]
fn flags_come_before_everything() {
    let mut flags = Flags::default();
    flags.token = Some("ft".into());
    flags.url = Some("https://f.example".into());
    flags.project = Some("fp".into());
    let selection = select_backend(
        &flags,
        &environment(&[("CONTREE_TOKEN", "t"), ("CONTREE_URL", "https://u.example")]),
        &files(AUTH),
    );
    let found = cloud(&selection);
    assert_eq!(
        (
            found.token.as_str(),
            found.url.as_str(),
            found.project.as_deref()
        ),
        ("ft", "https://f.example", Some("fp"))
    );
    assert_eq!(found.auth_type, AuthType::Iam);

    flags.auth_type = Some(AuthType::Jwt);
    let selection = select_backend(&flags, &environment(&[]), &files(AUTH));
    assert_eq!(cloud(&selection).project, None);
    assert!(
        selection
            .notes
            .iter()
            .any(|note| note.contains("the project (--project) is not sent")),
        "{:?}",
        selection.notes
    );

    flags.profile = Some("typed".into());
    flags.token = None;
    let selection = select_backend(
        &flags,
        &environment(&[("CONTREE_PROFILE", "iam")]),
        &files(AUTH),
    );
    assert_eq!(cloud(&selection).token, "typed-token");
}

#[test]
fn without_configuration_the_embedded_engine_is_selected() {
    for pairs in [
        &[][..],
        &[("NEBIUS_API_KEY", "n")][..],
        &[("NEBIUS_AI_PROJECT", "n")][..],
        &[("CONTREE_URL", "")][..],
    ] {
        let selection = select_backend(&Flags::default(), &environment(pairs), &files(""));
        assert_eq!(selection.backend, Ok(SelectedBackend::Local), "{pairs:?}");
        assert_eq!(selection.why, "no token and no URL are configured");
        assert_eq!(
            selection.notes.len(),
            usize::from(pairs.iter().any(|(name, _)| name.starts_with("NEBIUS")))
        );
    }
}

#[test]
fn a_lone_variable_of_another_program_is_named() {
    let selection = select_backend(
        &Flags::default(),
        &environment(&[("NEBIUS_API_KEY", "secret")]),
        &files(""),
    );
    assert_eq!(
        selection.notes,
        ["NEBIUS_API_KEY is set without NEBIUS_AI_PROJECT, so it is ignored"]
    );
    let selection = select_backend(
        &Flags::default(),
        &environment(&[("NEBIUS_AI_PROJECT", "p")]),
        &files(""),
    );
    assert_eq!(
        selection.notes,
        ["NEBIUS_AI_PROJECT is set without NEBIUS_API_KEY, so it is ignored"]
    );
}

#[test]
fn incomplete_credentials_are_an_error_that_names_the_missing_value() {
    let rows: &[(&[(&str, &str)], &str)] = &[
        (
            &[("CONTREE_URL", "https://u.example")],
            "there is a URL (CONTREE_URL) but no token: set CONTREE_TOKEN",
        ),
        (
            &[("CONTREE_PROJECT", "p")],
            "there is a project (CONTREE_PROJECT) but no token",
        ),
        (
            &[("CONTREE_TOKEN", "t")],
            "there is a token (CONTREE_TOKEN) but no URL",
        ),
        (
            &[("CONTREE_MCP_URL", "https://u.example")],
            "there is a URL (CONTREE_MCP_URL) but no token",
        ),
        (&[("CONTREE_PROFILE", "empty")], "there is no token"),
        (
            &[("CONTREE_PROFILE", "nobody")],
            "CONTREE_PROFILE names the profile `nobody`, which is not in /profiles (known: `empty`",
        ),
        (
            &[("CONTREE_BACKEND", "clowd")],
            "the backend is `auto`, `cloud` or `local`, not `clowd`",
        ),
        (
            &[("CONTREE_BACKEND", "cloud")],
            "there is no token: set CONTREE_TOKEN, pass --token, or add `token` to a profile in /profiles",
        ),
    ];
    let without_default = AUTH.replace("profile = work", "");
    for (variables, expected) in rows {
        let selection = select_backend(
            &Flags::default(),
            &environment(variables),
            &files(&without_default),
        );
        let text = error(&selection);
        assert!(text.contains(expected), "{variables:?}: {text}");
        assert!(!text.contains("secret"));
    }
    let mut flags = Flags::default();
    flags.auth_type = Some(AuthType::Iam);
    let selection = select_backend(
        &flags,
        &environment(&[
            ("CONTREE_TOKEN", "secret"),
            ("CONTREE_URL", "https://u.example"),
        ]),
        &files(""),
    );
    assert!(
        error(&selection).starts_with("there is an IAM token (CONTREE_TOKEN) but no project"),
        "{}",
        error(&selection)
    );
    let selection = select_backend(&flags, &environment(&[]), &files(""));
    assert!(error(&selection).starts_with("there is no token"));
}

#[test]
fn the_configuration_of_the_first_release_still_works() {
    let mut files = files("");
    files.add_first_release(Path::new("/old/mcp.ini"), "[DEFAULT]\ntoken = old\n");
    let selection = select_backend(&Flags::default(), &environment(&[]), &files);
    assert_eq!(
        (
            cloud(&selection).token.as_str(),
            cloud(&selection).url.as_str()
        ),
        ("old", FIRST_RELEASE_URL)
    );
    assert_eq!(selection.why, "found /old/mcp.ini");

    let variables = [
        ("CONTREE_MCP_TOKEN", "newer"),
        ("CONTREE_MCP_URL", "https://first.example"),
    ];
    let selection = select_backend(&Flags::default(), &environment(&variables), &files);
    let found = cloud(&selection);
    assert_eq!(
        (
            found.token.as_str(),
            found.url.as_str(),
            found.project.as_deref()
        ),
        ("newer", "https://first.example", None)
    );

    // Its default address applies only to its own tokens.
    let selection = select_backend(
        &Flags::default(),
        &environment(&[("CONTREE_TOKEN", "t")]),
        &files,
    );
    assert!(error(&selection).contains("no URL"));
}

#[test]
fn the_requested_backend_overrules_the_configuration() {
    let mut flags = Flags::default();
    flags.backend = Some(BackendChoice::Local);
    let selection = select_backend(
        &flags,
        &environment(&[("CONTREE_BACKEND", "cloud"), ("CONTREE_TOKEN", "t")]),
        &files(AUTH),
    );
    assert_eq!(
        (selection.backend, selection.why.as_str()),
        (Ok(SelectedBackend::Local), "selected by --backend")
    );
    let selection = select_backend(
        &Flags::default(),
        &environment(&[("CONTREE_BACKEND", "local")]),
        &files(AUTH),
    );
    assert_eq!(
        (selection.backend, selection.why.as_str()),
        (Ok(SelectedBackend::Local), "selected by CONTREE_BACKEND")
    );
    let selection = select_backend(
        &Flags::default(),
        &environment(&[("CONTREE_BACKEND", "cloud")]),
        &files(AUTH),
    );
    assert_eq!(cloud(&selection).token, "work-token");
    assert_eq!(selection.why, "selected by CONTREE_BACKEND");
}

#[test]
fn the_reason_names_each_source_once() {
    let selection = select_backend(&Flags::default(), &environment(&[]), &files(AUTH));
    assert_eq!(selection.why, "found profile `work`");
    let selection = select_backend(
        &Flags::default(),
        &environment(&[("CONTREE_TOKEN", "t")]),
        &files(AUTH),
    );
    assert_eq!(selection.why, "found CONTREE_TOKEN, profile `work`");
}

#[test]
fn a_token_is_never_shown() {
    let mut flags = Flags::default();
    flags.token = Some("secret".into());
    let files = files("[profile:default]\ntoken = secret\nurl = https://u.example\n");
    let environment = environment(&[("CONTREE_TOKEN", "secret")]);
    let selection = select_backend(&flags, &environment, &files);
    assert!(!format!("{flags:?} {environment:?} {files:?} {selection:?}").contains("secret"));
}

mod on_disk {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(pairs: &[(&str, &Path)]) -> ProfileFiles {
        ProfileFiles::load(
            &pairs
                .iter()
                .map(|(name, path)| (*name, path.to_str().unwrap()))
                .collect(),
        )
    }

    #[test]
    fn auth_ini_is_merged_over_cli_ini() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/contree");
        write(
            &folder.join("cli.ini"),
            "[DEFAULT]\nprofile = a\n[profile:a]\nurl = https://a.example\ntoken = wrong\n",
            0o600,
        );
        write(
            &folder.join("auth.ini"),
            "[profile:a]\ntoken = right\\n\"quoted\"\n",
            0o600,
        );
        let files = load(&[("HOME", home.path())]);
        assert_eq!(files.active.as_deref(), Some("a"));
        let profile = &files.profiles["a"];
        assert_eq!(
            (profile.url.as_deref(), profile.token.as_deref()),
            (Some("https://a.example"), Some("right\\n\"quoted\""))
        );
        assert!(
            files.warnings.is_empty() && files.problems.is_empty(),
            "{files:?}"
        );
    }

    #[test]
    fn the_folder_follows_the_variables() {
        let (home, xdg, own) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        write(
            &home.path().join(".config/contree/auth.ini"),
            "[DEFAULT]\nprofile = home\n",
            0o600,
        );
        write(
            &xdg.path().join("contree/auth.ini"),
            "[DEFAULT]\nprofile = xdg\n",
            0o600,
        );
        write(
            &own.path().join("auth.ini"),
            "[DEFAULT]\nprofile = own\n",
            0o600,
        );
        let active = |pairs: &[(&str, &Path)]| load(pairs).active.unwrap();
        assert_eq!(active(&[("HOME", home.path())]), "home");
        assert_eq!(
            active(&[("HOME", home.path()), ("XDG_CONFIG_HOME", xdg.path())]),
            "xdg"
        );
        assert_eq!(
            active(&[
                ("HOME", home.path()),
                ("XDG_CONFIG_HOME", xdg.path()),
                ("CONTREE_HOME", own.path())
            ]),
            "own"
        );
    }

    #[test]
    fn a_token_that_others_may_read_is_a_warning() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/contree");
        write(&folder.join("cli.ini"), "[DEFAULT]\nprofile = a\n", 0o644);
        write(&folder.join("auth.ini"), "[profile:a]\ntoken = t\n", 0o640);
        let files = load(&[("HOME", home.path())]);
        assert_eq!(files.warnings.len(), 1, "{files:?}");
        assert!(
            files.warnings[0].contains("auth.ini") && files.warnings[0].contains("chmod 600"),
            "{files:?}"
        );
    }

    #[test]
    fn a_broken_file_is_an_error_without_its_text() {
        let home = tempfile::tempdir().unwrap();
        write(
            &home.path().join(".config/contree/auth.ini"),
            "[profile:a\ntoken secret\n",
            0o600,
        );
        let files = load(&[("HOME", home.path())]);
        let selection = select_backend(&Flags::default(), &environment(&[]), &files);
        let text = error(&selection);
        assert!(
            text.contains("auth.ini is not a valid INI file") && !text.contains("secret"),
            "{text}"
        );
        let selection = select_backend(
            &Flags::default(),
            &environment(&[("CONTREE_BACKEND", "local")]),
            &files,
        );
        assert_eq!(selection.backend, Ok(SelectedBackend::Local));
    }

    #[test]
    fn the_file_of_the_first_release_is_found_or_reported_missing() {
        let home = tempfile::tempdir().unwrap();
        write(
            &home.path().join(".config/contree/mcp.ini"),
            "[DEFAULT]\nurl = https://a.example\ntoken = t\n",
            0o600,
        );
        assert_eq!(
            load(&[("HOME", home.path())])
                .first_release
                .token
                .as_deref(),
            Some("t")
        );
        let elsewhere = home.path().join("elsewhere.ini");
        let missing = load(&[("HOME", home.path()), ("CONTREE_MCP_CONFIG", &elsewhere)]);
        assert!(missing.first_release.token.is_none());
        assert!(
            missing.warnings[0].contains("does not exist"),
            "{missing:?}"
        );
    }
}
