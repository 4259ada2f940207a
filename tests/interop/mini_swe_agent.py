"""Runs the program `mini` of mini-swe-agent, unmodified, against a served engine.

    CONTREE_URL=http://127.0.0.1:PORT CONTREE_TOKEN=... python mini_swe_agent.py

Its environment is the one of docs/agents.md. Its model is the deterministic one of mini-swe-agent,
which repairs the repository in fixed steps.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import broken_repository as repository
from contree_sdk import ContreeSync
from contree_sdk.auth import JWTAuth
from contree_sdk.config import ContreeConfig

REPAIR = f"""
from pathlib import Path
path = Path("statistics_of/median.py")
path.write_text(path.read_text().replace({repository.BROKEN!r}, {repository.FIXED!r}))
"""
# Each command with its expected status and a part of its expected output.
STEPS = [
    ("ls && git log --oneline && cat statistics_of/median.py", 0, "Add the median"),
    (repository.TEST_INSIDE, 1, repository.FAILURE),
    ("echo 'Grüße 🐍' >&2; echo $PAGER; pwd; kill -9 $$", 137, "cat\n/testbed\nGrüße 🐍\n"),
    (f"python3 -c {shlex.quote(REPAIR)} && git status --short", 0, " M statistics_of/median.py"),
    (repository.TEST_INSIDE, 0, "OK"),
]
SUBMIT = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && git diff"


def output(command: str) -> dict:
    return {"role": "assistant", "content": "The next step.", "extra": {"actions": [{"command": command}], "cost": 0.0}}


def main() -> None:
    began = time.monotonic()
    os.environ["CONTREE_BASE_URL"] = os.environ["CONTREE_URL"]
    token = os.environ["CONTREE_TOKEN"]
    client = ContreeSync(ContreeConfig(auth=JWTAuth(), transport_timeout=60))
    repository.make_image(client, "broken")
    with tempfile.TemporaryDirectory(prefix="contree-interop-") as directory:
        home = Path(directory)
        (home / "contree.yaml").write_text(repository.block("yaml"))
        # JSON is YAML.
        changed = {
            "environment": {"image": "broken", "image_tag": "broken"},
            "model": {
                "model_class": "deterministic",
                "model_name": "deterministic",
                "outputs": [output(command) for command, *_ in STEPS] + [output(SUBMIT)],
                "cost_per_call": 0.0,
            },
        }
        (home / "changed.yaml").write_text(json.dumps(changed, ensure_ascii=False))
        trajectory = home / "trajectory.json"
        command = [Path(sys.executable).parent / "mini", "-c", "mini.yaml", "-c", home / "contree.yaml", "-c", home / "changed.yaml"]
        done = subprocess.run(
            [*command, "-t", repository.TASK, "-y", "--exit-immediately", "-o", trajectory],
            env={**os.environ, "HOME": directory, "MSWEA_GLOBAL_CONFIG_DIR": directory, "MSWEA_CONFIGURED": "true"},
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{done.stderr}\n{done.stdout}"
        text = trajectory.read_text()
    assert token not in text and token not in done.stdout, "the token is in the trajectory"
    ended = json.loads(text)
    seen = [message["extra"] for message in ended["messages"] if "returncode" in message.get("extra", {})]
    for (command, status, part), extra in zip(STEPS, seen, strict=True):
        assert extra["returncode"] == status and part in extra["raw_output"], f"{command}: {extra}"
    assert ended["info"]["exit_status"] == "Submitted", ended["info"]
    repository.check_patch(ended["info"]["submission"])
    print(f"  mini-swe-agent {ended['info']['mini_version']}: {len(STEPS) + 1} steps, the patch is right: {time.monotonic() - began:.2f} s", flush=True)


if __name__ == "__main__":
    main()
