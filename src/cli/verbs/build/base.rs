//! The images with which stages begin.

use std::path::Path;
use std::time::Duration;

use contree_error_codes::ErrorCode;
use uuid::Uuid;

use super::error::{InstructionError, StepError};
use super::output::command_failure;
use super::step_cache::{self, ImageConfig, StepKey};
use crate::cli::verbs::context::VerbContext;
use crate::cli::verbs::import::{import_reference, imported_tag};
use crate::{ImageRef, OperationStatus};

/// The `PATH` of an image that sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Variables that a shell or the sandbox sets, rather than the image.
const OWN_VARIABLES: [&str; 7] = ["HOME", "HOSTNAME", "OLDPWD", "PWD", "SHLVL", "TERM", "_"];
/// Prints the directory and the variables of an image.
const SHOW_CONFIG: &str = "pwd && exec cat /proc/self/environ";
/// How long reading the settings of an image may take.
const CONFIG_TIMEOUT: Duration = Duration::from_secs(60);

/// The image with which a stage begins.
pub(super) struct BaseImage {
    pub(super) image: Uuid,
    /// Whether the backend had it before the build.
    pub(super) is_cached: bool,
}

/// Finds the image of a name: a tag, a UUID, or a reference, which is imported if it is new or
/// `pulls` asks for it.
///
/// # Errors
/// If the import fails.
pub(super) async fn named(
    cx: &VerbContext,
    name: &str,
    pulls: bool,
) -> Result<BaseImage, StepError> {
    let known = |image| BaseImage {
        image,
        is_cached: true,
    };
    if let Ok(uuid) = name.parse::<Uuid>() {
        cx.client.resolve(&ImageRef::Uuid(uuid)).await?;
        return Ok(known(uuid));
    }
    if let Some(tag) = name.strip_prefix("tag:") {
        let image = cx.image(&format!("tag:{tag}")).await?;
        return Ok(known(image));
    }
    // A tag such as `debian` may name another image than `debian@sha256:…`.
    let has_digest = name.contains('@');
    if !pulls && !has_digest {
        for tag in [name, &format!("{name}:latest"), &tag_of(name)] {
            let Ok(reference) = format!("tag:{tag}").parse::<ImageRef>() else {
                continue;
            };
            match cx.client.resolve(&reference).await {
                Ok(image) => {
                    if let Some(uuid) = image.uuid {
                        return Ok(known(uuid));
                    }
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let key = StepKey::Reference(name);
    if has_digest && let Some((image, _)) = step_cache::find(cx, &key).await? {
        return Ok(known(image));
    }
    // A name in a Dockerfile is never a file of this machine.
    let url = match name.strip_prefix("docker://") {
        Some(_) => name.to_owned(),
        None => format!("docker://{name}"),
    };
    let tag = tag_of(name);
    let tag = Some(tag.as_str()).filter(|_| !has_digest);
    let image = import_reference(cx, &url, tag).await?;
    if has_digest {
        step_cache::record(cx, &key, image, None).await?;
    }
    Ok(BaseImage {
        image,
        is_cached: false,
    })
}

/// The tag of an imported image: that of `contree images import` for a name of Docker Hub, else the
/// whole name. So a name of another registry never means or moves a tag without a registry.
fn tag_of(name: &str) -> String {
    let name = name.strip_prefix("docker://").unwrap_or(name);
    let host = name.split_once('/').map(|(host, _)| host);
    let host = host.filter(|host| host.contains(['.', ':']) || *host == "localhost");
    match host {
        None | Some("docker.io" | "index.docker.io") => imported_tag(name),
        Some(_) => name.to_owned(),
    }
}

/// The image without files.
///
/// # Errors
/// On a service, which has no such image.
pub(super) async fn scratch(cx: &VerbContext) -> Result<BaseImage, StepError> {
    if let Some((image, _)) = step_cache::find(cx, &StepKey::Scratch).await? {
        return Ok(BaseImage {
            image,
            is_cached: true,
        });
    }
    if !cx.is_local() {
        return Err(InstructionError::Scratch.into());
    }
    let file = tempfile::NamedTempFile::with_suffix(".tar")
        .and_then(|file| {
            let mut archive = tar::Builder::new(file);
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            archive.append_data(&mut header, ".", std::io::empty())?;
            archive.into_inner()
        })
        .map_err(super::error::file(&std::env::temp_dir()))?;
    let image = of_archive(cx, file.path()).await?;
    step_cache::record(cx, &StepKey::Scratch, image, None).await?;
    Ok(BaseImage {
        image,
        is_cached: false,
    })
}

/// The settings of an image that has none.
pub(super) fn empty_config() -> ImageConfig {
    ImageConfig {
        env: [("PATH".to_owned(), DEFAULT_PATH.to_owned())].into(),
        cwd: "/".to_owned(),
    }
}

/// The image with the files of an archive alone. Unlike a copy, it keeps devices and attributes.
///
/// # Errors
/// If the archive cannot be imported.
pub(super) async fn of_archive(cx: &VerbContext, path: &Path) -> Result<Uuid, StepError> {
    Ok(import_reference(cx, &format!("rootfs:{}", path.display()), None).await?)
}

/// The variables and the directory of an image. The API has no route for them, so its shell prints
/// them once. An image without a shell counts as one without settings.
///
/// # Errors
/// If the backend fails, or the shell did not end by itself.
pub(super) async fn config(
    cx: &VerbContext,
    image: Uuid,
    uses_cache: bool,
) -> Result<ImageConfig, StepError> {
    let key = StepKey::Config(image);
    if uses_cache && let Some((_, Some(config))) = step_cache::find(cx, &key).await? {
        return Ok(config);
    }
    let command = cx
        .client
        .image(image)
        .shell(SHOW_CONFIG)
        .network(false)
        .timeout(CONFIG_TIMEOUT)
        .discard();
    let outcome = cx
        .unless_interrupted(async {
            let run = command.spawn().await?;
            let outcome = cx.client.outcome(run.id(), |_| {}).await;
            run.detach();
            outcome
        })
        .await?;
    let is_shown = outcome.status == OperationStatus::Success && outcome.exit_code == Some(0);
    let config = if is_shown {
        parse(&outcome.stdout.bytes)
    } else if has_no_shell(outcome.error_code, outcome.exit_code) {
        empty_config()
    } else {
        let reason = match outcome.timed_out {
            true => "the image did not show them in time; build again".to_owned(),
            false => {
                let output = String::from_utf8_lossy(&outcome.stderr.bytes);
                command_failure(&outcome, &output, CONFIG_TIMEOUT)
            }
        };
        let message = format!("the variables and the directory of the image are unknown: {reason}");
        return Err(InstructionError::Command(message).into());
    };
    step_cache::record(cx, &key, image, Some(&config)).await?;
    Ok(config)
}

/// Whether a run of [`SHOW_CONFIG`] failed because the image has no shell or no `cat`. Any other
/// failure may be gone next time, so it says nothing about the image.
fn has_no_shell(code: Option<ErrorCode>, exit_code: Option<i64>) -> bool {
    match code {
        Some(code) => code == ErrorCode::CommandNotStarted,
        None => matches!(exit_code, Some(126 | 127)),
    }
}

/// Reads the output of [`SHOW_CONFIG`].
fn parse(output: &[u8]) -> ImageConfig {
    let text = String::from_utf8_lossy(output);
    let (cwd, variables) = text.split_once('\n').unwrap_or(("/", ""));
    let mut config = empty_config();
    config.cwd = cwd.to_owned();
    for variable in variables.split('\0') {
        if let Some((name, value)) = variable.split_once('=')
            && !OWN_VARIABLES.contains(&name)
        {
            config.env.insert(name.to_owned(), value.to_owned());
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_another_registry_has_a_tag_of_its_own() {
        for (name, tag) in [
            ("debian:12", "debian:12"),
            ("docker.io/library/debian:12", "debian:12"),
            ("owner/tool", "owner/tool"),
            ("ghcr.io/owner/tool:1", "ghcr.io/owner/tool:1"),
            ("localhost/tool", "localhost/tool"),
            ("127.0.0.1:5000/debian:12", "127.0.0.1:5000/debian:12"),
        ] {
            assert_eq!(tag_of(name), tag);
        }
    }

    #[test]
    fn only_a_missing_shell_means_no_settings() {
        assert!(has_no_shell(Some(ErrorCode::CommandNotStarted), None));
        assert!(has_no_shell(None, Some(127)) && has_no_shell(None, Some(126)));
        for code in [
            ErrorCode::Cancelled,
            ErrorCode::OperationFailed,
            ErrorCode::CommandTimedOut,
        ] {
            assert!(!has_no_shell(Some(code), None), "{code:?}");
        }
        assert!(!has_no_shell(None, None) && !has_no_shell(None, Some(1)));
    }

    #[test]
    fn the_settings_of_an_image_are_read() {
        let config = parse(b"/work\nPATH=/bin\0A=x=y\nz\0PWD=/work\0HOME=/root\0");
        assert_eq!(config.cwd, "/work");
        let env: Vec<_> = config
            .env
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(env, [("A", "x=y\nz"), ("PATH", "/bin")]);
        assert_eq!(parse(b"").env.len(), 1);
    }
}
