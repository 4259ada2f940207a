//! The rules of local files for tools that write many of them.

use super::Context;
use crate::local_copy::WriteRules;

/// Returns the rules of a call, and passes its progress on.
pub(super) fn rules(cx: &Context) -> WriteRules {
    let access = cx.session().local_access().clone();
    let reporting = cx.clone();
    WriteRules::new(
        move |path| access.write_refusal(path),
        move |message| reporting.watcher().progress(message),
    )
}
