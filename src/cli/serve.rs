//! The server: the default command.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use contree_error_codes::ErrorCode;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::error::CommandError;
use super::output::{print_error, print_error_line, print_message, program};
use super::process::runtime;
use super::setup::Setup;
use super::{USAGE, signals};
use crate::mcp::{self, HttpOptions, HttpServer, ServeError};
use crate::tools::Session;

/// Time limit for cancelling the session's operations.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(12);
/// Time limit for local copies that were cut off.
#[cfg(unix)]
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn serve(setup: Setup) -> Result<u8, CommandError> {
    let http = match setup.options.http.read(&setup.environment) {
        Ok(http) => http,
        Err(problem) => {
            print_error(problem, ErrorCode::SettingInvalid);
            return Ok(USAGE);
        }
    };
    print_error_line(format_args!(
        "{} {}: backend {}",
        program(),
        env!("CARGO_PKG_VERSION"),
        setup.backend()
    ));
    if let Err(error) = &setup.backend_selection.backend {
        print_error(error, error.code());
    }
    for note in &setup.backend_selection.notes {
        print_message(note);
    }
    if http.is_none() && std::io::stdin().is_terminal() {
        print_message(
            "this is an MCP server, which now waits for a client on standard input; `contree --help` and \
             `contree-mcp --help` list commands for people (Ctrl-C ends the server)",
        );
    }
    let session = setup.session(http.is_some())?;
    let runtime = runtime()?;
    let served = contree_tasks::block_on(&runtime, async {
        let stop = CancellationToken::new();
        let stop_on_signal = stop.clone();
        signals::on_end(move |_| stop_on_signal.cancel())?;
        let served = match http {
            None => mcp::serve(session.clone(), stop).await,
            Some(options) => over_http(session.clone(), options, stop).await,
        };
        // Running operations end with an engine in this process; those of a service continue.
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, session.cancel_unattended())
            .await
            .is_err()
        {
            tracing::warn!("operations did not end in time");
        }
        served.map_err(CommandError::from)
    });
    close(session, runtime);
    served.map(|()| 0)
}

async fn over_http(
    session: Arc<Session>,
    options: HttpOptions,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let server = HttpServer::bind(options).await?;
    let url = server.url();
    print_message(format_args!(
        "MCP at {url}/mcp, a page for people at {url}/"
    ));
    server.run(session, stop).await;
    Ok(())
}

/// Drops the session and the runtime, and with them the embedded engine, which ends running
/// operations. Waits until the engine has stopped, and until local copies that were cut off have
/// removed their temporary files.
pub(super) fn close<T>(session: Arc<T>, runtime: Runtime) {
    drop(session);
    // A read of standard input that is still pending must not hold up the exit. Tasks that are
    // dropped here may have the last handles of the engine.
    runtime.shutdown_background();
    #[cfg(unix)]
    crate::local_copy::wait_for_unfinished(CLEAN_UP_TIMEOUT);
    #[cfg(all(feature = "engine", target_os = "linux"))]
    contree_engine::wait_for_stopped(SHUTDOWN_TIMEOUT);
}
