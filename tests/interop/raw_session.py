"""Speaks JSON-RPC to the server without a library, so that the test controls every byte.

usage: raw_session.py PATH_OF_CONTREE_MCP
"""

import asyncio
import json
import signal
import sys
import time

import scenario
from scenario import Answer, Difference, fine, said, same, that

MODERN = "2026-07-28"
LEGACY = ["2025-11-25", "2025-06-18", "2024-11-05"]
LINE = 32 * 1024 * 1024


class Server:
    """One server process and its output."""

    def __init__(self, process, version):
        self.process = process
        self.version = version
        self.next_id = 0
        self.waiting = {}
        self.progress = {}
        self.reader = asyncio.create_task(self.read())

    @classmethod
    async def start(cls, program, home, version):
        process = await asyncio.create_subprocess_exec(
            program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=scenario.environment(home),
            limit=LINE,
        )
        return cls(process, version)

    async def read(self):
        while line := await self.process.stdout.readline():
            message = json.loads(line)
            same("jsonrpc", message.get("jsonrpc"), "2.0")
            if message.get("method") == "notifications/progress":
                params = message["params"]
                self.progress.setdefault(params["progressToken"], []).append(params.get("message", ""))
            elif "id" in message and "method" not in message:
                waiting = self.waiting.pop(message["id"], None)
                that("an answer to nothing", waiting is not None, message)
                waiting.set_result(message)
        for waiting in self.waiting.values():
            if not waiting.done():
                waiting.set_exception(Difference("the server ended without an answer"))

    def send(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def request(self, method, params=None, meta=None):
        self.next_id += 1
        params = dict(params or {})
        meta = dict(meta or {})
        if self.version == MODERN:
            meta["io.modelcontextprotocol/protocolVersion"] = MODERN
            meta["io.modelcontextprotocol/clientCapabilities"] = {}
            meta["io.modelcontextprotocol/clientInfo"] = {"name": "raw", "version": "1"}
        if meta:
            params["_meta"] = meta
        answer = asyncio.get_running_loop().create_future()
        self.waiting[self.next_id] = answer
        self.send({"id": self.next_id, "method": method, "params": params})
        return self.next_id, answer

    async def ask(self, method, params=None, meta=None):
        _, answer = self.request(method, params, meta)
        message = await asyncio.wait_for(answer, 60)
        if "error" in message:
            raise Difference(f"{method}: {message['error']}")
        return message["result"]

    async def call(self, tool, arguments):
        token = f"progress-{self.next_id}"
        result = await self.ask("tools/call", {"name": tool, "arguments": arguments}, {"progressToken": token})
        text = "".join(block["text"] for block in result["content"] if block["type"] == "text")
        that(f"{tool} answered no text", text or result.get("isError"), result)
        return Answer(bool(result.get("isError")), text, result.get("structuredContent"), self.progress.get(token, []))

    async def cancelling(self, arguments):
        """Cancels a run after the first output of its command."""
        id, _ = self.request("tools/call", {"name": "run", "arguments": arguments}, {"progressToken": "cancelled"})
        for _ in range(200):
            if any("begun" in message for message in self.progress.get("cancelled", [])):
                break
            await asyncio.sleep(0.05)
        else:
            raise Difference("no progress of a running command")
        params = {"requestId": id, "reason": "changed my mind"}
        self.send({"method": "notifications/cancelled", "params": params})
        await asyncio.sleep(0.2)
        self.waiting.pop(id)

    async def end(self):
        """The server exits without an error at the end of its input."""
        start = time.monotonic()
        self.process.stdin.close()
        status = await asyncio.wait_for(self.process.wait(), 10)
        await self.reader
        same("exit status at the end of the input", status, 0)
        return time.monotonic() - start


async def session(program, version):
    print(f"raw JSON-RPC, protocol {version}", flush=True)
    with scenario.home() as home:
        server = await Server.start(program, home, version)
        if version == MODERN:
            # There is no handshake, so any request may be the first.
            found = await server.ask("server/discover")
            that("discover does not offer the version", MODERN in str(found), found)
        else:
            capabilities = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
            begun = await server.ask("initialize", capabilities)
            same("protocol version", begun["protocolVersion"], version)
            same("name of the server", begun["serverInfo"]["name"], "contree-mcp")
            server.send({"method": "notifications/initialized"})
        tools = (await server.ask("tools/list"))["tools"]
        scenario.tools_are_complete({tool["name"]: (tool.get("annotations"), tool["inputSchema"]) for tool in tools})
        await scenario.whole_session(server.call, home)
        await scenario.live_output(server.call)

        async def call_ok(tool, **arguments):
            return fine(tool, await server.call(tool, arguments))

        await scenario.cancelled_call(call_ok, server.cancelling)
        said(f"left {await server.end():.2f} s after the end of its input")


class Web:
    """A server over HTTP. Each request has its own connection."""

    def __init__(self, url, version):
        self.host, self.port = url.removeprefix("http://").split("/")[0].split(":")
        self.version = version
        self.session = None
        self.next_id = 0

    async def post(self, message, name=None, on_progress=None):
        headers = {
            "host": f"{self.host}:{self.port}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "connection": "close",
        }
        if self.version == MODERN:
            headers |= {"mcp-protocol-version": MODERN, "mcp-method": message["method"]}
            if name:
                headers["mcp-name"] = name
        elif self.session:
            headers |= {"mcp-session-id": self.session, "mcp-protocol-version": self.version}
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        headers["content-length"] = str(len(body))
        reader, writer = await asyncio.open_connection(self.host, int(self.port), limit=LINE)
        try:
            head = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
            writer.write(f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body)
            status = int((await reader.readline()).split()[1])
            found = {}
            while line := (await reader.readline()).strip():
                key, value = line.decode().split(": ", 1)
                found[key.lower()] = value
            self.session = found.get("mcp-session-id", self.session)
            if status == 202:
                return None
            messages = []
            if found.get("content-type", "").startswith("text/event-stream"):
                while size := int(await reader.readline(), 16):
                    for line in (await reader.readexactly(size)).decode().splitlines():
                        if line.startswith("data:") and line[5:].strip():
                            messages.append(json.loads(line[5:]))
                            if on_progress and "params" in messages[-1]:
                                on_progress(messages[-1]["params"].get("message", ""))
                    await reader.readline()
            else:
                messages = [json.loads(await reader.readexactly(int(found["content-length"])))]
            answers = [one for one in messages if one.get("id") == message.get("id")]
            same(f"answers to {message['method']} (status {status})", len(answers), 1)
            return answers[0]
        finally:
            writer.close()

    async def ask(self, method, params=None, meta=None, on_progress=None):
        self.next_id += 1
        params, meta = dict(params or {}), dict(meta or {})
        if self.version == MODERN:
            meta["io.modelcontextprotocol/protocolVersion"] = MODERN
            meta["io.modelcontextprotocol/clientCapabilities"] = {}
            meta["io.modelcontextprotocol/clientInfo"] = {"name": "raw", "version": "1"}
        if meta:
            params["_meta"] = meta
        name = params.get("name")
        message = await self.post({"id": self.next_id, "method": method, "params": params}, name, on_progress)
        if "error" in message:
            raise Difference(f"{method}: {message['error']}")
        return message["result"]

    async def call(self, tool, arguments):
        progress = []
        token = {"progressToken": f"progress-{self.next_id}"}
        result = await self.ask("tools/call", {"name": tool, "arguments": arguments}, token, progress.append)
        text = "".join(block["text"] for block in result["content"] if block["type"] == "text")
        return Answer(bool(result.get("isError")), text, result.get("structuredContent"), progress)

    async def cancelling(self, arguments):
        """Closes the connection of a run after the first output of its command."""
        begun = asyncio.Event()

        def on_progress(message):
            if "begun" in message:
                begun.set()

        running = asyncio.create_task(self.ask("tools/call", {"name": "run", "arguments": arguments}, {"progressToken": "c"}, on_progress))
        await asyncio.wait_for(begun.wait(), 20)
        running.cancel()


async def over_http(program, version):
    print(f"raw HTTP, protocol {version}", flush=True)
    with scenario.home() as home:
        async with scenario.http_server(program, home) as url:
            server = Web(url, version)
            if version != MODERN:
                capabilities = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
                begun = await server.ask("initialize", capabilities)
                same("protocol version", begun["protocolVersion"], version)
                that("there is no session", server.session, begun)
                await server.post({"method": "notifications/initialized"})
            tools = (await server.ask("tools/list"))["tools"]
            scenario.tools_are_complete({tool["name"]: (tool.get("annotations"), tool["inputSchema"]) for tool in tools})
            await scenario.whole_session(server.call, home)
            await scenario.live_output(server.call)

            async def call_ok(tool, **arguments):
                return fine(tool, await server.call(tool, arguments))

            await scenario.cancelled_call(call_ok, server.cancelling)


async def malformed(program):
    """Malformed input causes at most an error, and never ends the connection."""
    print("raw JSON-RPC, malformed input", flush=True)
    with scenario.home() as home:
        server = await Server.start(program, home, MODERN)
        server.process.stdin.write(b"this is no JSON\n\xff\xfe\n")
        await server.ask("server/discover")
        _, answer = server.request("tools/call", {"name": "no_such_tool", "arguments": {}})
        message = await asyncio.wait_for(answer, 10)
        that("an unknown tool is no error", "error" in message or message["result"].get("isError"), message)
        _, answer = server.request("no/such/method")
        same("code of an unknown method", (await asyncio.wait_for(answer, 10))["error"]["code"], -32601)
        said("the connection survives lines that are no JSON, unknown tools and unknown methods")
        await server.end()


async def terminated(program):
    """SIGTERM ends a server with a running command, and the command's sandbox."""
    print("raw JSON-RPC, SIGTERM", flush=True)
    with scenario.home() as home:
        server = await Server.start(program, home, MODERN)
        server.request("tools/call", {"name": "run", "arguments": {"image": "tag:host", "command": "echo begun; sleep 600"}}, {"progressToken": "t"})
        for _ in range(200):
            if server.progress.get("t"):
                break
            await asyncio.sleep(0.05)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        status = await asyncio.wait_for(server.process.wait(), 10)
        took = time.monotonic() - start
        that("SIGTERM did not end it cleanly", status in (0, 143), status)
        that("SIGTERM took long", took < 8, took)
        server.waiting.clear()
        said(f"left with status {status} after {took:.2f} s")


async def main(program):
    for version in [MODERN, *LEGACY]:
        await session(program, version)
    for version in [MODERN, LEGACY[0]]:
        await over_http(program, version)
    await malformed(program)
    await terminated(program)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1]))
    except Difference as difference:
        sys.exit(f"raw_session.py: {difference}")
