//! Pages of lists that do not change while the server runs.

use rmcp::model::{Cursor, ErrorData, PaginatedRequestParams};

/// Entries of a page. Every list is shorter, so that ordinary clients ask once.
pub(super) const PAGE_SIZE: usize = 200;
/// How long clients may cache a list, in milliseconds.
pub(super) const LIST_TTL_MS: u64 = 3_600_000;

/// Prefix of every cursor, so that a number from elsewhere is refused.
const PREFIX: &str = "from-";

/// Returns the requested page, and the cursor of the next one.
///
/// # Errors
/// If no page of this list has returned the cursor.
pub(super) fn page<T: Clone>(
    items: &[T],
    request: Option<&PaginatedRequestParams>,
    size: usize,
) -> Result<(Vec<T>, Option<Cursor>), ErrorData> {
    let from = match request.and_then(|request| request.cursor.as_deref()) {
        None => 0,
        Some(cursor) => cursor
            .strip_prefix(PREFIX)
            .and_then(|position| position.parse::<usize>().ok())
            .filter(|from| *from > 0 && *from < items.len() && from % size == 0)
            .ok_or_else(|| {
                ErrorData::invalid_params(
                    format!(
                        "there is no cursor `{cursor}`; request the list again without a cursor"
                    ),
                    None,
                )
            })?,
    };
    let until = items.len().min(from + size);
    let next = (until < items.len()).then(|| format!("{PREFIX}{until}"));
    Ok((items[from..until].to_vec(), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(cursor: &str) -> PaginatedRequestParams {
        let mut request = PaginatedRequestParams::default();
        request.cursor = Some(cursor.to_owned());
        request
    }

    #[test]
    fn pages_follow_one_another_to_the_end() {
        let items: Vec<u32> = (0..7).collect();
        let (mut seen, mut request) = (Vec::new(), None);
        loop {
            let (page, next) = page(&items, request.as_ref(), 3).unwrap();
            assert!(page.len() <= 3);
            seen.extend(page);
            match next {
                Some(next) => request = Some(at(&next)),
                None => break,
            }
        }
        assert_eq!(seen, items);
        assert_eq!(page(&items, None, 7).unwrap(), (items.clone(), None));
        assert_eq!(page::<u32>(&[], None, 3).unwrap(), (Vec::new(), None));
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let items: Vec<u32> = (0..7).collect();
        for cursor in [
            "",
            "3",
            "from-",
            "from-0",
            "from-7",
            "from-2",
            "from--3",
            "from-99999999999999999999",
        ] {
            assert!(page(&items, Some(&at(cursor)), 3).is_err(), "{cursor}");
        }
    }
}
