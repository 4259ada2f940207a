"""A registry on loopback whose transfers stop in the middle until they are released.

It keeps what is pushed in memory. `hold()` makes transfers of large blobs stop, `step()` lets a
piece pass, and `release()` lets all pass."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 256 * 1024
# Smaller blobs are not held.
LARGE = 4 * PIECE


class StallingRegistry:
    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.pieces = threading.Semaphore(0)
        self.held = False
        self.waiting = 0
        owner = self

        class Handler(Requests):
            registry = owner

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def hold(self) -> None:
        self.pieces = threading.Semaphore(0)
        self.held = True

    def step(self) -> None:
        self.pieces.release()

    def release(self) -> None:
        self.held = False
        self.pieces.release(10_000)

    def close(self) -> None:
        self.release()
        self.server.shutdown()

    def wait_for_piece(self) -> None:
        if self.held:
            self.waiting += 1
            self.pieces.acquire()
            self.waiting -= 1


class Requests(BaseHTTPRequestHandler):
    registry: StallingRegistry
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.write(body)

    def write(self, body: bytes) -> None:
        is_large = len(body) >= LARGE
        with contextlib.suppress(OSError):
            for start in range(0, len(body), PIECE):
                if is_large and start > 0:
                    self.registry.wait_for_piece()
                self.wfile.write(body[start : start + PIECE])

    def read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            content = bytearray()
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
                if len(content) >= LARGE:
                    self.registry.wait_for_piece()
            self.rfile.readline()
            return bytes(content)
        length = int(self.headers.get("Content-Length", 0))
        content = bytearray()
        while len(content) < length:
            piece = self.rfile.read(min(PIECE, length - len(content)))
            if not piece:
                raise ConnectionError("the client has gone")
            content += piece
            if length >= LARGE and len(content) < length:
                self.registry.wait_for_piece()
        return bytes(content)

    def handle_one_request(self) -> None:
        with contextlib.suppress(OSError):
            super().handle_one_request()

    def do_GET(self) -> None:
        registry = self.registry
        if self.path in ("/v2", "/v2/"):
            return self.answer(200, b"{}")
        if found := re.fullmatch(r"/v2/.+/blobs/(sha256:[0-9a-f]+)", self.path):
            blob = registry.blobs.get(found[1])
            return self.answer(200, blob) if blob is not None else self.answer(404)
        if found := re.fullmatch(r"/v2/(.+)/manifests/(.+)", self.path):
            manifest = registry.manifests.get(f"{found[1]}:{found[2]}")
            if manifest:
                digest = "sha256:" + hashlib.sha256(manifest[1]).hexdigest()
                return self.answer(200, manifest[1], Content_Type=manifest[0], Docker_Content_Digest=digest)
        return self.answer(404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.read()
        self.answer(202, Location=self.path.partition("?")[0].rstrip("/") + "/1")

    def do_PATCH(self) -> None:
        self.keep(self.read(), None)
        self.answer(202, Location=self.path.partition("?")[0])

    def do_PUT(self) -> None:
        body = self.read()
        if found := re.fullmatch(r"/v2/(.+)/manifests/(.+)", self.path):
            kind = self.headers.get("Content-Type", "")
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            for name in (found[2], digest):
                self.registry.manifests[f"{found[1]}:{name}"] = (kind, body)
            return self.answer(201, Docker_Content_Digest=digest)
        self.keep(body, self.path)
        self.answer(201)

    def keep(self, body: bytes, _: str | None) -> None:
        if body:
            self.registry.blobs["sha256:" + hashlib.sha256(body).hexdigest()] = body
