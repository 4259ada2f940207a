"""Runs the whole session with the official Python client, over stdio and over HTTP.

usage: mcp_session.py PATH_OF_CONTREE_MCP (needs the package `mcp`)
"""

import asyncio
import contextlib
import importlib.metadata
import sys

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

import scenario
from scenario import Answer, Difference, fine, said, same

MODES = {"legacy": "2025-11-25", "auto": "2026-07-28", "2026-07-28": "2026-07-28"}


@contextlib.asynccontextmanager
async def stdio(program, home):
    yield stdio_client(StdioServerParameters(command=program, env=scenario.environment(home)))


@contextlib.asynccontextmanager
async def http(program, home):
    async with scenario.http_server(program, home) as url:
        yield url


async def session(program, transport, mode, expected):
    print(f"mcp {importlib.metadata.version('mcp')} over {transport.__name__}, mode {mode}", flush=True)
    with scenario.home() as home:
        async with transport(program, home) as server, Client(server, mode=mode) as client:
            same("protocol version", client.protocol_version, expected)
            if client.server_info is not None:
                same("name of the server", client.server_info.name, "contree-mcp")
            tools = (await client.list_tools()).tools
            wire = [tool.model_dump(by_alias=True, exclude_none=True) for tool in tools]
            scenario.tools_are_complete({tool["name"]: (tool.get("annotations"), tool["inputSchema"]) for tool in wire})

            async def call(tool, arguments):
                messages = []

                async def progress(done, total, message):
                    messages.append(message or "")

                result = await client.call_tool(tool, arguments, progress_callback=progress)
                text = "".join(block.text for block in result.content if block.type == "text")
                return Answer(bool(result.is_error), text, result.structured_content, messages)

            async def call_ok(tool, **arguments):
                return fine(tool, await call(tool, arguments))

            async def cancelling(arguments):
                begun = asyncio.Event()

                async def progress(done, total, message):
                    if "begun" in (message or ""):
                        begun.set()

                running = asyncio.create_task(client.call_tool("run", arguments, progress_callback=progress))
                await asyncio.wait_for(begun.wait(), 20)
                running.cancel()
                try:
                    await running
                except asyncio.CancelledError:
                    return
                raise Difference("a cancelled call was answered")

            await scenario.whole_session(call, home)
            await scenario.live_output(call)
            await scenario.cancelled_call(call_ok, cancelling)
        said("closed")


async def main(program):
    for transport in (stdio, http):
        for mode, expected in MODES.items():
            await session(program, transport, mode, expected)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1]))
    except Exception as error:
        found = [inner for inner in scenario.single_errors(error) if isinstance(inner, Difference)]
        if not found:
            raise
        sys.exit(f"mcp_session.py: {found[0]}")
