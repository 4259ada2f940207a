//! Logins of registries for verbs.

use std::sync::Arc;

use contree_registry::{Login, Reference};

use super::context::VerbContext;
use super::progress::Progress;
use crate::cli::output::print_message;
use crate::tools::{self, Context, SilentWatcher, Watcher};

impl VerbContext {
    /// The context of a call of a tool's code, which reports its progress to a watcher.
    pub(super) fn call(&self, watcher: Arc<dyn Watcher>) -> Context {
        Context::new(self.tools.clone(), watcher, self.cancelled.clone())
    }
}

/// Shows the progress of a call.
impl Watcher for Progress {
    fn progress(&self, message: &str) {
        self.say(message);
    }
}

/// The stored login for the registry of a reference: user and password.
pub(super) async fn stored_login(cx: &VerbContext, url: &str) -> Option<(String, String)> {
    let reference = url.parse::<Reference>().ok()?;
    let context = cx.call(Arc::new(SilentWatcher));
    match tools::stored_login(&context, &cx.client, reference.host()).await? {
        Login::Password { username, secret } => Some((username, secret.expose().to_owned())),
        Login::Identity(_) => {
            let registry = reference.host().as_str();
            print_message(format_args!(
                "Docker stores only a refresh token for {registry}, so no login is used; `contree login {registry}` stores one"
            ));
            None
        }
    }
}
