"""Ctrl-C in each long verb: the documented status, and nothing is left."""

from __future__ import annotations

import re
import subprocess

from tmux_pane import Failure, until

INTERRUPTED = 130
# Tries to meet work that may end before the key comes.
TRIES = 20


def interrupt(session, line: str, wanted, status: int | None = INTERRUPTED) -> tuple[int, str]:
    """Types a line, waits for something, presses Ctrl-C, and checks the end."""
    pane, files = session.pane, session.files()
    pane.start(line)
    if callable(wanted):
        until(f"the state of `{line}`", wanted)
    else:
        pane.expect(wanted)
    before = pane.below()
    pane.keys("C-c")
    # Less than the time after which the program gives up waiting.
    found, text = pane.end(9)
    if status is not None and found != status:
        raise Failure(f"`{line}` ended with {found} and not {status}:\n{text}")
    pane.check_sane()
    session.check_nothing_left(before, files)
    for word in ("rror:", "panicked", "Broken pipe", "[cancelled]"):
        if word in text:
            raise Failure(f"`{line}` says {word}:\n{text}")
    return found, text


def meet(session, line: str, wanted: str, is_whole, is_absent) -> None:
    """Interrupts work that may be quick, until one try meets it. Either its target is whole, or
    there is none."""
    pane, files = session.pane, session.files()
    for _ in range(TRIES):
        pane.start(line)
        end = rf"<{pane.number + 1}:(\d+)>"
        until(f"`{wanted}`, or the end", lambda: wanted in pane.shown() or re.search(end, pane.shown()))
        before = pane.below()
        pane.keys("C-c")
        until(f"the end of `{line}`", lambda: re.search(end, pane.shown()), 9)
        text = pane.shown()
        found = int(re.search(end, text)[1])
        pane.resync()
        session.check_nothing_left(before, files)
        if found == INTERRUPTED:
            if not is_absent():
                raise Failure(f"`{line}` left an unfinished target")
            return
        if found != 0 or not is_whole():
            raise Failure(f"`{line}` ended with {found}, and its target is not whole:\n{text}")
    raise Failure(f"`{line}` always ended before the key")


def detached(session) -> str:
    return session.call("run", "-d", "-t", "600", "-s", "echo begun; sleep 600").stdout.strip()


def ctrl_c_in_run(session) -> None:
    interrupt(session, "contree run -D -s 'echo be''gun; sleep 600'", "begun")
    interrupt(session, "sleep 600 | contree run -D -s 'echo be''gun; sleep 600'", "begun")
    # It ignores the first signals of an ending.
    interrupt(session, "contree run -D -s \"trap '' INT TERM; echo be''gun; while :; do sleep 1; done\"", "begun")


def ctrl_c_in_run_with_a_terminal(session) -> None:
    text = "trap 'echo cau''ght; exit 5' INT; echo be''gun; while :; do sleep 0.1; done"
    _, shown = interrupt(session, f'contree run -D -i -- sh -c "{text}"', "begun", 5)
    if "caught" not in shown:
        raise Failure(f"the command did not get the key:\n{shown}")


def ctrl_c_in_build(session) -> None:
    directory = session.work / "context"
    directory.mkdir()
    (directory / "Dockerfile").write_text("FROM tag:host\nRUN echo be''gun; sleep 600\n")
    interrupt(session, "contree build -t never:1 context", "begun")
    if "never:1" in session.call("images").stdout:
        raise Failure("the image of a cut-off build has a tag")


def ctrl_c_in_exec_logs_and_wait(session) -> None:
    run = detached(session)
    interrupt(session, f"contree exec {run} -s 'echo in''side; exec sleep 601'", "inside")
    alive = session.call("exec", run, "-s", "pgrep -f '[s]leep 601'", status=None).stdout
    if alive.strip():
        raise Failure("the further command still runs")
    interrupt(session, f"contree exec -i {run} -- sh -c 'trap \"echo; exit 6\" INT; echo in''side; while :; do sleep 0.1; done'", "inside", 6)
    interrupt(session, f"contree logs -f {run}", "begun")
    for line in (f"contree wait {run}", f"contree wait -t 600 {run}"):
        interrupt(session, line, lambda: session.pane.below() and connections(session.pane.program().pid))
    if run not in session.call("ps", "-q").stdout:
        raise Failure("the run ended with those who looked at it")
    session.call("kill", run)


def connections(pid: int) -> bool:
    """Whether a process waits for another engine of the data directory, or for its own."""
    return subprocess.run(["ls", f"/proc/{pid}/fd"], capture_output=True, text=True).stdout.count("\n") > 20


def ctrl_c_in_push_and_import(session) -> None:
    registry = session.registry
    # Blobs of earlier pushes would not travel again.
    registry.blobs.clear()
    registry.hold()
    interrupt(session, f"contree push big:1 {registry.address}/cut:1", lambda: registry.waiting)
    if "cut" in str(registry.manifests):
        raise Failure("the cut-off push has a manifest")
    registry.release()
    session.pane.run(f"contree push big:1 {registry.address}/whole:1")
    registry.hold()
    before = session.data
    session.data = session.root / "empty"
    interrupt(session, f"CONTREE_DATA_DIR={session.data} contree images import {registry.address}/whole:1", lambda: registry.waiting)
    if session.call("images", CONTREE_DATA_DIR=str(session.data)).stdout.count("whole"):
        raise Failure("the cut-off import has a tag")
    session.data = before
    registry.release()


def ctrl_c_in_save_and_export(session) -> None:
    work = session.work
    archive, layout, packed = work / "a.tar", work / "layout", work / "e.tar.gz"
    remove = f"rm -rf {archive} {layout} {packed};"
    meet(session, f"{remove} contree save big:1 a.tar", "pushing", archive.exists, lambda: not archive.exists())
    meet(session, f"{remove} contree save big:1 layout/", "pushing", (layout / "index.json").exists, lambda: not layout.exists())
    meet(session, f"{remove} contree export -F e.tar.gz", "exporting", packed.exists, lambda: not packed.exists())
    subprocess.run(["rm", "-rf", archive, layout, packed], check=True)


def ctrl_c_in_copies(session) -> None:
    copy = session.work / "copy"
    size = 16_000_000
    meet(session, "rm -rf copy; contree cp big:1:/d/blob copy", "copying",
         lambda: copy.stat().st_size == size, lambda: not copy.exists())
    meet(session, "rm -rf copy; contree cp big:1:/d copy", "copying",
         lambda: (copy / "blob").stat().st_size == size, lambda: not copy.exists())
    subprocess.run(["rm", "-rf", copy], check=True)


def ctrl_c_in_apply(session) -> None:
    tree = session.work / "tree"
    for part in range(20):
        (tree / f"d{part}").mkdir(parents=True)
        for name in range(100):
            (tree / f"d{part}/f{name}").write_text("before\n")
    closed = [tree / f"d{part}" for part in range(20)]
    session.call("use", "big:1")
    session.call("run", "-F", "tree:/tree", "-s", "for f in /tree/*/*; do echo after >> $f; done")
    for directory in closed:
        directory.chmod(0o555)

    def states() -> set[str]:
        if [directory for directory in closed if directory.stat().st_mode & 0o777 != 0o555]:
            raise Failure("directories that were read-only are writable")
        return {path.read_text() for path in tree.glob("*/*")}

    def is_untouched_or_partly_done() -> bool:
        return states() <= {"before\n", "before\nafter\n"}

    meet(session, "contree apply @ /tree tree", "writing", is_untouched_or_partly_done, is_untouched_or_partly_done)
    session.call("apply", "@", "/tree", "tree", status=None)
    states()


def ctrl_c_in_servers(session) -> None:
    interrupt(session, "contree serve --listen 127.0.0.1:0", "serving", 0)
    interrupt(session, "contree http --http-port 0", "MCP at", 0)


def ctrl_c_in_doctor(session) -> None:
    pane, files = session.pane, session.files()
    for _ in range(TRIES):
        pane.start("contree doctor")
        end = rf"<{pane.number + 1}:(\d+)>"
        until("a test sandbox, or the end", lambda: len(pane.below()) > 1 or re.search(end, pane.shown()))
        before = pane.below()
        pane.keys("C-c")
        status = int(until("the end", lambda: re.search(end, pane.shown()), 9)[1])
        pane.resync()
        session.check_nothing_left(before, files)
        if status == INTERRUPTED:
            return
    raise Failure("doctor always ended before the key")


def ctrl_c_at_questions(session) -> None:
    images = session.call("images", "-a", "--json").stdout
    interrupt(session, "contree prune --older-than 0", "Remove this? [y/N]")
    if session.call("images", "-a", "--json").stdout != images:
        raise Failure("images are gone after a refused question")
    address = session.registry.address
    interrupt(session, f"contree login {address}", "user name:")
    for line in (f"contree login {address} --username me", "contree login cloud --project p",
                 f"contree images import --username me {address}/whole:1"):
        pane = session.pane
        pane.start(line)
        pane.expect("assword" if "cloud" not in line else "token:")
        if re.search(r"[^-]\becho\b", pane.read_settings()):
            raise Failure(f"`{line}` shows what is typed")
        pane.type("secret")
        pane.keys("C-c")
        status, text = pane.end(9)
        if status != INTERRUPTED or "secret" in text:
            raise Failure(f"`{line}` ended with {status}:\n{text}")
        pane.check_sane()


def other_signals_end_a_run(session) -> None:
    files = session.files()
    for name, status in (("TERM", 143), ("HUP", 129)):
        session.pane.start("contree run -D -s 'echo be''gun; sleep 600'")
        session.pane.expect("begun")
        before = session.pane.below()
        session.pane.signal(name)
        found, text = session.pane.end(9)
        if found != status:
            raise Failure(f"after {name} the status is {found} and not {status}:\n{text}")
        session.check_nothing_left(before, files)


SCENARIOS = [
    ctrl_c_in_run,
    ctrl_c_in_run_with_a_terminal,
    ctrl_c_in_build,
    ctrl_c_in_exec_logs_and_wait,
    ctrl_c_in_push_and_import,
    ctrl_c_in_save_and_export,
    ctrl_c_in_copies,
    ctrl_c_in_apply,
    ctrl_c_in_servers,
    ctrl_c_in_doctor,
    ctrl_c_at_questions,
    other_signals_end_a_run,
]
