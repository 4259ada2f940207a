//! Measures how long it takes to make the host layer of a new store: `cargo run --release -p
//! contree-sandbox --example host_layer -- 5`.

use std::error::Error;
use std::time::Instant;

use contree_sandbox::{LayerId, LayerStore, StoreOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let times = std::env::args()
        .nth(1)
        .map_or(Ok(5), |text| text.parse::<u32>())?;
    for _ in 0..times {
        let directory = tempfile::tempdir_in("/var/tmp")?;
        let begun = Instant::now();
        let store = LayerStore::open(&directory.path().join("store"), StoreOptions::default())?;
        let opened = begun.elapsed();
        let report = store.stage_host_layer(LayerId(1))?;
        println!(
            "store opened in {} ms; {} files with {} MB in {} ms",
            opened.as_millis(),
            report.files,
            report.bytes / 1_000_000,
            (begun.elapsed() - opened).as_millis()
        );
    }
    Ok(())
}
