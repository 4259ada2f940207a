//! Certificate authorities: this machine's bundle, and those that only this machine trusts.

use std::collections::HashSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use contree_sandbox::{Check, CheckState, LineFormat, TemporaryLines};

/// Files in which distributions keep all CA certificates.
pub(super) const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/cacert.pem",
];

/// Files to which the names above may be links.
const LINKED_BUNDLES: &[&str] = &["/var/lib/ca-certificates/ca-bundle.pem"];

/// Variables that name a certificate file for tools.
pub(super) const BUNDLE_VARIABLES: &[&str] = &[
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "NODE_EXTRA_CA_CERTS",
];

/// Directories for certificate authorities that an administrator adds.
const LOCAL_DIRECTORIES: &[&str] = &[
    "/etc/ca-certificates/trust-source/anchors",
    "/etc/pki/ca-trust/source/anchors",
    "/etc/pki/trust/anchors",
    "/usr/local/share/ca-certificates",
];

/// The most files that are read from these directories, and the largest file in bytes.
const MAX_FILES: usize = 256;
const MAX_BYTES: u64 = 4 << 20;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The files with certificate authorities that only this machine trusts. `named` are files that
/// its environment names.
pub(super) fn local_files(named: &[PathBuf]) -> Vec<PathBuf> {
    let is_system = |path: &PathBuf| {
        SYSTEM_BUNDLES
            .iter()
            .any(|bundle| path == Path::new(bundle))
    };
    let mut files: Vec<PathBuf> = named
        .iter()
        .filter(|path| !is_system(path))
        .cloned()
        .collect();
    let mut directories: Vec<PathBuf> = LOCAL_DIRECTORIES.iter().map(PathBuf::from).collect();
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            // A link may lead upwards, so directories behind links are not entered.
            if path.is_dir() && !path.is_symlink() && directories.len() < MAX_FILES {
                directories.push(path);
            } else if files.len() < MAX_FILES {
                files.push(path);
            }
        }
    }
    files.retain(|file| !certificates_of(file).is_empty());
    files
}

/// The certificates that this machine trusts, as PEM blocks.
pub(super) struct MachineCertificates {
    bundle: Vec<String>,
    local: Vec<String>,
}

impl MachineCertificates {
    /// Reads the machine's bundle and its own authorities.
    pub(super) fn read(named: &[PathBuf]) -> Self {
        let bundles = SYSTEM_BUNDLES.iter().map(Path::new);
        let bundle = bundles
            .map(certificates_of)
            .find(|bundle| !bundle.is_empty())
            .unwrap_or_default();
        let files = local_files(named);
        Self {
            bundle,
            local: files
                .iter()
                .flat_map(|file| certificates_of(file))
                .collect(),
        }
    }

    /// All of them as one file, each once.
    pub(super) fn bundle(&self) -> String {
        let mut known = HashSet::new();
        let all = self.bundle.iter().chain(&self.local);
        all.filter(|block| known.insert(block.as_str()))
            .map(String::as_str)
            .collect()
    }

    /// The lines that an image's own bundle gets: the local authorities. If none is known, the
    /// machine's whole bundle may have them.
    pub(super) fn temporary_lines(&self) -> Vec<TemporaryLines> {
        let added = if self.local.is_empty() {
            &self.bundle
        } else {
            &self.local
        };
        if added.is_empty() {
            return Vec::new();
        }
        let lines: Vec<String> = added
            .iter()
            .flat_map(|block| block.lines())
            .map(str::to_owned)
            .collect();
        let bundles = SYSTEM_BUNDLES.iter().chain(LINKED_BUNDLES);
        bundles
            .map(|path| TemporaryLines {
                path: path.into(),
                format: LineFormat::Text,
                lines: lines.clone(),
                make_if: None,
                mode: 0o644,
            })
            .collect()
    }
}

/// The certificates of a file, as PEM blocks. Empty if the file has none or cannot be read.
fn certificates_of(path: &Path) -> Vec<String> {
    let mut bytes = Vec::new();
    let read = fs::metadata(path).and_then(|metadata| {
        if !metadata.is_file() {
            return Ok(0);
        }
        fs::File::open(path)?
            .take(MAX_BYTES)
            .read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => blocks(&String::from_utf8_lossy(&bytes)),
        Err(_) => Vec::new(),
    }
}

/// The PEM blocks of certificates, without any text around them.
fn blocks(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if line == BEGIN {
            current = Some(String::new());
        }
        if let Some(block) = &mut current {
            block.push_str(line);
            block.push('\n');
        }
        if line == END {
            found.extend(current.take());
        }
    }
    found
}

/// Reports for `doctor` whether commands trust the authorities that only this machine trusts.
/// `None` if there is nothing to say.
pub(super) fn check(named: &[PathBuf], trusted: bool) -> Option<Check> {
    const NAME: &str = "certificates";
    if trusted {
        let about = "commands trust this machine's certificate authorities (--trust-host-ca)";
        return Some(Check::new(NAME, CheckState::Fine, about, None));
    }
    let files = local_files(named);
    let first = files.first()?;
    let more = match files.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Some(Check::new(
        NAME,
        CheckState::Degraded,
        format!(
            "this machine has certificate authorities of its own ({}{more}), which commands in images with certificates do not trust",
            first.display()
        ),
        Some(
            "if downloads fail because of certificates, use --trust-host-ca or CONTREE_TRUST_HOST_CA=true"
                .to_owned(),
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(body: &str) -> String {
        format!("{BEGIN}\n{body}\n{END}\n")
    }

    #[test]
    fn certificates_are_found_among_other_text() {
        let text = format!(
            "# Name\n{}-----BEGIN TRUSTED CERTIFICATE-----\nx\n-----END TRUSTED CERTIFICATE-----\n{}{BEGIN}\ncut",
            block("AAAA"),
            block("BBBB").replace('\n', "\r\n")
        );
        assert_eq!(blocks(&text), [block("AAAA"), block("BBBB")]);
    }

    #[test]
    fn a_bundle_has_each_certificate_once() {
        let certificates = MachineCertificates {
            bundle: vec![block("AAAA"), block("BBBB")],
            local: vec![block("BBBB"), block("CCCC")],
        };
        assert_eq!(
            certificates.bundle(),
            [block("AAAA"), block("BBBB"), block("CCCC")].concat()
        );
        let lines = certificates.temporary_lines();
        let added: Vec<&str> = lines[0].lines.iter().map(String::as_str).collect();
        assert_eq!(added, [BEGIN, "BBBB", END, BEGIN, "CCCC", END]);
        assert!(lines.iter().all(|file| file.make_if.is_none()));
    }

    #[test]
    fn files_that_the_environment_names_count_as_local() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("corporate.pem");
        fs::write(&file, block("AAAA")).expect("a file");
        let missing = directory.path().join("missing.pem");
        let bundle = PathBuf::from(SYSTEM_BUNDLES[0]);
        let named = [missing.clone(), bundle.clone(), file.clone()];
        let found = local_files(&named);
        assert!(found.contains(&file), "{found:?}");
        assert!(
            !found.contains(&missing) && !found.contains(&bundle),
            "{found:?}"
        );
        let check = check(&named, false).expect("a check");
        assert_eq!(check.state, CheckState::Degraded);
        assert!(
            check
                .remedy
                .expect("a remedy")
                .contains("CONTREE_TRUST_HOST_CA")
        );
        let trusted = super::check(&named, true).expect("a check");
        assert_eq!(trusted.state, CheckState::Fine);
    }
}
