"""Runs LangChain's integration of `contree-sdk`, unmodified, against a served engine.

    CONTREE_URL=http://127.0.0.1:PORT CONTREE_TOKEN=... python langchain_session.py

First a deep agent with a scripted model repairs a repository. Its sandbox is the one of
docs/agents.md. Then LangChain's own tests for sandboxes run.
"""

from __future__ import annotations

import os
import sys
import time

os.environ["CONTREE_BASE_URL"] = os.environ["CONTREE_URL"]
# No test reports anything to LangChain's service.
os.environ["LANGSMITH_TRACING"] = "false"

import broken_repository as repository
import pytest
from contree_sdk import ContreeSync
from contree_sdk.auth import JWTAuth
from contree_sdk.config import ContreeConfig
from contree_sdk.langchain.sandbox import ContreeSandbox
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_tests.integration_tests import SandboxIntegrationTests

CODE = f"{repository.PLACE}/statistics_of/median.py"
TEST = f"cd {repository.PLACE} && {repository.TEST_INSIDE}"
# Each call of a tool, with a part of its expected answer.
STEPS = [
    ("ls", {"path": repository.PLACE}, "statistics_of"),
    ("grep", {"pattern": "def median", "path": repository.PLACE}, "median.py"),
    ("read_file", {"file_path": CODE}, "ordered = sorted(values)"),
    ("execute", {"command": TEST}, repository.FAILURE),
    ("edit_file", {"file_path": CODE, "old_string": repository.BROKEN, "new_string": repository.FIXED}, "Successfully"),
    ("execute", {"command": TEST}, "OK"),
    ("write_file", {"file_path": f"{repository.PLACE}/NOTES.txt", "content": "Grüße 🐍\n"}, "NOTES.txt"),
    ("execute", {"command": f"cd {repository.PLACE} && cat NOTES.txt && rm NOTES.txt && git status --short"}, "Grüße 🐍\n M statistics_of/median.py"),
]


class ScriptedModel(GenericFakeChatModel):
    """Calls the tools of `STEPS`, one after the other."""

    def bind_tools(self, tools, **_):
        offered = {tool["name"] if isinstance(tool, dict) else tool.name for tool in tools}
        assert {name for name, *_ in STEPS} <= offered, offered
        return self


def scripted_model() -> ScriptedModel:
    calls = [AIMessage(content="", tool_calls=[{"name": name, "args": args, "id": f"call-{n}"}]) for n, (name, args, _) in enumerate(STEPS)]
    return ScriptedModel(messages=iter([*calls, AIMessage(content="The median is right.")]))


def repair() -> None:
    scope: dict = {}
    exec(repository.block("python"), scope)
    agent, sandbox = scope["make_agent"](scripted_model(), "broken")
    messages = agent.invoke({"messages": [{"role": "user", "content": repository.TASK}]})["messages"]
    answers = [message.content for message in messages if isinstance(message, ToolMessage)]
    for (name, args, part), answer in zip(STEPS, answers, strict=True):
        assert part in answer, f"{name} {args}: {answer}"
    assert messages[-1].content == "The median is right."
    patch = sandbox.execute(f"git -C {repository.PLACE} diff")
    assert patch.exit_code == 0, patch
    repository.check_patch(patch.output)


class TestContree(SandboxIntegrationTests):
    """LangChain's own tests."""

    @pytest.fixture(scope="class")
    def sandbox(self):
        config = ContreeConfig(auth=JWTAuth(), transport_timeout=60, operation_poll_secs_min=0.02)
        yield ContreeSandbox(ContreeSync(config).images.use("broken").session())


def main() -> None:
    began = time.monotonic()
    repository.make_image(ContreeSync(ContreeConfig(auth=JWTAuth(), transport_timeout=60)), "broken")
    repair()
    print(f"  deepagents: {len(STEPS)} calls, the patch is right: {time.monotonic() - began:.2f} s", flush=True)
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-W", "ignore", "--rootdir", os.path.dirname(__file__), __file__]))


if __name__ == "__main__":
    main()
