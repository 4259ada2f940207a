//! The server: the default command.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::start::Start;
use super::{USAGE, runtime, signals};
use crate::mcp;

/// How long the end of the session may take once everything is cancelled.
const LAST: Duration = Duration::from_secs(12);

pub(super) fn serve(start: Start) -> Result<u8, String> {
    if let Some(mode) = start.options.other_transport(&start.environment) {
        eprintln!(
            "contree-mcp: the transport `{mode}` is not offered by this release: leave out --mode, or use `stdio`"
        );
        return Ok(USAGE);
    }
    eprintln!(
        "contree-mcp {}: backend {}",
        env!("CARGO_PKG_VERSION"),
        start.backend()
    );
    if let Err(error) = &start.decision.selected {
        eprintln!("contree-mcp: {error}");
    }
    for note in &start.decision.notes {
        eprintln!("contree-mcp: {note}");
    }
    let session = start.session();
    let runtime = runtime()?;
    let served = runtime.block_on(async {
        let stop = CancellationToken::new();
        let asked = stop.clone();
        signals::on_end(move |_| asked.cancel())?;
        let served = mcp::serve(session.clone(), stop).await;
        // What was left running ends with an engine in this process; a service's operations go on.
        if tokio::time::timeout(LAST, session.cancel_left())
            .await
            .is_err()
        {
            tracing::warn!("operations did not end in time");
        }
        served.map_err(|error| error.to_string())
    });
    close(session);
    // A read of standard input that is still pending must not hold up the exit.
    runtime.shutdown_background();
    served.map(|()| 0)
}

/// Drops the session, and with it the embedded engine, which ends what still runs.
pub(super) fn close<T>(session: Arc<T>) {
    drop(session);
}
