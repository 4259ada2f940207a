"""Runs the whole session with an old version of the official Python client, over stdio and HTTP.

usage: old_mcp_session.py PATH_OF_CONTREE_MCP PROTOCOL (needs a package `mcp` of version 1)
"""

import asyncio
import contextlib
import importlib.metadata
import logging
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client

import scenario
from scenario import Answer, Difference, said, same


class Complaints(logging.Handler):
    """What the client logs as an error. It goes on after a message that it cannot read."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@contextlib.asynccontextmanager
async def stdio(program, home):
    server = StdioServerParameters(command=program, env=scenario.environment(home))
    async with stdio_client(server) as streams:
        yield streams


@contextlib.asynccontextmanager
async def http(program, home):
    async with scenario.http_server(program, home) as url, streamablehttp_client(url) as (reader, writer, _):
        yield reader, writer


async def session(program, transport, expected):
    print(f"mcp {importlib.metadata.version('mcp')} over {transport.__name__}", flush=True)
    with scenario.home() as home:
        async with transport(program, home) as streams, ClientSession(*streams) as client:
            started = await client.initialize()
            same("protocol version", str(started.protocolVersion), expected)
            same("name of the server", started.serverInfo.name, "contree-mcp")
            tools = (await client.list_tools()).tools
            wire = [tool.model_dump(by_alias=True, exclude_none=True) for tool in tools]
            scenario.tools_are_complete({tool["name"]: (tool.get("annotations"), tool["inputSchema"]) for tool in wire})

            async def call(tool, arguments):
                messages = []

                async def progress(done, total, message):
                    messages.append(message or "")

                result = await client.call_tool(tool, arguments, progress_callback=progress)
                text = "".join(block.text for block in result.content if block.type == "text")
                structured = result.model_dump(by_alias=True).get("structuredContent")
                return Answer(bool(result.isError), text, structured, messages)

            await scenario.whole_session(call, home)
            await scenario.live_output(call)
            prompts = (await client.list_prompts()).prompts
            guide = (await client.read_resource("contree://guide/workflow")).contents[0]
            said(f"{len(prompts)} prompts, a guide of {len(guide.text)} characters")
        said("closed")


async def main(program, expected):
    complaints = Complaints()
    logging.getLogger("mcp").addHandler(complaints)
    for transport in (stdio, http):
        await session(program, transport, expected)
        same("errors that the client logged", complaints.lines, [])


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except Exception as error:
        found = [inner for inner in scenario.single_errors(error) if isinstance(inner, Difference)]
        if not found:
            raise
        sys.exit(f"old_mcp_session.py: {found[0]}")
