//! Lists that the backend returns in pages.

use std::{
    collections::{HashSet, VecDeque},
    task::{Context, Poll, ready},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use uuid::Uuid;

use crate::Error;

/// Number of entries in one request.
pub(super) const PAGE: u64 = 200;

/// The state of a list that is read page by page.
pub(super) struct Pages<T> {
    offset: u64,
    entries: VecDeque<T>,
    /// The request for the next page.
    request: Option<BoxFuture<'static, Result<Vec<T>, Error>>>,
    /// The entries of the page before. New entries at the start of the list push some of them to
    /// the next page.
    before: HashSet<Uuid>,
    is_last: bool,
}

/// An entry with an id of its own.
pub(super) trait Entry {
    fn id(&self) -> Uuid;
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self {
            offset: 0,
            entries: VecDeque::new(),
            request: None,
            before: HashSet::new(),
            is_last: false,
        }
    }
}

impl<T: Entry> Pages<T> {
    /// Returns the next entry. `request` requests the page at an offset.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        request: impl Fn(u64) -> BoxFuture<'static, Result<Vec<T>, Error>>,
    ) -> Poll<Option<Result<T, Error>>> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                return Poll::Ready(Some(Ok(entry)));
            }
            if self.is_last {
                return Poll::Ready(None);
            }
            let page = self.request.get_or_insert_with(|| request(self.offset));
            let page = ready!(page.poll_unpin(cx));
            self.request = None;
            match page {
                Ok(page) => {
                    let count = page.len() as u64;
                    self.offset += count;
                    self.is_last = count < PAGE;
                    let ids = page.iter().map(Entry::id).collect();
                    let before = std::mem::replace(&mut self.before, ids);
                    let new = page
                        .into_iter()
                        .filter(|entry| !before.contains(&entry.id()));
                    self.entries.extend(new);
                }
                Err(error) => {
                    self.is_last = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

/// The methods and traits that all lists have.
macro_rules! list {
    ($name:ident, $entry:ty) => {
        impl $name {
            /// The next entry; none at the end.
            pub async fn next(&mut self) -> Option<Result<$entry, $crate::Error>> {
                futures_util::StreamExt::next(self).await
            }

            /// All entries.
            ///
            /// # Errors
            /// If the backend refuses or cannot be reached.
            pub async fn all(self) -> Result<Vec<$entry>, $crate::Error> {
                futures_util::TryStreamExt::try_collect(self).await
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("filter", &self.filter)
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(super) use list;
