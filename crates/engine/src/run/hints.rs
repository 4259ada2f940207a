//! Hints about failures that a sandbox causes, recognized by the command's exit and output.
//!
//! A hint is a sentence: the cause, then what to do. It is about what programs report in the same
//! words on every system. If a failure also has other causes, the hint names its condition.

use contree_sandbox::Step;
use rustix::io::Errno;
use rustix::process::Signal;

/// The end of a command, with its output.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CommandEnd<'a> {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    /// The end of standard error, and of standard output too if the command failed. Many scripts
    /// send both streams to one.
    pub(super) output: &'a str,
    /// True if the sandbox has a single user id.
    pub(super) single_id: bool,
}

/// The exit code of a shell whose command cannot be executed (POSIX.1-2017, XCU 2.8.2).
const NOT_EXECUTABLE: i32 = 126;

/// Parts of error messages, in lower case, about actions that need a second user id.
const OWNERSHIP_WORDS: &[&str] = &[
    "chown",
    "ownership",
    "changing group",
    "setgroups",
    "set groups",
    "initgroups",
    "supplementary group",
    "setgid",
    "setuid",
    "setegid",
    "seteuid",
    "setregid",
    "setreuid",
    "setresgid",
    "setresuid",
    "set user id",
    "set group id",
    "set uid",
    "set gid",
    "change user",
    "change to user",
    "change to runas",
    "switch user",
    "switching to",
    "drop privileges",
    "dropping privileges",
];

/// The errors with which the kernel refuses such actions, in lower case.
const REFUSALS: &[&str] = &["invalid argument", "operation not permitted"];

/// The number of lines after an action that may have its error: a traceback shows the call first.
const LINES_TO_REFUSAL: usize = 3;

const SINGLE_ID: &str = "this sandbox has a single user id, so files in it cannot belong to another user and processes cannot change theirs: \
    install newuidmap (Debian: uidmap), give this machine's user entries in /etc/subuid and /etc/subgid, and use a new data directory \
    (CONTREE_DATA_DIR)";

const DIRECTORY_OF_THE_IMAGE: &str = "a directory that the image already has cannot be renamed by a single system call, which is a limit of overlayfs: \
    rename it with `mv`, which copies it (for git: `mv OLD NEW`, then `git add -A`)";

const HARD_LINK: &str = "a hard link to a file that the image already has shows another inode number than the file, which is a limit of overlayfs: \
    clone with `git clone --no-hardlinks`";

const FILE_CAPABILITY: &str = "the kernel does not start a program whose file has capabilities that sandboxes lack, such as CAP_NET_RAW of ping \
    (`getcap FILE` shows them): run a copy, made with `cp`, which has none";

const OTHER_ARCHITECTURE: &str = "the file is a program for another processor or a 32-bit one, or a script without a `#!` line: `file FILE` shows which; \
    use a build for this machine, or start the script with its interpreter";

const SEGMENTATION_FAULT: &str = "if the program that ended with SIGSEGV is a 32-bit one (`file FILE` shows it), use its 64-bit build: \
    sandboxes have no 32-bit system calls";

const TERMINALS: &str =
    "a sandbox has at most 256 terminals, and all are in use: end programs in it that hold some";

const BUS_ERROR: &str = "a program ends with SIGBUS if /dev/shm, whose size is limited, is full: `df /dev/shm` shows its size; use less shared memory, \
    let the program put it into a directory such as /tmp, or start the engine with a larger CONTREE_SHM_SIZE";

/// The hints for a command that has ended.
pub(super) fn of_end(end: CommandEnd<'_>) -> Vec<&'static str> {
    let output = end.output.to_lowercase();
    let mut hints = Vec::new();
    if end.single_id && reports_missing_ids(&output) {
        hints.push(SINGLE_ID);
    }
    if output.contains("hardlink different from source") {
        hints.push(HARD_LINK);
    }
    if output.lines().any(is_failed_rename) {
        hints.push(DIRECTORY_OF_THE_IMAGE);
    }
    let is_denied = end.code == Some(NOT_EXECUTABLE) && output.contains("operation not permitted");
    if is_denied || output.lines().any(is_denied_start) {
        hints.push(FILE_CAPABILITY);
    }
    if output.contains("exec format error") {
        hints.push(OTHER_ARCHITECTURE);
    }
    if end.is_killed_by(Signal::BUS) || output.lines().any(lacks_shared_memory) {
        hints.push(BUS_ERROR);
    }
    // A program of another architecture cannot even write an error.
    let has_fault = end.is_killed_by(Signal::SEGV) || output.contains("segmentation fault");
    if has_fault && output.lines().all(is_report_of_a_fault) {
        hints.push(SEGMENTATION_FAULT);
    }
    hints
}

/// The hint for a program that could not be started.
pub(super) fn of_start(step: Step, error: &std::io::Error) -> Option<&'static str> {
    let errno = Errno::from_io_error(error)?;
    if step == Step::Terminal {
        return (errno == Errno::NOSPC).then_some(TERMINALS);
    }
    if step != Step::Execute {
        return None;
    }
    match errno {
        Errno::PERM => Some(FILE_CAPABILITY),
        Errno::NOEXEC => Some(OTHER_ARCHITECTURE),
        _ => None,
    }
}

impl CommandEnd<'_> {
    /// Returns true if a signal ended the command, or the last command of a shell.
    fn is_killed_by(&self, signal: Signal) -> bool {
        let signal = signal.as_raw();
        self.signal == Some(signal) || self.code == Some(128 + signal)
    }
}

/// Returns true if the output reports an action that the kernel refused for lack of user ids.
fn reports_missing_ids(output: &str) -> bool {
    let lines: Vec<&str> = output.lines().collect();
    lines.iter().enumerate().any(|(index, line)| {
        OWNERSHIP_WORDS.iter().any(|word| line.contains(word))
            && lines[index..]
                .iter()
                .take(LINES_TO_REFUSAL)
                .any(|line| REFUSALS.iter().any(|error| line.contains(error)))
    })
}

/// Returns true if a line is the report of a shell that could not start a program, in a script that
/// may have gone on: `sh: 1: ping: Operation not permitted`, `bash: line 1: …`.
fn is_denied_start(line: &str) -> bool {
    let parts: Vec<&str> = line.trim_end().split(": ").collect();
    let [_, place, program, "operation not permitted"] = parts[..] else {
        return false;
    };
    let number = place.strip_prefix("line ").unwrap_or(place);
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    // Commands of the shell itself report in the same form.
    let is_builtin = ["kill", "ulimit", "cd", "umask"].contains(&program);
    is_number && !is_builtin && !program.contains(' ')
}

/// Returns true if a line reports a rename that overlayfs refused, and not one between /dev/shm and
/// the image.
fn is_failed_rename(line: &str) -> bool {
    line.contains("cross-device link") && !line.contains("/dev/")
}

/// Returns true if a line reports that a program found no room for shared memory.
fn lacks_shared_memory(line: &str) -> bool {
    let names_memory = line.contains("shared memory") || line.contains("/dev/shm");
    line.contains("bus error") || (line.contains("no space left on device") && names_memory)
}

/// Returns true if a shell wrote the line about a program that ended with SIGSEGV.
fn is_report_of_a_fault(line: &str) -> bool {
    line.trim().is_empty() || line.contains("segmentation fault")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_output(output: &str) -> Vec<&'static str> {
        of_end(CommandEnd {
            code: Some(1),
            output,
            ..CommandEnd::default()
        })
    }

    fn of_exit(code: Option<i32>, signal: Option<i32>, output: &str) -> Vec<&'static str> {
        of_end(CommandEnd {
            code,
            signal,
            output,
            single_id: false,
        })
    }

    #[test]
    fn a_directory_that_cannot_be_renamed_has_a_hint() {
        for line in [
            "fatal: renaming 'd' failed: Invalid cross-device link",
            "OSError: [Errno 18] Invalid cross-device link: 'd' -> 'e'",
            "Error: EXDEV: cross-device link not permitted, rename 'd' -> 'e'",
            "rename d e: invalid cross-device link",
            "os.rename: [Errno 18] Cross-device link: 'd' -> 'e'",
        ] {
            assert_eq!(of_output(line), [DIRECTORY_OF_THE_IMAGE], "{line}");
        }
        let between = "OSError: [Errno 18] Invalid cross-device link: '/dev/shm/d' -> '/d'";
        assert_eq!(of_output(between), [""; 0]);
        let clone = "fatal: hardlink different from source at '/copy/.git/objects/pack/x.pack'";
        assert_eq!(of_output(clone), [HARD_LINK]);
    }

    #[test]
    fn programs_that_cannot_be_executed_have_a_hint() {
        let denied = "/bin/sh: 1: ping: Operation not permitted";
        assert_eq!(of_exit(Some(126), None, denied), [FILE_CAPABILITY]);
        // A script continues after such a command.
        for line in [
            denied,
            "bash: line 12: /usr/bin/ping: Operation not permitted",
        ] {
            for code in [0, 1] {
                let output = format!("before\n{line}\nafter\n");
                assert_eq!(of_exit(Some(code), None, &output), [FILE_CAPABILITY]);
            }
        }
        for other in [
            "sh: 1: kill: Operation not permitted",
            "bash: line 1: kill: (1) - Operation not permitted",
            "rm: cannot remove '/x': Operation not permitted",
            "x: y: z: Operation not permitted",
        ] {
            assert_eq!(of_exit(Some(1), None, other), [""; 0], "{other}");
        }
        let format = "bash: line 1: ./tool: cannot execute binary file: Exec format error";
        assert_eq!(of_exit(Some(126), None, format), [OTHER_ARCHITECTURE]);
        let error = |number: Errno| std::io::Error::from(number);
        let of = |number| of_start(Step::Execute, &error(number));
        assert_eq!(of(Errno::PERM), Some(FILE_CAPABILITY));
        assert_eq!(of(Errno::NOEXEC), Some(OTHER_ARCHITECTURE));
        assert_eq!(of(Errno::NOENT), None);
        assert_eq!(of_start(Step::ChangeUser, &error(Errno::PERM)), None);
    }

    #[test]
    fn fatal_signals_have_a_hint_where_the_sandbox_may_be_the_cause() {
        let (bus, fault) = (Signal::BUS.as_raw(), Signal::SEGV.as_raw());
        for (code, signal) in [(None, Some(bus)), (Some(128 + bus), None)] {
            assert_eq!(of_exit(code, signal, "Bus error\n"), [BUS_ERROR]);
        }
        let worker = "DataLoader worker (pid 5) is killed by signal: Bus error.";
        assert_eq!(of_output(worker), [BUS_ERROR]);
        let full = "FATAL: could not resize shared memory segment \"/x\": No space left on device";
        assert_eq!(of_output(full), [BUS_ERROR]);
        for (code, signal, output) in [
            (None, Some(fault), ""),
            (Some(128 + fault), None, "Segmentation fault\n"),
            (
                Some(128 + fault),
                None,
                "bash: line 1:     7 Segmentation fault      ./tool\n",
            ),
        ] {
            assert_eq!(of_exit(code, signal, output), [SEGMENTATION_FAULT]);
        }
        // The command continues after a program that ended so.
        let output = "Segmentation fault\n";
        assert_eq!(of_exit(Some(0), None, output), [SEGMENTATION_FAULT]);
        // A program that could write something is not one of another architecture.
        let output = "starting\nSegmentation fault\n";
        assert_eq!(of_exit(Some(128 + fault), None, output), [""; 0]);
        assert_eq!(of_exit(Some(0), None, ""), [""; 0]);
    }

    #[test]
    fn messages_of_programs_that_lack_user_ids_are_recognized() {
        let of_single = |output, code| {
            of_end(CommandEnd {
                code: Some(code),
                signal: None,
                output,
                single_id: true,
            })
        };
        for text in [
            "E: setgroups 65534 failed - setgroups (1: Operation not permitted)",
            "chown: changing ownership of '/x': Invalid argument",
            "dpkg: error processing archive x.deb (--unpack):\n error setting ownership of './var/mail': Invalid argument",
            "tar: x: Cannot change ownership to uid 1000, gid 1000: Invalid argument",
            "su: cannot set groups: Operation not permitted",
            "runuser: cannot set groups: Operation not permitted",
            "su: can't set groups: Operation not permitted",
            "nginx: [emerg] initgroups(www-data, 33) failed (1: Operation not permitted)",
            "(22)Invalid argument: AH02156: setgid: unable to set group id to Group 33",
            "error: failed switching to \"nobody\": operation not permitted",
            "sudo: unable to change to runas gid: Operation not permitted",
            "    os.setuid(65534)\n    ~~~~~~~~~^^^^^^^\nOSError: [Errno 22] Invalid argument",
        ] {
            for code in [0, 1] {
                assert_eq!(of_single(text, code), [SINGLE_ID], "{text}");
            }
            assert_eq!(of_output(text), [""; 0], "{text}");
        }
        let other = "grep: invalid option: Invalid argument\nchown done";
        assert_eq!(of_single(other, 1), [""; 0]);
    }

    #[test]
    fn a_hint_is_one_sentence_that_fits_into_a_line() {
        for hint in [
            SINGLE_ID,
            DIRECTORY_OF_THE_IMAGE,
            HARD_LINK,
            FILE_CAPABILITY,
            OTHER_ARCHITECTURE,
            SEGMENTATION_FAULT,
            BUS_ERROR,
        ] {
            assert!(!hint.contains('\n') && !hint.contains(". "), "{hint}");
            assert!(!hint.ends_with('.') && hint.len() < 300, "{hint}");
        }
    }
}
