"""Drives running sandboxes with the official Python client over stdio: further processes, published
ports, a Python REPL, gdb, floods of output, a snapshot, and their end, after which nothing is left.

usage: living.py PATH_OF_CONTREE_MCP [BYTES_OF_THE_FLOOD] (needs the package `mcp`, curl, gcc and gdb)
"""

import asyncio
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

import scenario
from scenario import Answer, Difference, fine, said, same, that

SERVER = "mkdir /srv/www && cd /srv/www && echo from-inside > index.html && exec python3 -u -m http.server 8000"
# A pattern that never appears: a call returns when the process ends or its time is over.
NEVER = "/\\A\\z./"
# The size of the flood, in bytes.
FLOOD = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000_000
# The memory that the server may use for a flood, in addition to that before.
FLOOD_MEMORY = 64 << 20
PROGRAM = r"""
#include <stdio.h>
#include <unistd.h>
static int square(int number) { int result = number * number; return result; }
int main(void) {
    int total = 0;
    for (int i = 1; i <= 3; i++) total += square(i);
    printf("total %d\n", total);
    fflush(stdout);
    for (;;) sleep(1);
}
"""


def curl(url):
    return subprocess.run(["curl", "-sS", "--noproxy", "*", "--max-time", "10", url], capture_output=True, text=True)


def processes():
    """The processes of this machine: (pid, start time) -> parent."""
    found = {}
    for directory in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (directory / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[0] != "Z":
            found[(int(directory.name), int(fields[19]))] = int(fields[1])
    return found


def descendants(pid):
    """The processes that a process has started, with those that these have."""
    parents = processes()
    family, more = set(), {pid}
    while more:
        children = {process for process, parent in parents.items() if parent in more} - family
        family |= children
        more = {process[0] for process in children}
    return family


def mounts(home):
    return [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if home in line]


def memory(pid):
    return int(re.search(r"VmRSS:\s*(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) << 10


async def until(what, condition, patience=20):
    end = time.monotonic() + patience
    while not (found := condition()):
        if time.monotonic() > end:
            raise Difference(f"{what} did not come within {patience} s")
        await asyncio.sleep(0.05)
    return found


async def a_server(call, ok, family):
    """Starts a server, talks to it from inside and outside, and reads its log."""
    run = (await ok("run", image="tag:host", command=SERVER, wait=False, timeout=3600))["operation_id"]
    ready = await ok("interact", operation_id=run, until="Serving HTTP", wait_seconds=30)
    same("the server is ready", (ready["found"], ready["running"]), (True, True))
    asked = await ok("exec", operation_id=run, command="curl -sS http://127.0.0.1:8000/", input="")
    same("curl inside", (asked["exit_code"], asked["stdout"]), (0, "from-inside\n"))
    port = await ok("publish", operation_id=run, port=8000)
    that("the address is not of loopback", port["url"].startswith("http://127.0.0.1:"), port)
    answer = curl(port["url"])
    same("curl on this machine", (answer.returncode, answer.stdout), (0, "from-inside\n"))
    missing = curl(f"{port['url']}/missing")
    that("a page that is missing", "404" in missing.stdout, missing.stdout)
    log = await ok("interact", operation_id=run)
    for line in ('"GET / HTTP/1.1" 200', '"GET /missing HTTP/1.1" 404'):
        that(f"the log lacks {line}", line in log["stdout"] + log["stderr"], log)
    whole = await ok("get_operation", operation_id=run)
    that("the record of a run lacks its output so far", "Serving HTTP" in whole["stdout"], whole)
    closed = await ok("publish", operation_id=run, port=8001)
    that("a port without a server answers", curl(closed["url"]).returncode != 0, closed)
    said("a server: exec curl inside, publish, curl outside, and its log")

    [living] = [entry for entry in (await ok("list_operations", status="EXECUTING"))["operations"] if entry["uuid"] == run]
    that("the list lacks the process", "http.server" in str(living), living)
    same("its client has left it", living["client"], "left")
    same("its ports", living["ports"], [{"port": port, "url": url} for port, url in ((8000, port["url"]), (8001, closed["url"]))])
    said("list_operations shows its process")
    return run, [port["url"], closed["url"]]


async def a_repl(ok, run):
    """Drives a Python REPL."""
    repl = await ok("exec", operation_id=run, command="exec python3 -u -i -q", wait_seconds=1)
    same("the REPL goes on", repl.get("running"), True)
    talk = {"operation_id": run, "process_id": repl["process_id"]}

    async def say(text):
        answer = await ok("interact", **talk, input=text)
        return answer["stdout"], answer["stderr"]

    same("a sum", (await say("6*7\n"))[0], "42\n")
    same("a definition", (await say("def twice(n):\n    return 2 * n\n\n"))[0], "")
    same("its use", (await say("print(twice('ä€😀'))\n"))[0], "ä€😀ä€😀\n")
    that("an error of a line", "ZeroDivisionError" in (await say("1/0\n"))[1], "")
    endless = await ok("interact", **talk, input="while True: pass\n\n", wait_seconds=1)
    same("an endless loop", endless["running"], True)
    stopped = await ok("interact", **talk, signal="INT", until="KeyboardInterrupt", wait_seconds=10)
    same("it is interrupted", (stopped["found"], stopped["running"]), (True, True))
    waited = await ok("interact", **talk, input="import time; time.sleep(1); print('la' + 'ter')\n", until="/^later$/", wait_seconds=20)
    same("a pattern is waited for", waited["found"], True)
    ended = await ok("interact", **talk, input="raise SystemExit(7)\n")
    same("the end of the REPL", (ended["running"], ended["exit_code"]), (False, 7))
    said("a Python REPL: sums, an error, an interrupt, a pattern, and its exit code")


def debugger(home):
    """Packs this machine's gdb with its libraries and a compiled program. `tag:host` has neither."""
    source = pathlib.Path(home, "program.c")
    source.write_text(PROGRAM)
    program = pathlib.Path(home, "program")
    subprocess.run(["gcc", "-g", "-O0", "-static", "-o", program, source], check=True)
    gdb = shutil.which("gdb")
    libraries = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", gdb], check=True, capture_output=True, text=True).stdout)
    archive = pathlib.Path(home, "gdb.tar")
    subprocess.run(["tar", "-chf", archive, "--no-same-owner", "-C", home, "program.c", "program", "-C", "/", *(path.lstrip("/") for path in (gdb, *libraries))], check=True)
    return str(archive)


async def a_debugger(ok, run, home):
    """Debugs a program."""
    sent = await ok("upload", path=debugger(home))
    placed = await ok("run", image="tag:host", command="mkdir /debug && cd /debug && tar --no-same-owner -xf /gdb.tar && rm /gdb.tar", files={"/gdb.tar": sent["uuid"]}, disposable=False)
    same("an image with gdb", (placed["exit_code"], placed["stderr"]), (0, ""))
    command = "LD_LIBRARY_PATH=$(find /debug -name '*.so*' -printf '%h\n' | sort -u | paste -sd:) exec /debug/usr/bin/gdb -q -nx /debug/program"
    run = (await ok("run", image=placed["result_image_uuid"], command="exec sleep 1000", wait=False))["operation_id"]
    gdb = await ok("exec", operation_id=run, command=command, wait_seconds=0)
    talk = {"operation_id": run, "process_id": gdb["process_id"]}

    async def say(text, expected, **more):
        answer = await ok("interact", **talk, input=f"{text}\n", until=expected, wait_seconds=60, **more)
        that(f"gdb: {text}", answer["found"], answer)
        return answer["stdout"]

    await say("set confirm off\nset pagination off\necho re\\\nady\\n", "ready")
    await say("break square if number == 3", "Breakpoint 1")
    await say("run", "Breakpoint 1, square (number=3)")
    await say("backtrace", "in main () at")
    await say("finish", "Value returned is $1 = 9")
    await say("print total", "= 5")
    await say("set var total = 100", "(gdb) ")
    await say("continue", "total 109")
    # The interrupt reaches the debugger, which stops the program.
    stopped = await ok("interact", **talk, signal="INT", until="SIGINT", wait_seconds=30)
    that("an interrupt", stopped["found"], stopped)
    ended = await ok("interact", **talk, input="kill\nquit\n", until=NEVER, wait_seconds=30)
    same("the end of gdb", (ended["running"], ended["exit_code"]), (False, 0))
    await ok("cancel_operation", operation_id=run)
    said("gdb: a breakpoint, a stack, a changed variable, an interrupt, and its end")


async def a_flood(ok, run, server):
    """Output without bound costs bounded memory, and the answers say what they leave out."""
    before = memory(server)
    start = time.monotonic()
    # The flood begins with the first `interact`, so `exec` shows nothing of it.
    flood = await ok("exec", operation_id=run, command=f"read -r go; head -c {FLOOD} /dev/zero | tr '\\0' x; echo; echo last", wait_seconds=0)
    talk = {"operation_id": run, "process_id": flood["process_id"]}
    shown, dropped, running, calls, last, most = 0, 0, True, 0, "", before
    go = {"input": "go\n", "close": True}
    while running:
        answer = await ok("interact", **talk, **go, until=NEVER, wait_seconds=0.5)
        go = {}
        that("an answer is large", len(answer["stdout"]) <= 16 << 10, len(answer["stdout"]))
        shown, dropped, running = shown + len(answer["stdout"]), dropped + answer["dropped_bytes"], answer["running"]
        most, calls, last = max(most, memory(server)), calls + 1, answer["stdout"] or last
        if time.monotonic() > start + 300:
            raise Difference(f"the flood did not end: {shown} bytes shown, {dropped} dropped")
    that("the end of the flood", last.endswith("x\nlast\n"), last[-40:])
    same("the bytes shown and dropped", shown + dropped, FLOOD + 6)
    that("the memory of a flood", most - before <= FLOOD_MEMORY, (before, most))
    said(f"{FLOOD} bytes in {time.monotonic() - start:.0f} s: {dropped} dropped in {calls} answers, {(most - before) >> 20} MiB of memory")


async def a_snapshot(ok, run):
    written = await ok("exec", operation_id=run, command="echo of the moment > /srv/moment", input="")
    same("a file", written["exit_code"], 0)
    made = await ok("snapshot", operation_id=run)
    that("the note about processes", "process" in made["note"], made)
    read = await ok("run", image=made["image_uuid"], command="cat /srv/moment; ls /proc | grep -c '^[0-9]'")
    that("the image of a snapshot", read["stdout"].startswith("of the moment\n"), read)
    said(f"a snapshot with {made['changed_files']} files")


async def mistakes(call, run):
    for tool, arguments, words in (
        ("interact", {"operation_id": run, "process_id": 99}, "99"),
        ("interact", {"operation_id": run, "input": "x"}, "stdin_open"),
        ("interact", {"operation_id": run, "until": "/(/"}, "regular expression"),
        ("interact", {"operation_id": run, "signal": "NONE"}, "signal"),
        ("publish", {"operation_id": run, "port": 3128}, "proxy"),
        ("publish", {"operation_id": run, "port": 70000}, "65535"),
        ("exec", {"operation_id": run, "command": "true", "cwd": "/missing"}, "directory"),
    ):
        answer = await call(tool, arguments)
        that(f"{tool} {arguments} is no error that says {words}", answer.error and words in answer.text, answer.text)
    said("mistakes are answered with what to do")


async def session(program):
    with scenario.home() as home:
        environment = {**scenario.environment(home), "CONTREE_PUBLISH": "allow"}
        mine = descendants(os.getpid())
        async with Client(stdio_client(StdioServerParameters(command=program, env=environment))) as client:
            [server] = [process[0] for process in descendants(os.getpid()) - mine if os.path.realpath(f"/proc/{process[0]}/exe") == program]

            async def call(tool, arguments):
                result = await client.call_tool(tool, arguments)
                text = "".join(block.text for block in result.content if block.type == "text")
                return Answer(bool(result.is_error), text, result.structured_content)

            async def ok(tool, **arguments):
                # Empty streams are left out.
                return {"stdout": "", "stderr": "", "exit_code": None} | fine(tool, await call(tool, arguments))

            fine("run", await call("run", {"image": "tag:host", "command": "true"}))
            before = descendants(server)
            run, urls = await a_server(call, ok, before)
            await a_repl(ok, run)
            await a_debugger(ok, run, home)
            await mistakes(call, run)
            await a_snapshot(ok, run)
            left = await ok("exec", operation_id=run, command="setsid sleep 10000 & exec sleep 10000", input="", wait_seconds=0)
            same("a process goes on", left["running"], True)
            await a_flood(ok, run, server)

            that("the sandbox has no process", descendants(server) - before, before)
            stopped = await ok("interact", operation_id=run, signal="INT", until=NEVER, wait_seconds=20)
            same("the server stops", (stopped["running"], stopped["exit_code"]), (False, 0))
            that("its last line", "Keyboard interrupt received" in stopped["stdout"], stopped)
            done = (await ok("wait_operations", operation_ids=[run], timeout=20))["results"][run]
            same("its result", (done["status"], done["exit_code"]), ("SUCCESS", 0))
            for url in urls:
                await until(f"the end of {url}", lambda: curl(url).returncode == 7)
            await until("the end of all processes", lambda: not descendants(server) - before)
            same("runs that live", (await ok("list_operations", status="EXECUTING"))["operations"], [])
            late = await call("exec", {"operation_id": run, "command": "true"})
            that("exec in a run that has ended", late.error and "ended" in late.text, late.text)

            # A run that lives when the client leaves ends with the server.
            run, more = await a_server(call, ok, before)
            urls += more
            family = descendants(server)
            that("the sandbox has no process", family - before, before)
        await until("the end of the server and its sandboxes", lambda: not (family | {key for key in processes() if key[0] == server}) & set(processes()))
        for url in urls:
            same(f"curl {url} at the end", curl(url).returncode, 7)
        same("mounts that are left", mounts(home), [])
        said("stopped: no process, no mount, no listener is left")


async def main(program):
    print(f"living sandboxes as uid {os.getuid()}", flush=True)
    await asyncio.wait_for(session(os.path.realpath(program)), 600)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("living.py: terminated"))
    try:
        asyncio.run(main(sys.argv[1]))
    except BaseException as error:
        for single in scenario.single_errors(error):
            if not isinstance(single, Difference):
                raise
            print(f"living.py: {single}", file=sys.stderr)
        sys.exit(1)
