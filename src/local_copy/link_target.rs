//! Targets of symbolic links of an image.

/// Whether the target of a link leads out of the directory that is copied. `path` is the path of
/// the link below that directory.
///
/// A target may go up at its beginning alone, and not above the directory. If all links are like
/// that, following them never leaves the directory.
pub(super) fn leads_outside(path: &[u8], target: &[u8]) -> bool {
    if target.is_empty() || target.starts_with(b"/") {
        return true;
    }
    let depth = path.iter().filter(|byte| **byte == b'/').count();
    let parts = target.split(|byte| *byte == b'/');
    let parts = parts.filter(|part| !part.is_empty() && *part != b".");
    let (mut ups, mut has_name) = (0, false);
    for part in parts {
        match part {
            b".." if has_name => return true,
            b".." => ups += 1,
            _ => has_name = true,
        }
    }
    ups > depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_may_lead_anywhere_inside() {
        for (path, target, outside) in [
            ("l", "a", false),
            ("l", "./a/b", false),
            ("l", "..", true),
            ("l", "/a", true),
            ("l", "", true),
            ("d/l", "../a", false),
            ("d/l", "..", false),
            ("d/l", "../../a", true),
            ("d/l", "x/../../a", true),
            ("d/e/l", ".././../a", false),
        ] {
            assert_eq!(
                leads_outside(path.as_bytes(), target.as_bytes()),
                outside,
                "{path} -> {target}"
            );
        }
    }
}
