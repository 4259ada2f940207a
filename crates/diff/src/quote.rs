//! Names in patches, quoted as git does.

/// Appends a name with a prefix. A name with special characters is quoted as in C.
pub(crate) fn push_name(out: &mut String, prefix: &str, path: &[u8]) {
    let is_plain = |byte: &u8| !matches!(byte, 0..0x20 | b'"' | b'\\' | 0x7f..);
    if path.iter().all(is_plain) {
        out.push_str(prefix);
        out.extend(path.iter().map(|byte| char::from(*byte)));
        return;
    }
    out.push('"');
    out.push_str(prefix);
    for &byte in path {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            0x0b => out.push_str("\\v"),
            0x0c => out.push_str("\\f"),
            b'\r' => out.push_str("\\r"),
            0..0x20 | 0x7f.. => out.push_str(&format!("\\{byte:03o}")),
            _ => out.push(char::from(byte)),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_names_are_quoted() {
        for (path, expected) in [
            (&b"a b/c"[..], "b/a b/c"),
            ("ä".as_bytes(), "\"b/\\303\\244\""),
            (b"a\"\\\n\x01\xff", "\"b/a\\\"\\\\\\n\\001\\377\""),
        ] {
            let mut out = String::new();
            push_name(&mut out, "b/", path);
            assert_eq!(out, expected);
        }
    }
}
