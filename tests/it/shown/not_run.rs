//! The shown commands that the test cannot run, with the reasons.

/// The reason why the test cannot run a command.
pub(super) enum Reason {
    /// This step of `.ci/run` runs it.
    Step(&'static str),
    /// It needs something that is not here.
    Needs(&'static str),
}

/// A command that the test cannot run.
pub(super) struct NotRun {
    pub(super) page: &'static str,
    /// The beginning of the command. All commands of the page that begin so are meant.
    pub(super) command: &'static str,
    pub(super) reason: Reason,
}

const fn not_run(page: &'static str, command: &'static str, reason: Reason) -> NotRun {
    NotRun {
        page,
        command,
        reason,
    }
}

const MEASURES: Reason = Reason::Needs("minutes, to compile and to measure");

pub(super) const NOT_RUN: &[NotRun] = &[
    not_run(
        "README.md",
        "cargo install --path",
        Reason::Needs("minutes, to compile what the step readme-run compiles"),
    ),
    not_run(
        "README.md",
        "cargo test --workspace",
        Reason::Step("readme-test"),
    ),
    not_run(
        "docs/agents.md",
        "pip install ",
        Reason::Step("interop-agents"),
    ),
    not_run("docs/agents.md", "mini ", Reason::Step("interop-agents")),
    not_run(
        "docs/containers.md",
        "podman run ",
        Reason::Needs("podman and an image of a container"),
    ),
    not_run("docs/performance.md", "cargo bench ", MEASURES),
    not_run("docs/performance.md", "cargo run ", MEASURES),
    not_run("docs/performance.md", "cargo test ", MEASURES),
    not_run("docs/performance.md", "rm -rf target", MEASURES),
    not_run("docs/performance.md", "python tests/interop/", MEASURES),
    not_run("docs/performance.md", "tests/interop/push.sh", MEASURES),
    not_run(
        "docs/quickstart.md",
        "claude mcp add",
        Reason::Needs("Claude Code"),
    ),
    not_run(
        "docs/quickstart.md",
        "codex mcp add",
        Reason::Needs("Codex"),
    ),
];
