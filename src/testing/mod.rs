//! Help for the tests of programs that use this crate: a stub service, and an engine for one test.
//!
//! - [`StubServer`] is a Contree service on loopback that runs nothing. A test sets its images, the
//!   output of its runs, and its faults.
//! - [`local_engine`] starts the embedded engine in a temporary directory (feature `engine`).
//!
//! ```
//! use contree::{testing::{ScriptedRun, StubServer}, types::InstanceSpawnRequest};
//!
//! /// The code under test.
//! async fn passes(client: &contree::Client) -> Result<bool, Box<dyn std::error::Error>> {
//!     let request = InstanceSpawnRequest::builder()
//!         .image("tag:project".parse::<contree::ImageRef>()?)
//!         .command("make test")
//!         .shell(true);
//!     Ok(client.run(request.try_into()?).await?.exit_code == Some(0))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = StubServer::start()?;
//! server.add_image("project", &[("/src/main.c", "int main() {}")]);
//! server.script(ScriptedRun::new("make test").stdout("1 failed\n").exit_code(2));
//!
//! assert!(!passes(&server.client()?).await?);
//! assert_eq!(server.operations()[0].command, "make test");
//! # Ok(())
//! # }
//! ```
//!
//! A fault is one line. This test proves that a run is not started twice if its answer is lost:
//!
//! ```
//! use contree::{testing::{Fault, Route, StubServer}, types::InstanceSpawnRequest};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = StubServer::start()?;
//! let image = server.add_image("base", &[]);
//! server.inject(Route::Spawn, Fault::LoseAnswer);
//!
//! let request = InstanceSpawnRequest::builder().image(image).command("true");
//! let error = server.client()?.start(request.try_into()?).await.unwrap_err();
//! assert!(error.is_unconfirmed());
//! assert_eq!(server.operations().len(), 1);
//! # Ok(())
//! # }
//! ```

mod answers;
mod fault;
mod operation;
mod scripted_run;
mod server;
mod service;

#[cfg(all(feature = "engine", target_os = "linux"))]
mod engine;

#[cfg(all(feature = "engine", target_os = "linux"))]
pub use engine::local_engine;
pub use fault::{Fault, Route};
pub use operation::StubOperation;
pub use scripted_run::ScriptedRun;
pub use server::StubServer;
