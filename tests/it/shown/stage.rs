//! Runs the blocks of a page in a home of its own.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::page::{Block, Step};
use super::services::{Server, Services};
use super::stand_ins::{PROGRAMS, StandIn};
use crate::support::{CONTREE, Home};

/// The seconds after which a block is stopped.
const PATIENCE: &str = "300";

/// The beginning of each script.
const PRELUDE: &str = "\
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
operation() { grep -ohEm1 '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' \"$OUT/0\"; }
small_image() {
    mkdir \"$OUT/image\"
    cp -L --parents /bin/cat /etc/os-release $(ldd /bin/cat | grep -o '/[^ ]*') \"$OUT/image\"
    printf 'FROM scratch\\nCOPY . /\\n' >\"$OUT/image/Dockerfile\"
    contree build -t \"$1\" \"$OUT/image\"
}
";

/// The home of one page.
pub(super) struct Stage<'a> {
    // Servers end before the home is removed.
    servers: Vec<Server>,
    home: Home,
    services: &'a Services,
    port: u16,
}

/// The result of a step.
struct Outcome {
    status: Option<i32>,
    output: String,
}

impl<'a> Stage<'a> {
    pub(super) fn new(services: &'a Services) -> Self {
        let home = Home::new();
        let bin = home.path().join("bin");
        for name in ["bin", "run", "page"] {
            fs::create_dir(home.path().join(name)).unwrap();
        }
        for (name, program) in [
            ("contree", CONTREE),
            ("contree-mcp", env!("CARGO_BIN_EXE_contree-mcp")),
        ] {
            std::os::unix::fs::symlink(program, bin.join(name)).unwrap();
        }
        for (name, lines) in PROGRAMS {
            let path = bin.join(name);
            fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Self {
            servers: Vec::new(),
            home,
            services,
            port,
        }
    }

    /// A command in the environment of the page.
    fn command(&self, program: &str, directory: &Path, text: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear();
        for (name, value) in self.home.contree().get_envs() {
            command.env(name, value.unwrap());
        }
        let bin = self.home.path().join("bin");
        let path = std::env::var("PATH").unwrap();
        command
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("XDG_RUNTIME_DIR", self.home.path().join("run"))
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .env("PORT", self.port.to_string())
            .envs(self.services.variables(text))
            .current_dir(directory)
            .stdin(Stdio::null());
        command
    }

    /// Runs a block without the steps that are not run, and returns what is wrong.
    pub(super) fn run(
        &mut self,
        block: &Block,
        stand_in: Option<&StandIn>,
        is_run: impl Fn(&Step) -> bool,
    ) -> Vec<String> {
        // The blocks that show output begin in an empty directory, and so with a new session.
        let directory = match block.is_console {
            true => self.home.path().join(format!("line-{}", block.line)),
            false => self.home.path().join("page"),
        };
        let out = self.home.path().join(format!("out-{}", block.line));
        fs::create_dir_all(&directory).unwrap();
        fs::create_dir(&out).unwrap();
        let mut part = Part::new(&out, stand_in);
        for (number, step) in block.steps.iter().enumerate() {
            if !is_run(step) {
                continue;
            }
            let command = replaced(&step.command, stand_in);
            let server = stand_in.and_then(|stand_in| stand_in.server);
            if let Some((beginning, ready)) = server
                && step.command.starts_with(beginning)
            {
                let before = std::mem::replace(&mut part, Part::new(&out, None));
                if let Err(problem) = self.run_part(before, &directory, &[]) {
                    return vec![problem];
                }
                let mut bash = self.command("bash", &directory, &command);
                bash.args(["-c", &format!("exec {command}")]);
                match Server::start(bash, &out.join("server"), ready) {
                    Ok(server) => self.servers.push(server),
                    Err(output) => return vec![format!("$ {command}\nended: {output}")],
                }
            } else {
                part.add(number, &command, stand_in);
            }
        }
        if let Some(stand_in) = stand_in {
            part.end(stand_in.after);
        }
        let typed = stand_in.map_or(&[][..], |stand_in| stand_in.typed);
        let mut problems = Vec::new();
        if let Err(problem) = self.run_part(part, &directory, typed) {
            problems.push(problem);
        }
        for (number, step) in block.steps.iter().enumerate() {
            // Servers and skipped commands have no status.
            if let Some(outcome) = outcome(&out, number) {
                let is_refused = outcome.output.contains("[limits-not-enforced]");
                if is_refused && !self.enforces_limits(&directory) {
                    continue;
                }
                problems.extend(wrong(step, &outcome, block.is_console));
            }
        }
        problems
    }

    /// Whether the engine can limit sandboxes here. Without control groups, it refuses limits.
    fn enforces_limits(&self, directory: &Path) -> bool {
        let mut whoami = self.command("contree", directory, "");
        let account = whoami.args(["call", "whoami"]).output().unwrap();
        String::from_utf8_lossy(&account.stdout).contains("instance_memory_bytes")
    }

    /// Runs a part of a block in one shell.
    fn run_part(&self, part: Part, directory: &Path, typed: &[(&str, &str)]) -> Result<(), String> {
        if part.is_empty {
            return Ok(());
        }
        let script = part.out.join("script");
        fs::write(&script, &part.script).unwrap();
        let text = format!("{}{typed:?}", part.script);
        let mut command;
        if typed.is_empty() {
            command = self.command("timeout", directory, &text);
            command.args([PATIENCE, "bash"]).arg(&script);
            let output = command.env("OUT", &part.out).output().unwrap();
            if output.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("{}: {said}{}", output.status, part.said()));
        }
        command = self.command("script", directory, &text);
        let line = format!("timeout --foreground {PATIENCE} bash {}", script.display());
        command
            .args(["-qefc", &line, "/dev/null"])
            .env("OUT", &part.out)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let variables = self.services.variables(&text);
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut output = child.stdout.take().unwrap();
        let mut shown = Vec::new();
        let mut seen = 0;
        let mut answers = typed.iter();
        let mut next = answers.next();
        let mut buffer = [0; 4096];
        loop {
            let length = output.read(&mut buffer).unwrap_or(0);
            if length == 0 {
                break;
            }
            shown.extend_from_slice(&buffer[..length]);
            let text = String::from_utf8_lossy(&shown[seen..]);
            if let Some((prompt, answer)) = next
                && text.contains(prompt)
            {
                let mut answer = (*answer).to_owned();
                for (name, value) in &variables {
                    answer = answer.replace(&format!("${name}"), value);
                }
                seen = shown.len();
                input.write_all(answer.as_bytes()).unwrap();
                next = answers.next();
            }
        }
        let status = child.wait().unwrap();
        fs::write(part.out.join("terminal"), &shown).unwrap();
        let shown = String::from_utf8_lossy(&shown);
        if let Some((prompt, _)) = next {
            return Err(format!("the terminal never showed `{prompt}`: {shown}"));
        }
        match status.success() {
            true => Ok(()),
            false => Err(format!("{status}: {shown}{}", part.said())),
        }
    }
}

/// The commands of a block that one shell runs.
struct Part {
    script: String,
    out: PathBuf,
    is_empty: bool,
}

impl Part {
    fn new(out: &Path, stand_in: Option<&StandIn>) -> Self {
        let mut part = Self {
            script: PRELUDE.to_owned(),
            out: out.to_owned(),
            is_empty: true,
        };
        if let Some(stand_in) = stand_in {
            part.surround("before", stand_in.before);
        }
        part
    }

    /// Adds shell lines of the test, which must succeed.
    fn surround(&mut self, name: &str, lines: &str) {
        if !lines.is_empty() {
            let file = format!("\"$OUT/{name}\"");
            write!(self.script, "set -e\n{{ {lines}\n}} >{file} 2>&1\nset +e\n").unwrap();
            self.is_empty = false;
        }
    }

    /// Adds a command. Its output goes to a file, or to the terminal.
    fn add(&mut self, number: usize, command: &str, stand_in: Option<&StandIn>) {
        let on_terminal = stand_in.is_some_and(|stand_in| !stand_in.typed.is_empty());
        let to = match on_terminal {
            true => String::new(),
            false => format!(" >\"$OUT/{number}\" 2>&1"),
        };
        writeln!(
            self.script,
            "{{ {command}\n}}{to}; echo $? >\"$OUT/{number}.status\""
        )
        .unwrap();
        self.is_empty = false;
    }

    fn end(&mut self, after: &str) {
        self.surround("after", after);
        self.script.push_str("exit 0\n");
    }

    /// The output of the shell lines of the test.
    fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.out.join(name)).unwrap_or_default();
        read("before") + &read("after")
    }
}

/// A command with the stand-ins of its texts.
fn replaced(command: &str, stand_in: Option<&StandIn>) -> String {
    let pairs = stand_in.map_or(&[][..], |stand_in| stand_in.replaced);
    let mut command = command.to_owned();
    for (text, instead) in pairs {
        command = command.replace(text, instead);
    }
    command
}

fn outcome(out: &Path, number: usize) -> Option<Outcome> {
    let status = fs::read_to_string(out.join(format!("{number}.status"))).ok()?;
    let output = fs::read(out.join(number.to_string()))
        .or_else(|_| fs::read(out.join("terminal")))
        .unwrap_or_default();
    Some(Outcome {
        status: status.trim().parse().ok(),
        output: String::from_utf8_lossy(&output).into_owned(),
    })
}

/// Returns what is wrong with the result of a step. A block that shows output may show an error.
fn wrong(step: &Step, outcome: &Outcome, may_fail: bool) -> Option<String> {
    let Outcome { status, output } = outcome;
    if *status != Some(0) && !may_fail {
        return Some(format!("$ {}\nstatus {status:?}: {output}", step.command));
    }
    let shown = step.shown.as_ref()?;
    let printed: Vec<&str> = output.lines().collect();
    let is_same = shown.len() == printed.len()
        && shown
            .iter()
            .zip(&printed)
            .all(|(shown, line)| matches(shown, line.trim_end()));
    (!is_same).then(|| {
        let command = &step.command;
        format!("$ {command}\nshown:   {shown:#?}\nprinted: {printed:#?}")
    })
}

/// Whether a line is the shown one. `…` stands for any text, such as a UUID, a time or a size.
pub(super) fn matches(shown: &str, line: &str) -> bool {
    let pattern: Vec<String> = shown.split('…').map(regex::escape).collect();
    let pattern = format!("^{}$", pattern.join(".*"));
    regex::Regex::new(&pattern).unwrap().is_match(line)
}
