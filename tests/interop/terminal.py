"""Drives `contree` on a terminal as a person does, by tmux: Ctrl-C in each long verb, progress
bars, tables, a shell in a sandbox, pipes, and places without a terminal.

    python3 terminal.py CONTREE [NAME...]

NAME selects scenarios. Needs tmux, and a machine on which sandboxes run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import terminal_output
import terminal_shell
import terminal_signals
from stalling_registry import StallingRegistry
from tmux_pane import Failure, Pane, until

# Larger than the buffers of a connection, so that a registry can hold it up.
BLOB = 16_000_000


class Session:
    """A home, a data directory with an image, a registry, and a terminal."""

    def __init__(self, program: str) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="contree-terminal-"))
        # Ids inside own files of the data directory, and need search permission on the path to it.
        self.root.chmod(0o711)
        for name in ("bin", "tmp", "home", "work"):
            (self.root / name).mkdir()
        (self.root / "bin/contree").symlink_to(program)
        self.work, self.temporary = self.root / "work", self.root / "tmp"
        self.data = self.root / "data"
        self.environment = {
            "PATH": f"{self.root}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.temporary),
            "CONTREE_DATA_DIR": str(self.data),
            "CONTREE_STATE_DIR": str(self.root / "state"),
            "LC_ALL": "C.UTF-8",
            "TERM": "screen-256color",
        }
        self.registry = StallingRegistry()
        self.pane = Pane(f"contree-terminal-{os.getpid()}", self.environment, self.work)
        self.pane.run("contree use host")
        self.pane.run(f"contree run -s 'mkdir /d; head -c {BLOB} /dev/urandom > /d/blob; echo text > /d/text'")
        self.pane.run("contree tag @ big:1")

    def call(self, *words: str, status: int | None = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command without a terminal."""
        done = subprocess.run(
            ["contree", *words], env=self.environment | variables, cwd=self.work, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=120, start_new_session=True,
        )
        if status is not None and done.returncode != status:
            raise Failure(f"contree {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def files(self) -> set[Path]:
        """The temporary files, and the directories of sandboxes."""
        found = {*self.temporary.iterdir(), *self.work.glob(".*"), *self.work.glob("**/.contree-*")}
        runs = self.data / "run"
        return found | {*(runs.iterdir() if runs.exists() else ())}

    def check_nothing_left(self, processes: list, files: set[Path]) -> None:
        """No process, no sandbox and no temporary file is left that was not there before."""
        until("the end of the processes", lambda: not [found for found in processes if found.is_alive()], 10)
        left = self.files() - files
        if left:
            raise Failure(f"left behind: {', '.join(map(str, left))}")

    def close(self) -> None:
        self.pane.close()
        self.registry.close()
        subprocess.run(["contree", "kill", "-a"], env=self.environment, cwd=self.work, capture_output=True, timeout=60)
        subprocess.run(["chmod", "-R", "u+rwX", str(self.root)], capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)


def main() -> int:
    program, *names = sys.argv[1:]
    scenarios = [*terminal_output.SCENARIOS, *terminal_signals.SCENARIOS, *terminal_shell.SCENARIOS]
    session = Session(str(Path(program).resolve()))
    os.environ["PATH"] = session.environment["PATH"]
    failed = 0
    try:
        for scenario in scenarios:
            name = scenario.__name__.replace("_", " ")
            if names and not any(part in name for part in names):
                continue
            began = time.monotonic()
            try:
                scenario(session)
                session.pane.check_sane()
            except Failure as failure:
                failed += 1
                print(f"WRONG: {name}: {failure}\nthe screen:\n{session.pane.screen().rstrip()[-2000:]}", flush=True)
                session.pane.close()
                session.registry.release()
                session.registry = StallingRegistry()
                session.pane = Pane(f"contree-terminal-{os.getpid()}-{failed}", session.environment, session.work)
            else:
                print(f"  {name} ({time.monotonic() - began:.1f} s)", flush=True)
    finally:
        session.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
