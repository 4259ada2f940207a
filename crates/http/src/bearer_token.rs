//! The bearer token that clients must send.

use axum::http::{HeaderMap, header};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

/// The shortest token, in bytes, that a server may have if others can reach it.
pub const MIN_TOKEN_BYTES: usize = 16;

/// The SHA-256 digest of a token. Comparing digests reveals nothing about the token through its
/// timing, not even its length.
#[derive(Clone)]
pub struct BearerToken([u8; SHA256_OUTPUT_LEN]);

/// The reason why a request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It has no `Authorization: Bearer` header.
    Missing,
    /// Its token is a different one.
    Wrong,
}

impl BearerToken {
    /// Creates a check that requires `token` of every request.
    pub fn new(token: &str) -> Self {
        Self(sha256(token.as_bytes()))
    }

    /// Checks the token of a request.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), TokenError> {
        let received = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| bearer(value.as_bytes()))
            .ok_or(TokenError::Missing)?;
        let received = sha256(received);
        // The comparison reads every byte, so it takes constant time.
        let difference = std::hint::black_box(&self.0)
            .iter()
            .zip(std::hint::black_box(&received))
            .fold(0, |difference, (one, other)| difference | (one ^ other));
        if difference == 0 {
            Ok(())
        } else {
            Err(TokenError::Wrong)
        }
    }
}

fn sha256(bytes: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    let mut hash = [0; SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// The token of `Bearer TOKEN`. The case of the scheme does not matter (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_token_is_accepted() {
        let token = BearerToken::new("0123456789abcdef");
        let check = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            token.check(&headers)
        };
        assert_eq!(check("Bearer 0123456789abcdef"), Ok(()));
        assert_eq!(check("bearer  0123456789abcdef "), Ok(()));
        for wrong in [
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer ",
        ] {
            assert_eq!(check(wrong), Err(TokenError::Wrong), "{wrong}");
        }
        for missing in [
            "Bearer",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
            "Bearer0123456789abcdef",
        ] {
            assert_eq!(check(missing), Err(TokenError::Missing), "{missing}");
        }
        assert_eq!(token.check(&HeaderMap::new()), Err(TokenError::Missing));
    }
}
