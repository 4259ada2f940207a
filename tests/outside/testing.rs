//! A program in a crate outside the workspace, which tests its code against the stub service.
//!
//! `.ci/run outside` builds and runs it.

use std::error::Error;

use contree::testing::{ScriptedRun, StubServer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = StubServer::start()?;
    server.add_image("project", &[]);
    server.script(
        ScriptedRun::new("make test")
            .stdout("1 failed\n")
            .exit_code(2),
    );
    let base = server.client()?.image("tag:project");
    let out = base.shell("make test").await?;
    println!("{}: {}", out.status, out.stdout.text()?.trim_end());
    Ok(())
}
