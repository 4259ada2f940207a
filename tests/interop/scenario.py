"""One whole session with the server, for any client: run, keep, look, branch, upload, cancel, tag.

`call(tool, arguments)` returns an `Answer`. All checks are here, on the output of real commands.
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import pathlib
import re
import tempfile
from dataclasses import dataclass, field

TOOLS = {
    "cancel_operation",
    "download",
    "get_image",
    "get_operation",
    "list_files",
    "list_images",
    "list_operations",
    "read_file",
    "run",
    "set_tag",
    "upload",
    "wait_operations",
    "whoami",
}
UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


@dataclass
class Answer:
    error: bool
    text: str
    structured: dict | None
    progress: list[str] = field(default_factory=list)


class Difference(Exception):
    """An answer of the server that differs from the expected one."""


def same(what, found, expected):
    if found != expected:
        raise Difference(f"{what}: expected {expected!r}, found {found!r}")


def that(what, condition, found):
    if not condition:
        raise Difference(f"{what}: {found!r}")


def said(text):
    print(f"  {text}", flush=True)


def environment(home):
    """An environment with an empty home and no credentials, so the server uses its embedded engine."""
    found = {
        "HOME": home,
        "PATH": os.environ["PATH"],
        "CONTREE_DATA_DIR": os.path.join(home, "data"),
        "CONTREE_STATE_DIR": os.path.join(home, "state"),
    }
    return found


def home():
    return tempfile.TemporaryDirectory(prefix="contree-interop-", ignore_cleanup_errors=True)


@contextlib.asynccontextmanager
async def http_server(program, home, *arguments):
    """Runs a server over HTTP that may touch the files in `home`. Yields its URL, and cleans up."""
    process = await asyncio.create_subprocess_exec(
        program, "--mode", "http", "--http-port", "0", "--allow-path", home, *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env=environment(home),
    )  # fmt: skip
    draining = None
    try:
        said = ""
        while line := await process.stderr.readline():
            said += line.decode()
            if found := re.search(r"MCP at (http:[^,\s]*),", said):
                draining = asyncio.create_task(process.stderr.read())
                yield found[1]
                break
        else:
            raise Difference(f"the server did not start: {said}")
    finally:
        if process.returncode is None:
            process.terminate()
        status = await asyncio.wait_for(process.wait(), 20)
        if draining:
            await draining
            same("exit status at SIGTERM", status, 0)


def single_errors(error):
    """Unwraps the exception groups in which clients raise errors of a session."""
    for inner in getattr(error, "exceptions", [error]):
        if inner is error:
            yield error
        else:
            yield from single_errors(inner)


def fine(tool, answer):
    that(f"{tool} answered an error", not answer.error, answer.text)
    that(f"{tool} answered no structured content", isinstance(answer.structured, dict), answer.structured)
    return answer.structured


def tools_are_complete(tools):
    """`tools` maps a name to its annotations and input schema, as on the wire."""
    that("tools are missing", TOOLS <= set(tools), sorted(TOOLS - set(tools)))
    for name, (annotations, schema) in tools.items():
        hints = {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}
        that(f"{name} lacks a hint", hints <= set(annotations or {}), annotations)
        same(f"type of the arguments of {name}", schema.get("type"), "object")
        same(f"further arguments of {name}", schema.get("additionalProperties"), False)
    said(f"{len(tools)} tools, each with its hints and a closed schema")


async def whole_session(call, scratch):
    async def ok(tool, **arguments):
        return fine(tool, await call(tool, arguments))

    who = await ok("whoami")
    that("whoami does not tell the backend", "local" in str(who).lower() or "embedded" in str(who).lower(), who)
    said("whoami: the embedded engine")

    # A real command runs, on its own image and isolated from this machine.
    marker = os.path.join(scratch, "of-the-host")
    pathlib.Path(marker).write_text("host")
    first = await ok(
        "run",
        image="tag:host",
        command=f"echo one > /first.txt; mkdir -p /srv/data; echo out; echo err >&2; id -u; ls {marker} 2>/dev/null; exit 3",
        disposable=False,
    )
    same("exit code", first["exit_code"], 3)
    same("standard output", first["stdout"], "out\n0\n")
    same("standard error", first["stderr"], "err\n")
    same("status", first["status"], "SUCCESS")
    kept = first["result_image_uuid"]
    that("the result image is no UUID", UUID.fullmatch(kept), kept)
    said("run: both streams, exit code 3, and the changes kept as an image")

    processes = await ok("run", image="tag:host", command="for p in /proc/[0-9]*; do echo; done | wc -l; cat /proc/net/dev | grep -c :")
    count, interfaces = map(int, processes["stdout"].split())
    that("processes of the host are visible", count <= 8, count)
    same("network interfaces", interfaces, 1)
    said("run: no process and no network of this machine is visible")

    # The image has the file that the command wrote.
    listed = await ok("list_files", image=kept, path="/")
    names = {entry["path"].rstrip("/").rsplit("/", 1)[-1] for entry in listed["files"]}
    that("the file is not in the list", {"first.txt", "srv", "usr"} <= names, names)
    read = await ok("read_file", image=kept, path="/first.txt")
    same("content read", read["content"], "one\n")
    same("size read", read["bytes_size"], 4)
    copy = os.path.join(scratch, "copy.txt")
    same("size downloaded", (await ok("download", image=kept, path="/first.txt", destination=copy))["size"], 4)
    same("content downloaded", pathlib.Path(copy).read_text(), "one\n")
    said("list_files, read_file, download: the file that the command wrote")

    # Branches of one parent do not see each other, and the parent is unchanged.
    other = await ok("run", image="tag:host", command="test ! -e /first.txt && echo two > /second.txt", disposable=False)
    same("exit code of the second branch", other["exit_code"], 0)
    that("two branches are one image", other["result_image_uuid"] != kept, kept)
    back = await ok("run", image=kept, command="cat /first.txt; ls /second.txt")
    same("the first branch", (back["stdout"], back["exit_code"] != 0), ("one\n", True))
    unchanged = await ok("run", image=kept, command="true", disposable=False)
    same("image of a command that changed nothing", unchanged["result_image_uuid"], kept)
    said("a second branch from the same parent sees nothing of the first")

    # A run continues while the client does other things.
    started = [(await ok("run", image="tag:host", command=f"sleep 0.{n}; echo {n}", wait=False))["operation_id"] for n in (3, 1)]
    waited = await ok("wait_operations", operation_ids=started)
    same("completed", sorted(waited["completed"]), sorted(started))
    same("outputs", [waited["results"][id]["stdout"] for id in started], ["3\n", "1\n"])
    listing = await ok("list_operations", limit=100)
    that("an operation is not listed", set(started) <= {entry["uuid"] for entry in listing["operations"]}, listing)
    same("get_operation", (await ok("get_operation", operation_id=started[0]))["exit_code"], 0)
    said("run wait=false, wait_operations, list_operations, get_operation")

    # Local files may have any bytes.
    content = bytes(range(256)) * 100
    local = os.path.join(scratch, "bytes.bin")
    pathlib.Path(local).write_bytes(content)
    sent = await ok("upload", path=local)
    same("sha256", sent["sha256"], hashlib.sha256(content).hexdigest())
    same("uuid of the same content", (await ok("upload", content_base64=base64.b64encode(content).decode()))["uuid"], sent["uuid"])
    text = await ok("upload", content="héllo\n")
    placed = await ok("run", image="tag:host", command="sha256sum /in/bytes.bin; cat /in/text; cat", files={"/in/bytes.bin": sent["uuid"], "/in/text": text["uuid"]}, stdin="typed")
    same("files inside", placed["stdout"], f"{sent['sha256']}  /in/bytes.bin\nhéllo\ntyped")
    said("upload by path, base64 and text; run with files and stdin")

    # A cancelled run ends at once and keeps nothing.
    id = (await ok("run", image="tag:host", command="echo begun; sleep 600", disposable=False, wait=False))["operation_id"]
    same("cancelled", (await ok("cancel_operation", operation_id=id))["cancelled"], True)
    gone = (await ok("wait_operations", operation_ids=[id], timeout=20))["results"][id]
    same("status", gone["status"], "CANCELLED")
    that("a cancelled run kept an image", not gone.get("result_image_uuid"), gone)
    late = await ok("run", image="tag:host", command="echo begun; sleep 600", timeout=1)
    same("time-out", (late["timed_out"], late["stdout"]), (True, "begun\n"))
    said("cancel_operation, and a command whose time is up")

    tagged = await ok("set_tag", image_uuid=kept, tag="interop/first")
    same("tag", tagged["tag"], "interop/first")
    same("run by tag", (await ok("run", image="tag:interop/first", command="cat /first.txt"))["stdout"], "one\n")
    same("get_image by tag", (await ok("get_image", image="tag:interop/first"))["uuid"], kept)
    images = (await ok("list_images", tag_prefix="interop/"))["images"]
    same("list_images", [image["uuid"] for image in images], [kept])
    said("set_tag, run by tag, get_image, list_images")

    wrong = await call("run", {"image": "tag:host", "comand": "true"})
    that("an unknown argument is no error that names the nearest one", wrong.error and "`command`" in wrong.text, wrong.text)
    missing = await call("run", {"image": "tag:nowhere", "command": "true"})
    that("an unknown tag is no error", missing.error and "nowhere" in missing.text, missing.text)
    said("mistakes are answered with what to do")


async def live_output(call):
    """With progress, `call` receives the newest line of output while the command runs."""
    answer = await call("run", {"image": "tag:host", "command": "for n in 1 2 3; do echo line $n; sleep 0.6; done"})
    same("standard output", fine("run", answer)["stdout"], "line 1\nline 2\nline 3\n")
    that("no progress names a line of output", any("line" in message for message in answer.progress), answer.progress)
    said(f"progress while a command runs: {answer.progress}")


async def cancelled_call(call_ok, cancelling):
    """`cancelling` starts a long run and cancels the call once it runs. The sandbox must end."""
    before = {entry["uuid"] for entry in (await call_ok("list_operations", limit=1000))["operations"]}
    await cancelling({"image": "tag:host", "command": "echo begun; sleep 600", "timeout": 900})
    for _ in range(100):
        new = [entry for entry in (await call_ok("list_operations", limit=1000))["operations"] if entry["uuid"] not in before]
        if new and new[0]["status"] == "CANCELLED":
            said("a cancelled call cancels its sandbox")
            return
        await asyncio.sleep(0.1)
    raise Difference(f"the sandbox of a cancelled call goes on: {new}")
