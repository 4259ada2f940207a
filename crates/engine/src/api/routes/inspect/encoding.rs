//! Headers of file answers: compression and file name.

use axum::http::{HeaderMap, HeaderValue, header};

/// Whether the client accepts gzip (RFC 9110, section 12.5.3). Without the header
/// `Accept-Encoding`, answers are not compressed.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = None;
    let mut gzip = None;
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for item in value.to_str().unwrap_or_default().split(',') {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let accepted = parts.all(|part| match part.split_once('=') {
                Some((name, weight)) if name.trim().eq_ignore_ascii_case("q") => weight
                    .trim()
                    .parse::<f32>()
                    .is_ok_and(|weight| weight > 0.0),
                _ => true,
            });
            if name == "*" {
                any = Some(accepted);
            } else if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
                gzip = Some(accepted);
            }
        }
    }
    gzip.or(any).unwrap_or(false)
}

/// The headers of a file answer, which may be compressed.
pub(super) fn headers(gzip: bool, kind: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers
}

/// The header value `attachment` with a file name (RFC 6266). A name that is not plain ASCII is
/// also given in UTF-8.
pub(super) fn attachment(name: &str) -> HeaderValue {
    let plain: String = name
        .chars()
        .map(|c| match c {
            '"' | '\\' => '_',
            c if c.is_ascii_graphic() || c == ' ' => c,
            _ => '_',
        })
        .collect();
    let mut text = format!("attachment; filename=\"{plain}\"");
    if plain != name {
        text.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_of_zero_refuses_gzip() {
        for (value, accepted) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("x-gzip", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("*;q=0", false),
            ("*;q=0, gzip", true),
            ("deflate, br", false),
            ("identity", false),
            ("gzip;q=x", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_gzip(&headers), accepted, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn any_file_name_becomes_a_valid_header() {
        assert_eq!(
            attachment("bin_true.tar"),
            "attachment; filename=\"bin_true.tar\""
        );
        assert_eq!(
            attachment("é\"\n.tar"),
            "attachment; filename=\"___.tar\"; filename*=UTF-8''%C3%A9%22%0A.tar"
        );
    }
}
