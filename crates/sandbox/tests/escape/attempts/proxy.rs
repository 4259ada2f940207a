//! Attempts on the proxy that listens on the sandbox's loopback interface, and on side files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::{HostTargets, call_refused, holds, refused};

const BESIDE: &str = "/dev/side-files/beside";

pub(crate) fn all(outside: &HostTargets) {
    listener(outside);
    side_files();
}

/// Tells the test outside that no more connections follow.
pub(crate) fn over(outside: &HostTargets) {
    if let Ok(mut to) = TcpStream::connect(("127.0.0.1", outside.proxy)) {
        let _ = to.write_all(b"over");
    }
}

fn listener(outside: &HostTargets) {
    let port = outside.proxy;
    holds(
        "the proxy answers",
        ask(port).is_ok_and(|answer| answer == b"proxy"),
    );
    // No process inside can take the proxy's place.
    for address in ["127.0.0.1", "0.0.0.0", "::"] {
        refused(
            &format!("listen in place of the proxy at {address}"),
            TcpListener::bind((address, port)),
        );
    }
    refused("listen beside the proxy", reuse_port(port));
    // The same port at other addresses is not the proxy and leads nowhere.
    for address in ["::1", "127.0.0.2"] {
        refused(
            &format!("the proxy's port at {address}"),
            TcpStream::connect((address, port)),
        );
    }
    refused(
        "the proxy's port by UDP",
        UdpSocket::bind("127.0.0.1:0").and_then(|socket| {
            socket.connect(("127.0.0.1", port))?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            socket.send(b"x")?;
            socket.recv(&mut [0; 1])
        }),
    );
    // A connection to the proxy must not reveal the process at its other end.
    let connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut credentials = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both pointers are to live values of the right types.
    let result = unsafe {
        libc::getsockopt(
            connection.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    holds(
        "the proxy's process stays unknown",
        result < 0 || credentials.pid == 0,
    );
    call_refused!(
        "the network namespace of the proxy's connection",
        libc::SYS_ioctl,
        connection.as_raw_fd(),
        0x894c // SIOCGSKNS
    );
}

fn ask(port: u16) -> io::Result<Vec<u8>> {
    let mut to = TcpStream::connect(("127.0.0.1", port))?;
    to.write_all(b"hello")?;
    let mut answer = vec![0; 5];
    to.read_exact(&mut answer)?;
    Ok(answer)
}

fn reuse_port(port: u16) -> io::Result<()> {
    // SAFETY: the calls use our own descriptor and pointers to live values.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        let one: libc::c_int = 1;
        for option in [libc::SO_REUSEADDR, libc::SO_REUSEPORT] {
            libc::setsockopt(
                socket,
                libc::SOL_SOCKET,
                option,
                (&raw const one).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            );
        }
        let mut address: libc::sockaddr_in = std::mem::zeroed();
        address.sin_family = libc::AF_INET as libc::sa_family_t;
        address.sin_port = port.to_be();
        address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
        let bound = libc::bind(
            socket,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_in>() as libc::socklen_t,
        );
        let result = if bound == 0 && libc::listen(socket, 1) == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        };
        libc::close(socket);
        result
    }
}

/// Checks that commands inherit no descriptor of the listener or any other. It runs first, because
/// the probe makes sockets itself later.
pub(crate) fn descriptors() {
    let open: Vec<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    holds(
        &format!("no socket is inherited: {open:?}"),
        !open.iter().any(|target| target.starts_with("socket:")),
    );
    refused(
        "the descriptors of pid 1",
        fs::read_dir("/proc/1/fd").and_then(|mut all| {
            all.next()
                .unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
        }),
    );
}

fn side_files() {
    let mut text = String::new();
    let read = File::open(BESIDE).and_then(|mut file| file.read_to_string(&mut text));
    holds(
        "a side file can be read",
        read.is_ok() && text == "beside the image",
    );
    for path in [BESIDE, "/etc/resolv.conf"] {
        refused(
            &format!("write to {path}"),
            OpenOptions::new().write(true).open(path),
        );
        refused(&format!("remove {path}"), fs::remove_file(path));
        refused(&format!("rename {path}"), fs::rename(path, "/tmp/taken"));
        refused(
            &format!("change the mode of {path}"),
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)),
        );
    }
    refused("make a side file", File::create("/dev/side-files/new"));
    refused(
        "remove the directory of the side files",
        fs::remove_dir("/dev/side-files"),
    );
    refused(
        "rename the directory of the side files",
        fs::rename("/dev/side-files", "/dev/other"),
    );
    call_refused!(
        "unmount the side files",
        libc::SYS_umount2,
        c"/dev/side-files".as_ptr(),
        libc::MNT_DETACH
    );
    call_refused!(
        "make the side files writable",
        libc::SYS_mount,
        std::ptr::null::<libc::c_char>(),
        c"/dev/side-files".as_ptr(),
        std::ptr::null::<libc::c_char>(),
        libc::MS_REMOUNT | libc::MS_BIND,
        std::ptr::null::<libc::c_void>()
    );
}
