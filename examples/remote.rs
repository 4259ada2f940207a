//! Runs a command on a Contree service and prints its output as it arrives.
//!
//! ```text
//! CONTREE_URL=https://… CONTREE_TOKEN=… cargo run --example remote -- tag:ubuntu:noble 'uname -a'
//! ```
//!
//! `CONTREE_PROJECT` is needed with IAM tokens. The exit status is the command's.

use std::{
    env,
    error::Error,
    io::{Write as _, stderr, stdout},
    process::ExitCode,
};

use contree::{Backend, Client, ImageRef, events::Payload, types::InstanceSpawnRequest};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(image), Some(command)) = (arguments.next(), arguments.next()) else {
        return Err("give an image (a UUID or tag:NAME) and a command".into());
    };
    let image: ImageRef = image.parse()?;

    let mut backend =
        Backend::new(&variable("CONTREE_URL")?)?.with_token(variable("CONTREE_TOKEN")?);
    if let Ok(project) = env::var("CONTREE_PROJECT") {
        backend = backend.with_project(project);
    }
    let client = Client::connect(backend)?;

    let request: InstanceSpawnRequest = InstanceSpawnRequest::builder()
        .image(image)
        .command(command)
        .shell(true)
        .timeout(60)
        .try_into()?;
    let run = client.start(request).await?;
    let outcome = client
        .outcome(run.operation, |event| {
            // The command continues even if the reader closes the output.
            let _ = match &event.payload {
                Payload::Stdout(chunk) => stdout().write_all(&chunk.bytes),
                Payload::Stderr(chunk) => stderr().write_all(&chunk.bytes),
                _ => Ok(()),
            };
        })
        .await?;

    if let Some(error) = outcome.error {
        return Err(format!("operation {} is {}: {error}", run.operation, outcome.status).into());
    }
    match outcome.result_image {
        Some(image) => eprintln!("the result is image {image}"),
        None => eprintln!("there is no result image"),
    }
    let code = outcome.exit_code.and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("set {name}"))
}
