"""Builds Dockerfiles of real kinds with `contree build` and with buildah, and compares the files of the images.

    python -P dockerfiles.py CONTREE DEBIAN_TAR [KIND...]

Needs root, and Debian's packages buildah and docker-registry. The base image is that archive of a Debian, in a registry on
loopback. One Dockerfile installs packages by apt-get.
"""

import hashlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

# Paths that differ by themselves: times, caches, and files that each tool makes for its network.
DIFFERENT = ("dev", "proc", "sys", "run", "tmp", "etc/hosts", "etc/hostname", "etc/resolv.conf", "var/cache", "var/log", "var/lib/apt/lists")

CONTEXT = {
    ".dockerignore": "*.log\nsecret\n**/*.tmp\nvendor\n!vendor/keep\n",
    "app.py": "print('app')\n",
    "one.txt": "one\n",
    "two.txt": "two\n",
    "noise.log": "no\n",
    "secret/key": "no\n",
    "src/main.c": "int main;\n",
    "src/deep/er/x.tmp": "no\n",
    "src/deep/er/y": "y\n",
    "vendor/keep": "keep\n",
    "vendor/drop": "drop\n",
    "bin/tool": "#!/bin/sh\necho tool \"$@\"\n",
}

DOCKERFILES = {
    "packages": "FROM {base}\nRUN apt-get update && apt-get install -y --no-install-recommends file && rm -rf /var/lib/apt/lists/*\nRUN file /bin/sh > /checked\n",
    "stages": "FROM {base} AS build\nWORKDIR /out\nCOPY src src\nRUN mkdir -m 750 lib && cp src/main.c lib/a.so && ln -s a.so lib/b.so\nFROM build AS unused\nRUN false\nFROM {base}\nCOPY --from=build /out/lib /opt/lib\nCOPY --from=build /out/src/*.c /opt/c/\nCOPY --from=0 /out/lib/b.so /opt/copied\n",
    "globs": "FROM {base}\nCOPY *.txt /texts/\nCOPY o?e.txt t[v-x]o.txt /named/\nCOPY src /src\nCOPY . /all/\n",
    "arguments": "ARG VERSION=12\nARG NAME={name}\nFROM {registry}/${{NAME}}:${{VERSION}}\nARG VERSION\nARG WHO=nobody\nENV GREETING=\"hello ${{WHO}}\" V=${{VERSION:-none}} E=${{NONE:+set}}\nRUN echo \"$GREETING $V [$E] $WHO\" > /said\n",
    "users": "FROM {base}\nRUN groupadd -g 1500 team && useradd -m -u 1400 -g team app\nWORKDIR /srv/app\nRUN chown app:team .\nUSER app\nRUN id -u > id && id -g >> id && echo $HOME >> id && pwd >> id\nCOPY --chown=app:team one.txt .\nCOPY --chown=7:8 two.txt moved/\nUSER 0\nWORKDIR ..\nRUN pwd > where\n",
    "scratch": "FROM {base} AS build\nRUN echo static > /program && chmod 4755 /program\nFROM scratch\nCOPY --from=build /program /bin/\nCOPY app.py /app/\nCOPY src/deep /data\n",
    "modes": "FROM {base}\nRUN mkdir -m 711 /there\nCOPY bin/tool /usr/local/bin/tool\nCOPY --chmod=0600 one.txt /private/one\nCOPY app.py /there\nCOPY src /there/\nRUN tool a b > /ran\n",
    "shells": "FROM {base}\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN ! false | true; echo $? > /pipe\nRUN [\"sh\", \"-c\", \"echo exec-$0 > /exec\", \"form\"]\nRUN echo a \\\n  # a comment\n  b > /joined \\\n  && echo \"x  y\" >> /joined\n",
    "archives": "FROM {base}\nADD files.tar.gz /unpacked/\nCOPY files.tar.gz /kept/\nADD one.txt /plain/\nADD src /added\n",
}

# Dockerfiles that must fail, with a part of the message of contree.
FAILING = {
    "failing": ("FROM {base}\nRUN echo before > /before\nRUN echo said; exit 3\n", "exit status 3"),
}

# Here-documents are newer than Debian's buildah: what must be in the image instead.
HERE_DOCUMENTS = (
    "FROM {base}\nARG WHO=you\nRUN <<EOF\necho \"for $WHO\" > /script\nEOF\nRUN cat <<'EOF' > /quoted\n$WHO\nEOF\nCOPY <<made <<\"raw\" /etc/made/\nwho=$WHO\nmade\nwho=$WHO\nraw\n",
    {"script": "for you\n", "quoted": "$WHO\n", "etc/made/made": "who=you\n", "etc/made/raw": "who=$WHO\n"},
)


def run(*words, env=None):
    done = subprocess.run([str(word) for word in words], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"FAILED: {' '.join(map(str, words))}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def is_compared(path):
    return path and not any(path == name or path.startswith(name + "/") for name in DIFFERENT)


def entry(kind, mode, uid, gid, content):
    return (kind, oct(mode & 0o7777) if kind != "link" else "", uid, gid, content)


def files_of_directory(root):
    """The files below a directory: path, kind, mode, owner and content."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            whole = os.path.join(directory, name)
            path = os.path.relpath(whole, root)
            if not is_compared(path):
                continue
            status = os.lstat(whole)
            if os.path.islink(whole):
                found[path] = entry("link", 0, status.st_uid, status.st_gid, os.readlink(whole))
            elif os.path.isdir(whole):
                found[path] = entry("directory", status.st_mode, status.st_uid, status.st_gid, "")
            elif os.path.isfile(whole):
                content = hashlib.sha256(pathlib.Path(whole).read_bytes()).hexdigest()
                found[path] = entry("file", status.st_mode, status.st_uid, status.st_gid, content)
    return found


def files_of_archive(path):
    """The same of a tar archive."""
    found, contents = {}, {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = os.path.normpath(member.name).lstrip("/")
            if member.isreg():
                contents[name] = hashlib.sha256(archive.extractfile(member).read()).hexdigest()
            if name == "." or not is_compared(name):
                continue
            if member.issym():
                found[name] = entry("link", 0, member.uid, member.gid, member.linkname)
            elif member.isdir():
                found[name] = entry("directory", member.mode, member.uid, member.gid, "")
            elif member.isreg():
                found[name] = entry("file", member.mode, member.uid, member.gid, contents[name])
            elif member.islnk():
                content = contents[os.path.normpath(member.linkname).lstrip("/")]
                found[name] = entry("file", member.mode, member.uid, member.gid, content)
    return found


def main():
    contree, debian = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    for tool in ("buildah", "docker-registry"):
        if not shutil.which(tool):
            print(f"NOT CHECKED: builds of Dockerfiles, since {tool} is not installed")
            return 0
    problems = []
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="contree-dockerfiles.") as work:
        work = pathlib.Path(work)
        # Ids inside own files of the data directory, and need search permission on the path to it.
        work.chmod(0o711)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        registry = f"127.0.0.1:{port}"
        config = work / "registry.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {work}/registry}}}}\nhttp: {{addr: \"{registry}\"}}\n"
        )
        server = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            problems = compare(contree, debian, work, registry)
        finally:
            server.terminate()
            server.wait()
    for problem in problems:
        print(f"WRONG: {problem}")
    return 1 if problems else 0


def compare(contree, debian, work, registry):
    home = work / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CONTREE_", "NEBIUS_"))}
    # Behind a company's proxy, mirrors may have private addresses.
    environment |= {
        "HOME": str(home),
        "CONTREE_HOME": str(home / "c"),
        "CONTREE_DATA_DIR": str(work / "data"),
        "CONTREE_STATE_DIR": str(work / "state"),
        "CONTREE_EGRESS_ALLOW": "*,deb.debian.org+private",
    }
    buildah = ["buildah", "--root", work / "storage", "--runroot", work / "run", "--storage-driver", "vfs"]
    base = f"{registry}/debian:12"
    name = run(*buildah, "from", "scratch").strip()
    run(*buildah, "add", "--quiet", name, debian, "/")
    run(*buildah, "commit", "--quiet", "--rm", name, base)
    run(*buildah, "push", "--quiet", "--tls-verify=false", base)
    context = work / "context"
    for path, text in CONTEXT.items():
        whole = context / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_text(text)
    (context / "bin/tool").chmod(0o755)
    os.symlink("main.c", context / "src/link")
    (context / "src/empty").mkdir()
    with tarfile.open(context / "files.tar.gz", "w:gz") as archive:
        for path, mode in (("one.txt", 0o640), ("src/main.c", 0o755)):
            member = archive.gettarinfo(context / path, path)
            member.mode, member.uid, member.gid = mode, 30, 40
            with open(context / path, "rb") as content:
                archive.addfile(member, content)
    problems = []

    def written(text):
        text = text.format(base=base, registry=registry, name="debian")
        # Outside of the context, so that both see the same files.
        path = work / "Dockerfile"
        path.write_text(text)
        return path

    def build(*options, fails=False):
        done = subprocess.run([contree, "--json", "build", *options, context], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if fails:
            return done
        if done.returncode:
            raise SystemExit(f"FAILED: contree build: {done.stderr}")
        return json.loads(done.stdout)

    for kind, text in DOCKERFILES.items():
        if sys.argv[3:] and kind not in sys.argv[3:]:
            continue
        begun = time.monotonic()
        file = written(text)
        tag = f"{kind}:1"
        options = ["-t", tag, "-f", file]
        if kind == "arguments":
            options += ["--build-arg", "WHO=world"]
        record = build(*options)
        ours = time.monotonic() - begun
        again = build(*options)
        if not all(step["cached"] for step in again["steps"]) or again["uuid"] != record["uuid"]:
            problems.append(f"{kind}: the second build ran steps: {again}")
        archive = work / "image.tar"
        run(contree, "export", f"{tag}:/", "--decompress", "-F", archive, env=environment)
        own = files_of_archive(archive)
        archive.unlink()
        begun = time.monotonic()
        arguments = ["--build-arg", "WHO=world"] if kind == "arguments" else []
        run(*buildah, "build", "--quiet", "--format", "docker", "--isolation", "chroot", "--tls-verify=false", *arguments, "-t", kind, "-f", file, context)
        theirs = time.monotonic() - begun
        container = run(*buildah, "from", "--pull-never", f"localhost/{kind}").strip()
        other = files_of_directory(run(*buildah, "mount", container).strip())
        run(*buildah, "rm", container)
        for path in sorted(own.keys() | other.keys()):
            if own.get(path) != other.get(path):
                problems.append(f"{kind}: {path}: contree {own.get(path)}, buildah {other.get(path)}")
        print(f"{kind}: {len(own)} files; contree {ours:.1f} s, buildah {theirs:.1f} s")
    for kind, (text, part) in FAILING.items():
        done = build("-f", written(text), fails=True)
        if done.returncode != 1 or part not in done.stderr or ":3:" not in done.stderr:
            problems.append(f"{kind}: {done.returncode}: {done.stderr}")
        print(f"{kind}: {done.stderr.strip().splitlines()[-1]}")
    text, expected = HERE_DOCUMENTS
    build("-t", "here:1", "-f", written(text))
    for path, content in expected.items():
        found = run(contree, "cat", f"here:1:/{path}", env=environment)
        if found != content:
            problems.append(f"here-documents: {path}: {found!r}")
    print("here-documents: compared with the expected files")
    return problems


if __name__ == "__main__":
    sys.exit(main())
