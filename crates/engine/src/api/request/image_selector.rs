//! The image of a request, by UUID or tag.

use std::str::FromStr;

use uuid::Uuid;

use super::RequestError;
use crate::limits;

/// The image of a request: `UUID` or `tag:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImageSelector {
    /// The image with this UUID.
    Uuid(Uuid),
    /// The image of this tag, without the prefix `tag:`.
    Tag(String),
}

impl FromStr for ImageSelector {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        match text.strip_prefix("tag:") {
            Some(tag) => check_tag(tag).map(|()| Self::Tag(tag.to_owned())),
            None => Uuid::parse_str(text)
                .map(Self::Uuid)
                .map_err(|_| RequestError::Image(text.to_owned())),
        }
    }
}

/// Checks a tag: segments of letters, digits, `_` and `-`, joined by `:`, `/` or `.`.
pub(crate) fn check_tag(tag: &str) -> Result<(), RequestError> {
    let segment = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    let first = tag
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    if first && tag.len() <= limits::MAX_TAG_BYTES && tag.split([':', '/', '.']).all(segment) {
        return Ok(());
    }
    Err(RequestError::Tag {
        tag: tag.to_owned(),
        most: limits::MAX_TAG_BYTES,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_checked() {
        for good in ["host", "a/b:c.d", "A-1_x", "0"] {
            assert!(check_tag(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "a//b", "a:", "a b", "ä", ":a", "a\n"] {
            assert!(check_tag(bad).is_err(), "{bad}");
        }
    }
}
