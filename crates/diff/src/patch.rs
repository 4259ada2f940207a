//! Changes in the format of `git apply`.

use std::fmt::Write as _;

use crate::change::{Change, ChangeKind, Node, NodeKind};
use crate::lines::push_hunks;
use crate::quote::push_name;
use crate::rename::Side;

/// The largest file whose text a patch shows, in bytes.
pub const MAX_TEXT_BYTES: u64 = 4 * 1024 * 1024;

/// A SHA-256.
pub type Digest = [u8; 32];

/// The content of a regular file, as a patch shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// UTF-8 without NUL.
    Text(String),
    /// Other bytes, or more than [`MAX_TEXT_BYTES`].
    Binary {
        /// The size in bytes.
        size: u64,
        /// The SHA-256.
        digest: Digest,
    },
}

impl Content {
    /// Makes the content of a file of at most [`MAX_TEXT_BYTES`].
    #[must_use]
    pub fn new(bytes: Vec<u8>, digest: impl FnOnce(&[u8]) -> Digest) -> Self {
        if !bytes.contains(&0) {
            match String::from_utf8(bytes) {
                Ok(text) => return Self::Text(text),
                Err(error) => return Self::binary(error.as_bytes(), digest),
            }
        }
        Self::binary(&bytes, digest)
    }

    fn binary(bytes: &[u8], digest: impl FnOnce(&[u8]) -> Digest) -> Self {
        Self::Binary {
            size: bytes.len() as u64,
            digest: digest(bytes),
        }
    }
}

/// Returns true if the patch of a change needs the content of its file on this side.
#[must_use]
pub fn needs_content(change: &Change, side: Side) -> bool {
    let node = match side {
        Side::Before => &change.before,
        Side::After => &change.after,
    };
    let shows_content = match change.kind {
        ChangeKind::Mode | ChangeKind::Owner | ChangeKind::Renamed => false,
        ChangeKind::Added | ChangeKind::Removed | ChangeKind::Modified | ChangeKind::Type => true,
    };
    shows_content
        && node
            .as_ref()
            .is_some_and(|node| node.kind == NodeKind::File)
}

/// Appends a change to a patch.
///
/// `root_name` is the path that the patch shows for the root of the comparison, if that is a file.
/// `before` and `after` are the contents that [`needs_content`] asks for.
///
/// The patch leaves out everything that git does not know: directories, FIFOs, owners, and all
/// modes but the executable bit. A line that begins with `#` names a file that is not text.
/// `git apply` skips it.
pub fn write_patch(
    out: &mut String,
    change: &Change,
    root_name: &[u8],
    before: Option<&Content>,
    after: Option<&Content>,
) {
    let path = if change.path.is_empty() {
        root_name
    } else {
        &change.path
    };
    let old = change.before.as_ref().and_then(git_mode);
    let new = change.after.as_ref().and_then(git_mode);
    let old_text = text(change.before.as_ref(), before);
    let new_text = text(change.after.as_ref(), after);
    match (old, new) {
        (None, None) => {}
        (None, Some(mode)) => push_whole(out, path, '+', mode, &new_text),
        (Some(mode), None) => push_whole(out, path, '-', mode, &old_text),
        // Git knows a change of type as a removed and an added file.
        (Some(old), Some(new)) if change.kind == ChangeKind::Type => {
            push_whole(out, path, '-', old, &old_text);
            push_whole(out, path, '+', new, &new_text);
        }
        (Some(old), Some(new)) => {
            let from = change.from.as_deref().unwrap_or(path);
            push_both(out, (from, old, &old_text), (path, new, &new_text), change);
        }
    }
}

/// The mode that git records for a file. `None` for what git does not know.
fn git_mode(node: &Node) -> Option<&'static str> {
    match node.kind {
        NodeKind::File if node.mode & 0o100 != 0 => Some("100755"),
        NodeKind::File => Some("100644"),
        NodeKind::Symlink => Some("120000"),
        NodeKind::Directory | NodeKind::Fifo => None,
    }
}

/// The part of a file that a patch shows.
enum Shown {
    Text(String),
    /// A description of a file that is not text.
    Described(String),
}

fn text(node: Option<&Node>, content: Option<&Content>) -> Shown {
    let target = node.and_then(|node| node.target.as_deref());
    match (target, content) {
        (Some(target), _) => match std::str::from_utf8(target) {
            Ok(target) => Shown::Text(target.to_owned()),
            Err(_) => {
                let mut shown = "link to ".to_owned();
                push_name(&mut shown, "", target);
                Shown::Described(shown)
            }
        },
        (None, Some(Content::Text(text))) => Shown::Text(text.clone()),
        (None, Some(Content::Binary { size, digest })) => {
            let mut shown = format!("{size} bytes, sha256 ");
            for byte in digest {
                let _ = write!(shown, "{byte:02x}");
            }
            Shown::Described(shown)
        }
        (None, None) => Shown::Text(String::new()),
    }
}

/// Appends a file that is added (`+`) or removed (`-`).
fn push_whole(out: &mut String, path: &[u8], sign: char, mode: &str, shown: &Shown) {
    let text = match shown {
        Shown::Described(description) => {
            let did = if sign == '+' { "added" } else { "removed" };
            out.push_str("# ");
            push_name(out, "", path);
            let _ = writeln!(out, " is not text: {did}, {description}");
            return;
        }
        Shown::Text(text) => text,
    };
    push_header(out, path, path);
    let did = if sign == '+' { "new" } else { "deleted" };
    let _ = writeln!(out, "{did} file mode {mode}");
    if text.is_empty() {
        return;
    }
    if sign == '+' {
        out.push_str("--- /dev/null\n");
        push_file_line(out, "+++ ", "b/", path);
        push_hunks(out, "", text);
    } else {
        push_file_line(out, "--- ", "a/", path);
        out.push_str("+++ /dev/null\n");
        push_hunks(out, text, "");
    }
}

/// Appends a file that both sides have.
fn push_both(
    out: &mut String,
    (from, old_mode, old): (&[u8], &str, &Shown),
    (path, new_mode, new): (&[u8], &str, &Shown),
    change: &Change,
) {
    let renamed = change.kind == ChangeKind::Renamed;
    let is_modified = change.kind == ChangeKind::Modified;
    let texts = match (old, new) {
        (Shown::Text(old), Shown::Text(new)) => Some((old, new)),
        _ => None,
    };
    let has_hunks = is_modified && texts.is_some();
    if has_hunks || renamed || old_mode != new_mode {
        push_header(out, from, path);
        if old_mode != new_mode {
            let _ = writeln!(out, "old mode {old_mode}\nnew mode {new_mode}");
        }
    }
    if renamed {
        out.push_str("similarity index 100%\n");
        for (line, name) in [("rename from ", from), ("rename to ", path)] {
            out.push_str(line);
            push_name(out, "", name);
            out.push('\n');
        }
    }
    match texts {
        Some((old, new)) if is_modified => {
            push_file_line(out, "--- ", "a/", path);
            push_file_line(out, "+++ ", "b/", path);
            push_hunks(out, old, new);
        }
        None if is_modified => {
            out.push_str("# ");
            push_name(out, "", path);
            let _ = writeln!(
                out,
                " is not text: before {}, now {}",
                describe(old),
                describe(new)
            );
        }
        _ => {}
    }
}

fn describe(shown: &Shown) -> String {
    match shown {
        Shown::Text(text) => format!("{} bytes of text", text.len()),
        Shown::Described(description) => description.clone(),
    }
}

fn push_header(out: &mut String, from: &[u8], to: &[u8]) {
    out.push_str("diff --git ");
    push_name(out, "a/", from);
    out.push(' ');
    push_name(out, "b/", to);
    out.push('\n');
}

/// Appends a line with the name of a file. A tab ends a name with spaces, as git writes it.
fn push_file_line(out: &mut String, line: &str, prefix: &str, path: &[u8]) {
    out.push_str(line);
    let start = out.len();
    push_name(out, prefix, path);
    if out[start..].contains(' ') && !out[start..].starts_with('"') {
        out.push('\t');
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: NodeKind, mode: u32, size: u64) -> Node {
        Node {
            kind,
            mode,
            uid: 0,
            gid: 0,
            size,
            target: None,
        }
    }

    fn patch(
        kind: ChangeKind,
        before: Option<(Node, &[u8])>,
        after: Option<(Node, &[u8])>,
    ) -> String {
        let content = |(node, bytes): &(Node, &[u8])| {
            (node.kind == NodeKind::File).then(|| Content::new(bytes.to_vec(), |_| [0xab; 32]))
        };
        let change = Change {
            path: b"a b".to_vec(),
            kind,
            before: before.as_ref().map(|(node, _)| node.clone()),
            after: after.as_ref().map(|(node, _)| node.clone()),
            from: (kind == ChangeKind::Renamed).then(|| b"old".to_vec()),
        };
        let mut out = String::new();
        write_patch(
            &mut out,
            &change,
            b"root",
            before.as_ref().and_then(content).as_ref(),
            after.as_ref().and_then(content).as_ref(),
        );
        out
    }

    #[test]
    fn text_links_modes_and_renames_are_written_as_git_does() {
        let file = || node(NodeKind::File, 0o644, 2);
        let link = Node {
            target: Some(b"there".to_vec()),
            ..node(NodeKind::Symlink, 0o777, 0)
        };
        assert_eq!(
            patch(
                ChangeKind::Added,
                None,
                Some((node(NodeKind::File, 0o755, 2), b"x\n"))
            ),
            "diff --git a/a b b/a b\nnew file mode 100755\n--- /dev/null\n+++ b/a b\t\n@@ -0,0 +1 @@\n+x\n"
        );
        assert_eq!(
            patch(ChangeKind::Type, Some((file(), b"x\n")), Some((link, b""))),
            "diff --git a/a b b/a b\ndeleted file mode 100644\n--- a/a b\t\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\
             diff --git a/a b b/a b\nnew file mode 120000\n--- /dev/null\n+++ b/a b\t\n@@ -0,0 +1 @@\n+there\n\\ No newline at end of file\n"
        );
        assert_eq!(
            patch(
                ChangeKind::Renamed,
                Some((file(), b"x\n")),
                Some((node(NodeKind::File, 0o755, 2), b"x\n"))
            ),
            "diff --git a/old b/a b\nold mode 100644\nnew mode 100755\nsimilarity index 100%\nrename from old\nrename to a b\n"
        );
        // Git does not know this change.
        let private = node(NodeKind::File, 0o600, 2);
        assert_eq!(
            patch(
                ChangeKind::Mode,
                Some((file(), b"x\n")),
                Some((private, b"x\n"))
            ),
            ""
        );
    }

    #[test]
    fn other_files_are_named_with_sizes_and_digests() {
        let file = || node(NodeKind::File, 0o644, 2);
        let text = patch(
            ChangeKind::Modified,
            Some((file(), b"x\n")),
            Some((file(), b"\0\xff")),
        );
        let digest = "ab".repeat(32);
        assert_eq!(
            text,
            format!("# a b is not text: before 2 bytes of text, now 2 bytes, sha256 {digest}\n")
        );
        let latin = patch(ChangeKind::Removed, Some((file(), b"\xe4\n")), None);
        assert_eq!(
            latin,
            format!("# a b is not text: removed, 2 bytes, sha256 {digest}\n")
        );
    }
}
