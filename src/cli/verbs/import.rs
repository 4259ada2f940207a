//! `contree images import`: images from registries, and from files of this machine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use contree_error_codes::ErrorCode;
use serde::Serialize;
use uuid::Uuid;

use super::context::VerbContext;
use super::error::VerbError;
use super::image_name::short;
use super::local_image::{ARCHIVES, LocalImage, is_docker_archive, is_local_scheme};
use super::progress::Progress;
use super::registry::stored_login;
use super::rows::print_record;
use crate::cli::number;
use crate::cli::output::print;
use crate::cli::secret;

/// Import images from a registry, or from a file or a directory
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree images import ubuntu:noble ghcr.io/owner/tool:1.2
  contree images import ./rootfs.tar.gz --tag base    an archive of files, or of `docker save`

The tag is the reference without its registry; --tag NAME or REF?tag=NAME sets another one. The login
is that of --username, else that of `contree login REGISTRY` or `docker login`.")]
pub(in crate::cli) struct ImportImages {
    /// A reference such as python:3.12, a file, or the directory of an OCI layout
    #[arg(required = true, value_name = "REF|FILE|DIR")]
    references: Vec<String>,
    /// Tag of the image
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
    /// User name for the registry
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Password for the registry; asked for if it is missing
    #[arg(long, requires = "username", value_name = "TEXT")]
    password: Option<String>,
    /// Seconds until the import fails; default: 300
    #[arg(short, long, value_name = "SECS", value_parser = number::seconds::<u64>)]
    timeout: Option<u64>,
}

/// An imported image as JSON.
#[derive(Serialize)]
struct Imported<'a> {
    uuid: Uuid,
    tag: &'a str,
    source: &'a str,
}

/// The source of an import.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    url: String,
    tag: Option<String>,
    /// Whether it is on this machine.
    is_local: bool,
}

impl ImportImages {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        if self.tag.is_some() && self.references.len() > 1 {
            return Err(VerbError::Usage(
                "--tag names one image; give one reference, or REF?tag=NAME for each".to_owned(),
            ));
        }
        let login = match (&self.username, &self.password) {
            (None, _) => None,
            (Some(user), Some(password)) => Some((user.clone(), password.clone())),
            (Some(user), None) => {
                let asked = contree_tasks::blocking(|| secret::ask("password")).await;
                let asked = asked.map_err(|error| VerbError::Usage(error.to_string()))?;
                let password = asked.map_err(|error| VerbError::Usage(error.to_string()))?;
                Some((user.clone(), password))
            }
        };
        for text in &self.references {
            let (bare, _) = text.split_once("?tag=").unwrap_or((text, ""));
            if let Some(local) = LocalImage::find(bare).filter(|local| !local.is_explicit()) {
                return Err(local.ambiguity(bare));
            }
            let source = source(text)?;
            let tag = self.tag.clone().or_else(|| source.tag.clone());
            let Some(tag) = tag else {
                return Err(VerbError::Usage(format!(
                    "`{text}` is on this machine, so it has no name of its own; give --tag NAME"
                )));
            };
            if source.is_local && !cx.is_local() {
                return Err(VerbError::Usage(format!(
                    "`{text}` is on this machine, which only the embedded engine can import; push it to a registry and import it from there"
                )));
            }
            let image = import(cx, &source, Some(&tag), login.clone(), self.timeout).await?;
            match cx.format.is_json() {
                true => print_record(
                    cx.format,
                    &Imported {
                        uuid: image,
                        tag: &tag,
                        source: &source.url,
                    },
                )?,
                false => print(&format!("{tag} is now {}\n", short(&image)))?,
            }
        }
        Ok(0)
    }
}

/// Imports the image of a reference as `contree images import` does, and returns it.
///
/// # Errors
/// If the import fails, or the reference is on this machine and the backend is not.
pub(super) async fn import_reference(
    cx: &VerbContext,
    text: &str,
    tag: Option<&str>,
) -> Result<Uuid, VerbError> {
    import(cx, &source(text)?, tag, None, None).await
}

async fn import(
    cx: &VerbContext,
    source: &Source,
    tag: Option<&str>,
    login: Option<(String, String)>,
    timeout: Option<u64>,
) -> Result<Uuid, VerbError> {
    let progress = Arc::new(Progress::spinner(&format!("importing {}", source.url)));
    let mut import = cx.client.import(&source.url);
    if let Some(tag) = tag {
        import = import.tag(tag);
    }
    if let Some(seconds) = timeout {
        import = import.timeout(Duration::from_secs(seconds));
    }
    let login = match login {
        None if !source.is_local => stored_login(cx, &source.url).await,
        login => login,
    };
    if let Some((user, password)) = login {
        import = import.credentials(user, password);
    }
    let shown = progress.clone();
    let import = import.on_progress(move |line| shown.say(&line.line));
    let image = cx.unless_interrupted(import.into_future()).await?;
    drop(progress);
    Ok(image.uuid().await?)
}

/// Reads a reference: with a scheme, a path, or a name in a registry.
fn source(text: &str) -> Result<Source, VerbError> {
    let (text, tag) = match text.split_once("?tag=") {
        Some((text, tag)) => (text, Some(tag.to_owned())),
        None => (text, None),
    };
    if is_local_scheme(text)
        && let Some((scheme, path)) = text.split_once(':')
    {
        let path = absolute(Path::new(path.strip_prefix("//").unwrap_or(path)))?;
        return Ok(Source {
            url: format!("{scheme}:{path}"),
            tag,
            is_local: true,
        });
    }
    if let Some(local) = LocalImage::find(text).filter(LocalImage::is_explicit) {
        let named = source(&local.reference())?;
        return Ok(Source {
            tag: tag.or_else(|| Some(local.name().to_owned())),
            ..named
        });
    }
    let is_path = text.starts_with(['/', '.', '~']) || Path::new(text).exists();
    if is_path {
        let path = Path::new(text);
        let metadata = std::fs::metadata(path).map_err(VerbError::file(path))?;
        let scheme = if metadata.is_dir() {
            if !path.join("oci-layout").exists() {
                return Err(VerbError::Usage(format!(
                    "{text} is a directory, but not an OCI layout; pack it with `tar -C {text} -cf FILE .` and import FILE, or write docker://{text} for a registry"
                )));
            }
            "oci-layout"
        } else if is_docker_archive(path) {
            "docker-archive"
        } else {
            "rootfs"
        };
        return Ok(Source {
            url: format!("{scheme}:{}", absolute(path)?),
            tag,
            is_local: true,
        });
    }
    if ARCHIVES.iter().any(|ending| text.ends_with(ending)) && !text.contains([':', '/']) {
        return Err(VerbError::WithCode(
            ErrorCode::LocalFileUnusable,
            format!("there is no file {text} here; give its path"),
        ));
    }
    let url = match text.contains("://") {
        true => text.to_owned(),
        false => format!("docker://{text}"),
    };
    Ok(Source {
        tag: tag.or_else(|| Some(imported_tag(&url))),
        url,
        is_local: false,
    })
}

/// The tag of an imported image: the reference without scheme, registry, `library/` and digest.
pub(super) fn imported_tag(url: &str) -> String {
    let bare = url.split_once("://").map_or(url, |(_, bare)| bare);
    let bare = match bare.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => bare,
    };
    let bare = bare.strip_prefix("library/").unwrap_or(bare);
    bare.split_once('@')
        .map_or(bare, |(name, _)| name)
        .to_owned()
}

/// The absolute form of a path, as text.
///
/// # Errors
/// If it is not UTF-8.
pub(super) fn absolute(path: &Path) -> Result<String, VerbError> {
    let path = std::path::absolute(path).map_err(VerbError::file(path))?;
    path.to_str().map(str::to_owned).ok_or_else(|| {
        VerbError::Usage(format!(
            "the path {} is not UTF-8; rename the file",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_those_of_the_official_command_line() {
        for (reference, tag) in [
            ("ubuntu:latest", "ubuntu:latest"),
            ("docker://docker.io/library/ubuntu:latest", "ubuntu:latest"),
            ("docker.io/nimlang/nim:latest", "nimlang/nim:latest"),
            ("ghcr.io/owner/image:tag", "owner/image:tag"),
            ("localhost:5000/x:1", "x:1"),
            ("alpine@sha256:00", "alpine"),
        ] {
            let source = source(reference).unwrap();
            assert_eq!(source.tag.as_deref(), Some(tag), "{reference}");
            assert!(source.url.starts_with("docker://") && !source.is_local);
        }
        let named = source("alpine:3?tag=mine").unwrap();
        assert_eq!(
            (named.url.as_str(), named.tag.as_deref()),
            ("docker://alpine:3", Some("mine"))
        );
    }

    #[test]
    fn files_are_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for (name, member, scheme) in [
            ("d.tar", "manifest.json", "docker-archive"),
            ("r.tar", "etc", "rootfs"),
        ] {
            let mut archive = tar::Builder::new(std::fs::File::create(path(name)).unwrap());
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_cksum();
            archive.append_data(&mut header, member, &b""[..]).unwrap();
            archive.finish().unwrap();
            assert_eq!(
                source(&path(name)).unwrap().url,
                format!("{scheme}:{}", path(name))
            );
        }
        let compressed = std::fs::File::create(path("d.tar.gz")).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(compressed, flate2::Compression::fast());
        let mut plain = std::fs::File::open(path("d.tar")).unwrap();
        std::io::copy(&mut plain, &mut gzip).unwrap();
        gzip.finish().unwrap();
        assert!(is_docker_archive(Path::new(&path("d.tar.gz"))));
        std::fs::create_dir(path("layout")).unwrap();
        assert!(source(&path("layout")).is_err());
        std::fs::write(path("layout/oci-layout"), "{}").unwrap();
        assert_eq!(
            source(&path("layout")).unwrap().url,
            format!("oci-layout:{}", path("layout"))
        );
        let named = source(&path("layout/app:1")).unwrap();
        assert_eq!(
            (named.url, named.tag.as_deref()),
            (
                format!("oci-layout:{}:app:1", path("layout")),
                Some("app:1")
            )
        );
        assert!(source(&path("missing")).is_err());
    }
}
