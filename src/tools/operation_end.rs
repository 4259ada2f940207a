//! Waits for the end of an operation.

use std::time::Duration;

use futures_util::StreamExt;
use uuid::Uuid;

use crate::Client;
use crate::events::Event;

/// Reads the events of an operation to their end, for at most `time`.
///
/// The status, which is polled, shows the end up to two seconds later. If the backend has no
/// events, this returns at once.
pub(super) async fn read_events(
    client: &Client,
    operation: Uuid,
    time: Duration,
    mut on_event: impl FnMut(&Event),
) {
    let mut events = std::pin::pin!(client.follow(operation, None));
    let reading = async {
        while let Some(Ok(event)) = events.next().await {
            on_event(&event);
        }
    };
    let _ = tokio::time::timeout(time, reading).await;
}
