//! The token that clients must send.

use axum::http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};

/// The shortest token that is taken where others could try to guess it, in bytes.
pub const SHORTEST_TOKEN: usize = 16;

/// The digest of a token: comparing digests tells nothing of the token, not even its length, however long it takes.
#[derive(Clone)]
pub struct BearerToken([u8; 32]);

/// Why a request may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// There is no `Authorization: Bearer`.
    Missing,
    /// It is another.
    Wrong,
}

impl BearerToken {
    /// Requests must bring `token`.
    pub fn new(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether a request brings this very token.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), TokenError> {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| bearer(value.as_bytes()))
            .ok_or(TokenError::Missing)?;
        let given: [u8; 32] = Sha256::digest(given).into();
        // Looks at every byte, whichever differ.
        let differ = std::hint::black_box(&self.0)
            .iter()
            .zip(std::hint::black_box(&given))
            .fold(0, |differ, (one, other)| differ | (one ^ other));
        if differ == 0 {
            Ok(())
        } else {
            Err(TokenError::Wrong)
        }
    }
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter (RFC 9110, section 11.1).
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
    fn a_token_must_be_the_one() {
        let token = BearerToken::new("0123456789abcdef");
        let given = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            token.check(&headers)
        };
        assert_eq!(given("Bearer 0123456789abcdef"), Ok(()));
        assert_eq!(given("bearer  0123456789abcdef "), Ok(()));
        for wrong in [
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer ",
        ] {
            assert_eq!(given(wrong), Err(TokenError::Wrong), "{wrong}");
        }
        for missing in [
            "Bearer",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
            "Bearer0123456789abcdef",
        ] {
            assert_eq!(given(missing), Err(TokenError::Missing), "{missing}");
        }
        assert_eq!(token.check(&HeaderMap::new()), Err(TokenError::Missing));
    }
}
