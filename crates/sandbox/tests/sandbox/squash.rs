//! Tests that a squashed chain shows the same files and attributes as the original one.

use contree_sandbox::{LayerId, Sandbox, SandboxSpec};

use crate::support::{HOST, commit, fresh, output, run, shell, spec, store};

/// A seeded random number generator (xorshift64).
struct SeededRandom(u64);

impl SeededRandom {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn path(&mut self) -> String {
        let depth = 1 + self.below(3);
        let names = (0..depth).map(|_| ["a", "b", "c", "d"][self.below(4) as usize]);
        format!("/t/{}", names.collect::<Vec<_>>().join("/"))
    }

    /// A random change as a shell command. It may fail if the path has the wrong type.
    fn change(&mut self) -> String {
        let (path, other, number) = (self.path(), self.path(), self.below(1000));
        match self.below(14) {
            0 | 1 => format!("mkdir -p {path}"),
            2 | 3 => format!("mkdir -p $(dirname {path}); echo {number} > {path}"),
            4 => format!("rm -rf {path}"),
            5 => format!("rm -rf {path}; mkdir -p {path}; echo {number} > {path}/new"),
            6 => format!("rm -rf {path}; mkdir -p $(dirname {path}); echo {number} > {path}"),
            7 => format!("ln -sfn {other} {path}"),
            8 => format!("ln -f {other} {path}"),
            9 => format!("mv -T {other} {path}"),
            10 => format!("chmod {} {path}", 700 + self.below(8) * 10 + self.below(8)),
            11 => format!("touch -d @{} {path}", 1_000_000 + number),
            12 => format!("cp -a {other} {path}"),
            _ => format!("echo {number} >> {path}; mkfifo {path}.fifo"),
        }
    }

    fn changes(&mut self) -> String {
        let changes: Vec<String> = (0..6).map(|_| self.change()).collect();
        format!(
            "mkdir -p /t; {{ {}; }} 2>/dev/null; echo $$ > /t/mark",
            changes.join("; ")
        )
    }
}

/// Describes all visible data of `/t`, and the names and types of all other files.
fn visible_tree(layers: &[LayerId]) -> String {
    let script = r#"find / -path /proc -prune -o -path /sys -prune -o -path /dev -prune -o ! -path / -type d -printf '%p %y %m %U %G %T@\n' \
        -o ! -path / -printf '%p %y %m %U %G %s %T@ %l\n' | sort
find /t -type f | sort | while read -r file; do echo $file $(cat $file); done
command -v python3 >/dev/null && python3 -c '
import os
for top, directories, files in sorted(os.walk(b"/t")):
    for name in [b"."] + sorted(directories + files):
        path = os.path.join(top, name)
        print(path, [(key, os.getxattr(path, key, follow_symlinks=False)) for key in sorted(os.listxattr(path, follow_symlinks=False))])'
true"#;
    let run = run();
    let spec = SandboxSpec {
        layers: layers.to_vec(),
        ..spec()
    };
    let sandbox = Sandbox::start(store(), &run, &spec).unwrap();
    let done = output(&sandbox, &shell(script));
    assert_eq!(
        (done.exit.code, done.stderr.as_str()),
        (Some(0), ""),
        "{done:?}"
    );
    sandbox.finish(false).unwrap();
    store().remove_run(run.name()).unwrap();
    done.stdout
}

fn squash(layers: &[LayerId], below: &[LayerId]) -> LayerId {
    let run = run();
    store().squash(&run, layers, below).unwrap();
    let id = LayerId(fresh());
    store().commit(&run, id).unwrap();
    store().remove_run(run.name()).unwrap();
    id
}

fn build(chain: &mut Vec<LayerId>, script: &str) {
    let (_, layer) = commit(chain, script);
    chain.insert(0, layer.unwrap());
}

#[test]
fn squashed_and_stacked_look_the_same() {
    for seed in [0x5eed_0001, 0x5eed_0002, 0x5eed_0003] {
        let mut random = SeededRandom(seed);
        let mut chain = vec![HOST];
        for _ in 0..10 {
            let script = random.changes();
            build(&mut chain, &script);
        }
        let stacked = visible_tree(&chain);
        assert!(stacked.contains("/t/mark"), "{stacked}");
        let top = chain.len() - 1;
        for (from, to) in [(0, top), (0, 3), (3, 8)] {
            let one = squash(&chain[from..to], &chain[to..]);
            let mut squashed = chain[..from].to_vec();
            squashed.push(one);
            squashed.extend(&chain[to..]);
            let shown = visible_tree(&squashed);
            let differences: Vec<_> = stacked
                .lines()
                .zip(shown.lines())
                .filter(|(a, b)| a != b)
                .take(5)
                .collect();
            assert!(
                shown == stacked,
                "seed {seed:x}, {from}..{to}: {differences:#?}"
            );
            // A squashed layer can be squashed again.
            let again = squash(&squashed[..squashed.len() - 1], &[HOST]);
            assert!(
                visible_tree(&[again, HOST]) == stacked,
                "seed {seed:x}, {from}..{to} again"
            );
        }
    }
}

#[test]
fn hidden_files_stay_hidden_after_a_squash() {
    let mut chain = vec![HOST];
    build(
        &mut chain,
        "mkdir -p /t/kept/in /t/gone/in /t/file; echo low > /t/kept/in/low; echo x > /t/gone/in/x; echo f > /t/turned",
    );
    let base = chain.clone();
    build(
        &mut chain,
        "rm -r /t/gone /t/kept/in; mkdir /t/kept/in; echo new > /t/kept/in/new",
    );
    build(
        &mut chain,
        r#"mkdir /t/fresh; echo 1 > /t/fresh/1; echo 2 > /t/fresh/2; python3 -c "import os; os.setxattr('/t/kept', 'user.x', b'1')" 2>/dev/null || true"#,
    );
    build(
        &mut chain,
        "rm /t/fresh/1 /etc/services; rm -r /t/file /t/turned; echo file > /t/file; mkdir /t/turned",
    );
    let stacked = visible_tree(&chain);
    let top = squash(&chain[..chain.len() - base.len()], &base);
    let mut squashed = vec![top];
    squashed.extend(&base);
    assert_eq!(visible_tree(&squashed), stacked);
    // A whiteout without a file below it would show as an unreadable file.
    assert!(!stacked.contains("/t/fresh/1"));
    // More layers can be added as on the original chain.
    build(
        &mut squashed,
        "echo again > /t/gone; cat /t/kept/in/new; test ! -e /t/kept/in/low",
    );
}

#[test]
fn contents_are_shared() {
    let mut chain = vec![HOST];
    for name in ["one", "two"] {
        build(
            &mut chain,
            &format!("mkdir -p /t; head -c 3M /dev/zero > /{name}"),
        );
    }
    let one = squash(&chain[..2], &[HOST]);
    let inode = |layer: LayerId, name: &str| {
        let path = store().root().join("layers").join(layer.0.to_string());
        let metadata = std::fs::metadata(path.join("d").join(name)).unwrap();
        std::os::unix::fs::MetadataExt::ino(&metadata)
    };
    assert_eq!(inode(one, "one"), inode(chain[1], "one"));
    assert_eq!(inode(one, "two"), inode(chain[0], "two"));
    // The squashed layer survives the removal of the others.
    let shown = visible_tree(&[one, HOST]);
    for layer in &chain[..2] {
        store().remove_layer(*layer).unwrap();
    }
    assert_eq!(visible_tree(&[one, HOST]), shown);
}
