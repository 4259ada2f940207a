//! Attempts to pass the limit on the writable layer, and what a command sees at the limit.
//!
//! Every attempt writes at most a few hundred MiB, so that a hole shows as a failed check.

use contree_sandbox::Error;

use crate::layers::{MIB, OVERSHOOT, is_ended, limited, python};
use crate::support::only_flood_of_descriptors;

const LIMIT: u64 = 16 * MIB;

/// Functions for the scripts below.
const PRELUDE: &str = r#"
import ctypes, errno, os, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
def new(path):
    return os.open(path, os.O_CREAT | os.O_RDWR)
def fallocate(fd, length, offset=0, mode=0):
    return 0 if libc.fallocate(fd, mode, offset, length) == 0 else ctypes.get_errno()
def write(fd, mib):
    for _ in range(mib): os.write(fd, bytes(1 << 20))
"#;

/// A shell command that runs a Python script.
fn script(text: &str) -> String {
    format!("python3 - <<'END'\n{PRELUDE}\n{text}\nEND\n")
}

/// Runs a script that must go on to its end, and returns its output.
#[track_caller]
fn goes_on(text: &str) -> String {
    let (result, bytes) = limited(LIMIT, &script(text));
    assert!(bytes <= LIMIT, "{bytes}");
    let output = result.unwrap();
    assert_eq!(output.exit.code, Some(0), "{output:?}");
    output.stdout
}

#[test]
fn an_allocation_without_room_fails_and_the_command_goes_on() {
    if python() {
        let text = r#"
for mode in 0, 1, 16:
    print(fallocate(new("/large"), 8 << 30, mode=mode) == errno.ENOSPC)
open("/kept", "w").write("x" * 100000)
print(os.stat("/large").st_blocks, os.stat("/large").st_size)
"#;
        assert_eq!(goes_on(text), "True\nTrue\nTrue\n0 0\n");
    }
}

#[test]
fn allocations_fill_the_room_and_leave_some_for_the_rest() {
    if python() {
        let text = r#"
made = 0
while fallocate(new(f"/{made}"), 1 << 20) == 0: made += 1
print(10 < made < 17)
open("/kept", "w").write("x" * 100000)
"#;
        assert_eq!(goes_on(text), "True\n");
    }
}

#[test]
fn a_file_that_grows_by_allocations_reaches_the_room_and_no_more() {
    if python() {
        let text = r#"
file, made = new("/grows"), 0
while fallocate(file, 1 << 20, made << 20) == 0: made += 1
print(10 < made < 17, os.stat("/grows").st_size == made << 20)
print(fallocate(file, 10 << 20), fallocate(file, made << 20))
print(fallocate(file, 64 << 20) == errno.ENOSPC)
os.ftruncate(file, 0)
print(fallocate(file, 12 << 20))
"#;
        assert_eq!(goes_on(text), "True True\n0 0\nTrue\n0\n");
    }
}

#[test]
fn allocations_have_the_errors_and_results_of_the_kernel() {
    if python() {
        let text = r#"
import resource, signal
mib = 1 << 20
fd = new("/file")
print(fallocate(99, mib) == errno.EBADF)
print(fallocate(os.open("/file", os.O_RDONLY), mib) == errno.EBADF)
print(fallocate(os.pipe()[1], mib) == errno.ESPIPE)
print(fallocate(fd, mib, -1) == errno.EINVAL, fallocate(fd, -mib) == errno.EINVAL)
print(fallocate(fd, mib, mode=1), os.stat("/file").st_size, os.stat("/file").st_blocks >= 2048)
print(fallocate(fd, mib, mib), os.stat("/file").st_size == 2 * mib)
os.pwrite(fd, b"x" * 100, 0)
print(fallocate(fd, mib, mode=16), os.pread(fd, 4, 0))
memory = os.memfd_create("m")
print(fallocate(memory, 40 * mib), os.fstat(memory).st_size == 40 * mib)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3 * mib, 3 * mib))
print(fallocate(fd, 4 * mib) == errno.EFBIG, fallocate(fd, 3 * mib))
"#;
        assert_eq!(
            goes_on(text),
            "True\nTrue\nTrue\nTrue True\n0 0 True\n0 True\n0 b'\\x00\\x00\\x00\\x00'\n0 True\nTrue 0\n"
        );
    }
}

#[test]
fn a_signal_does_not_interrupt_an_allocation() {
    if python() {
        // Small allocations do not wait for the watcher. A large one is received before the first
        // signal, and takes longer than the time between two signals.
        let text = r#"
import signal
signals = 0
def count(*_):
    global signals
    signals += 1
signal.signal(signal.SIGALRM, count)
fd, memory = new("/file"), os.memfd_create("m")
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
print(all(fallocate(fd, 16384) == 0 for _ in range(5000)))
def large():
    signal.setitimer(signal.ITIMER_REAL, 0.03, 0.0005)
    result = fallocate(memory, 400 << 20)
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.ftruncate(memory, 0)
    return result
before = signals
# On a busy machine the watcher may receive a call late.
print(0 in (large() for _ in range(5)), signals > before)
"#;
        assert_eq!(goes_on(text), "True\nTrue True\n");
    }
}

#[test]
fn a_descriptor_that_is_exchanged_during_the_call_does_not_pass_the_limit() {
    if python() {
        let text = r#"
memory, disk, used = os.memfd_create("m"), new("/disk"), 200
os.dup2(memory, used)
stop = False
def exchange():
    while not stop: libc.dup2(disk, used); libc.dup2(memory, used)
threading.Thread(target=exchange, daemon=True).start()
end = time.monotonic() + 3
while time.monotonic() < end:
    fallocate(used, 200 << 20, mode=1)
    os.ftruncate(memory, 0)
stop = True
"#;
        goes_on(text);
    }
}

#[test]
fn requests_that_allocate_do_not_pass_the_limit() {
    if python() {
        let text = r#"
import fcntl
for request in 0x40305828, 0x4030582a, 0x40305839:
    try: fcntl.ioctl(new("/file"), request, struct.pack("hhqqiI4i", 0, 0, 0, 200 << 20, 0, 0, 0, 0, 0, 0))
    except OSError as error: print(error.errno == errno.EOPNOTSUPP)
"#;
        assert_eq!(goes_on(text), "True\nTrue\nTrue\n");
    }
}

#[test]
fn a_flood_of_allocations_does_not_keep_the_watcher_from_its_work() {
    if python() {
        let text = r#"
def flood(fd):
    while True: fallocate(fd, 1 << 20)
for fd in 99, os.pipe()[1], os.memfd_create("m"):
    for _ in range(4):
        if os.fork() == 0: flood(fd)
write(new("/written"), 300)
time.sleep(30)
"#;
        is_ended(LIMIT, &script(text));
    }
}

#[test]
fn a_file_that_a_large_write_locks_does_not_keep_the_watcher_from_its_work() {
    if python() {
        let text = r#"
fd, data = new("/written"), bytes(400 << 20)
if os.fork() == 0:
    while True: fallocate(fd, 1 << 20)
os.write(fd, data)
time.sleep(30)
"#;
        is_ended(LIMIT, &script(text));
    }
}

#[test]
fn a_tree_that_never_stops_changing_is_measured() {
    if python() {
        let text = r#"
def move(n):
    os.makedirs(f"/{n}/a/b/c"); os.makedirs(f"/{n}/z")
    while True:
        os.rename(f"/{n}/a/b", f"/{n}/z/b"); os.rename(f"/{n}/z/b", f"/{n}/a/b")
for n in range(6):
    if os.fork() == 0: move(n)
time.sleep(0.2)
write(new("/written"), 300)
time.sleep(30)
"#;
        is_ended(LIMIT, &script(text));
    }
}

#[test]
fn a_deleted_file_in_a_threads_own_descriptors_counts() {
    if python() {
        let text = r#"
def hide():
    libc.unshare(0x400)
    fd = new("/gone"); os.unlink("/gone"); write(fd, 300); time.sleep(30)
threading.Thread(target=hide).start()
"#;
        is_ended(LIMIT, &script(text));
    }
}

#[test]
fn a_deleted_file_counts_after_the_first_thread_has_ended() {
    if python() {
        let text = r#"
def hide():
    time.sleep(0.2)
    fd = new("/gone"); os.unlink("/gone"); write(fd, 300); time.sleep(30)
threading.Thread(target=hide).start()
libc.syscall(60 if os.uname().machine == "x86_64" else 93, 0)
"#;
        is_ended(LIMIT, &script(text));
    }
}

#[test]
fn deleted_files_that_wait_in_a_socket_end_the_sandbox() {
    if python() {
        let _flood = only_flood_of_descriptors();
        let text = r#"
a, b = socket.socketpair()
for _ in range(40):
    fd = new("/gone"); os.unlink("/gone"); write(fd, 8)
    socket.send_fds(a, [b"x"], [fd]); os.close(fd)
time.sleep(30)
"#;
        is_ended(LIMIT, &script(text));
    }
}

#[test]
fn a_measurement_leaves_processes_as_they_were() {
    if python() {
        // The last call needs an exact measurement, which pauses all processes.
        let text = r#"
import signal, subprocess
def state(process):
    return open(f"/proc/{process.pid}/stat").read().rsplit(")")[1].split()[0]
stopped, running = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
stopped.send_signal(signal.SIGSTOP)
while state(stopped) != "T": pass
write(new("/kept"), 9)
write(new("/removed"), 4); os.unlink("/removed")
os.closerange(3, 64)
print(fallocate(new("/new"), 5 << 20))
while state(running) != "S": pass
print(state(stopped))
stopped.kill(); running.kill()
"#;
        assert_eq!(goes_on(text), "0\nT\n");
    }
}

#[test]
fn too_many_files_end_the_sandbox() {
    if python() {
        let text = r#"
os.mkdir("/many")
for n in range(40000): os.close(new(f"/many/{n}"))
time.sleep(30)
"#;
        let (result, bytes) = limited(LIMIT, &script(text));
        match result {
            Err(Error::LayerTooManyFiles {
                files,
                limit: 10_000,
                max_layer_bytes: LIMIT,
            }) => assert!(files > 10_000, "{files}"),
            other => panic!("{other:?}"),
        }
        assert!(bytes < LIMIT + OVERSHOOT, "{bytes}");
    }
}

#[test]
fn as_many_files_as_the_limit_allows_are_kept() {
    let (result, _) = limited(
        64 * MIB,
        "mkdir /d; cd /d; seq 9900 | xargs touch; ls | wc -l",
    );
    assert_eq!(result.unwrap().stdout, "9900\n");
}
