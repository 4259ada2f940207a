//! Merging texts that changed on both sides.

/// Merges two versions of a text with their common base. `None` if changes overlap, or if one of
/// them is not text.
pub(super) fn merge(base: &[u8], ours: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
    if [base, ours, theirs].iter().any(|text| text.contains(&0)) {
        return None;
    }
    diffy::merge_bytes(base, ours, theirs).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_merge_unless_changes_overlap() {
        let base = b"1\n2\n3\n4\n5\n6\n7\n8\n";
        let ours = b"one\n2\n3\n4\n5\n6\n7\n8\n";
        let theirs = b"1\n2\n3\n4\n5\n6\n7\neight";
        let merged = merge(base, ours, theirs).unwrap();
        assert_eq!(merged, b"one\n2\n3\n4\n5\n6\n7\neight");
        // A second merge changes nothing.
        assert_eq!(merge(base, &merged, theirs).unwrap(), merged);
        assert_eq!(merge(base, ours, b"ONE\n2\n3\n4\n5\n6\n7\n8\n"), None);
        assert_eq!(merge(b"a\0", b"a\0b", b"a\0"), None);
    }
}
