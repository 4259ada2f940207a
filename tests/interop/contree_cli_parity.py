"""Compares `contree` with the official `contree-cli`, verb by verb, on one served engine.

    CONTREE_URL=http://127.0.0.1:PORT CONTREE_TOKEN=... python -P contree_cli_parity.py CONTREE

Both programs read one profile. Each runs the same steps in a session of its own. Standard output
and exit statuses must be equal, and the times of both are printed. The same holds for the ten steps
of docs/from-contree-cli.md. Its table must have every verb of the other, and what it calls the same
must have the same options. The examples of the other's help and manual must be valid command lines
here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# On an idle machine, the factor is ten or more. A busy one changes it, so the test asks for less: it
# finds a verb that has become slow.
LEAST_FACTOR = 5

URL = os.environ["CONTREE_URL"]
TOKEN = os.environ["CONTREE_TOKEN"]
PATIENCE = 120
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "from-contree-cli.md").read_text()
# The most characters that the ten steps may have.
TYPED = 300

# The words of a step, and how to read its output: `text` as it is, `json` as objects of which these
# fields are compared, and `status` for the exit status alone.
STEPS: list[tuple[list[str], str | tuple[str, ...]]] = [
    (["use", "tag:host"], "text"),
    (["run", "--", "uname", "-s"], "text"),
    (["run", "uname", "-s"], "text"),
    (["run", "--shell", "--", "echo hello && ls /"], "text"),
    (["run", "-s", "--", "echo err >&2; exit 3"], "text"),
    (["run", "-e", "FOO=bar", "--shell", "--", "echo $FOO"], "text"),
    (["run", "-C", "/etc", "--", "pwd"], "text"),
    (["run", "-s", "--", "mkdir -p /w/d; echo one > /w/f; ln -s f /w/l"], "text"),
    (["run", "-D", "-s", "--", "rm /w/f"], "text"),
    (["run", "--file", "./app.py:/app.py:u0:g0:m0755", "--disposable", "-s", "--", "cat /app.py; stat -c %a:%u:%g /app.py"], "text"),
    (["run", "--file", "./src:/app/src", "-s", "-D", "--", "cd /app/src && find . -type f | sort"], "text"),
    (["run", "-D", "--use", "tag:host", "--", "uname"], "text"),
    (["run", "-s", "--", "mkdir -p /w/d; echo one > /w/f; ln -s f /w/l"], "text"),
    (["ls", "/w"], "text"),
    (["-o", "json", "ls", "/w"], ("path", "size", "is_dir", "is_symlink", "symlink_to")),
    (["cat", "/w/f"], "text"),
    (["cat", "/nowhere"], "status"),
    (["grep", "one", "/w"], "text"),
    (["grep", "--glob", "f", "-A", "1", "one", "/w"], "text"),
    (["cp", "/w/f", "copied"], "text"),
    (["export", "/w", "-F", "w.tar.gz"], "text"),
    (["export", "/w", "--decompress", "-F", "w.tar"], "text"),
    (["cd", "/w"], "text"),
    (["cd"], "text"),
    (["cd", "d"], "text"),
    (["cd"], "text"),
    (["cd", "/nowhere"], "status"),
    (["env", "A=b", "C=d e"], "text"),
    (["run", "-D", "-s", "--", "echo $A $C; pwd"], "text"),
    (["env", "-U", "A"], "text"),
    (["-o", "json", "env"], ("key", "value")),
    (["tag", "parity:1"], "status"),
    (["-o", "json", "images", "--prefix=parity"], ("tag",)),
    (["tag", "-U", "tag:parity:1", "parity:1"], "status"),
    (["session", "branch", "two"], "status"),
    (["session", "checkout", "two"], "status"),
    (["run", "-s", "--", "echo two > /w/f"], "text"),
    (["cat", "/w/f"], "text"),
    (["session", "checkout", "main"], "status"),
    (["cat", "/w/f"], "text"),
    (["session", "checkout", "none"], "status"),
    (["-o", "json", "session", "branch"], ("branch",)),
    (["-o", "json", "session", "show", "-k", "run", "-l", "2"], ("kind",)),
    (["run", "-s", "--", "echo three > /w/f"], "text"),
    (["session", "rollback", "--", "-1"], "status"),
    (["cat", "/w/f"], "text"),
    (["-o", "json", "ps", "-a", "-M", "3"], ("kind", "status", "error")),
    (["ps"], "status"),
    (["-o", "json", "show", "@"], ("kind", "status")),
    (["use", "tag:no-such-image"], "status"),
    (["run", "--", "/no/such/program"], "status"),
]

# Exit statuses that differ on purpose; the table in docs/cli.md says why.
DIFFERENT_STATUS = {"run -- /no/such/program"}


class Program:
    """One of both programs, with its own home and working directory."""

    def __init__(self, root: Path, name: str, path: str) -> None:
        self.path = path
        # Both programs use one engine, so each has tags of its own.
        self.tag = f"parity-{name}"
        self.home = root / name
        self.home.mkdir()
        (self.home / "config").mkdir(mode=0o700)
        profile = self.home / "config" / "auth.ini"
        profile.touch(0o600)
        profile.write_text(f"[DEFAULT]\nprofile = engine\n\n[profile:engine]\nurl = {URL}\ntoken = {TOKEN}\ntype = jwt\n")
        (self.home / "app.py").write_text("print('app')\n")
        (self.home / "src" / "deep").mkdir(parents=True)
        (self.home / "src" / "deep" / "a.c").write_text("a\n")
        (self.home / "src" / ".hidden").write_text("h\n")
        self.took = 0.0

    def run(self, words: list[str]) -> tuple[int, str, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "CONTREE_HOME": str(self.home / "config"),
            "CONTREE_SESSION": "parity",
            "CONTREE_NO_UPDATE_CHECK": "1",
            "CONTREE_STATE_DIR": str(self.home / "state"),
            "LC_ALL": "C.UTF-8",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        began = time.monotonic()
        done = subprocess.run(
            [self.path, *(word.replace("parity", self.tag) for word in words)], env=environment, cwd=self.home, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE
        )
        self.took += time.monotonic() - began
        return done.returncode, done.stdout.decode().replace(self.tag, "parity"), done.stderr.decode()


def reduced(output: str, how: str | tuple[str, ...]) -> object:
    if how == "status":
        return None
    if how == "text":
        # Both print the line for `eval`, with quotes of their own.
        return output.replace("'", "")
    lines = [json.loads(line) for line in output.splitlines()]
    return [{name: line.get(name) or None for name in how} for line in lines]


def ten_steps(programs: list[Program]) -> bool:
    """Runs the session of the page with both programs, and returns whether they agree."""
    block = PAGE.split("## Ten steps\n", 1)[1].split("```console\n", 1)[1].split("```", 1)[0]
    lines = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    typed = sum(len(line) + 1 for line in lines)
    assert typed <= TYPED, f"{typed} characters"
    assert not re.search(r"[0-9a-f]{8}", block), "a UUID"
    took = [0.0, 0.0]
    agree = True
    for line in lines:
        words = shlex.split(line)[1:]
        if words[0] in ("diff", "rmi"):
            status, output, error = programs[1].run(words)
            assert status == 0, (line, output, error)
            continue
        before = [program.took for program in programs]
        results = [program.run(words) for program in programs]
        took = [sum_ + program.took - start for sum_, program, start in zip(took, programs, before)]
        compared = [(status, reduced(output, "text")) for status, output, _ in results]
        if words[0] in ("tag", "session"):
            # Messages of each program.
            compared = [(status, None) for status, _ in compared]
        elif words[0] == "images":
            listed = [program.run(["-o", "json", *words]) for program in programs]
            compared = [(status, reduced(output, ("tag",))) for status, output, _ in listed]
        if compared[0] != compared[1]:
            agree = False
            print(f"{line}:\n  official {results[0]}\n  own      {results[1]}", flush=True)
    print(f"ten steps, {typed} characters: contree-cli {took[0]:.2f} s, contree {took[1]:.2f} s, {took[0] / took[1]:.1f} times as fast")
    assert took[1] * LEAST_FACTOR <= took[0], f"contree is less than {LEAST_FACTOR} times as fast"
    return agree


def help_of(path: str, words: list[str]) -> str | None:
    """The help of a command, or nothing if there is no such command."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COLUMNS": "200", "LC_ALL": "C.UTF-8"}
    done = subprocess.run([path, *words, "--help"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout if done.returncode == 0 else None


def has_command(path: str, words: list[str]) -> bool:
    """Whether a command has a help of its own, and is not an argument of another one."""
    found = help_of(path, words)
    return found is not None and found != help_of(path, words[:-1])


def commands(path: str, words: list[str]) -> list[tuple[list[str], str, list[str]]]:
    """Every command of contree-cli: its words, its help, and its other names."""
    text = help_of(path, words)
    assert text is not None, words
    found = []
    if listed := re.search(r"^positional arguments:\n  \{[^}]*\}\n((?:    .*\n)*)", text, re.MULTILINE):
        for name, others in re.findall(r"^    ([a-z-]+)(?: \(([a-z, -]+)\))?", listed[1], re.MULTILINE):
            child = [*words, name]
            names = [other.strip() for other in others.split(",") if other.strip()]
            found.append((child, help_of(path, child) or "", names))
            found += commands(path, child)
    return found


def table_problems(official: str, own: str) -> list[str]:
    """Returns where the table of the page does not say what both programs have."""
    problems = []
    text = PAGE.split("<!-- parity: begin -->", 1)[1].split("<!-- parity: end -->", 1)[0]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines() if line.startswith("| ")][1:]
    listed = {first.strip("`"): (second, third) for first, second, third in rows if first != "none"}
    theirs = commands(official, [])
    names = [" ".join(words) for words, _, _ in theirs]
    problems += [f"the table has no `{name}`" for name in names if name not in listed]
    problems += [f"contree-cli has no `{name}`" for name in listed if name not in names]
    for words, text, others in theirs:
        name = " ".join(words)
        second, differences = listed.get(name, ("none", ""))
        if second == "none":
            continue
        if second != "same":
            for verb in re.findall(r"`([^`]*)`", second):
                found = [word for word in verb.split() if not word.startswith("-")]
                if not has_command(own, found):
                    problems.append(f"{name}: there is no `{verb}`")
            continue
        if not has_command(own, words):
            problems.append(f"there is no `{name}`")
            continue
        for other in others if words[0] != "skill" else []:
            if not has_command(own, [*words[:-1], other]):
                problems.append(f"`{name}` has no other name `{other}`")
        options = re.findall(r"^  (-.*)", text, re.MULTILINE)
        options = re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", "\n".join(re.split(r"  | is ignored", line)[0] for line in options))
        for option in sorted(set(options) - {"--format"}):
            done = subprocess.run([own, *words, option, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
            if "unexpected argument" in done.stderr and not is_named(option, differences, text):
                problems.append(f"`{name}` has no option {option}")
    for second in (second for first, second, _ in rows if first == "none"):
        for verb in re.findall(r"`([^`]*)`", second):
            if not has_command(own, verb.split()) or has_command(official, verb.split()):
                problems.append(f"`{verb}` is not of contree alone")
    return problems


def is_named(option: str, differences: str, text: str) -> bool:
    """Whether the table names an option, or another spelling of it."""
    for line in re.findall(r"^  (-.*)", text, re.MULTILINE):
        spellings = re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", re.split("  ", line)[0])
        if option in spellings and any(f"`{spelling}`" in differences for spelling in spellings):
            return True
    return False


def examples(official: str) -> list[list[str]]:
    """The words of every example in the help and the manual of contree-cli."""
    texts = [help_of(official, []) or ""] + [text for _, text, _ in commands(official, [])]
    texts.append(subprocess.run([official, "man"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout)
    lines = {line for text in texts for line in re.findall(r"^ +(?:eval \$\()?(contree .*)", text, re.MULTILINE)}
    found = []
    for line in sorted(lines):
        # An explanation follows after two spaces, or in brackets.
        line = re.split(r" {2,}| # | \(|\)", line)[0]
        line = re.sub(r"<[a-z-]+>", "x", line).replace("...", "x")
        try:
            words = shlex.split(line)
        except ValueError:
            # A sentence of the manual.
            continue
        ends = [words.index(word) for word in (";", "|", "&&", ">") if word in words]
        words = words[1 : min(ends, default=len(words))]
        # The verb follows the options of every verb.
        if any(word.rstrip(";,").isalpha() for word in words):
            found.append([word.rstrip(";") for word in words])
    return found


def example_problems(official: str, own: str, directory: Path) -> list[str]:
    """Returns the examples of contree-cli that are no valid command lines of contree."""
    for name in ("app.py", "src", "project"):
        (directory / name).mkdir()
    # Nothing is at this address, so a valid run fails with another status than a usage error.
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "CONTREE_URL": "http://127.0.0.1:1", "CONTREE_TOKEN": "none"}
    count, problems = 0, []
    for words in examples(official):
        at = 0
        while at < len(words) and words[at] in ("-S", "-o", "-p"):
            at += 2
        verb = words[at : at + 2]
        # The table says what they are called here.
        if verb[0] in ("agent", "man", "file", "op", "operation", "skill") or verb == ["session", "wait"] or "--prune" in words or "csv" in words:
            continue
        count += 1
        # A run has no help after its command.
        if verb[0] != "run":
            words.insert(words.index("--") if "--" in words else len(words), "--help")
        done = subprocess.run([own, *words], env=environment, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode == 2:
            problems.append(f"contree {shlex.join(words)}: {done.stderr.splitlines()[0]}")
    print(f"{count} examples of contree-cli are valid, except {len(problems)}")
    assert count > 100, "the examples were not found"
    return problems


def main() -> None:
    official = str(Path(sys.executable).parent / "contree")
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "examples").mkdir()
        problems = table_problems(official, sys.argv[1]) + example_problems(official, sys.argv[1], Path(root) / "examples")
        print("\n".join(problems), flush=True)
        programs = [Program(Path(root), "official", official), Program(Path(root), "own", sys.argv[1])]
        wrong = len(problems) + (not ten_steps(programs))
        for program in programs:
            program.took = 0.0
        for words, how in STEPS:
            name = " ".join(words)
            results = [program.run(words) for program in programs]
            compared = [(status, reduced(output, how)) for status, output, _ in results]
            if name in DIFFERENT_STATUS:
                compared = [(status != 0, rest) for status, rest in compared]
            if how == "status":
                compared = [(status != 0, rest) for status, rest in compared] if compared[0][0] else compared
            if compared[0] != compared[1]:
                wrong += 1
                print(f"contree {name}:\n  official {results[0]}\n  own      {results[1]}", flush=True)
        for name in ("copied", "w.tar"):
            sizes = [(program.home / name).stat().st_size for program in programs]
            assert sizes[0] > 0 and sizes[1] > 0, (name, sizes)
        took = [program.took for program in programs]
        print(f"{len(STEPS)} steps: contree-cli {took[0]:.2f} s, contree {took[1]:.2f} s, {took[0] / took[1]:.1f} times as fast")
        assert not wrong, f"{wrong} steps differ"
        assert took[1] * LEAST_FACTOR <= took[0], f"contree is less than {LEAST_FACTOR} times as fast"


main()
