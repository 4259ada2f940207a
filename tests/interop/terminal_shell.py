"""`contree shell`: a shell on the terminal, in a sandbox."""

from __future__ import annotations

import re
import subprocess

from tmux_pane import Failure, until

MARK = "inside> "


def open_shell(session) -> list:
    pane = session.pane
    pane.start("contree shell -D big:1")
    pane.expect("bash-")
    pane.start(f"PS1='{MARK[:3]}''{MARK[3:]}'; printf 're%s\\n' ady; stty size; tty")
    pane.expect("ready")
    pane.expect("/dev/pts/0")
    return pane.below()


def a_shell_edits_interrupts_and_stops(session) -> None:
    pane = session.pane
    files = session.files()
    before = open_shell(session)
    pane.expect("30 100")
    pane.type("abc")
    pane.keys("Left", "Left")
    pane.type("X")
    pane.keys("BSpace", "Home")
    pane.type("echo ed-")
    pane.keys("End")
    pane.type("-it")
    pane.keys("Enter")
    pane.expect("ed-abc-it")
    # The command says that it runs, so that the key meets it.
    pane.start("sh -c 'echo run''ning-1; exec sleep 600'")
    pane.expect("running-1")
    pane.keys("C-c")
    pane.start("echo status-''$?")
    pane.expect("status-130")
    pane.start("sh -c 'echo run''ning-2; exec sleep 601'")
    pane.expect("running-2")
    pane.keys("C-z")
    pane.expect("Stopped")
    pane.start("fg")
    pane.start("")
    pane.keys("C-c")
    pane.start("echo after-''fg-$?")
    pane.expect("after-fg-130")
    pane.start("seq 1000000000")
    pane.expect(re.compile(r"\n\d{5}\n"))
    pane.keys("C-c")
    pane.start("echo after-''seq")
    pane.expect("after-seq")
    pane.resize(120, 40)
    # The new size reaches the shell inside some time later.
    pane.start("until [ \"$(stty size)\" = '40 120' ]; do :; done; echo re''sized")
    pane.expect("resized")
    pane.resize(100, 30)
    pane.start("exit 3")
    status, _ = pane.end()
    if status != 3:
        raise Failure(f"the status is {status} and not 3")
    pane.check_sane()
    session.check_nothing_left(before, files)


def a_shell_restores_the_terminal_after_signals(session) -> None:
    pane = session.pane
    files = session.files()
    for name, number in (("TERM", 15), ("HUP", 1), ("INT", 2), ("QUIT", 3)):
        before = open_shell(session)
        pane.start("printf '\\033[?1049h\\033[?25l\\033[?1000h'; echo mod''es; sleep 600")
        until("the other screen", lambda: pane.ask("#{alternate_on}") == "1" and "modes" in pane.screen())
        pane.signal(name)
        status, _ = pane.end()
        if status != 128 + number:
            raise Failure(f"after {name} the status is {status}")
        pane.check_sane()
        session.check_nothing_left(before, files)


def a_stopped_program_leaves_the_terminal(session) -> None:
    pane = session.pane
    files = session.files()
    before = open_shell(session)
    pane.signal("TSTP")
    pane.number += 1
    pane.prompt()
    if pane.read_settings() != pane.settings:
        raise Failure("a stopped program keeps the terminal raw")
    pane.start("fg")
    until("raw mode", lambda: pane.read_settings() != pane.settings)
    pane.start("echo con''tinued")
    pane.expect("continued")
    pane.start("exit")
    status, _ = pane.end()
    if status != 0:
        raise Failure(f"the status is {status} and not 0")
    pane.check_sane()
    session.check_nothing_left(before, files)


def after_a_kill_the_sandbox_is_gone_and_reset_helps(session) -> None:
    pane = session.pane
    files = session.files()
    before = open_shell(session)
    pane.start("printf '\\033[?1049h\\033[?25l\\033[?1000h'; echo mod''es; sleep 600")
    until("the other screen", lambda: pane.ask("#{alternate_on}") == "1" and "modes" in pane.screen())
    pane.signal("KILL")
    # The prompt is on the other screen, which nobody has left.
    until("the end of the program", lambda: len(pane.below()) == 0)
    until("the restored settings", lambda: pane.read_settings() == pane.settings)
    # `reset` also sets settings that were not set before, so they are restored here.
    pane.start("saved=$(stty -g); reset; printf '\\033[?1049l'; stty \"$saved\"")
    pane.resync()
    pane.check_sane()
    until("the end of the sandbox", lambda: not [found for found in before if found.is_alive()], 10)
    # The next engine removes what the killed one left.
    pane.run("contree run -D -- true")
    until("the end of its files", lambda: not session.files() - files, 10)


def a_shell_without_a_terminal_reads_its_input(session) -> None:
    done = subprocess.run(["contree", "shell", "-D", "big:1"], input="echo $((6*7)); exit 4\n", env=session.environment,
                          cwd=session.work, capture_output=True, text=True, timeout=60, start_new_session=True)
    if (done.returncode, done.stdout) != (4, "42\n"):
        raise Failure(f"it ended with {done.returncode}:\n{done.stdout}{done.stderr}")


SCENARIOS = [
    a_shell_edits_interrupts_and_stops,
    a_shell_restores_the_terminal_after_signals,
    a_stopped_program_leaves_the_terminal,
    after_a_kill_the_sandbox_is_gone_and_reset_helps,
    a_shell_without_a_terminal_reads_its_input,
]
