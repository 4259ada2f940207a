"""A small repository with a bug, as an image for agents, and the check of a patch for it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

PLACE = "/testbed"
TASK = "The median of an even number of values is wrong. Fix it and submit a patch."

BROKEN = "    return ordered[len(ordered) // 2]\n"
FIXED = """\
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
"""
FILES = {
    "statistics_of/__init__.py": "",
    "statistics_of/median.py": f'def median(values):\n    """Returns the middle value."""\n    ordered = sorted(values)\n{BROKEN}',
    "tests/__init__.py": "",
    "tests/test_median.py": """\
import unittest

from statistics_of.median import median


class Median(unittest.TestCase):
    def test_odd(self):
        self.assertEqual(median([3, 1, 2]), 2)

    def test_even(self):
        self.assertEqual(median([4, 1, 3, 2]), 2.5)
""",
    ".gitignore": "__pycache__/\n",
}
TEST = ["-B", "-m", "unittest", "discover", "-s", "tests", "-t", "."]
FAILURE = "AssertionError: 3 != 2.5"
TEST_INSIDE = shlex.join(["python3", *TEST])
COMMIT = "git -c user.name=nobody -c user.email=nobody@example.com commit -q -m 'Add the median'"


def block(language: str) -> str:
    """The code block of this language in docs/agents.md."""
    page = (Path(__file__).parents[2] / "docs" / "agents.md").read_text()
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return found


def make_image(client, tag: str) -> None:
    """Tags an image that has the repository. `client` is a `ContreeSync`."""
    with tempfile.TemporaryDirectory() as directory:
        files = {}
        for number, (path, text) in enumerate(FILES.items()):
            source = Path(directory) / str(number)
            source.write_text(text)
            files[f"{PLACE}/{path}"] = source
        made = client.images.use("host").run(
            # Programs look for `python`, which Debian's packages do not have.
            shell=f"ln -sf python3 /usr/bin/python && cd {PLACE} && git init -q && git add -A && {COMMIT}",
            files=files,
            disposable=False,
        ).wait()
    assert made.exit_code == 0, made.stderr
    made.tag_as(tag)


def check_patch(patch: str) -> None:
    """Applies a patch to a clean clone on this machine, and runs the tests there."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for path, text in FILES.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)

        def run(*command: str) -> subprocess.CompletedProcess:
            return subprocess.run(command, cwd=root, input=patch, capture_output=True, text=True, timeout=120)

        for command in (["init", "-q"], ["add", "-A"]):
            run("git", *command).check_returncode()
        assert FAILURE in run(sys.executable, *TEST).stderr, "the tests fail without the patch"
        applied = run("git", "apply", "--index", "-")
        assert applied.returncode == 0, f"{applied.stderr}\n{patch}"
        tested = run(sys.executable, *TEST)
        assert tested.returncode == 0, tested.stderr
        assert (root / "statistics_of/median.py").read_text() == FILES["statistics_of/median.py"].replace(BROKEN, FIXED)
