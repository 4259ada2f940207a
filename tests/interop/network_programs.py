"""Table of network programs in sandboxes, against servers in a network namespace of its own, with rules
by name and by address. Each program works, or fails with the reason where its user sees it. It runs
with the variables of the proxy and without them. Nothing leaves this machine.

usage: network_programs.py PATH_OF_CONTREE_MCP [ROOTFS_TAR [NAME...] | --cost] (root; needs the packages `mcp` and
`asyncssh`, curl, git, iproute2, openssl and ssh-keygen)

Without a root filesystem, the programs of `tag:host` run. With one, such as `.ci/run full
network-programs-all` makes, all programs run, or those that are named. A program that it
lacks is reported, and fails the whole table. `--cost` measures connections.
"""

import asyncio
import base64
import gzip
import hashlib
import http.server
import io
import json
import os
import pathlib
import re
import shutil
import socketserver
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile

ALLOW = "*.example,203.0.114.4"
DENY = "denied.example,203.0.114.3"
# The names of the namespace of the engine.
HOSTS = {"allowed.example": "203.0.114.1", "denied.example": "203.0.114.2", "trap.example": "203.0.114.3"}
# What a target is, and whether it is allowed.
TARGETS = {
    "allowed.example": ("an allowed name", True),
    "203.0.114.4": ("an allowed address", True),
    "denied.example": ("a name that a rule denies", False),
    "trap.example": ("a name with an address that a rule denies", False),
    "203.0.114.3": ("an address that a rule denies", False),
    "203.0.114.5": ("an address that no rule allows", False),
}
ADDRESSES = [f"203.0.114.{number}" for number in range(1, 6)]
HTTP, HTTPS, SSH, POSTGRES, REDIS, ECHO, CLOSED = 80, 443, 22, 5432, 6379, 7000, 7001
MARK = "answer-of-the-test"

# ---- the servers


def zipped(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


def tarred(files):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(text), int(time.time())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(data.getvalue())


WHEEL = zipped({
    "answer_of_the_test.py": "x = 1\n",
    "answer_of_the_test-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: answer-of-the-test\nVersion: 1.0\n",
    "answer_of_the_test-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "answer_of_the_test-1.0.dist-info/RECORD": "",
})  # fmt: skip
NPM = tarred({"package/package.json": json.dumps({"name": MARK, "version": "1.0.0"})})
CRATE = tarred({f"{MARK}-1.0.0/Cargo.toml": f'[package]\nname = "{MARK}"\nversion = "1.0.0"\n', f"{MARK}-1.0.0/src/lib.rs": ""})
MODULE = f"example.test/{MARK}"
GO_MOD = f"module {MODULE}\n"


def pages(host):
    """The files of the HTTP server, for a client that calls it `host`."""
    crate = {"name": MARK, "vers": "1.0.0", "deps": [], "cksum": hashlib.sha256(CRATE).hexdigest(), "features": {}, "yanked": False}
    npm = {"name": MARK, "version": "1.0.0", "dist": {"tarball": f"http://{host}/npm/{MARK}.tgz", "integrity": "sha512-" + base64.b64encode(hashlib.sha512(NPM).digest()).decode()}}
    wheel = "answer_of_the_test-1.0-py3-none-any.whl"
    return {
        "/": MARK,
        f"/simple/{MARK}/": f'<a href="/{wheel}">{wheel}</a>',
        f"/{wheel}": WHEEL,
        f"/npm/{MARK}": json.dumps({"name": MARK, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": npm}}),
        f"/npm/{MARK}.tgz": NPM,
        "/crates/config.json": json.dumps({"dl": f"http://{host}/crates/dl"}),
        f"/crates/an/sw/{MARK}": json.dumps(crate),
        f"/crates/dl/{MARK}/1.0.0/download": CRATE,
        f"/go/{MODULE}/@v/list": "v1.0.0\n",
        f"/go/{MODULE}/@v/v1.0.0.info": '{"Version":"v1.0.0"}',
        f"/go/{MODULE}/@v/v1.0.0.mod": GO_MOD,
        f"/go/{MODULE}/@v/v1.0.0.zip": zipped({f"{MODULE}@v1.0.0/go.mod": GO_MOD, f"{MODULE}@v1.0.0/m.go": "package m\n"}),
    }


class Pages(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.record(self.request, self.path)
        page = pages(self.headers.get("Host", "")).get(self.path.split("?")[0])
        if page is None:
            super().do_GET()
            return
        body = page if isinstance(page, bytes) else page.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.npm.install-v1+json" if self.path.startswith("/npm/") else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.server.record(self.request, "echo")
        self.request.recv(1000)
        self.request.sendall(MARK.encode() + b"\n")


class Redis(socketserver.StreamRequestHandler):
    """The commands that redis-cli sends: GET, and those with which it begins."""

    def handle(self):
        self.server.record(self.request, "redis")
        while line := self.rfile.readline():
            parts = []
            for _ in range(int(line[1:])):
                length = int(self.rfile.readline()[1:])
                parts.append(self.rfile.read(length + 2)[:-2])
            self.wfile.write(b"$%d\r\n%s\r\n" % (len(MARK), MARK.encode()) if parts[0].upper() == b"GET" else b"+OK\r\n")


class Postgres(socketserver.StreamRequestHandler):
    """The protocol of PostgreSQL, version 3, as far as one query needs it."""

    def message(self, kind, body=b""):
        self.wfile.write(kind + (len(body) + 4).to_bytes(4, "big") + body)

    def handle(self):
        self.server.record(self.request, "postgres")
        while True:
            length = int.from_bytes(self.rfile.read(4), "big")
            if not length:
                return
            code = int.from_bytes(self.rfile.read(length - 4)[:4], "big")
            if code not in (80877103, 80877104):
                break
            self.wfile.write(b"N")
        self.message(b"R", bytes(4))
        self.message(b"S", b"server_version\x0015.0\x00")
        self.message(b"S", b"client_encoding\x00UTF8\x00")
        self.message(b"Z", b"I")
        while kind := self.rfile.read(1):
            self.rfile.read(int.from_bytes(self.rfile.read(4), "big") - 4)
            if kind != b"Q":
                return
            self.message(b"T", b"\x00\x01answer\x00" + bytes(6) + b"\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00")
            self.message(b"D", b"\x00\x01" + len(MARK).to_bytes(4, "big") + MARK.encode())
            self.message(b"C", b"SELECT 1\x00")
            self.message(b"Z", b"I")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 100
    log = None

    def record(self, connection, what):
        with open(self.log, "a") as out:
            out.write(f"{connection.getsockname()[0]} {self.server_address[1]} {what}\n")

    def handle_error(self, *_):
        pass


class Secure(Server):
    def finish_request(self, request, client_address):
        super().finish_request(self.context.wrap_socket(request, server_side=True), client_address)


async def ssh_server(directory):
    """An SSH server for anybody, which runs the commands of git."""
    import asyncssh

    class Anybody(asyncssh.SSHServer):
        def connection_made(self, connection):
            with open(directory / "log", "a") as out:
                out.write(f"{connection.get_extra_info('sockname')[0]} {SSH} ssh\n")

        def begin_auth(self, username):
            return False

    async def command(process):
        name = process.command.split()[0]
        if name != "git-upload-pack":
            process.stdout.write(f"{MARK}\n".encode())
            process.exit(0)
            return
        git = await asyncio.create_subprocess_exec(
            "git", "-c", "safe.directory=*", "upload-pack", str(directory / "www/repository.git"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        await process.redirect(stdin=git.stdin, stdout=git.stdout)
        process.exit(await git.wait())

    await asyncssh.create_server(Anybody, "", SSH, server_host_keys=[str(directory / "hostkey")], process_factory=command, encoding=None)


def serve(directory):
    """Runs all servers in this namespace."""
    directory = pathlib.Path(directory)
    os.chdir(directory / "www")
    Server.log = directory / "log"
    for kind, port, handler in ((Server, HTTP, Pages), (Secure, HTTPS, Pages), (Server, POSTGRES, Postgres), (Server, REDIS, Redis), (Server, ECHO, Echo)):
        server = kind(("", port), handler)
        if kind is Secure:
            server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
        threading.Thread(target=server.serve_forever, daemon=True).start()

    async def run():
        await ssh_server(directory)
        (directory / "ready").touch()
        await asyncio.Event().wait()

    asyncio.run(run())


# ---- the programs

PYTHON_SOCKET = "import socket; s = socket.create_connection(('{host}', {echo}), 30); s.sendall(b'x'); print(s.recv(100).decode())"
PYTHON_ASYNCIO = """import asyncio
async def main():
    reader, writer = await asyncio.wait_for(asyncio.open_connection('{host}', {echo}), 30)
    writer.write(b'x')
    print((await reader.read(100)).decode())
asyncio.run(main())"""
JAVA = """import java.net.*; import java.net.http.*;
class F { public static void main(String[] a) throws Exception {
    System.out.println(HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(a[0])).build(), HttpResponse.BodyHandlers.ofString()).body());
} }"""
SETTINGS = "<settings><mirrors><mirror><id>test</id><url>http://{host}/maven</url><mirrorOf>*</mirrorOf></mirror></mirrors></settings>"
BUILD = "repositories {{ maven {{ url 'http://{host}/gradle'{insecure} }} }}\nconfigurations {{ c }}\ndependencies {{ c 'a:b:1' }}\ntask go {{ doLast {{ configurations.c.files }} }}\n"
CARGO = '[package]\nname = "p"\nversion = "1.0.0"\nedition = "2021"\n[lib]\npath = "l.rs"\n[dependencies]\n{mark} = "1"\n'
CARGO_CONFIG = '[source.crates-io]\nreplace-with = "t"\n[source.t]\nregistry = "sparse+http://{host}/crates/"\n'
GIT = "GIT_TERMINAL_PROMPT=0 GIT_SSL_CAINFO=/test/cert.pem"


def here(path, text):
    return f"mkdir -p $(dirname {path}); printf %s {base64.b64encode(text.encode()).decode()} | base64 -d > {path}\n"


def programs(host):
    """Each program: its name, whether it is in `tag:host`, whether the reason of a denial is in its own
    output, its command, and what the output or the log of the servers has if it works."""
    values = {"host": host, "echo": ECHO, "mark": MARK}
    python = lambda text: f"python3 -c {json.dumps(text.format(**values))}"  # noqa: E731
    yield "curl", True, f"curl -sS --max-time 60 http://{host}/", MARK
    yield "curl https", True, f"curl -sS --max-time 60 --cacert /test/cert.pem https://{host}/", MARK
    yield "git https", True, f"{GIT} git ls-remote https://{host}/repository.git", "refs/heads/main"
    yield "python socket", True, f"unset http_proxy; {python(PYTHON_SOCKET)}", MARK
    yield "python asyncio", True, here("/tmp/a.py", PYTHON_ASYNCIO.format(**values)) + "python3 /tmp/a.py", MARK
    yield "wget", False, f"wget -qO- --tries=1 --timeout=60 http://{host}/ || wget -O- --tries=1 http://{host}/", MARK
    yield "git ssh", False, f"GIT_SSH_COMMAND='ssh -o BatchMode=yes -o StrictHostKeyChecking=no' git ls-remote ssh://x@{host}/repository.git", "refs/heads/main"
    yield "ssh", False, f"ssh -o BatchMode=yes -o StrictHostKeyChecking=no x@{host} true", MARK
    yield "pip", False, f"pip download --disable-pip-version-check --retries 1 --timeout 20 --no-deps -d /tmp --index-url http://{host}/simple --trusted-host {host} {MARK}", "Successfully downloaded"
    yield "npm", False, f"mkdir -p /tmp/n; cd /tmp/n; npm install --no-audit --no-fund --fetch-retries 0 --registry http://{host}/npm/ {MARK}", "added 1 package"
    yield "node fetch", False, f"""node -e "fetch('http://{host}/').then(r => r.text()).then(console.log).catch(e => console.log(String(e), String(e.cause)))\"""", MARK
    yield "cargo", False, here("/tmp/c/Cargo.toml", CARGO.format(**values)) + here("/tmp/c/.cargo/config.toml", CARGO_CONFIG.format(**values)) + f"cd /tmp/c; touch l.rs; CARGO_UNSTABLE_SPARSE_REGISTRY=true CARGO_NET_RETRY=0 cargo fetch 2>&1; ls ~/.cargo/registry/cache/*", f"{MARK}-1.0.0.crate"
    yield "go", False, f"mkdir -p /tmp/g; cd /tmp/g; export GOPROXY=http://{host}/go GONOSUMDB=* GONOSUMCHECK=1 GOFLAGS=-mod=mod GOTOOLCHAIN=local; go mod init p; go get {MODULE}@v1.0.0; cat go.mod", f"{MODULE} v1.0.0"
    yield "java HttpClient", False, here("/tmp/F.java", JAVA) + f"java /tmp/F.java http://{host}/", MARK
    yield "maven", False, here("/tmp/s.xml", SETTINGS.format(**values)) + "mvn -B -gs /tmp/s.xml -s /tmp/s.xml org.example:plugin:1:goal", "log:/maven/org/example/plugin"
    yield "gradle", False, here("/tmp/b/build.gradle", BUILD.format(insecure="", **values)) + "cd /tmp/b; touch settings.gradle; gradle --no-daemon -g /tmp/gh go", "log:/gradle/a/b/1"
    yield "psql", False, f"psql -h {host} -U x -d x -w -At -c 'select 1'", MARK
    yield "redis-cli", False, f"redis-cli -h {host} get x", MARK


# What programs show of a connection that is denied, with the proxy and without it.
REASON = re.compile(
    r"sandbox policy|403|No route to host|EHOSTUNREACH|NoRouteToHost|Host is unreachable|host unreachable|Errno 113|error 113|Couldn't connect to server|Could not connect|ConnectException|Could not find a version", re.IGNORECASE
)
# Without these settings, programs do not know the proxy. The image's files have it for the JVM.
DIRECT = "unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY NODE_USE_ENV_PROXY; export JAVA_TOOL_OPTIONS='-Dhttp.proxyHost= -Dhttps.proxyHost='\n"
# Programs that take seconds each: one name of each kind is enough.
SLOW = {"maven", "gradle", "java HttpClient", "go", "npm", "cargo", "pip"}


class Network:
    """Two namespaces: the engine is in one, and the servers are in the other, behind a router."""

    def __init__(self, directory):
        self.directory = directory
        self.engine, self.servers = f"contree-np-{os.getpid()}", f"contree-ns-{os.getpid()}"
        self.settings = pathlib.Path("/etc/netns", self.engine)
        self.process = None

    def ip(self, *arguments):
        subprocess.run(["ip", *arguments], check=True)

    def __enter__(self):
        for name in (self.engine, self.servers):
            self.ip("netns", "add", name)
            self.ip("-n", name, "link", "set", "lo", "up")
        self.ip("link", "add", "uplink", "netns", self.engine, "type", "veth", "peer", "name", "router", "netns", self.servers)
        self.ip("-n", self.engine, "addr", "add", "198.51.100.2/30", "dev", "uplink")
        self.ip("-n", self.servers, "addr", "add", "198.51.100.1/30", "dev", "router")
        for address in ADDRESSES:
            self.ip("-n", self.servers, "addr", "add", f"{address}/32", "dev", "lo")
        self.ip("-n", self.engine, "link", "set", "uplink", "up")
        self.ip("-n", self.servers, "link", "set", "router", "up")
        self.ip("-n", self.engine, "route", "add", "default", "via", "198.51.100.1")
        self.settings.mkdir(parents=True)
        (self.settings / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in HOSTS.items()))
        (self.settings / "resolv.conf").write_text("nameserver 127.0.0.1\noptions attempts:1 timeout:1\n")
        self.files()
        self.process = subprocess.Popen(["ip", "netns", "exec", self.servers, sys.executable, __file__, "--serve", self.directory])
        while not (self.directory / "ready").exists():
            if self.process.poll() is not None:
                raise SystemExit("network_programs.py: the servers ended")
            time.sleep(0.05)
        return self

    def files(self):
        def run(*command, **more):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)

        www = self.directory / "www"
        www.mkdir()
        names = ",".join([f"DNS:{name}" for name in HOSTS] + [f"IP:{address}" for address in ADDRESSES])
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-addext", f"subjectAltName={names}", "-keyout", self.directory / "key.pem", "-out", self.directory / "cert.pem")  # fmt: skip
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.directory / "hostkey")
        source = self.directory / "repository"
        run("git", "init", "-b", "main", source)
        run("git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--allow-empty", "-m", "first", cwd=source)
        run("git", "clone", "--bare", source, www / "repository.git")
        run("git", "update-server-info", cwd=www / "repository.git")

    def log(self):
        log = self.directory / "log"
        return log.read_text().splitlines() if log.exists() else []

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            self.process.wait()
        for name in (self.engine, self.servers):
            subprocess.run(["ip", "netns", "delete", name], check=False)
        shutil.rmtree(self.settings, ignore_errors=True)


async def table(program, network, home, root, only):
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    import scenario

    environment = {**scenario.environment(home), "CONTREE_EGRESS_ALLOW": ALLOW, "CONTREE_EGRESS_DENY": DENY}
    command = StdioServerParameters(command="ip", args=["netns", "exec", network.engine, program], env=environment)
    wrong, shown = [], []
    async with Client(stdio_client(command)) as client:

        async def ok(tool, **arguments):
            result = await client.call_tool(tool, arguments)
            text = "".join(block.text for block in result.content if block.type == "text")
            if result.is_error:
                raise scenario.Difference(f"{tool}: {text}")
            return {"stdout": "", "stderr": "", "exit_code": None} | result.structured_content

        image = "tag:host"
        if root:
            image = (await ok("import_image", registry_url=f"rootfs:{root}", timeout=900))["result_image_uuid"]
        certificate = await ok("upload", path=str(network.directory / "cert.pem"))
        base = await ok("run", image=image, command="true", files={"/test/cert.pem": certificate["uuid"]}, disposable=False)
        image = base["result_image_uuid"]
        names = {name for name, in_host, _, _ in programs("x") if (root or in_host) and (not only or name in only)}
        which = {"java HttpClient": "java", "maven": "mvn", "node fetch": "node"}
        checks = "\n".join(f"command -v {which.get(name, name.split()[0].replace('python', 'python3'))} >/dev/null || echo '{name}'" for name in sorted(names))
        lacking = set((await ok("run", image=image, command=checks))["stdout"].split("\n")) - {""}
        for name in sorted(lacking):
            print(f"  NOT IN THE IMAGE: {name}", flush=True)
        if root and not only:
            wrong += [f"{name} is not in the image, so it was not checked" for name in sorted(lacking)]
        one_at_a_time = asyncio.Semaphore(4)

        async def one(name, target, allowed, line, expected, through):
            async with one_at_a_time:
                lines = "" if through == "proxy" else DIRECT
                before = len(network.log())
                done = await ok("run", image=image, command=lines + line, shell=True, timeout=180, truncate_output_at=60000)
                output, notice = done["stdout"] + done["stderr"], done["stderr"].strip().rsplit("\n", 1)[-1]
                works = expected in output
                if expected.startswith("log:"):
                    works = any(expected[4:] in entry for entry in network.log()[before:])
                denied = notice.startswith("contree: ") and "denied by the network policy" in notice and target in notice
                reason = REASON.search(output.replace(notice, "") if denied else output)
                good = works and not denied if allowed else denied and not works and reason
                result = "works" if works else f"fails: {reason.group(0)}" if reason else "fails without a reason"
                shown.append((name, through, target, result + (", and the result says why" if denied else "")))
                if not good:
                    wrong.append(f"{name} through the {through} to {target} ({TARGETS[target][0]}): {result}\n{output[-1500:]}")

        runs = []
        for target, (_, allowed) in TARGETS.items():
            for name, in_host, line, expected in programs(target):
                if name not in names - lacking or (name in SLOW and target in ("trap.example", "203.0.114.5")):
                    continue
                for through in ("proxy", "transparent network"):
                    runs.append(one(name, target, allowed, line, expected, through))
        await asyncio.gather(*runs)

        closed = await ok("run", image=image, command=f"python3 -c 'import socket; socket.create_connection((\"allowed.example\", {CLOSED}))'; python3 -c 'import socket; socket.getaddrinfo(\"missing.example\", 80)'")
        if "ConnectionRefusedError" not in closed["stderr"] or "gaierror" not in closed["stderr"]:
            wrong.append(f"a closed port, and a name that does not exist: {closed['stderr']}")
    reached = [entry for entry in network.log() if entry.split()[0] not in ("203.0.114.1", "203.0.114.4")]
    if reached:
        wrong.append(f"denied addresses were reached: {reached[:5]}")
    for name, through, target, result in sorted(shown):
        print(f"  {name:16} {through:20} {target:16} {result}")
    return wrong


COST = """import socket, time
def ask():
    start = time.perf_counter()
    s = socket.create_connection(('{host}', {echo})); took = time.perf_counter() - start
    s.sendall(b'x'); s.recv(100); s.close(); return took
ask(); times = sorted(ask() for _ in range(500))
print('{host}: median %.2f ms, 95 of 100 below %.2f ms' % (times[250] * 1e3, times[475] * 1e3))"""


async def cost(program, network, home):
    """Measures connections of the machine and of a sandbox, three times."""
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    import scenario

    command = StdioServerParameters(command="ip", args=["netns", "exec", network.engine, program], env=scenario.environment(home))
    script = {host: COST.format(host=host, echo=ECHO) for host in ("203.0.114.4", "allowed.example")}
    async with Client(stdio_client(command)) as client:
        for _ in range(3):
            machine = subprocess.run(["ip", "netns", "exec", network.engine, "python3", "-c", script["203.0.114.4"]], check=True, capture_output=True, text=True)
            print(f"  on this machine, {machine.stdout.strip()}", flush=True)
            for text in script.values():
                result = await client.call_tool("run", {"image": "tag:host", "command": "cat > /tmp/cost.py; python3 /tmp/cost.py", "stdin": text, "timeout": 300})
                print(f"  in a sandbox, {(result.structured_content or {}).get('stdout', '').strip()}", flush=True)
    return []


def main(program, root=None, *only):
    import scenario

    if root == "--cost":
        print("the cost of a connection", flush=True)
        with scenario.home() as home, tempfile.TemporaryDirectory(prefix="contree-np-") as directory, Network(pathlib.Path(directory)) as network:
            asyncio.run(cost(os.path.realpath(program), network, home))
        return False

    print("network programs of", f"{root}" if root else "tag:host", flush=True)
    with scenario.home() as home, tempfile.TemporaryDirectory(prefix="contree-np-") as directory, Network(pathlib.Path(directory)) as network:
        wrong = asyncio.run(table(os.path.realpath(program), network, home, root, only))
    for text in wrong:
        print(f"network_programs.py: {text}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    sys.exit(main(*sys.argv[1:]))
