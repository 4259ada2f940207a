"""Runs sessions of the official `contree-cli` and `contree-sdk` against a served engine.

    CONTREE_URL=http://127.0.0.1:PORT CONTREE_TOKEN=... python -P contree_sessions.py
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from pathlib import Path

URL = os.environ["CONTREE_URL"]
TOKEN = os.environ["CONTREE_TOKEN"]
PATIENCE = 120

DOCKERFILE = """\
FROM tag:host AS made
ARG WORD=default
ENV GREETING=hello
WORKDIR /made
RUN echo "$GREETING $WORD" >greeting && mkdir -p tree/deep && ln -s ../greeting tree/link
COPY file.txt copied/file.txt
COPY folder /made/folder

FROM tag:host
COPY --from=made /made /from
RUN cat /from/greeting /from/copied/file.txt /from/folder/inner >/result
"""


class Cli:
    """The program with its own home directory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.program = Path(sys.executable).parent / "contree"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "CONTREE_HOME": str(home / "contree"),
            "CONTREE_SESSION": "interop",
            "LC_ALL": "C.UTF-8",
        }
        (home / "contree").mkdir(mode=0o700)
        profile = home / "contree" / "auth.ini"
        profile.touch(0o600)
        profile.write_text(f"[DEFAULT]\nprofile = engine\n\n[profile:engine]\nurl = {URL}\ntoken = {TOKEN}\ntype = jwt\n")

    def run(self, *args: str, status: int = 0, session: str | None = None) -> bytes:
        environment = dict(self.environment)
        if session:
            environment["CONTREE_SESSION"] = session
        done = subprocess.run(
            [self.program, *args], env=environment, cwd=self.home, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE
        )
        assert done.returncode == status, f"contree {args}: {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        return done.stdout

    def text(self, *args: str, **options) -> str:
        return self.run(*args, **options).decode()


def use_run_branch_rollback(cli: Cli) -> None:
    cli.run("use", "tag:host")
    assert cli.text("run", "--", "echo", "hello") == "hello\n"
    cli.run("run", "-s", "--", "mkdir /w; echo one >/w/f")
    assert cli.text("run", "-s", "--", "cat /w/f") == "one\n"
    cli.run("run", "-s", "--", "exit 7", status=7)
    cli.run("run", "-D", "-s", "--", "echo lost >/w/lost")
    cli.run("session", "branch", "other")
    cli.run("run", "-s", "--", "echo two >>/w/f")
    cli.run("session", "checkout", "other")
    assert cli.text("run", "-s", "--", "cat /w/f; ls /w") == "one\nf\n"
    cli.run("session", "checkout", "main")
    assert cli.text("run", "-s", "--", "cat /w/f") == "one\ntwo\n"
    cli.run("run", "-s", "--", "echo three >>/w/f")
    cli.run("session", "rollback", "--", "-1")
    assert cli.text("cat", "/w/f") == "one\ntwo\n"
    assert "/w" in cli.text("session", "show") or cli.text("session", "show")
    (cli.home / "given.txt").write_text("given")
    assert cli.text("run", "-F", f"{cli.home}/given.txt:/w/given:m0600", "-s", "--", "cat /w/given; stat -c %a /w/given") == "given600\n"
    operations = cli.text("-o", "json", "ps", "--all")
    assert operations.strip(), "operations are listed"


def look_around(cli: Cli) -> None:
    cli.run("run", "-s", "--", "mkdir -p /look/sub; seq 30 >/look/numbers; printf '\\377\\000' >/look/raw; ln -s numbers /look/link")
    assert "numbers" in cli.text("ls", "/look")
    assert '"link"' in cli.text("-o", "json", "ls", "/look")
    assert cli.text("cat", "/look/link").split() == [str(n) for n in range(1, 31)]
    cli.run("cp", "/look/raw", "raw.bin")
    assert (cli.home / "raw.bin").read_bytes() == b"\xff\x00"
    found = cli.text("grep", "^1[01]$", "/look", "-C", "1")
    assert found.split() == ["/look/numbers-9-9", "/look/numbers:10:10", "/look/numbers:11:11", "/look/numbers-12-12"], found
    cli.run("grep", "no-such-line", "/look", status=1)
    cli.run("cat", "/look/none", status=1)
    cli.run("export", "/look", "-F", "look.tar.gz")
    cli.run("export", "/look", "-F", "look.tar")
    for name, mode in (("look.tar.gz", "r:gz"), ("look.tar", "r:")):
        with tarfile.open(cli.home / name, mode) as tar:
            assert tar.extractfile("look/link").read().startswith(b"1\n2\n")
    cli.run("export", "-F", "rootfs.tar.gz")
    listing = subprocess.run(["tar", "-tzf", cli.home / "rootfs.tar.gz"], capture_output=True, check=True, text=True)
    assert "./look/numbers" in listing.stdout.splitlines() and not listing.stderr, listing.stderr[:300]
    name = f"cli-{uuid.uuid4().hex[:8]}"
    cli.run("tag", name)
    assert name in cli.text("images", "--all") if "--all" in cli.text("images", "--help") else name in cli.text("images")
    cli.run("use", f"tag:{name}", session="second")
    assert cli.text("cat", "/look/numbers", session="second").startswith("1\n")


def build(cli: Cli) -> None:
    context = cli.home / "context"
    (context / "folder").mkdir(parents=True)
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "file.txt").write_text("copied\n")
    (context / "folder" / "inner").write_text("inner\n")
    name = f"built-{uuid.uuid4().hex[:8]}"
    cli.run("build", "--tag", name, "--build-arg", "WORD=world", str(context))
    cli.run("use", "--new", f"tag:{name}", session="built")
    done = cli.text("run", "-D", "--use", f"tag:{name}", "-s", "--", "cat /result; readlink /from/tree/link", session="built")
    assert done == "hello world\ncopied\ninner\n../greeting\n", done
    cli.run("build", "--tag", name, "--build-arg", "WORD=world", str(context))


def sdk() -> None:
    from contree_sdk import Contree, ContreeSync
    from contree_sdk.auth import JWTAuth
    from contree_sdk.config import ContreeConfig
    from contree_sdk.utils.models.file import UploadFileSpec

    config = ContreeConfig(auth=JWTAuth(token=TOKEN, base_url=URL), transport_timeout=60.0, operation_timeout=PATIENCE)
    client = ContreeSync(config)
    assert client.get_token_info().token_uuid
    image = client.images.use("host")
    result = image.run(shell='echo "Hello from $WHO"; echo bad >&2; exit 5', env={"WHO": "Contree"}).wait()
    assert (result.stdout, result.stderr, result.exit_code) == ("Hello from Contree\n", "bad\n", 5), result
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "data.csv"
        source.write_text("a,b\n")
        made = image.run(
            shell="cat >/in; cp /data.csv /copy; mkdir /dir", stdin="fed", disposable=False, files=[UploadFileSpec(source=source, path="/data.csv")]
        ).wait()
        assert made.read("/copy") == b"a,b\n" and made.read("/in") == b"fed"
        names = {item.name: item.is_dir for item in made.ls("/")}
        assert names["dir"] and not names["copy"], names
        assert Path(made.download("/copy", Path(directory) / "got")).read_bytes() == b"a,b\n"
    session = image.session()
    session.run(shell="echo 1 >/counter", disposable=False).wait()
    session.run(shell="echo 2 >>/counter", disposable=False).wait()
    tag = f"sdk-{uuid.uuid4().hex[:8]}"
    session.tag_as(tag)
    process = session.popen(["cat", "/counter"], text=True)
    assert process.communicate()[0] == "1\n2\n"
    assert client.images.use(tag, strict=True).run(shell="cat /counter").wait().stdout == "1\n2\n"
    assert any(image.tag == tag for image in client.images(tagged=True))

    async def several() -> list[str]:
        client = Contree(config)
        image = await client.images.use("host")
        results = await asyncio.gather(*(image.run(shell=f"echo {n}") for n in range(4)))
        return [result.stdout for result in results]

    assert asyncio.run(several()) == [f"{n}\n" for n in range(4)]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="contree-interop-") as home:
        cli = Cli(Path(home))
        for part in (use_run_branch_rollback, look_around, build):
            began = time.monotonic()
            part(cli)
            print(f"  contree-cli, {part.__name__}: {time.monotonic() - began:.2f} s", flush=True)
    began = time.monotonic()
    sdk()
    print(f"  contree-sdk: {time.monotonic() - began:.2f} s", flush=True)


main()
