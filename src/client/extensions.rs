//! The extensions of the API that a backend has.

use std::collections::BTreeSet;

use http::StatusCode;

use crate::{Client, Error};

impl Client {
    /// Returns true if the backend has an extension of the API, such as `snapshot`. The names are
    /// in `docs/extensions.md`.
    ///
    /// The client asks once. A backend that does not answer `whoami` to this client has none.
    ///
    /// # Errors
    /// If the backend cannot be reached, or rejects the credentials.
    pub async fn has_extension(&self, name: &str) -> Result<bool, Error> {
        let extensions = self.inner.extensions();
        let names = extensions
            .get_or_try_init(|| self.list_extensions())
            .await?;
        Ok(names.contains(name))
    }

    async fn list_extensions(&self) -> Result<BTreeSet<String>, Error> {
        match self.who_am_i().send().await.map_err(Error::from) {
            Ok(account) => Ok(account.into_inner().x_extensions.into_iter().collect()),
            Err(error) if is_absent(&error) => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        }
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(
        error.status(),
        Some(
            StatusCode::FORBIDDEN
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_IMPLEMENTED
        )
    )
}
