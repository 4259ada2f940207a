//! Splits the local targets of a push.

use std::path::{Path, PathBuf};

/// Splits `PATH[:NAME]`. The path need not exist yet, but an existing path takes precedence.
/// Otherwise the name begins at the first colon after an existing directory.
pub fn split_new_name(text: &str) -> (PathBuf, Option<String>) {
    let named = |colon: usize| {
        let name = text.get(colon + 1..).filter(|name| !name.is_empty());
        (PathBuf::from(&text[..colon]), name.map(str::to_owned))
    };
    if Path::new(text).exists() {
        return (text.into(), None);
    }
    let colons: Vec<usize> = text.rmatch_indices(':').map(|(at, _)| at).collect();
    if let Some(colon) = colons.iter().find(|at| Path::new(&text[..**at]).exists()) {
        return named(*colon);
    }
    let has_parent = |colon: usize| {
        let parent = Path::new(&text[..colon]).parent();
        parent.is_some_and(Path::is_dir)
    };
    match colons.iter().rev().find(|at| has_parent(**at)) {
        Some(colon) => named(*colon),
        // No directory exists, so the last part of the path has the name.
        None => {
            let start = text.rfind('/').map_or(0, |slash| slash + 1);
            match text[start..].find(':') {
                Some(colon) => named(start + colon),
                None => (text.into(), None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_from_new_and_existing_paths() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display().to_string();
        let new = split_new_name(&format!("{root}/new:app:1"));
        assert_eq!(new, (folder.path().join("new"), Some("app:1".into())));
        let slash = split_new_name(&format!("{root}/new:org/app:1"));
        assert_eq!(slash, (folder.path().join("new"), Some("org/app:1".into())));
        let alone = split_new_name(&format!("{root}/new"));
        assert_eq!(alone, (folder.path().join("new"), None));
        std::fs::write(folder.path().join("a:b"), "").unwrap();
        let existing = split_new_name(&format!("{root}/a:b:x"));
        assert_eq!(existing, (folder.path().join("a:b"), Some("x".into())));
    }
}
