//! Tests of the host layer: each program that is installed here works in a sandbox as outside.

use std::path::Path;

use crate::support::{output, shell, start};

/// Runs the script if the program is installed here, and returns its output.
fn with(program: &str, script: &str) -> Option<String> {
    let installed = ["/usr/bin", "/bin"]
        .iter()
        .any(|directory| Path::new(directory).join(program).exists());
    if !installed {
        println!("not tried: {program} is not installed here");
        return None;
    }
    let (_run, sandbox) = start();
    let done = output(&sandbox, &shell(script));
    assert_eq!(done.exit.code, Some(0), "{script}: {done:?}");
    sandbox.finish(false).unwrap();
    Some(done.stdout)
}

#[test]
fn python_has_its_library_and_certificates() {
    let imports =
        "import asyncio, bz2, ctypes, hashlib, json, lzma, sqlite3, ssl, subprocess, zlib";
    let checks = "assert sqlite3.connect(':memory:').execute('select 6*7').fetchone() == (42,)
ctypes.CDLL('libc.so.6')
assert subprocess.check_output(['echo', 'x']) == b'x\\n'
print(len(ssl.create_default_context().get_ca_certs()))";
    let Some(certificates) = with("python3", &format!("python3 -c \"{imports}\n{checks}\"")) else {
        return;
    };
    if Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
        let count: u32 = certificates.trim().parse().unwrap();
        assert!(count > 50, "only {count} certificates");
    }
}

#[test]
fn every_extension_module_of_python_loads() {
    let script = "import importlib, os, sys, sysconfig
place = sysconfig.get_config_var('DESTSHARED')
failed = []
for name in sorted(os.listdir(place)):
    if name.endswith('.so'):
        try:
            importlib.import_module(name.split('.')[0])
        except Exception as error:
            failed.append((name, error))
print(failed, file=sys.stderr)
sys.exit(len(failed))";
    with("python3", &format!("python3 -c \"{script}\""));
}

#[test]
fn python_uses_the_calls_of_many_programs() {
    let script = "import asyncio, mmap, multiprocessing, os, select, signal, socket, threading
one, two = socket.socketpair()
one.send(b'x')
poll = select.epoll()
poll.register(two)
assert poll.poll(60)
with multiprocessing.Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
async def echo(reader, writer):
    writer.write(await reader.read(1))
    writer.close()
async def exchange():
    server = await asyncio.start_server(echo, '127.0.0.1', 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b'y')
    assert await reader.read() == b'y'
    process = await asyncio.create_subprocess_exec('true')
    assert await process.wait() == 0
asyncio.run(exchange())
assert 'lo' in [name for _, name in socket.if_nameindex()]
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE).close()
memory = os.memfd_create('memory')
os.truncate(memory, 4096)
mmap.mmap(memory, 4096).close()
os.sched_setaffinity(0, os.sched_getaffinity(0))
process = os.pidfd_open(os.getpid())
signal.pidfd_send_signal(process, 0)
signal.setitimer(signal.ITIMER_REAL, 1000)
os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + 1)
os.sendfile(memory, os.open('/etc/passwd', os.O_RDONLY), 0, 1)
os.posix_fadvise(memory, 0, 0, os.POSIX_FADV_WILLNEED)
os.sync()
thread = threading.Thread(target=os.getloadavg)
thread.start()
thread.join()
master, other = os.openpty()
os.get_terminal_size(master)";
    with("python3", &format!("python3 -c \"{script}\""));
}

#[test]
fn importing_a_compiled_module_changes_nothing() {
    let compiled = "python3 -B -c 'import json, os; print(os.path.exists(json.__cached__))'";
    if with("python3", compiled).as_deref() != Some("True\n") {
        println!("not tried: Python's library is not compiled here");
        return;
    }
    let (_run, sandbox) = start();
    let done = output(&sandbox, &shell("python3 -c 'import json, subprocess'"));
    assert_eq!(done.exit.code, Some(0), "{done:?}");
    assert_eq!(sandbox.finish(true).unwrap().changed, Some(false));
}

#[test]
fn git_makes_clones_and_reads_repositories() {
    let script = "set -e
export HOME=/tmp
git config --global user.name Somebody
git config --global user.email somebody@example.org
git init -q -b main /tmp/one
cd /tmp/one
echo content > file
git add file
git commit -qm 'A commit'
git clone -q /tmp/one /tmp/two
git -C /tmp/two log --format=%s
git ls-remote https://127.0.0.1:9/ 2>&1 | grep -ci 'connect' >&2
git -C /tmp/two submodule status";
    assert_eq!(
        with("git", script).as_deref().unwrap_or("A commit\n"),
        "A commit\n"
    );
}

#[test]
fn tools_for_archives_text_and_processes_work() {
    let script = "set -e
cd /tmp
mkdir tree
seq 10 > tree/numbers
tar czf tree.tar.gz tree
tar tzf tree.tar.gz | sort | tail -1
find tree -name 'n*' | xargs grep -c 1
awk '{ sum += $1 } END { print sum }' tree/numbers
sed -n 's/^7$/seven/p' tree/numbers
seq 11 | diff tree/numbers - || true
sleep 5 &
sha256sum < /dev/null | cut -c 1-8";
    let Some(printed) = with("awk", script) else {
        return;
    };
    assert_eq!(
        printed,
        "tree/numbers\n2\n55\nseven\n10a11\n> 11\ne3b0c442\n"
    );
}

#[test]
fn ps_shows_the_processes_of_the_sandbox_alone() {
    if let Some(printed) = with("ps", "ps -e -o pid= | wc -l") {
        let count: u32 = printed.trim().parse().unwrap();
        assert!((3..=5).contains(&count), "{count} processes");
    }
}

#[test]
fn curl_speaks_tls() {
    if let Some(printed) = with(
        "curl",
        "curl --version; curl -sS https://127.0.0.1:9/ 2>&1; true",
    ) {
        assert!(printed.contains("https"), "{printed}");
        assert!(
            printed.contains("(7)"),
            "nobody answers on loopback: {printed}"
        );
    }
}
