//! Reads the files of images in pieces.

use std::io::Write as _;

use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::exit_status::CLOSED;
use crate::FileReader;
use crate::cli::process::ProcessError;
use crate::tools::ToolError;

impl VerbContext {
    pub(super) async fn next_chunk(
        &self,
        content: &mut FileReader,
    ) -> Result<Option<bytes::Bytes>, VerbError> {
        // Chunks may be there faster than they are written, and then nothing waits for a signal.
        if self.cancelled.is_cancelled() {
            return Err(ToolError::cancelled("cancelled").into());
        }
        self.unless_interrupted(async { content.next().await.transpose() })
            .await
    }
}

/// Copies to standard output. A closed reader ends it with the status of SIGPIPE.
pub(super) async fn copy_to_stdout(
    cx: &VerbContext,
    content: &mut FileReader,
) -> Result<u8, VerbError> {
    while let Some(chunk) = cx.next_chunk(content).await? {
        let written = std::io::stdout().lock().write_all(&chunk);
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(CLOSED),
            Err(error) => return Err(ProcessError::Output(error).into()),
        }
    }
    std::io::stdout()
        .lock()
        .flush()
        .map_err(ProcessError::Output)?;
    Ok(0)
}
