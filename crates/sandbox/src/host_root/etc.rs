//! Generated parts of the new root: directories, mount points, and an `/etc` without data of the
//! host.

use std::path::Path;

use super::plan::{Node, Plan};

const DIRECTORIES: &[(&str, u32)] = &[
    ("/dev", 0o755),
    ("/etc", 0o755),
    ("/home", 0o755),
    ("/mnt", 0o755),
    ("/opt", 0o755),
    ("/proc", 0o755),
    ("/root", 0o700),
    ("/run", 0o755),
    ("/srv", 0o755),
    ("/sys", 0o755),
    ("/tmp", 0o1777),
    ("/usr/local/bin", 0o755),
    ("/usr/local/lib", 0o755),
    ("/usr/local/share", 0o755),
    ("/var/cache", 0o755),
    ("/var/lib", 0o755),
    ("/var/log", 0o755),
    ("/var/tmp", 0o1777),
];

const FILES: &[(&str, &str)] = &[
    (
        "/etc/group",
        "root:x:0:\ndaemon:x:1:\ntty:x:5:\nusers:x:100:\nnogroup:x:65534:\n",
    ),
    (
        "/etc/hosts",
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
    ),
    (
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    ),
    (
        "/etc/profile",
        "export PATH=\"${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}\"\nif [ \"$(id -u)\" = 0 ]; then PS1='# '; else PS1='$ '; fi\n",
    ),
    ("/etc/resolv.conf", ""),
];

const LINKS: &[(&str, &str)] = &[("/etc/mtab", "/proc/self/mounts"), ("/var/run", "/run")];

/// Adds the generated parts to the plan.
pub(super) fn add(plan: &mut Plan) {
    for (path, mode) in DIRECTORIES {
        plan.add(Path::new(path), Node::Directory { mode: *mode });
    }
    for (path, text) in FILES {
        plan.add(Path::new(path), Node::Text(text.as_bytes().to_vec()));
    }
    for (path, target) in LINKS {
        plan.add(
            Path::new(path),
            Node::Symlink {
                target: target.into(),
            },
        );
    }
    let has_bash = ["/bin/bash", "/usr/bin/bash"]
        .iter()
        .any(|path| plan.contains(Path::new(path)));
    let shell = if has_bash { "/bin/bash" } else { "/bin/sh" };
    let passwd = format!(
        "root:x:0:0:root:/root:{shell}\ndaemon:x:1:1:daemon:/:/bin/false\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    );
    plan.add(Path::new("/etc/passwd"), Node::Text(passwd.into_bytes()));
}
