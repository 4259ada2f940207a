//! The steps of setting up a sandbox and starting commands, as errors name them.

use serde::{Deserialize, Serialize};

macro_rules! steps {
    ($($(#[doc = $doc:literal])* $name:ident => $text:literal,)*) => {
        /// A step of setting up a sandbox or starting a command.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Step { $($(#[doc = $doc])* $name,)* }

        impl std::fmt::Display for Step {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }

        impl Step {
            const ALL: &'static [Step] = &[$(Self::$name,)*];
        }
    };
}

steps! {
    /// Preparing the init process itself.
    Prepare => "prepare the init process",
    /// Making the user namespace.
    UserNamespace => "make a user namespace",
    /// Choosing the owner of the user namespace.
    Owner => "choose the owner of the user namespace",
    /// Mapping ids into the user namespace.
    MapIds => "map ids",
    /// Becoming the inner root.
    BecomeRoot => "become root in the user namespace",
    /// Making the user namespace inside the first one.
    InnerNamespace => "make the inner user namespace",
    /// Making the process id namespace.
    PidNamespace => "make a pid namespace",
    /// Making the mount, ipc, uts and cgroup namespaces.
    Namespaces => "make the mount, ipc, uts and cgroup namespaces",
    /// Making the network namespace.
    NetworkNamespace => "make a network namespace",
    /// Detaching the mounts from the outside.
    PrivateMounts => "make the mounts private",
    /// Preparing the writable layer.
    Upper => "prepare the writable layer",
    /// Mounting the image.
    Overlay => "mount the overlay",
    /// Writing a first byte into the writable layer.
    OverlayReadOnly => "write to the overlay",
    /// Mounting procfs.
    Proc => "mount /proc",
    /// Hiding parts of `/proc`.
    ProcMask => "mask",
    /// Bounding namespaces and processes by sysctl.
    Sysctl => "set the sysctl",
    /// Mounting `/dev` and its content.
    Dev => "mount /dev",
    /// Mounting `/sys`.
    Sys => "mount /sys",
    /// Making a directory in the image.
    MakeDirectory => "make the directory",
    /// Putting a file into the image.
    PlaceFile => "place the file",
    /// Making the image the root directory.
    PivotRoot => "change the root directory",
    /// Setting the host name.
    Hostname => "set the host name",
    /// Bringing the loopback interface up.
    Loopback => "bring the loopback interface up",
    /// Listening on the loopback interface for the sandbox's caller.
    Listener => "listen on the loopback interface",
    /// Opening a packet socket on the loopback interface.
    PacketSocket => "open a packet socket",
    /// Opening the socket that answers names.
    NameSocket => "listen for names on the loopback interface",
    /// Adding addresses and the default route.
    Route => "add a default route",
    /// Mounting the side files.
    SideFiles => "put the side file in place",
    /// Setting resource limits.
    Limits => "set the resource limit",
    /// Installing the system call filter.
    Filter => "install the system call filter",
    /// Dropping capabilities.
    Capabilities => "drop capabilities",
    /// Reading the command's description.
    Request => "read the request",
    /// Making the pipes of a command.
    Pipes => "make its pipes",
    /// Opening the terminal of a command.
    Terminal => "open a terminal",
    /// Starting a process.
    Fork => "start a process",
    /// Connecting the standard streams.
    Streams => "connect its standard streams",
    /// Changing to the command's user and group.
    ChangeUser => "change to its user and group",
    /// Changing to the command's directory.
    ChangeDirectory => "change to its directory",
    /// Executing the program.
    Execute => "execute it",
    /// Removing files.
    Remove => "remove",
    /// Measuring the writable layer while commands run.
    Watch => "measure the writable layer",
    /// Merging several layers.
    Squash => "make one layer of several",
    /// Writing layers as an archive.
    Pack => "write the layer as an archive",
    /// Copying the writable layer of a running sandbox.
    Snapshot => "copy the writable layer",
    /// Comparing the writable layer with the image.
    Inspect => "inspect the writable layer",
    /// Exchanging messages with the engine.
    Talk => "talk to the engine",
}

impl Step {
    /// The step as one byte, for a pipe between two processes that cannot allocate.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> Self {
        Self::ALL
            .get(usize::from(code))
            .copied()
            .unwrap_or(Self::Execute)
    }
}
