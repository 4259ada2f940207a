"""Progress bars, tables, pipes, and places without a terminal."""

from __future__ import annotations

import re
import subprocess

from tmux_pane import Failure, until

ESCAPE = "\\u{1b}"


def check(condition: object, what: str) -> None:
    if not condition:
        raise Failure(what)


def watch(session, line: str, bar: str) -> None:
    """Types a line whose transfer stops, lets pieces pass until a bar comes, and then all."""
    pane, registry = session.pane, session.registry
    registry.hold()
    pane.start(line)

    def has_bar() -> bool:
        if registry.waiting:
            registry.step()
        return bool(re.search(bar, pane.shown(joined=False)))

    until(f"the bar of `{line}`", has_bar)
    registry.release()
    status, text = pane.end()
    check(status == 0, f"`{line}` ended with {status}:\n{text}")
    check("█" not in text and "░" not in text, f"`{line}` leaves its bar:\n{text}")


def progress_of_push_and_import(session) -> None:
    address = session.registry.address
    session.pane.resize(60, 30)
    # The whole grows with each blob whose size is known, and they come in any order.
    watch(session, f"contree push big:1 {address}/bar:1", r"█.*░.* [\d.]+ \wi?B/\d\d[\d.]* MiB")
    session.pane.resize(100, 30)
    watch(session, f"CONTREE_DATA_DIR={session.root}/other contree images import {address}/bar:1", r"█.*░.* [\d.]+ \wi?B/")


def progress_of_sync_and_copies(session) -> None:
    tree = session.work / "many"
    tree.mkdir()
    for number in range(2000):
        (tree / f"f{number}").write_text(f"{number}\n")
    pane = session.pane
    pane.start("contree run -D -F many:/many -s 'ls /many | wc -l'")
    seen = set()

    def has_ended() -> bool:
        text = pane.shown(joined=False)
        seen.add("sending" in text or "read" in text)
        return f"<{pane.number + 1}:" in text

    until("the end", has_ended)
    status, text = pane.end()
    check(status == 0 and "2000" in text, f"the run ended with {status}:\n{text}")
    check(True in seen, "the run did not show that it sent files")
    check("sending" not in text, f"the progress stays:\n{text}")
    subprocess.run(["rm", "-rf", tree], check=True)


def a_run_is_shown_while_it_runs(session) -> None:
    pane = session.pane
    pane.start("contree run -s 'echo fi''rst; while [ ! -e /go ]; do sleep 0.05; done; echo se''cond'")
    text = pane.expect("first")
    check("second" not in text, "the output came at the end")
    run = session.call("ps", "-q").stdout.strip()
    session.call("exec", run, "--", "touch", "/go")
    status, text = pane.end()
    check(status == 0 and "second" in text, f"the run ended with {status}:\n{text}")


def tables_fit_their_terminal(session) -> None:
    pane = session.pane
    run = session.call("run", "-d", "-t", "600", "-s", "sleep 600; echo " + "long " * 60).stdout.strip()
    session.call("run", "-s", "echo 1 > /one; true " + "many words " * 30)
    session.call("tag", "@", "a/long/name/of/an/image/that/nobody/would/like/to/type:1.2.3")
    for columns in (60, 200):
        pane.resize(columns, 40)
        for line, whole in (
            ("contree images", ["big:1"]),
            ("contree images -a", ["big:1"]),
            ("contree images --tree", ["big:1"]),
            ("contree ps", [run[:8], "EXECUTING"]),
            ("contree ps -a", [run[:8], "EXECUTING", "SUCCESS"]),
            ("contree log", ["IMAGE", "echo 1 > /one"]),
            ("contree diff", ["A /one"]),
            ("contree diff --stat", ["/one"]),
            ("contree df", ["images", "layers", "would free"]),
            ("contree df --images", ["images"]),
            ("contree session show", ["@"]),
            ("contree auth list", []),
        ):
            text = pane.run(line, None)
            plain = pane.shown_before_prompt(joined=False)
            check(all(word in text for word in whole), f"`{line}` at {columns} columns lacks one of {whole}:\n{text}")
            wrapped = [row for row in text.splitlines() if len(row.rstrip()) > columns]
            check(not wrapped, f"`{line}` wraps at {columns} columns:\n{plain}")
    wide = pane.run("contree ps -a")
    check("CREATED" in wide and "KIND" in wide, f"a wide terminal lacks columns:\n{wide}")
    pane.resize(100, 30)
    session.call("kill", run)


def messages_break_between_words(session) -> None:
    pane = session.pane
    words = ("run", "-d", "-i", "--", "sh")
    piped = session.call(*words, status=2).stderr.strip()
    check("\n" not in piped and len(piped) > 60, f"the message is short, or a pipe gets lines:\n{piped}")
    pane.resize(60, 40)
    # A row that the terminal broke would be longer than it.
    rows = pane.run("contree " + " ".join(words), 2).strip().splitlines()
    check(len(rows) > 1 and " ".join(rows) == piped, f"the message has other words:\n{rows}")
    check(all(len(row) <= 60 for row in rows), f"the terminal breaks the message:\n{rows}")
    pane.resize(100, 30)


def emphasis_is_for_terminals_that_want_it(session) -> None:
    pane = session.pane

    def styles(line: str) -> str:
        pane.run(line)
        return pane.tmux("capture-pane", "-p", "-e", "-S", "-30").rpartition(f"<{pane.number - 1}:")[2]

    check("\x1b[1m" in styles("contree images"), "a table has no emphasis on a terminal")
    for line in ("NO_COLOR=1 contree images", "TERM=dumb contree images", "contree images | cat"):
        shown = styles(line)
        check("\x1b[1m" not in shown and "u{1b}" not in shown, f"`{line}` has emphasis")
    check("\x1b" not in session.call("images").stdout, "a pipe gets emphasis")
    done = pane.run(f"TERM=dumb contree push host {session.registry.address}/dumb:1")
    check("sending" not in done, f"a dumb terminal gets progress:\n{done}")


def names_cannot_control_the_terminal(session) -> None:
    pane = session.pane
    evil = "x\\033[31m\\033]0;title\\007\\r\\342\\200\\256y"
    pane.run(f"evil=$(printf '{evil}')")
    pane.run("contree run -- touch \"/$evil\"")
    title = pane.ask("#{pane_title}")
    for line in (
        "contree diff", "contree diff --stat", "contree ls /", "contree log", "contree session show", "contree show @",
        "contree run -D -- echo \"$evil\"", "contree tag @ \"$evil\"", "contree use \"$evil\"", "contree images",
        "contree cat \"/$evil\"", "contree rmi \"$evil\"", "contree \"$evil\"", "contree images import \"./$evil\" --tag x",
        "contree run -D -F \"$evil\" -- true", "contree run -D -- \"$evil\"", "contree ps -a",
    ):
        pane.run(line, None)
        shown = pane.tmux("capture-pane", "-p", "-e", "-S", "-2000").rpartition(f"<{pane.number - 1}:")[2]
        # The line itself is echoed.
        output = shown.partition("\n")[2]
        check("\x1b[31m" not in output and "\u202e" not in output, f"`{line}` shows control characters:\n{output}")
        check(pane.ask("#{pane_title}") == title, f"`{line}` changes the title")
    session.call("session", "rollback")


def pipes_end_without_an_error(session) -> None:
    pane = session.pane
    for line, statuses in (
        ("contree images", {0, 141}),
        ("contree log", {0, 141}),
        ("contree ps -a --json", {0, 141}),
        ("contree run -D -- yes", {141}),
        ("contree cat big:1:/d/blob", {141}),
        ("contree cp big:1:/d/blob -", {141}),
        ("contree export big:1:/d", {141}),
        ("contree --help", {0, 141}),
    ):
        text = pane.run(f"{line} | head -c 1 > /dev/null; echo status-''${{PIPESTATUS[0]}}")
        found = int(re.search(r"status-(\d+)", text)[1])
        check(found in statuses, f"`{line}` into a closed pipe ends with {found}:\n{text}")
        check("roken pipe" not in text and "panicked" not in text and "error" not in text, f"`{line}`:\n{text}")
        pane.check_sane()


def without_a_terminal_nothing_is_asked(session) -> None:
    done = session.call("login", session.registry.address, status=2)
    check("--username" in done.stderr, done.stderr)
    done = session.call("login", session.registry.address, "--username", "me", status=2)
    check("--password-stdin" in done.stderr, done.stderr)
    session.call("prune", "--older-than", "10000")
    done = session.call("images", "import", session.registry.address + "/none:1", status=1)
    check("\x1b" not in done.stderr and "\r" not in done.stderr, repr(done.stderr))
    done = session.call("run", "-D", "-i", "-s", "tty; echo $((6*7))")
    check("42" in done.stdout, done.stdout + done.stderr)
    check("\x1b" not in session.call("doctor", status=None).stdout, "doctor controls a pipe")
    # Neither standard streams nor a terminal.
    closed = subprocess.run(["sh", "-c", "contree images <&- >&- 2>&-"], env=session.environment, cwd=session.work, start_new_session=True)
    check(closed.returncode in (0, 1), f"with closed streams the status is {closed.returncode}")


SCENARIOS = [
    progress_of_push_and_import,
    progress_of_sync_and_copies,
    a_run_is_shown_while_it_runs,
    tables_fit_their_terminal,
    messages_break_between_words,
    emphasis_is_for_terminals_that_want_it,
    names_cannot_control_the_terminal,
    pipes_end_without_an_error,
    without_a_terminal_nothing_is_asked,
]
