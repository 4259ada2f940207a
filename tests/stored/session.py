"""Fills a data directory and a state store with a bit of everything that a release keeps, and records what it says about it.

usage: session.py PROGRAM TOOL DIRECTORY

PROGRAM is `contree-mcp` of the release, TOOL the compiled tool.c. DIRECTORY gets `data`, `state`, `tree` (a directory that was sent) and `facts.json`.
"""

import base64
import hashlib
import http.client
import http.server
import io
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
import time

# Those of the registry in the tests.
USER, PASSWORD = "alice", "correct-horse-battery"
# So many layers that some of them are made one.
STEPS = 40


class Registry(http.server.BaseHTTPRequestHandler):
    """Accepts one user, which is all that `registry_auth` asks."""

    def do_GET(self):
        good = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        is_good = self.headers.get("Authorization") == good
        self.send_response(200 if is_good else 401)
        if not is_good:
            self.send_header("WWW-Authenticate", 'Basic realm="stored"')
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


class Mcp:
    """A session on standard input and output."""

    def __init__(self, program, environment):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
        self.last = 0
        handshake = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "stored", "version": "1"}}
        self.request("initialize", handshake)
        self.send({"method": "notifications/initialized"})

    def send(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def request(self, method, params):
        self.last += 1
        self.send({"id": self.last, "method": method, "params": params})
        for line in self.process.stdout:
            message = json.loads(line)
            if message.get("id") == self.last and "method" not in message:
                return message["result"]
        raise SystemExit(f"no answer to {method}")

    def call(self, tool, **arguments):
        result = self.request("tools/call", {"name": tool, "arguments": arguments})
        if result.get("isError"):
            raise SystemExit(f"{tool}: {result['content'][0]['text']}")
        return result["structuredContent"]

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise SystemExit("the server failed")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def rootfs(tool, path):
    """A root filesystem with links, modes, owners and attributes, as a tarball."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:

        def add(name, kind=tarfile.REGTYPE, content=b"", mode=0o644, owner=(0, 0), target="", headers=None):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(content), target
            entry.uid, entry.gid = owner
            entry.mtime = 1_700_000_000
            entry.pax_headers = headers or {}
            archive.addfile(entry, io.BytesIO(content))

        for directory in ["bin", "etc", "srv", "srv/old", "srv/old/deep", "srv/replaced"]:
            add(directory, tarfile.DIRTYPE, mode=0o755)
        add("tmp", tarfile.DIRTYPE, mode=0o1777)
        with open(tool, "rb") as file:
            add("bin/sh", content=file.read(), mode=0o755)
        add("etc/passwd", content=b"root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
        add("srv/private", content=b"private\n", mode=0o400)
        add("srv/setuid", content=b"setuid\n", mode=0o4711)
        add("srv/owned", content=b"owned\n", owner=(1000, 1001))
        add("srv/attributes", content=b"attributes\n", headers={"SCHILY.xattr.user.note": "noted"})
        add("srv/linked", tarfile.LNKTYPE, target="srv/private")
        add("srv/link", tarfile.SYMTYPE, target="../etc/passwd")
        add("srv/removed", content=b"removed\n")
        for name in ["srv/old/file", "srv/old/deep/file", "srv/replaced/before"]:
            add(name, content=name.encode())


def send_tree(path):
    for name, content, mode in [("a.txt", "a\n", 0o644), ("bin/tool", "#!/bin/sh\n", 0o755), ("deep/er/b.txt", "b\n", 0o600)]:
        file = os.path.join(path, name)
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "w") as stream:
            stream.write(content)
        os.chmod(file, mode)


def parsed(body):
    """JSON, a list of JSON where each line is one, or a text; None if there is nothing."""
    text = body.decode()
    if not text:
        return None
    for parse in [json.loads, lambda text: [json.loads(line) for line in text.splitlines()]]:
        try:
            return parse(text)
        except json.JSONDecodeError:
            pass
    return text


def squashed(data):
    records = sqlite3.connect(os.path.join(data, "store.db"))
    count = records.execute("SELECT count(*) FROM layers WHERE stands_for IS NOT NULL AND ready = 1").fetchone()[0]
    records.close()
    return count


def fill(program, tool, environment, directory, facts):
    """What tools do: images, operations, uploads and the rest."""
    data, tree, tarball = (os.path.join(directory, name) for name in ["data", "tree", "rootfs.tar"])
    rootfs(tool, tarball)
    # The first use of images copies this machine's programs. They are large, so the small image takes their place and they are removed.
    session = Mcp(program, environment)
    base = session.call("import_image", registry_url=f"rootfs:{tarball}")["result_image_uuid"]
    session.call("set_tag", image_uuid=base, tag="host")
    session.close()
    records = sqlite3.connect(os.path.join(data, "store.db"))
    with records:
        records.execute("UPDATE meta SET value = ? WHERE key = 'host_image'", [base])
        # Pruning keeps what is younger than a minute.
        records.execute("UPDATE images SET created_at = created_at - 3600000000")
        records.execute("UPDATE operations SET created_at = created_at - 3600000000, ended_at = ended_at - 3600000000")
    records.close()
    subprocess.run([program, "engine", "prune", "--older-than", "0"], env=environment, check=True, stdout=subprocess.DEVNULL)

    session = Mcp(program, environment)
    imported = session.call("import_image", registry_url=f"rootfs:{tarball}", tag="stored/base")
    assert imported["result_image_uuid"] == base, imported

    def kept(image, command, **arguments):
        return session.call("run", image=image, command=command, disposable=False, **arguments)["result_image_uuid"]

    uploaded = session.call("upload", content="uploaded\n")
    written = kept(base, "mkdir /new 0750 ; write /new/file written ; chmod 0600 /new/file ; link /new/file /new/linked ; symlink file /new/link ; fifo /new/fifo")
    changed = kept(written, "write /srv/owned changed ; chmod 2755 /srv/attributes ; setattr /new/file user.note kept")
    removed = kept(changed, "rm /srv/removed ; rm /srv/old/deep/file ; rmdir /srv/old/deep ; rm /srv/old/file ; rmdir /srv/old ; rm /new/linked")
    # A directory that takes the place of another shows nothing of it.
    replaced = kept(removed, "rm /srv/replaced/before ; rmdir /srv/replaced ; mkdir /srv/replaced 0711 ; write /srv/replaced/after after")
    owned = replaced
    if os.path.basename(directory) != "single":
        owned = kept(replaced, "chown 1000 1001 /new/file ; chown 33 33 /srv/replaced")
    placed = kept(owned, "cat /placed", files={"/placed": uploaded["uuid"]})
    steps = [kept(placed, "mkdir /steps 0755 ; write /steps/1 1")]
    for step in range(2, STEPS + 1):
        steps.append(kept(steps[-1], f"rm /steps/{step - 1} ; write /steps/{step} {step}"))
    while squashed(data) == 0:
        time.sleep(0.05)
    # Built upon what was put together.
    last = kept(steps[-1], "write /last last ; has /steps/1 ; has /srv/removed")
    session.call("set_tag", image_uuid=replaced, tag="stored/replaced")
    session.call("set_tag", image_uuid=last, tag="stored/last")
    session.call("set_tag", image_uuid=last, tag="stored/also")
    other = kept(written, "write /other other")

    send_tree(tree)
    sent = session.call("rsync", source=tree, destination="/app", exclude=["*.none"])
    with_tree = kept(base, "cat /app/a.txt", directory_state_id=sent["directory_state_id"])

    operations = {
        "succeeded": session.call("run", image=last, command="echo out ; warn err"),
        "exited": session.call("run", image=last, command="echo before ; exit 3"),
        "timed_out": session.call("run", image=last, command="echo begun ; pause", timeout=1),
    }
    facts["operations"] = {name: result["uuid"] for name, result in operations.items()}
    facts["operations"]["import"] = imported["uuid"]
    cancelled = session.call("run", image=last, command="pause", wait=False)["operation_id"]
    session.call("cancel_operation", operation_id=cancelled)
    failed = session.call("run", image=last, command="write /large x ; echo much", disposable=False, max_layer_bytes=1, wait=False)["operation_id"]
    ended = session.call("wait_operations", operation_ids=[cancelled, failed])
    facts["operations"].update(cancelled=cancelled, failed=failed)
    assert sorted(result["status"] for result in ended["results"].values()) == ["CANCELLED", "FAILED"], ended

    facts["read"] = {"image": replaced, "path": "/srv/replaced/after"}
    facts["read"]["answer"] = session.call("read_file", image=replaced, path="/srv/replaced/after")
    session.call("list_files", image=replaced, path="/srv")
    lineage = session.request("resources/read", {"uri": f"contree://image/{placed}/lineage"})
    facts["lineage"] = json.loads(lineage["contents"][0]["text"])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    session.call("registry_auth", registry_url=f"127.0.0.1:{server.server_port}", username=USER, token=PASSWORD)
    session.close()
    server.shutdown()

    facts["credential"] = {"username": USER, "password": PASSWORD}
    facts["upload"] = {"content": "uploaded\n", **uploaded}
    facts["rsync"] = sent
    names = ["base", "written", "changed", "removed", "replaced", "owned", "placed", "last", "other", "with_tree"]
    facts["images"] = dict(zip(names, [base, written, changed, removed, replaced, owned, placed, last, other, with_tree]))
    facts["images"]["step"] = steps[STEPS // 2]


def record(program, environment, directory, facts):
    """What the API says: answers to GET requests, bytes of files, events."""
    path = os.path.join(directory, "socket")
    serving = subprocess.Popen([program, "engine", "serve", "--listen", f"unix:{path}"], env=environment, stderr=subprocess.DEVNULL)
    try:
        ask(path, facts)
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.wait()


def ask(path, facts):
    def get(path_and_query):
        for _ in range(200):
            try:
                connection = UnixConnection(path)
                connection.request("GET", "/v1" + path_and_query)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.05)
        raise SystemExit("the engine does not serve")

    images = facts["images"]
    asked = ["/images?limit=1000", "/images?tagged", "/images?tag=stored", "/operations?limit=1000", "/operations?status=FAILED", "/files?limit=1000"]
    asked += ["/inspect/?tag=stored/last", "/inspect/?tag=host", f"/files/{hashlib.sha256(b'uploaded' + chr(10).encode()).hexdigest()}"]
    asked += [f"/operations/{operation}" for operation in facts["operations"].values()]
    for image in images.values():
        asked.append(f"/inspect/{image}/")
        asked += [f"/inspect/{image}/list?path={path}" for path in ["/", "/srv", "/srv/old", "/srv/replaced", "/new", "/steps", "/app", "/app/bin"]]
    asked.append(f"/inspect/{images['last']}/grep?pattern=after")
    facts["answers"] = {}
    for path_and_query in asked:
        status, body = get(path_and_query)
        facts["answers"][path_and_query] = {"status": status, "body": parsed(body)}
    facts["files"] = {}
    for name, file in [("base", "/srv/removed"), ("changed", "/srv/owned"), ("last", "/new/file"), ("last", "/srv/linked"), ("last", "/placed"), ("last", f"/steps/{STEPS}"), ("last", "/srv/removed")]:
        status, body = get(f"/inspect/{images[name]}/download?path={file}")
        facts["files"][f"{images[name]}/download?path={file}"] = {"status": status, "text": body.decode() if status == 200 else None}
    facts["events"] = {operation: get(f"/operations/{operation}/events")[1].decode() for operation in facts["operations"].values()}


def check(data):
    """Nothing may be lost at the next start of the machine, nor be larger than it has to be."""
    records = sqlite3.connect(os.path.join(data, "store.db"))
    assert records.execute("SELECT count(*) FROM layers WHERE synced = 0").fetchone()[0] == 0
    records.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    records.close()
    for directory in [os.path.join(data, "run")]:
        assert os.listdir(directory) == [], os.listdir(directory)
    database = os.stat(os.path.join(data, "store.db"))
    assert stat.S_ISREG(database.st_mode)


def main():
    program, tool, directory = sys.argv[1:]
    directory = os.path.abspath(directory)
    os.makedirs(directory, exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": directory, "CONTREE_DATA_DIR": f"{directory}/data", "CONTREE_STATE_DIR": f"{directory}/state"}
    facts = {}
    fill(program, tool, environment, directory, facts)
    record(program, environment, directory, facts)
    check(f"{directory}/data")
    os.remove(f"{directory}/rootfs.tar")
    with open(f"{directory}/facts.json", "w") as file:
        json.dump(facts, file, indent=1)
        file.write("\n")


main()
