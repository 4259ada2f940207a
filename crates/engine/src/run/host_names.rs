//! The names that every sandbox resolves: `localhost` and its own host name.

use contree_sandbox::{LineFormat, TemporaryLines};

/// The lines for `/etc/hosts`. Images without the file get all of them, and other images the names
/// that their file lacks.
pub(crate) fn lines(hostname: &str) -> TemporaryLines {
    let mut lines = vec![
        "127.0.0.1\tlocalhost".to_owned(),
        "::1\tlocalhost ip6-localhost ip6-loopback".to_owned(),
    ];
    if is_host_name(hostname) {
        let short = hostname.split_once('.').map(|(short, _)| short);
        let names: Vec<&str> = std::iter::once(hostname).chain(short).collect();
        lines.push(format!("127.0.0.1\t{}", names.join(" ")));
    }
    TemporaryLines {
        path: "/etc/hosts".into(),
        format: LineFormat::Hosts,
        lines,
        make_if: Some("/".into()),
        mode: 0o644,
    }
}

/// Whether the text can be a name in `/etc/hosts`. The kernel accepts any.
fn is_host_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_name_is_added_only_if_it_is_one() {
        let last = |hostname| lines(hostname).lines.pop();
        assert_eq!(last("linuxkit").as_deref(), Some("127.0.0.1\tlinuxkit"));
        assert_eq!(
            last("web.example.com").as_deref(),
            Some("127.0.0.1\tweb.example.com web")
        );
        for strange in ["a b", "x\n10.0.0.1 pypi.org", "#", ".x", ""] {
            assert_eq!(lines(strange).lines.len(), 2, "{strange}");
        }
    }
}
