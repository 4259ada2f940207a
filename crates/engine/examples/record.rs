//! Prints a recording of the API, in the form that the test `recorded` compares.
//!
//! Without an argument it records an engine of this build. With `unix:PATH` it records the engine
//! that listens on that socket.

#[cfg(target_os = "linux")]
#[path = "../tests/recorded/normalise.rs"]
mod normalise;
#[cfg(target_os = "linux")]
#[path = "../tests/recorded/record.rs"]
#[expect(dead_code, reason = "only the test compares recordings")]
mod record;
#[cfg(target_os = "linux")]
#[path = "../tests/recorded/script.rs"]
mod script;
#[cfg(target_os = "linux")]
#[path = "../tests/recorded/wire.rs"]
mod wire;

#[cfg(target_os = "linux")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let recording = match std::env::args().nth(1) {
        Some(address) => {
            let path = address.strip_prefix("unix:").ok_or("give unix:PATH")?;
            record::record_engine(std::path::Path::new(path)).await?
        }
        None => record::record_this_build().await?,
    };
    print!("{recording}");
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the engine runs only on Linux");
}
