"""Calls every operation of the API with the official client `contree-client`, on a served engine.

    CONTREE_URL=http://127.0.0.1:PORT CONTREE_TOKEN=... python -P contree_client.py [http|httpx|requests|urllib3 ...]

The only mock is the registry for the import; it is in this file.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import importlib
import io
import json
import os
import sys
import tarfile
import threading
import time
import uuid

from contree_client import exceptions, models

URL = os.environ["CONTREE_URL"]
TOKEN = os.environ["CONTREE_TOKEN"]
NOBODY = "00000000-0000-4000-8000-000000000000"
PATIENCE = 120


def refused(error: type[Exception], call, *args, **kwargs):
    """Returns the client's error. The call must fail with this type of error."""
    try:
        call(*args, **kwargs)
    except error as caught:
        assert isinstance(caught.error, str) and caught.error, caught
        return caught
    raise AssertionError(f"{call.__name__} did not raise {error.__name__}")


def text(stream: models.StreamRepr) -> str:
    if stream.encoding == "base64":
        return base64.b64decode(stream.value).decode()
    return stream.value


class Registry(http.server.BaseHTTPRequestHandler):
    """A minimal OCI registry with one image to pull."""

    blobs: dict[str, bytes] = {}
    manifest = b""
    log: list[str] = []

    def do_GET(self) -> None:
        Registry.log.append(self.path)
        if self.path == "/v2/":
            return self.answer(b"{}", "application/json")
        if "/manifests/" in self.path:
            return self.answer(self.manifest, "application/vnd.oci.image.manifest.v1+json")
        blob = self.blobs.get(self.path.rsplit("/", 1)[-1])
        if blob is None:
            return self.send_error(404)
        return self.answer(blob, "application/octet-stream")

    do_HEAD = do_GET

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Content-Digest", digest(body))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_args) -> None:
        pass


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def serve_registry(mark: str) -> str:
    """Starts the registry with an image that contains `mark`, and returns its address."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name, content in (("etc/mark", mark.encode()), ("etc/passwd", b"root:x:0:0::/:/bin/sh\nweb:x:33:33::/:\n")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    packed = gzip.compress(layer.getvalue())
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = json.dumps(
        {
            "architecture": machine,
            "os": "linux",
            "config": {"Env": ["FROM_IMAGE=yes", "PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer.getvalue())]},
        }
    ).encode()
    kinds = ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip")
    described = [
        {"mediaType": kind, "size": len(blob), "digest": digest(blob)} for kind, blob in zip(kinds, (config, packed))
    ]
    Registry.blobs = {digest(blob): blob for blob in (config, packed)}
    Registry.manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described[0],
            "layers": described[1:],
        }
    ).encode()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"localhost:{server.server_port}"


class Checks:
    """Runs the checks in order, since later ones use results of earlier ones."""

    def __init__(self, backend: str) -> None:
        self.make = importlib.import_module(f"contree_client.{backend}").ContreeClient
        self.client = self.make(TOKEN, base_url=URL, timeout=PATIENCE)
        self.mark = f"interop-{uuid.uuid4().hex[:8]}"

    def run(self) -> None:
        self.client.open()
        for name in (name for name in type(self).__dict__ if name.startswith("check_")):
            began = time.monotonic()
            getattr(self, name)()
            print(f"  {name.removeprefix('check_')}: {time.monotonic() - began:.2f} s", flush=True)
        self.client.close()

    def done(self, operation: str) -> models.OperationResponse:
        return self.client.wait_operation(operation, timeout=PATIENCE)

    def spawn(self, command: str, image: str = "tag:host", **fields) -> models.OperationResponse:
        """Runs a command to its end, with a shell by default."""
        fields.setdefault("shell", True)
        fields.setdefault("disposable", True)
        spawned = self.client.spawn_instance(command, image, **fields)
        assert spawned.uuid and spawned.command == command, spawned
        return self.done(spawned.uuid)

    def out(self, command: str, image: str = "tag:host", **fields) -> str:
        operation = self.spawn(command, image, **fields)
        assert operation.status == models.OperationStatus.SUCCESS, operation
        return text(operation.metadata.result.stdout)

    def check_whoami(self) -> None:
        who = self.client.whoami()
        assert who.token_uuid and who.permissions["spawn"] and who.permissions["list"], who
        assert who.limits["instance_max_timeout"] > 0, who
        bad = self.make("not-" + TOKEN, base_url=URL)
        bad.open()
        refused(exceptions.AuthenticationError, bad.whoami)
        refused(exceptions.AuthenticationError, bad.inspect_image_list, NOBODY, "/")
        bad.close()

    def check_images(self) -> None:
        self.host = self.client.resolve_image("tag:host")
        assert self.client.resolve_image("host") == self.host
        assert self.client.resolve_image(self.host) == self.host
        assert self.client.inspect_image(self.host).uuid == self.host
        tag = f"{self.mark}/name:1.0"
        assert self.client.update_image_tag(self.host, tag).tag == tag
        assert self.client.inspect_find_image_by_tag(tag) == self.host
        assert [image.tag for image in self.client.list_images(tag=self.mark).images] == [tag]
        assert self.host in [image.uuid for image in self.client.iter_images(tagged=True)]
        assert self.client.list_images(limit=1, offset=0).images
        assert self.client.list_images(since="1h", until="0s").images is not None
        self.client.delete_image_tag(self.host, tag=tag)
        refused(exceptions.NotFoundError, self.client.inspect_find_image_by_tag, tag)
        refused(exceptions.NotFoundError, self.client.inspect_image, NOBODY)
        refused(exceptions.NotFoundError, self.client.update_image_tag, NOBODY, "x")
        refused(exceptions.BadRequestError, self.client.update_image_tag, self.host, "a//b c")
        refused(exceptions.BadRequestError, self.client.list_images, since="yesterday")
        refused(exceptions.BadRequestError, self.client.list_images, tag=f"{self.mark}/")

    def check_files(self) -> None:
        content = os.urandom(100_000) + self.mark.encode()
        sha256 = hashlib.sha256(content).hexdigest()
        assert not self.client.check_file_exists(sha256)
        refused(exceptions.NotFoundError, self.client.get_file, sha256)
        stored = self.client.upload_file(io.BytesIO(content))
        assert (stored.sha256, stored.size) == (sha256, len(content)), stored
        assert self.client.ensure_file(content).uuid == stored.uuid
        assert self.client.upload_file(content).uuid == stored.uuid
        assert self.client.check_file_exists(sha256)
        assert self.client.get_file(sha256).uuid == stored.uuid
        assert stored.uuid in [file.uuid for file in self.client.iter_files()]
        assert len(self.client.list_files(limit=1).files) == 1
        placed = self.out(
            "sha256sum /put/here | cut -c1-64; stat -c %a:%u:%g /put/here",
            files={"/put/here": models.FileSpec(uuid=stored.uuid, mode="0640", uid=0, gid=0)},
        )
        assert placed.split() == [sha256, "640:0:0"], placed

    def check_spawn(self) -> None:
        operation = self.spawn("echo out; echo err >&2; exit 3")
        assert operation.status == models.OperationStatus.SUCCESS and operation.kind == "instance", operation
        result = operation.metadata.result
        assert (text(result.stdout), text(result.stderr)) == ("out\n", "err\n")
        assert (result.state.exit_code, result.state.signal, result.state.timed_out) == (3, -1, False)
        assert operation.result_image_uuid is None or operation.result_image_uuid is ...
        assert self.out("/bin/echo", shell=False, args=["a b", "c"]) == "a b c\n"
        assert self.out("pwd; hostname; echo $X", cwd="/some/where", hostname="box", env={"X": "y"}) == "/some/where\nbox\ny\n"
        assert self.out("cat", stdin=models.ClosableStreamRepr(value="fed")) == "fed"
        raw = base64.b64encode(b"\xff\x00").decode()
        assert self.out("od -An -tx1", stdin=models.ClosableStreamRepr(value=raw, encoding="base64")).split() == ["ff", "00"]
        assert self.out("ls /sys/class/net 2>/dev/null; cat /proc/net/dev | grep -c lo:", networking=models.InstanceNetworking(enabled=False)).split() == ["1"]
        late = self.spawn("sleep 60", timeout=1).metadata.result.state
        assert late.timed_out and late.exit_code == -1 and late.signal == 9, late
        cut = self.spawn("yes | head -c 5000", truncate_output_at=1000).metadata.result.stdout
        assert cut.truncated and len(text(cut)) == 1000, cut
        binary = self.spawn("printf '\\377\\000'").metadata.result.stdout
        assert base64.b64decode(binary.value) == b"\xff\x00" and binary.encoding == "base64", binary
        failed = self.spawn("/no/such/program", shell=False)
        assert failed.status == models.OperationStatus.FAILED and failed.error, failed
        full = self.spawn("head -c 80000000 /dev/zero >/big; sync", resources_limits=models.InstanceResourcesLimits(max_layer_bytes=1 << 20))
        assert full.status == models.OperationStatus.FAILED and full.error, full
        refused(exceptions.BadRequestError, self.client.spawn_instance, "true", "tag:" + self.mark)
        refused(exceptions.BadRequestError, self.client.spawn_instance, "true", "tag:host", timeout=-1)

    def check_branches(self) -> None:
        first = self.spawn("mkdir /work; echo 1 >/work/f", disposable=False, env={"KEPT": "v"}, preserve_env=True)
        one = first.result_image_uuid
        assert one and one != self.host, first
        assert self.client.inspect_image(one).operation_uuid == first.uuid
        same = self.spawn("cat /work/f", one, disposable=False)
        assert same.result_image_uuid == one, "nothing was changed"
        two = self.spawn("echo $KEPT >>/work/f; mkfifo /work/p; ln -s f /work/l", one, disposable=False, cwd="/work", preserve_cwd=True).result_image_uuid
        assert self.out("pwd; cat f", two) == "/work\n1\nv\n"
        assert self.out("cat /work/f", one) == "1\n", "a branch does not change what it came from"
        self.one, self.two = one, two

    def check_inspect(self) -> None:
        client, two = self.client, self.two
        listing = client.inspect_image_list(two, "/work")
        assert [(file.path, file.is_regular, file.is_fifo, file.symlink_to) for file in listing.files] == [
            ("f", True, False, ""),
            ("l", False, False, "f"),
            ("p", False, True, ""),
        ], listing
        assert listing.files[0].owner == "root" and listing.files[0].mode & 0o777 == 0o644
        assert client.inspect_image_download(two, "/work/l") == b"1\nv\n"
        assert b"".join(client.inspect_image_download_stream(two, "/work/f")) == b"1\nv\n"
        assert client.check_image_file(two, "/work/f") and not client.check_image_file(two, "/none")
        assert client.check_image_archive(two, "/work") and not client.check_image_archive(two, "/none")
        plain = b"".join(client.inspect_image_archive(two, "/work"))
        packed = b"".join(client.inspect_image_archive(two, "/work", compressed=True))
        assert gzip.decompress(packed) == plain
        with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
            names = [(member.name, member.type, member.uname) for member in tar]
            assert tar.extractfile("work/f").read() == b"1\nv\n"
        assert names == [
            ("work", tarfile.DIRTYPE, "root"),
            ("work/f", tarfile.REGTYPE, "root"),
            ("work/l", tarfile.SYMTYPE, "root"),
            ("work/p", tarfile.FIFOTYPE, "root"),
        ], names
        found = client.inspect_image_grep(two, ["^v$", "nothing"], path=["/work", "/etc"], glob="f", case="smart", before=1, max_count=2, max_total=10)
        assert [(line.path, line.line_number, line.type, line.line_text) for line in found.matches] == [
            ("/work/f", 1, "context", "1\n"),
            ("/work/f", 2, "match", "v\n"),
        ], found
        assert found.path == "/work" and found.patterns == ["^v$", "nothing"] and not found.truncated
        part = found.matches[1].submatches[0]
        assert (part.text, part.start, part.end, found.matches[1].absolute_offset) == ("v", 0, 1, 2)
        refused(exceptions.BadRequestError, client.inspect_image_grep, two, "(")
        refused(exceptions.NotFoundError, client.inspect_image_grep, two, "x", path="/none")
        refused(exceptions.NotFoundError, client.inspect_image_list, two, "/none")
        refused(exceptions.UnprocessableEntityError, client.inspect_image_list, two, "/work/f")
        refused(exceptions.UnprocessableEntityError, client.inspect_image_download, two, "/work")
        refused(exceptions.UnprocessableEntityError, client.inspect_image_download, two, "/work/p")
        refused(exceptions.UnprocessableEntityError, lambda path: list(client.inspect_image_archive(two, path)), "/work/p")
        refused(exceptions.NotFoundError, client.inspect_image_list, NOBODY, "/")

    def check_events(self) -> None:
        operation = self.client.spawn_instance("for i in 1 2 3; do echo line $i; sleep 0.1; done", "tag:host", shell=True, disposable=True).uuid
        events = list(self.client.follow_operation_events(operation, timeout=PATIENCE))
        ids = [event.id for event in events]
        assert ids == sorted(set(ids)), ids
        assert events[-1].type == "completion" and events[-1].data.status == models.OperationStatus.SUCCESS, events[-1]
        assert "".join(text(event.data) for event in events if event.type == "stdout") == "line 1\nline 2\nline 3\n"
        assert {"init", "spawn", "stdout", "exit", "completion"} <= {event.type for event in events}
        again = list(self.client.iter_operation_events(operation))
        assert [event.id for event in again] == ids
        for middle in (ids[0], ids[len(ids) // 2]):
            rest = list(self.client.iter_operation_events(operation, last_event_id=middle))
            assert [event.id for event in rest] == [id for id in ids if id > middle]
        main = list(self.client.iter_operation_events(operation, spid=1))
        assert main and all(event.spid == 1 for event in main), main
        refused(exceptions.NotFoundError, lambda id: list(self.client.iter_operation_events(id)), NOBODY)

    def check_subprocesses(self) -> None:
        operation = self.client.spawn_instance(
            "read first; echo main got $first; cat", "tag:host", shell=True, disposable=True, timeout=PATIENCE,
            stdin=models.ClosableStreamRepr(value="", close=False),
        ).uuid
        self.executing(operation)
        spid = self.client.operation_subprocess_create(operation, "read x; echo sub got $x; exit 4", shell=True, stdin=models.ClosableStreamRepr(value="", close=False))
        assert spid >= 2
        running = self.client.operation_subprocess(operation, spid)
        assert (running.state.exit_code, running.state.signal) == (-1, -1), running
        self.client.operation_subprocess_stdin(operation, spid, base64.b64encode(b"hello\n").decode(), encoding="base64", close=True)
        ended = self.ended(operation, spid)
        assert ended.state.exit_code == 4 and text(ended.stdout) == "sub got hello\n", ended
        refused(exceptions.NotFoundError, self.client.operation_subprocess_stdin, operation, spid, "more")
        doomed = self.client.operation_subprocess_create(operation, "/bin/sleep", args=["600"], shell=False)
        refused(exceptions.ConflictError, self.client.operation_subprocess_stdin, operation, doomed, "closed from the start")
        self.client.operation_subprocess_kill(operation, doomed, signal="SIGTERM")
        state = self.ended(operation, doomed).state
        assert (state.exit_code, state.signal) == (-1, 15), state
        refused(exceptions.NotFoundError, self.client.operation_subprocess, operation, 999)
        self.client.operation_subprocess_stdin(operation, 1, "one\n", close=False)
        self.client.operation_subprocess_stdin(operation, 1, "two\n")
        over = self.done(operation)
        assert text(over.metadata.result.stdout) == "main got one\ntwo\n", over
        refused(exceptions.APIStatusError, self.client.operation_subprocess_create, operation, "true")
        refused(exceptions.APIStatusError, self.client.operation_subprocess_stdin, operation, 1, "late")

    def executing(self, operation: str) -> None:
        """Waits until the operation's process runs."""
        for event in self.client.iter_operation_events(operation, follow=True):
            if event.type == "spawn":
                return
        raise AssertionError("it never ran")

    def ended(self, operation: str, spid: int) -> models.InstanceResult:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            result = self.client.operation_subprocess(operation, spid)
            if (result.state.exit_code, result.state.signal) != (-1, -1):
                return result
            time.sleep(0.05)
        raise AssertionError("it never ended")

    def check_operations(self) -> None:
        operation = self.client.spawn_instance("echo partly; sleep 600", "tag:host", shell=True, disposable=True).uuid
        self.executing(operation)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            status = self.client.get_operation_status(operation, inflight=True)
            if status.metadata.result is not ... and text(status.metadata.result.stdout) == "partly\n":
                break
            time.sleep(0.05)
        assert status.status == models.OperationStatus.EXECUTING, status
        assert operation in [one.uuid for one in self.client.list_operations(status="EXECUTING")]
        self.client.cancel_operation(operation)
        assert self.done(operation).status == models.OperationStatus.CANCELLED
        refused(exceptions.ConflictError, self.client.cancel_operation, operation)
        refused(exceptions.NotFoundError, self.client.cancel_operation, NOBODY)
        refused(exceptions.NotFoundError, self.client.get_operation_status, NOBODY)
        assert operation in [one.uuid for one in self.client.iter_operations(kind="instance")]

    def check_import(self) -> None:
        address = serve_registry(self.mark)
        registry = models.ImageImportRegistry(
            url=f"docker://{address}/interop/image:1",
            credentials=models.ImageImportRegistryCredentials(username="somebody", password="s3cret-word"),
        )
        tag = f"{self.mark}/imported:1"
        operation = self.client.import_image(registry, tag=tag, timeout=PATIENCE)
        over = self.done(operation)
        assert over.status == models.OperationStatus.SUCCESS and over.kind == "image_import", over
        assert "s3cret-word" not in json.dumps(over.to_dict(), default=str), "credentials are masked"
        image = self.client.inspect_find_image_by_tag(tag)
        assert image == over.result_image_uuid, over
        assert self.client.inspect_image_download(image, "/etc/mark") == self.mark.encode()
        again = self.done(self.client.import_image(registry, tag=tag))
        assert again.result_image_uuid == image, "the same digest is the same image"
        assert operation in [one.uuid for one in self.client.iter_operations(kind="image_import")]
        events = [event.type for event in self.client.iter_operation_events(operation)]
        assert events[-1] == "completion", events
        missing = models.ImageImportRegistry(url="docker://localhost:1/none:1")
        failed = self.done(self.client.import_image(missing))
        assert failed.status == models.OperationStatus.FAILED and failed.error, failed


def main() -> None:
    for backend in sys.argv[1:] or ["http"]:
        print(f"contree-client with {backend}", flush=True)
        Checks(backend).run()


main()
