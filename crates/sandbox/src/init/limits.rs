//! Limits on what the kernel counts for a user of this machine.
//!
//! The kernel counts some resources for each user id, across sandboxes and through user namespaces.
//! One sandbox could use up the whole count. Then the user's other sandboxes and its own programs
//! would be refused the resource.
//!
//! - Descriptors in flight between processes count for the sender's id. The kernel compares the
//!   count with the sender's RLIMIT_NOFILE. So commands get a low limit, and the init a high one.
//! - Queued signals, timers, message queues, locked memory and processes count for the owner of the
//!   user namespace too. The kernel compares that count with the limits of the process that makes
//!   the namespace.
//! - inotify and fanotify count in the same way. The namespace's own sysctls limit them.
//!
//! If the engine is root, the namespace of each sandbox has its own owner, to which nothing else
//! is charged. Otherwise the owner is the engine's user, and a sandbox gets a share.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySets, Uid, capabilities, set_capabilities, set_thread_res_uid};

use crate::protocol::boot::ChargedUser;

/// The most descriptors of a command if the engine's own user is charged. Most programs outside
/// have a limit of 1,024, and one message brings up to 253 descriptors into flight.
const SHARED_DESCRIPTORS: u64 = 768;
/// The most descriptors of a command if no user of this machine is charged.
const SEPARATE_DESCRIPTORS: u64 = 65_536;

/// A resource that the kernel counts for the owner of a user namespace. Both parts are of the
/// user's own limit, as numerator and denominator.
struct Share {
    resource: Resource,
    name: &'static str,
    /// The part for each user of a sandbox. Another limit covers the resource without one.
    command: Option<(u64, u64)>,
    /// The part for everything that is charged to the user when a sandbox takes more.
    total: (u64, u64),
}

const SHARES: &[Share] = &[
    Share {
        resource: Resource::Sigpending,
        name: "RLIMIT_SIGPENDING",
        command: Some((1, 16)),
        total: (1, 2),
    },
    // A queue of the default size takes a tenth of the usual limit.
    Share {
        resource: Resource::Msgqueue,
        name: "RLIMIT_MSGQUEUE",
        command: Some((1, 4)),
        total: (3, 4),
    },
    Share {
        resource: Resource::Memlock,
        name: "RLIMIT_MEMLOCK",
        command: Some((1, 2)),
        total: (3, 4),
    },
    Share {
        resource: Resource::Nproc,
        name: "RLIMIT_NPROC",
        command: None,
        total: (3, 4),
    },
];

/// The limits of the commands of a sandbox.
#[derive(Debug)]
pub(crate) struct CommandLimits {
    /// The most open descriptors of a command.
    pub descriptors: u64,
    /// Further limits, with their names.
    pub shares: Vec<(Resource, &'static str, u64)>,
}

/// Raises this process's limit of open descriptors to its hard limit. The kernel passes descriptors
/// for a process only while fewer than that are in flight.
pub(super) fn raise_descriptors_to_hard_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // A refusal leaves the previous limit in force.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Sets the limits that the new user namespace takes over. Returns those of its commands.
pub(super) fn limit_namespace(user: ChargedUser) -> CommandLimits {
    let most = match user {
        ChargedUser::Engine => SHARED_DESCRIPTORS,
        ChargedUser::Separate { .. } => SEPARATE_DESCRIPTORS,
    };
    let mut limits = CommandLimits {
        descriptors: command_descriptors(most, getrlimit(Resource::Nofile).maximum),
        shares: Vec::new(),
    };
    if user.is_exclusive() {
        return limits;
    }
    for share in SHARES {
        let Some(whole) = getrlimit(share.resource).current else {
            continue;
        };
        if let Some(command) = share.command {
            limits
                .shares
                .push((share.resource, share.name, part(whole, command)));
        }
        // Lowering a limit is always allowed.
        let _ = lower(share.resource, part(whole, share.total));
    }
    limits
}

/// Makes the separate id, if there is one, the owner of the user namespace that this process makes
/// next. The process keeps its capabilities, which it may need to make the namespace.
pub(super) fn become_owner(user: ChargedUser) -> Result<(), Errno> {
    let ChargedUser::Separate { first, count } = user else {
        return Ok(());
    };
    // The kernel charges each owner by itself. Processes that run at the same time have different
    // ids.
    let number = std::process::id() % count.max(1);
    // Ids that do not exist here are an error of writing the map, which explains them.
    let Some(owner) = first.checked_add(number).filter(|id| *id != u32::MAX) else {
        return Ok(());
    };
    match set_thread_res_uid(None, Uid::from_raw(owner), None) {
        Err(Errno::INVAL) => return Ok(()),
        other => other?,
    }
    let sets = capabilities(None)?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: sets.permitted,
            ..sets
        },
    )
}

/// Sets a limit, or keeps an existing lower one.
pub(super) fn lower(resource: Resource, value: u64) -> Result<(), Errno> {
    let value = getrlimit(resource)
        .maximum
        .map_or(value, |maximum| maximum.min(value));
    let value = Some(value);
    setrlimit(
        resource,
        Rlimit {
            current: value,
            maximum: value,
        },
    )
}

/// The limit of descriptors of a command: half of the init's at most, so that a command reaches its
/// own first.
fn command_descriptors(most: u64, of_init: Option<u64>) -> u64 {
    of_init.map_or(most, |of_init| most.min(of_init / 2))
}

fn part(whole: u64, (numerator, denominator): (u64, u64)) -> u64 {
    whole / denominator * numerator
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most descriptors that one message carries.
    const MESSAGE: u64 = 253;

    #[test]
    fn a_message_beyond_a_commands_limit_leaves_room_for_programs_outside() {
        let limit = command_descriptors(SHARED_DESCRIPTORS, Some(1 << 20));
        assert!(limit + MESSAGE <= 1024, "{limit}");
    }

    #[test]
    fn a_command_has_half_of_the_descriptors_of_the_init_at_most() {
        assert_eq!(command_descriptors(SEPARATE_DESCRIPTORS, None), 65_536);
        assert_eq!(
            command_descriptors(SEPARATE_DESCRIPTORS, Some(20_000)),
            10_000
        );
        assert_eq!(command_descriptors(SHARED_DESCRIPTORS, Some(1024)), 512);
    }

    #[test]
    fn the_shares_of_all_sandboxes_leave_some_for_the_user() {
        for share in SHARES {
            let total = part(8192, share.total);
            assert!(total < 8192, "{}", share.name);
            let command = share.command.map_or(0, |command| part(8192, command));
            assert!(command < total, "{}", share.name);
        }
    }
}
