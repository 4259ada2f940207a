//! Another sandbox, whose server no process of the first one may reach.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, TcpListener};

use contree_sandbox::{LayerStore, RunDir, Sandbox, SandboxSpec};

use crate::outside::{NEIGHBOUR, probe};

/// The line that the server prints once it listens.
const READY: &str = "listening\n";

/// A sandbox with a server on all its addresses.
pub(crate) struct Neighbour {
    run: RunDir,
    sandbox: Sandbox,
    output: BufReader<File>,
}

impl Neighbour {
    pub(crate) fn start(store: &LayerStore, spec: &SandboxSpec) -> Self {
        let run = store.create_run("neighbour").unwrap();
        let sandbox = Sandbox::start(store, &run, spec).unwrap();
        let process = sandbox.exec(&probe(vec!["--serve".into()])).unwrap();
        let mut output = BufReader::new(File::from(process.stdout));
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, READY);
        Self {
            run,
            sandbox,
            output,
        }
    }

    /// Ends the sandbox, and returns whether nothing has reached its server.
    pub(crate) fn judge(mut self, store: &LayerStore) -> bool {
        self.sandbox.finish(false).unwrap();
        let mut reached = String::new();
        self.output.read_to_string(&mut reached).unwrap();
        if !reached.is_empty() {
            println!("HOLE the server of another sandbox was reached: {reached}");
        }
        store.remove_run(self.run.name()).unwrap();
        reached.is_empty()
    }
}

/// The server inside: prints a line for each connection.
pub(crate) fn serve() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, NEIGHBOUR)).unwrap();
    print!("{READY}");
    std::io::Write::flush(&mut std::io::stdout()).unwrap();
    for connection in listener.incoming().flatten() {
        println!("{:?}", connection.peer_addr());
    }
}
