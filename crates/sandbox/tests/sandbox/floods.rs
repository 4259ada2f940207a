//! Floods of resources that the kernel counts for a user of this machine, across sandboxes. They
//! must leave enough to other sandboxes and to the user's own programs.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IoSlice, Read};
use std::mem::{MaybeUninit, zeroed};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::process::exit;

use contree_sandbox::{Command, FileCopy, SandboxSpec};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::proof;
use crate::support::*;

/// The variable that tells this program, started again, what to do.
const ROLE: &str = "CONTREE_TEST_FLOOD";
/// The path of this program in a sandbox.
const PROGRAM: &str = "/flood";
/// The most descriptors that one message carries.
const MESSAGE_DESCRIPTORS: usize = 253;
/// The limit of descriptors of most programs.
const USUAL_DESCRIPTORS: u64 = 1024;
/// How often a user's program tries to pass a descriptor. Starts of sandboxes in other tests also
/// have descriptors in flight, but only for a moment.
const MAX_TRIES: usize = 10_000;
/// The bounds of the floods, beyond every limit that a sandbox should have.
const MAX_DESCRIPTORS_IN_FLIGHT: usize = 100_000;
const MAX_INSTANCES: usize = 300;
const MAX_TIMERS: usize = 150_000;
const MAX_SIGNALS: usize = 1000;
const MAX_QUEUES: usize = 64;
const MAX_SEGMENTS: usize = 512;
/// The size of one locked segment of shared memory.
const SEGMENT_BYTES: usize = 64 << 10;

/// The work of this program when it is started again. As a test by itself it does nothing.
#[test]
fn program() {
    match std::env::var(ROLE).as_deref() {
        Ok("attack") => attack(),
        Ok("attack inotify") => attack_inotify(),
        Ok("use") => use_resources(false),
        Ok("use inside") => use_resources(true),
        _ => {}
    }
}

/// Takes as much of each resource as it gets, reports it, and keeps it until the input ends.
fn attack() {
    prove_that_this_is_a_sandbox();
    // Everything taken is kept in here.
    let mut kept = Vec::new();
    report("descriptors", descriptors_in_flight(&mut kept));
    report("inotify", flood(MAX_INSTANCES, |_| inotify(&mut kept)));
    report("fanotify", flood(MAX_INSTANCES, |_| fanotify(&mut kept)));
    block_signal();
    report("signals", flood(MAX_SIGNALS, |_| queue_signal()));
    report("timers", flood(MAX_TIMERS, |_| make_timer().map(drop)));
    report("queues", flood(MAX_QUEUES, |n| open_queue(n, &mut kept)));
    report("locked", flood(MAX_SEGMENTS, |_| lock_segment().map(drop)));
    keep_until_the_end(kept);
}

/// Takes as many inotify instances as one user gets.
fn attack_inotify() {
    prove_that_this_is_a_sandbox();
    let mut kept = Vec::new();
    report("inotify", flood(MAX_INSTANCES, |_| inotify(&mut kept)));
    keep_until_the_end(kept);
}

/// Keeps what was taken until the input ends. The output is closed by then.
fn keep_until_the_end(kept: Vec<OwnedFd>) -> ! {
    println!("\nflooded");
    let _ = io::stdin().read_to_end(&mut Vec::new());
    drop(kept);
    exit(0);
}

/// Uses a little of each resource and reports every refusal. The attacked sandbox and this process
/// charge the same user.
fn use_resources(inside: bool) {
    let mut kept = Vec::new();
    let soft = getrlimit(Resource::Nofile);
    let usual = Rlimit {
        current: soft.current.map(|limit| limit.min(USUAL_DESCRIPTORS)),
        maximum: soft.maximum,
    };
    setrlimit(Resource::Nofile, usual).unwrap();
    // Sandboxes of one user share a count of descriptors in flight.
    if !inside {
        result("descriptors", pass_descriptor());
        result("aio", use_aio());
    }
    result("inotify", inotify(&mut kept));
    result("fanotify", fanotify(&mut kept));
    block_signal();
    result("signals", queue_signal());
    result("timers", make_timer().map(drop));
    result("queues", open_queue(0, &mut kept));
    if !inside {
        remove_queue(0);
    }
    result("locked", lock_segment().map(remove_segment));
    println!("\nused");
}

/// Ends the process unless floods are harmless here: in a sandbox with loopback alone, whose user
/// namespace does not belong to this machine's root.
fn prove_that_this_is_a_sandbox() {
    let contradiction = proof::contradiction();
    let namespace = File::open("/proc/self/ns/user").unwrap();
    // An owner without an id inside, such as this machine's root, shows as nobody.
    let mut owner: libc::uid_t = 65_534;
    let request = 0xb704_u32; // NS_GET_OWNER_UID
    // SAFETY: the request writes one id to the live variable.
    let result = unsafe { libc::ioctl(namespace.as_raw_fd(), request as _, &raw mut owner) };
    if contradiction.is_some() || result != 0 || owner == 65_534 {
        println!("\nunsafe: {contradiction:?}, owner {owner}");
        exit(2);
    }
}

/// Repeats an action until it is refused or the bound is reached. Returns the number of successes
/// and the error number of the refusal.
fn flood(bound: usize, mut action: impl FnMut(usize) -> io::Result<()>) -> (usize, i32) {
    for count in 0..bound {
        if let Err(error) = action(count) {
            return (count, error.raw_os_error().unwrap_or(-1));
        }
    }
    (bound, 0)
}

fn report(name: &str, (count, errno): (usize, i32)) {
    println!("\nflood {name} {count} {errno}");
}

fn result(name: &str, result: io::Result<()>) {
    if let Err(error) = result {
        println!("\nrefused {name}: {error}");
    }
}

fn call(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

/// Sends copies of one descriptor in one message. A socket would begin a cycle for the kernel's
/// collector.
fn send_descriptors(socket: &OwnedFd, count: usize) -> io::Result<()> {
    let file = File::open("/dev/null")?;
    let files = vec![file.as_fd(); count];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
    sendmsg(
        socket,
        &[IoSlice::new(b"x")],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Passes a descriptor from one socket to another.
fn pass_descriptor() -> io::Result<()> {
    let (from, _to) = pair();
    let mut tries = 1;
    loop {
        match send_descriptors(&from, 1) {
            Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) && tries < MAX_TRIES => {
                tries += 1;
                std::thread::yield_now();
            }
            other => return other,
        }
    }
}

fn descriptors_in_flight(kept: &mut Vec<OwnedFd>) -> (usize, i32) {
    let mut sent = 0;
    let (mut from, mut to) = pair();
    while sent < MAX_DESCRIPTORS_IN_FLIGHT {
        match send_descriptors(&from, MESSAGE_DESCRIPTORS) {
            Ok(()) => sent += MESSAGE_DESCRIPTORS,
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                kept.extend([from, to]);
                (from, to) = pair();
            }
            Err(error) => {
                kept.extend([from, to]);
                return (sent, error.raw_os_error().unwrap_or(-1));
            }
        }
    }
    kept.extend([from, to]);
    (sent, 0)
}

fn keep(kept: &mut Vec<OwnedFd>, result: libc::c_long) -> io::Result<()> {
    let fd = i32::try_from(call(result)?).unwrap();
    // SAFETY: the kernel has just returned this descriptor, which has no other owner.
    kept.push(unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) });
    Ok(())
}

fn inotify(kept: &mut Vec<OwnedFd>) -> io::Result<()> {
    // SAFETY: the call has plain numbers as arguments.
    keep(kept, unsafe {
        libc::syscall(libc::SYS_inotify_init1, libc::IN_CLOEXEC)
    })
}

fn fanotify(kept: &mut Vec<OwnedFd>) -> io::Result<()> {
    let flags = libc::FAN_CLASS_NOTIF | libc::FAN_REPORT_FID | libc::FAN_CLOEXEC;
    // SAFETY: the call has plain numbers as arguments.
    let result = unsafe { libc::syscall(libc::SYS_fanotify_init, flags, libc::O_RDONLY) };
    match keep(kept, result) {
        // Kernels before 5.13 have no fanotify for ordinary users.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => Ok(()),
        other => other,
    }
}

fn test_signal() -> i32 {
    libc::SIGRTMIN() + 3
}

/// Blocks the signal in this thread, so that it stays in the queue.
fn block_signal() {
    // SAFETY: sigemptyset initialises the set before it is used.
    unsafe {
        let mut set = zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, test_signal());
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Queues a signal for this thread.
fn queue_signal() -> io::Result<()> {
    // SAFETY: zero is a valid siginfo. The kernel copies it during the call.
    let result = unsafe {
        let mut info: libc::siginfo_t = zeroed();
        info.si_code = libc::SI_QUEUE;
        libc::syscall(
            libc::SYS_rt_tgsigqueueinfo,
            libc::getpid(),
            libc::gettid(),
            test_signal(),
            &raw const info,
        )
    };
    call(result).map(drop)
}

/// Makes a timer that never expires. It takes a place in the queue of signals.
fn make_timer() -> io::Result<i32> {
    let mut timer = 0_i32;
    // SAFETY: zero is a valid sigevent. Both pointers are to live values of the right types.
    let result = unsafe {
        let mut event: libc::sigevent = zeroed();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = test_signal();
        libc::syscall(
            libc::SYS_timer_create,
            libc::CLOCK_MONOTONIC,
            &raw const event,
            &raw mut timer,
        )
    };
    call(result).map(|_| timer)
}

fn queue_name(number: usize) -> std::ffi::CString {
    std::ffi::CString::new(format!("contree-{}-{number}", std::process::id())).unwrap()
}

/// Opens a message queue of the default size.
fn open_queue(number: usize, kept: &mut Vec<OwnedFd>) -> io::Result<()> {
    let name = queue_name(number);
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: the name is alive. A null pointer selects the default attributes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mq_open,
            name.as_ptr(),
            flags,
            0o600,
            std::ptr::null::<u8>(),
        )
    };
    keep(kept, result)
}

fn remove_queue(number: usize) {
    let name = queue_name(number);
    // SAFETY: the name is alive.
    unsafe { libc::syscall(libc::SYS_mq_unlink, name.as_ptr()) };
}

/// Makes a segment of shared memory and locks it.
fn lock_segment() -> io::Result<i32> {
    // SAFETY: the calls have plain numbers and a null pointer as arguments.
    unsafe {
        let segment = libc::shmget(libc::IPC_PRIVATE, SEGMENT_BYTES, libc::IPC_CREAT | 0o600);
        call(segment.into())?;
        match call(libc::shmctl(segment, libc::SHM_LOCK, std::ptr::null_mut()).into()) {
            Ok(_) => Ok(segment),
            Err(error) => {
                remove_segment(segment);
                Err(error)
            }
        }
    }
}

fn remove_segment(segment: i32) {
    // SAFETY: the call has plain numbers and a null pointer as arguments.
    unsafe { libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut()) };
}

/// Makes and removes a context of asynchronous I/O.
fn use_aio() -> io::Result<()> {
    let mut context: libc::c_ulong = 0;
    // SAFETY: the pointer is to a live context.
    call(unsafe { libc::syscall(libc::SYS_io_setup, 1, &raw mut context) })?;
    // SAFETY: the context was made just now.
    call(unsafe { libc::syscall(libc::SYS_io_destroy, context) }).map(drop)
}

/// The description of a sandbox that has this program.
fn spec_with_program() -> SandboxSpec {
    let source = format!("files/flood-{}", fresh());
    let copy = store().root().join(&source);
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, PermissionsExt::from_mode(0o644)).unwrap();
    SandboxSpec {
        files: vec![FileCopy {
            source: source.into(),
            path: PROGRAM.into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        }],
        // The watcher of the layer gets descriptors from pid 1.
        max_layer_bytes: Some(4 << 30),
        ..spec()
    }
}

const ARGUMENTS: [&str; 3] = ["--exact", "floods::program", "--nocapture"];

fn program_as(role: &str) -> Command {
    let mut command = command(PROGRAM, &ARGUMENTS);
    command.env.push((ROLE.into(), role.into()));
    command
}

/// Waits until a flood is complete, and returns its reports.
fn wait_for_flood(stdout: OwnedFd) -> Vec<String> {
    let mut reports = Vec::new();
    for line in BufReader::new(File::from(stdout)).lines() {
        let line = line.unwrap();
        if line == "flooded" {
            return reports;
        }
        if line.starts_with("flood ") || line.starts_with("unsafe") {
            reports.push(line);
        }
    }
    panic!("the flood ended early: {reports:?}");
}

/// Uses each resource as the engine's user, outside of every sandbox.
fn assert_the_user_is_unharmed() {
    let user = std::process::Command::new(std::env::current_exe().unwrap())
        .args(ARGUMENTS)
        .env(ROLE, "use")
        .output()
        .unwrap();
    assert_nothing_refused(&String::from_utf8_lossy(&user.stdout));
}

/// Checks the output of [`use_resources`].
fn assert_nothing_refused(output: &str) {
    assert!(output.contains("\nused\n"), "{output}");
    assert!(!output.contains("refused "), "{output}");
}

#[test]
fn floods_leave_other_sandboxes_and_the_engines_user_unharmed() {
    let _flood = only_flood_of_descriptors();
    let spec = spec_with_program();
    let (attacked_run, attacked) = start_with(&spec);
    let process = attacked.exec(&program_as("attack")).unwrap();
    let floods = wait_for_flood(process.stdout);
    // The floods took effect.
    for name in [
        "descriptors",
        "inotify",
        "signals",
        "timers",
        "queues",
        "locked",
    ] {
        let start = format!("flood {name} ");
        let flood = floods.iter().find_map(|line| line.strip_prefix(&start));
        let count = flood.and_then(|flood| flood.split(' ').next());
        assert_ne!(count.unwrap_or("0"), "0", "{name}: {floods:?}");
    }
    println!("{floods:#?}");
    // The engine still passes descriptors to and from the flooded sandbox.
    assert_eq!(output(&attacked, &shell("echo on")).stdout, "on\n");
    // Together with these, more descriptors are in flight than the user's programs may have.
    let (from, to) = pair();
    send_descriptors(&from, MESSAGE_DESCRIPTORS).unwrap();
    let (other_run, other) = start_with(&spec);
    assert_eq!(output(&other, &shell("echo other")).stdout, "other\n");
    drop((from, to));
    assert_nothing_refused(&output(&other, &program_as("use inside")).stdout);
    assert_the_user_is_unharmed();
    drop(process.stdin);
    assert_eq!(process.exit.blocking_recv().unwrap().code, Some(0));
    for (sandbox, run) in [(attacked, attacked_run), (other, other_run)] {
        sandbox.finish(false).unwrap();
        store().remove_run(run.name()).unwrap();
    }
}

#[test]
fn floods_of_several_users_inside_leave_the_engines_user_unharmed() {
    if store().id_map().is_single() {
        return;
    }
    let _flood = only_flood_of_descriptors();
    let (run, sandbox) = start_with(&spec_with_program());
    let mut processes = Vec::new();
    let mut reports = Vec::new();
    for uid in 0..10 {
        let mut command = program_as("attack inotify");
        (command.uid, command.gid) = (uid, uid);
        let process = sandbox.exec(&command).unwrap();
        reports.extend(wait_for_flood(process.stdout));
        processes.push((process.stdin, process.exit));
    }
    println!("{reports:#?}");
    assert_ne!(reports[0], "flood inotify 0 24");
    assert_the_user_is_unharmed();
    for (stdin, exit) in processes {
        drop(stdin);
        assert_eq!(exit.blocking_recv().unwrap().code, Some(0));
    }
    sandbox.finish(false).unwrap();
    store().remove_run(run.name()).unwrap();
}

#[test]
fn commands_have_fewer_descriptors_than_pid_1() {
    let (run, sandbox) = start();
    let script = "ulimit -Sn; ulimit -Hn; grep '^Max open files' /proc/1/limits";
    let done = output(&sandbox, &shell(script));
    let mut lines = done.stdout.lines();
    let limits: Vec<u64> = lines
        .by_ref()
        .take(2)
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(limits[0], limits[1], "{done:?}");
    // A user's own programs usually have a limit of 1,024.
    let charged = rustix::process::geteuid().is_root();
    assert!(charged || limits[0] + 253 <= USUAL_DESCRIPTORS, "{done:?}");
    let of_pid1: u64 = lines
        .next()
        .and_then(|line| line.split_whitespace().nth(3))
        .unwrap()
        .parse()
        .unwrap();
    assert!(of_pid1 >= 2 * limits[0], "{done:?}");
    sandbox.finish(false).unwrap();
    store().remove_run(run.name()).unwrap();
}

#[test]
fn notifications_of_files_are_shared_out() {
    let (run, sandbox) = start();
    let script = "cd /proc/sys; \
        cat user/max_inotify_instances fs/inotify/max_user_instances \
            user/max_inotify_watches fs/inotify/max_user_watches";
    let done = output(&sandbox, &shell(script));
    let limits: Vec<u64> = done
        .stdout
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    // Root's sandboxes have owners of their own, to which nothing else is charged.
    if !rustix::process::geteuid().is_root() {
        for limit in limits.chunks(2) {
            assert_eq!(limit[0], limit[1] / 8, "{done:?}");
        }
    }
    assert_eq!(limits.len(), 4, "{done:?}");
    sandbox.finish(false).unwrap();
    store().remove_run(run.name()).unwrap();
}
