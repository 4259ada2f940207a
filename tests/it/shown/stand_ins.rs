//! Stand-ins for what the shown commands need and a test does not have: registries, services, other
//! machines, fixed ports and people who type.
//!
//! In all shell lines, `$REGISTRY` is a registry, `$SERVER` and `$TOKEN` are a served engine, and
//! `$PORT` is a free port. `operation` prints the operation that the block's first command started.
//! `small_image NAME` makes an image with `cat`, so that less is pushed than with `tag:host`.

/// The preparations for one block.
pub(super) struct StandIn {
    pub(super) page: &'static str,
    /// The beginning of the block's first command.
    pub(super) block: &'static str,
    /// Shell lines that run before the block.
    pub(super) before: &'static str,
    /// Texts of the commands, and what replaces them.
    pub(super) replaced: &'static [(&'static str, &'static str)],
    /// The beginning of a command that runs until the end of the page, and the text that it prints
    /// as soon as it is ready.
    pub(super) server: Option<(&'static str, &'static str)>,
    /// If there are any, the block runs on a terminal. Each is a text that the terminal shows, and
    /// the answer that somebody types.
    pub(super) typed: &'static [(&'static str, &'static str)],
    /// Shell lines that must succeed after the block.
    pub(super) after: &'static str,
}

const NONE: StandIn = StandIn {
    page: "",
    block: "",
    before: "",
    replaced: &[],
    server: None,
    typed: &[],
    after: "",
};

/// The prompt of a root's shell, and the end of the shell.
const EXIT: (&str, &str) = ("# ", "exit\n");

pub(super) const STAND_INS: &[StandIn] = &[
    StandIn {
        page: "docs/agents.md",
        block: "(umask 077",
        replaced: &[("8080", "$PORT")],
        after: "until CONTREE_URL=$CONTREE_BASE_URL contree call whoami; do kill -0 $!; sleep 0.05; done",
        ..NONE
    },
    StandIn {
        page: "docs/cloud.md",
        block: "read -rs",
        before: "exec <<<\"$TOKEN\"\nexport CONTREE_URL=$SERVER",
        ..NONE
    },
    StandIn {
        page: "docs/cloud.md",
        block: "contree login --project",
        replaced: &[
            (
                "--project my-project ",
                "--project my-project --url $SERVER ",
            ),
            ("http://box.example:8080", "$SERVER"),
        ],
        typed: &[("token: ", "$TOKEN\n"), ("token: ", "$TOKEN\n")],
        ..NONE
    },
    StandIn {
        page: "docs/cloud.md",
        block: "(umask 077",
        replaced: &[("8080", "$PORT")],
        server: Some(("contree serve", "http://")),
        ..NONE
    },
    StandIn {
        page: "docs/cloud.md",
        block: "export CONTREE_URL",
        replaced: &[("http://box.example:8080", "http://127.0.0.1:$PORT")],
        ..NONE
    },
    StandIn {
        page: "docs/cloud.md",
        block: "contree push",
        before: "export CONTREE_BACKEND=local\nsmall_image app:1",
        replaced: &[
            ("registry.example/", "$REGISTRY/"),
            (
                "CONTREE_BACKEND=cloud",
                "CONTREE_BACKEND=cloud CONTREE_URL=$SERVER CONTREE_TOKEN=$TOKEN",
            ),
        ],
        ..NONE
    },
    StandIn {
        page: "docs/cloud.md",
        block: "contree login registry.example",
        replaced: &[("registry.example", "$REGISTRY")],
        typed: &[("password or token: ", "secret\n")],
        ..NONE
    },
    StandIn {
        page: "docs/containers.md",
        block: "contree serve",
        server: Some(("contree serve", "unix:")),
        after: "CONTREE_URL=unix:$XDG_RUNTIME_DIR/contree-engine.sock CONTREE_TOKEN=any contree call whoami",
        ..NONE
    },
    StandIn {
        page: "docs/everyday.md",
        block: "contree images import",
        before: "small_image small
            contree push small $REGISTRY/python:3.12
            contree push small $REGISTRY/debian:bookworm",
        replaced: &[(
            "import python:3.12 debian",
            "import $REGISTRY/python:3.12 $REGISTRY/debian",
        )],
        ..NONE
    },
    StandIn {
        page: "docs/everyday.md",
        block: "contree run -d -t 3600 -s",
        before: "contree use host",
        replaced: &[("sleep 60", "sleep 1")],
        ..NONE
    },
    StandIn {
        page: "docs/everyday.md",
        block: "contree exec @",
        before: r##"contree run -s 'mkdir -p /usr/local/bin; cd /usr/local/bin; printf "#!/bin/sh\necho 1\n" > ps; chmod 755 ps'
            contree run -d -D -t 600 -- sleep 500"##,
        typed: &[EXIT],
        after: "contree kill @",
        ..NONE
    },
    StandIn {
        page: "docs/everyday.md",
        block: "contree run -d -t 3600 --publish",
        before: "contree use host",
        after: "contree kill @",
        ..NONE
    },
    StandIn {
        page: "docs/everyday.md",
        block: "contree run --memory",
        before: r##"contree run -s 'mkdir -p /usr/local/bin; cd /usr/local/bin; for name in make pip /untrusted; do printf "#!/bin/sh\n" > $name; chmod 755 $name; done'"##,
        ..NONE
    },
    StandIn {
        page: "docs/everyday.md",
        block: "contree shell",
        typed: &[EXIT, EXIT],
        ..NONE
    },
    StandIn {
        page: "docs/everyday.md",
        block: "contree login ghcr.io",
        before: "small_image app:1",
        replaced: &[("ghcr.io", "$REGISTRY")],
        typed: &[("password or token: ", "secret\n")],
        ..NONE
    },
    StandIn {
        page: "docs/http.md",
        block: "contree http",
        replaced: &[("contree http", "contree http --http-port 0")],
        server: Some(("contree http", "http://")),
        ..NONE
    },
    StandIn {
        page: "docs/http.md",
        block: "(umask 077",
        replaced: &[("contree http", "contree http --http-port 0")],
        server: Some(("contree http", "http://")),
        ..NONE
    },
    StandIn {
        page: "docs/install.md",
        block: "ssh -L",
        replaced: &[("8080", "$PORT")],
        server: Some(("ssh -L", "http://")),
        ..NONE
    },
    StandIn {
        page: "docs/quickstart.md",
        block: "contree http",
        replaced: &[("contree http", "contree http --http-port 0")],
        server: Some(("contree http", "http://")),
        ..NONE
    },
    StandIn {
        page: "docs/shell.md",
        block: "contree shell",
        before: r##"contree run -s 'mkdir -p /usr/local/bin; cd /usr/local/bin; printf "#!/bin/sh\nhead -1 \$1\n" > vim; chmod 755 vim'
            contree tag host debian
            contree tag @ app
            ID=$(contree run -d -D -t 600 -- sleep 500)"##,
        replaced: &[("1a2b3c", "$ID")],
        typed: &[EXIT, EXIT, EXIT, (">>> ", "exit()\n"), EXIT],
        after: "contree kill $ID",
        ..NONE
    },
];

/// Programs of other projects and machines: the name and the shell lines of each.
pub(super) const PROGRAMS: &[(&str, &str)] = &[
    // `cargo run` finds the program compiled.
    (
        "cargo",
        "[ \"$1 $2 $3\" = 'run --release --' ] || exit 101\nshift 3\nexec contree-mcp \"$@\"",
    ),
    // Every other machine is this one.
    (
        "ssh",
        "while [ \"$1\" = -L ]; do shift 2; done\nshift\nexec \"$@\"",
    ),
];
