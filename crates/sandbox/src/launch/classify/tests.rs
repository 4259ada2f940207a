//! Tests of the explanations of failed steps.

use super::*;
use crate::protocol::step_failure::FailureCause;

fn failure(step: Step, errno: Errno) -> StepFailure {
    StepFailure {
        step,
        subject: None,
        cause: errno.into(),
    }
}

fn message_of(step: Step, errno: Errno, host: &HostInfo) -> String {
    unavailable(&failure(step, errno), host, &options())
        .map(|found| found.to_string())
        .unwrap_or_default()
}

fn options() -> StoreOptions {
    StoreOptions {
        directory_setting: Some("THE_STORE".into()),
        ..StoreOptions::default()
    }
}

fn host() -> HostInfo {
    HostInfo {
        data_directory: "/data".into(),
        filesystem: "overlayfs".into(),
        ..HostInfo::default()
    }
}

#[test]
fn no_user_namespaces_left() {
    let host = HostInfo {
        max_user_namespaces: Some(0),
        ..host()
    };
    let message = message_of(Step::UserNamespace, Errno::NOSPC, &host);
    assert!(
        message.contains("user.max_user_namespaces is 0"),
        "{message}"
    );
    assert!(
        message.contains("sysctl -w user.max_user_namespaces="),
        "{message}"
    );
}

#[test]
fn apparmor_allows_the_namespace_but_denies_its_capabilities() {
    let restricted = HostInfo {
        apparmor: true,
        ..host()
    };
    for step in [
        Step::BecomeRoot,
        Step::PidNamespace,
        Step::Namespaces,
        Step::PrivateMounts,
        Step::Overlay,
        Step::Proc,
    ] {
        for errno in [Errno::PERM, Errno::ACCESS] {
            assert_eq!(
                unavailable(&failure(step, errno), &restricted, &options()),
                Some(Unavailable::AppArmor),
                "{step}"
            );
        }
    }
    assert!(
        message_of(Step::Proc, Errno::PERM, &restricted)
            .contains("kernel.apparmor_restrict_unprivileged_userns=0")
    );
    let root = HostInfo {
        root: true,
        ..restricted
    };
    assert_ne!(
        unavailable(&failure(Step::Proc, Errno::PERM), &root, &options()),
        Some(Unavailable::AppArmor)
    );
}

#[test]
fn a_proc_with_covering_mounts() {
    assert!(message_of(Step::Proc, Errno::PERM, &host()).contains("systempaths=unconfined"));
}

#[test]
fn a_data_directory_without_overlay_uppers() {
    let message = message_of(Step::Overlay, Errno::INVAL, &host());
    assert!(
        message.contains("/data is on overlayfs")
            && message.contains("; set THE_STORE to a directory on"),
        "{message}"
    );
    assert_eq!(
        message_of(Step::OverlayReadOnly, Errno::ROFS, &host()),
        message
    );
    assert_eq!(message_of(Step::Upper, Errno::OPNOTSUPP, &host()), message);
}

#[test]
fn a_full_disk_is_not_taken_for_an_unfit_one() {
    let full = HostInfo {
        filesystem: "ext4".into(),
        exhausted: Some("inode"),
        ..host()
    };
    for (step, errno) in [
        (Step::OverlayReadOnly, Errno::ROFS),
        (Step::Overlay, Errno::NOSPC),
        (Step::Upper, Errno::DQUOT),
    ] {
        let error = disk_full(&failure(step, errno), &full).map(|error| error.to_string());
        let message = error.unwrap_or_default();
        assert!(
            message.contains("no inode is free") && message.contains("/data"),
            "{step}: {message}"
        );
    }
    assert!(disk_full(&failure(Step::Overlay, Errno::INVAL), &full).is_none());
    assert!(disk_full(&failure(Step::OverlayReadOnly, Errno::ROFS), &host()).is_none());
    assert!(disk_full(&failure(Step::UserNamespace, Errno::NOSPC), &full).is_none());
}

#[test]
fn a_container_that_refuses_namespaces() {
    let host = HostInfo {
        container: true,
        root: true,
        ..host()
    };
    assert!(message_of(Step::UserNamespace, Errno::PERM, &host).contains("seccomp=unconfined"));
}

#[test]
fn a_failure_that_the_machine_does_not_explain_is_a_plain_error() {
    assert_eq!(
        unavailable(&failure(Step::Hostname, Errno::INVAL), &host(), &options()),
        None
    );
    assert!(
        plain_error(failure(Step::Hostname, Errno::INVAL))
            .to_string()
            .starts_with("cannot set up the sandbox: set the host name")
    );
}

#[test]
fn an_error_without_an_error_number_reaches_the_user() {
    let failure = StepFailure {
        step: Step::Watch,
        subject: None,
        cause: FailureCause::Text("the cause in words".into()),
    };
    assert_eq!(unavailable(&failure, &host(), &options()), None);
    assert_eq!(
        plain_error(failure).to_string(),
        "cannot set up the sandbox: measure the writable layer: the cause in words"
    );
}

#[test]
fn a_kernel_without_overlayfs() {
    for errno in [Errno::NODEV, Errno::NOSYS] {
        let message = message_of(Step::Overlay, errno, &host());
        assert!(
            message.starts_with("this kernel has no overlayfs; use Linux"),
            "{message}"
        );
    }
}

#[test]
fn a_container_whose_filter_refuses_a_host_name() {
    let host = HostInfo {
        container: true,
        ..host()
    };
    let message = message_of(Step::Hostname, Errno::PERM, &host);
    assert!(message.contains("seccomp=unconfined"), "{message}");
    assert_eq!(message_of(Step::Hostname, Errno::PERM, &self::host()), "");
}

#[test]
fn root_of_a_container_without_its_capability() {
    let error = MapError::Refused {
        file: "/proc/1/uid_map".into(),
        error: "Operation not permitted".into(),
    };
    let map = IdMap::map_with_single_id("a test".into());
    let message = |can_administrate| {
        let host = HostInfo {
            root: true,
            can_administrate,
            ..host()
        };
        map_unavailable(&map, &error, &host, &options()).to_string()
    };
    assert!(
        message(false).contains("CAP_SYS_ADMIN"),
        "{}",
        message(false)
    );
    assert!(
        message(false).contains("as an ordinary user"),
        "{}",
        message(false)
    );
    assert!(
        !message(true).contains("CAP_SYS_ADMIN"),
        "{}",
        message(true)
    );
}

#[test]
fn every_message_is_one_sentence() {
    let all = [
        Unavailable::AppArmor,
        Unavailable::ProcMasked,
        Unavailable::MemfdNoexec,
        Unavailable::NoProc,
        unsuitable_data_directory(&host(), &options()),
        namespaces_unavailable(Errno::PERM, &host()),
    ];
    for unavailable in all {
        let message = unavailable.to_string();
        assert!(
            !message.contains(". ") && !message.ends_with('.') && !message.contains('\n'),
            "{message}"
        );
    }
}
