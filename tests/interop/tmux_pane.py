"""Drives a shell in a tmux pane: types lines, waits for what the screen shows, and checks that the
terminal is as before afterwards."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Seconds until something that does not come is a failure.
PATIENCE = 120
INTERVAL = 0.03
# The characters that a terminal shows for keys such as Ctrl-C.
ECHOED = re.compile(r"\^[A-Z\\]")


class Failure(Exception):
    pass


def until(what: str, found: Callable[[], object], patience: float = PATIENCE) -> object:
    """Waits until `found` returns something true, and returns that."""
    end = time.monotonic() + patience
    while True:
        result = found()
        if result:
            return result
        if time.monotonic() > end:
            raise Failure(f"{what} did not come")
        time.sleep(INTERVAL)


@dataclass(frozen=True)
class Process:
    """A process, which its start time tells from a later one of the same number."""

    pid: int
    started: str

    def is_alive(self) -> bool:
        return process(self.pid) == self

    def command(self) -> str:
        try:
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return ""
        return b" ".join(words).decode(errors="replace").strip()


def stat_fields(pid: int) -> list[str]:
    # The name in parentheses may have spaces.
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def process(pid: int) -> Process | None:
    try:
        fields = stat_fields(pid)
    except OSError:
        return None
    return None if fields[0] in "ZX" else Process(pid, fields[19])


def descendants(pid: int) -> list[Process]:
    """The living processes below one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(stat_fields(int(entry.name))[1]), []).append(int(entry.name))
            except OSError:
                continue
    found, next_ones = [], [pid]
    while next_ones:
        below = children.get(next_ones.pop(), [])
        next_ones.extend(below)
        found.extend(living for child in below if (living := process(child)))
    return found


class Pane:
    """A bash on a terminal. Its prompt has the number of the line and the last exit status."""

    def __init__(self, socket: str, environment: dict[str, str], directory: Path, columns: int = 100, rows: int = 30) -> None:
        self.socket = socket
        self.number = 1
        # Without line editing, the shell leaves the terminal as the program left it.
        shell = ["env", "-i", *(f"{name}={value}" for name, value in environment.items()), r"PS1=<\#:$?> ",
                 "bash", "--norc", "--noprofile", "--noediting", "-i"]
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), "-c", str(directory), *shell)
        self.tmux("set-option", "history-limit", "20000")
        self.prompt()
        self.tty = self.ask("#{pane_tty}")
        self.shell_pid = int(self.ask("#{pane_pid}"))
        self.settings, self.modes = self.read_settings(), self.read_modes()

    def tmux(self, *words: str, stdin: bytes = b"") -> str:
        done = subprocess.run(["tmux", "-L", self.socket, *words], input=stdin, capture_output=True, timeout=PATIENCE)
        if done.returncode != 0:
            raise Failure(f"tmux {words[0]}: {done.stderr.decode().strip()}")
        return done.stdout.decode(errors="replace")

    def ask(self, what: str) -> str:
        return self.tmux("display-message", "-p", what).strip()

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self.socket, "kill-server"], capture_output=True, timeout=PATIENCE)

    def resize(self, columns: int, rows: int) -> None:
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    # ---- the screen

    def screen(self, joined: bool = True) -> str:
        """The screen with its history. `joined` undoes the wrapping of long lines."""
        return self.tmux("capture-pane", "-p", *(["-J"] if joined else []), "-S", "-20000")

    def shown(self, joined: bool = True) -> str:
        """What came after the last typed line."""
        text = self.screen(joined)
        at = text.rfind(f"<{self.number}:")
        return text[at:].partition("\n")[2] if at >= 0 else text

    def shown_before_prompt(self, joined: bool = True) -> str:
        """The output of the last line that has ended."""
        text = self.screen(joined)
        start, end = text.rfind(f"<{self.number - 1}:"), text.rfind(f"<{self.number}:")
        return text[start:end]

    def expect(self, wanted: str | re.Pattern[str], patience: float = PATIENCE) -> str:
        """Waits until the output has a text, and returns the output."""

        def found() -> str:
            text = self.shown()
            is_there = wanted in text if isinstance(wanted, str) else wanted.search(text)
            return text if is_there else ""

        pattern = wanted if isinstance(wanted, str) else wanted.pattern
        return str(until(f"`{pattern}`", found, patience))

    # ---- typing

    def keys(self, *names: str) -> None:
        self.tmux("send-keys", *names)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", "--", text)

    def start(self, line: str) -> None:
        self.type(line)
        self.keys("Enter")

    def prompt(self, patience: float = PATIENCE) -> int:
        """Waits for the prompt, and returns the exit status that it shows."""

        def found() -> re.Match[str] | None:
            return re.search(rf"<{self.number}:(\d+)> *$", self.screen().rstrip("\n"))

        return int(until(f"the prompt {self.number}", found, patience).group(1))

    def end(self, patience: float = PATIENCE) -> tuple[int, str]:
        """Waits for the end of the typed line. Returns its exit status and its output."""
        self.number += 1
        try:
            status = self.prompt(patience)
        finally:
            self.number -= 1
        text = self.shown()
        self.number += 1
        return status, text[: text.rfind(f"<{self.number}:")]

    def resync(self) -> None:
        """Finds the number of the prompt again, after keys that may have come at a prompt."""
        mark = f"synchronised-{time.monotonic_ns()}"
        # The typed line has the mark in two parts.
        self.start(f"echo {mark[:5]}''{mark[5:]}")
        until("the echo", lambda: mark in self.screen())
        pattern = rf"{mark}\s*\n<(\d+):0>"
        self.number = int(until("the prompt", lambda: re.search(pattern, self.screen())).group(1))

    def run(self, line: str, expected: int | None = 0) -> str:
        """Types a line, and returns its output. `expected` is the exit status."""
        self.start(line)
        status, text = self.end()
        if expected is not None and status != expected:
            raise Failure(f"`{line}` ended with {status} and not {expected}:\n{text}")
        return text

    def signal(self, name: str) -> None:
        """Sends a signal to the program that the shell has started."""
        pid = self.program().pid
        subprocess.run(["kill", "-s", name, str(pid)], check=True)

    def program(self) -> Process:
        children = [found for found in descendants(self.shell_pid) if "contree" in found.command()]
        if not children:
            raise Failure("the program does not run")
        return min(children, key=lambda found: int(found.started))

    def below(self) -> list[Process]:
        return descendants(self.shell_pid)

    # ---- the state of the terminal

    def read_settings(self) -> str:
        return subprocess.run(["stty", "-a", "-F", self.tty], check=True, capture_output=True, text=True).stdout

    def read_modes(self) -> str:
        return self.ask("#{cursor_flag} #{alternate_on} #{mouse_any_flag} #{keypad_flag} #{keypad_cursor_flag} #{origin_flag} #{wrap_flag}")

    def check_sane(self) -> None:
        """The settings and modes must be as before, and the prompt must begin its line."""
        settings, modes = self.read_settings(), self.read_modes()
        size = re.compile(r"rows \d+; columns \d+")
        if size.sub("", settings) != size.sub("", self.settings):
            raise Failure(f"the settings of the terminal differ:\n{self.settings}\n{settings}")
        if modes != self.modes:
            raise Failure(f"the modes of the terminal are {modes} and not {self.modes}")
        last = self.screen().rstrip("\n").rpartition("\n")[2]
        if not last.startswith("<"):
            raise Failure(f"the prompt does not begin its line: {last!r}")
