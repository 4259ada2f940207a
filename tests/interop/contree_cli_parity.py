"""Compares `contree` with the official `contree-cli`, verb by verb, on one served engine.

    CONTREE_URL=http://127.0.0.1:PORT CONTREE_TOKEN=... python -P contree_cli_parity.py CONTREE

Both programs read one profile. Each runs the same steps in a session of its own. Standard output
and exit statuses must be equal, and `contree` must take at most a tenth of the other's time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

URL = os.environ["CONTREE_URL"]
TOKEN = os.environ["CONTREE_TOKEN"]
PATIENCE = 120

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


def main() -> None:
    official = str(Path(sys.executable).parent / "contree")
    with tempfile.TemporaryDirectory() as root:
        programs = [Program(Path(root), "official", official), Program(Path(root), "own", sys.argv[1])]
        wrong = 0
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
        assert took[1] * 10 <= took[0], "contree takes more than a tenth of the time"


main()
