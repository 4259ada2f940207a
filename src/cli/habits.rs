//! Words of `docker` and `git` that `contree` lacks, each with the words that do the same here.

/// The proposal for a subcommand that does not exist. `verb` is the verb that it belongs to; empty
/// for a verb itself.
pub(super) fn of_subcommand(verb: &str, word: &str) -> Option<&'static str> {
    let proposals: &[(&[&str], &'static str)] = match verb {
        "" => &VERBS,
        "images" => &IMAGES,
        "session" => &SESSIONS,
        _ => &[],
    };
    let found = proposals.iter().find(|(words, _)| words.contains(&word));
    found.map(|(_, proposal)| *proposal)
}

/// The proposal for an option that a verb lacks.
pub(super) fn of_option(verb: &str, option: &str) -> Option<&'static str> {
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    let is_meant = |entry: &&(&str, &[&str], &'static str)| {
        let (verbs, options, _) = entry;
        options.contains(&name) && (verbs.is_empty() || verbs.split(' ').any(|own| own == verb))
    };
    OPTIONS.iter().find(is_meant).map(|(_, _, text)| *text)
}

/// An option that other programs need, and that has no effect here.
pub(super) fn without_effect(name: &'static str, short: Option<char>) -> clap::Arg {
    let option = clap::Arg::new(name).long(name).hide(true);
    let option = option.action(clap::ArgAction::SetTrue);
    match short {
        Some(short) => option.short(short),
        None => option,
    }
}

/// Verbs of others.
const VERBS: [(&[&str], &str); 27] = [
    (
        &["pull"],
        "`contree images import NAME` brings an image from a registry",
    ),
    (
        &["load", "import"],
        "`contree images import FILE --tag NAME` imports a file or a directory",
    ),
    (
        &["rm", "remove", "delete"],
        "`contree rmi` deletes images; a sandbox is gone once its command ends",
    ),
    (
        &["branch"],
        "`contree session branch` lists and makes branches",
    ),
    (
        &["checkout", "switch"],
        "`contree session checkout BRANCH` switches to a branch, and `contree use IMAGE` to an image",
    ),
    (
        &["rollback", "reset", "undo", "revert", "restore"],
        "`contree session rollback` goes back in the history",
    ),
    (
        &["status", "info"],
        "`contree session` shows the session, and `contree ps` what runs",
    ),
    (
        &["commit", "add"],
        "a run keeps its changes by itself; `contree tag NAME` names the image",
    ),
    (
        &["merge"],
        "`contree apply IMAGE --merge` merges the changes of an image into a directory",
    ),
    (
        &["history", "reflog"],
        "`contree session show` lists what this session ran, and `contree log` the origin of an image",
    ),
    (
        &["list"],
        "`contree images` lists images, `contree ps` runs, and `contree ls` files",
    ),
    (
        &["container", "containers", "top", "stats"],
        "`contree ps` lists what runs",
    ),
    (
        &["operation", "operations", "ops"],
        "`contree ps -a` lists operations",
    ),
    (&["sessions"], "`contree session list` lists sessions"),
    (
        &["volume", "mount"],
        "`contree run -F SRC:/DST` places a copy of a file or a directory",
    ),
    (
        &["network"],
        "`contree run --network none` runs without a network; `contree run --help` has the rest",
    ),
    (
        &["system"],
        "`contree df` shows the disk usage, and `contree prune` cleans up",
    ),
    (
        &["attach"],
        "`contree exec -i OPERATION -- sh` opens a shell in a running sandbox",
    ),
    (
        &["start", "restart", "create", "new"],
        "`contree run -d -- CMD` starts a command and leaves it running",
    ),
    (
        &["inspect"],
        "`contree show OPERATION` and `contree log IMAGE` show the records",
    ),
    (
        &["search", "find"],
        "`contree grep` searches the files of an image, and `contree images --prefix P` the tags",
    ),
    (&["rename"], "`contree tag IMAGE NAME` gives another name"),
    (
        &["init", "clone"],
        "a session begins by itself: try `contree run -- uname -a`",
    ),
    (
        &["uninstall"],
        "`contree install CLIENT --uninstall` removes the entry",
    ),
    (&["version"], "`contree --version` prints the version"),
    (
        &["port", "ports"],
        "`contree publish` lists the published ports",
    ),
    (
        &["mcp"],
        "`contree-mcp` is the MCP server, and `contree http` serves it over HTTP",
    ),
];

const IMAGES: [(&[&str], &str); 4] = [
    (
        &["rm", "remove", "delete"],
        "`contree rmi IMAGE` deletes an image",
    ),
    (&["pull", "load"], "`contree images import NAME|FILE`"),
    (&["prune"], "`contree prune` removes images without a tag"),
    (&["tag"], "`contree tag IMAGE NAME` names an image"),
];

const SESSIONS: [(&[&str], &str); 2] = [
    (
        &["new", "create"],
        "`contree use --new IMAGE` begins a session with a new name, and `-S NAME` with this one",
    ),
    (
        &["log", "history"],
        "`contree session show` lists the history",
    ),
];

/// Options of others: the verbs that lack them, or none for all; the options; the proposal.
const OPTIONS: [(&str, &[&str], &str); 15] = [
    (
        "run shell",
        &["--image", "--from"],
        "the image stands before the command, as in `contree run IMAGE -- CMD`; `contree use IMAGE` chooses that of the session",
    ),
    (
        "run shell",
        &["-v", "--volume", "--mount"],
        "a sandbox mounts nothing of this machine: `-F SRC:/DST` places a copy, and `contree apply` brings changes home",
    ),
    (
        "run shell",
        &["--name"],
        "a run has a UUID as its name; `contree tag NAME` names the image that it makes",
    ),
    (
        "run shell",
        &["--user"],
        "commands run as root of the sandbox; `-s 'su USER -c …'` changes the user",
    ),
    (
        "run shell",
        &["--env-file"],
        "`-e NAME=VALUE` sets a variable, and `contree env` those of the session",
    ),
    (
        "run shell",
        &["--port", "--expose"],
        "`--publish PORT` publishes a port",
    ),
    (
        "run shell",
        &["--entrypoint"],
        "give the command after `--`",
    ),
    (
        "run shell",
        &["--privileged", "--cap-add", "--device", "--security-opt"],
        "a sandbox has no more rights than its user on this machine",
    ),
    (
        "build",
        &[
            "--platform",
            "--label",
            "-q",
            "--quiet",
            "--progress",
            "--load",
        ],
        "`contree build` builds for this machine, and an image keeps files, variables and a directory",
    ),
    (
        "prune",
        &["--all", "-a", "--volumes"],
        "`--older-than 0` removes everything without a tag that nothing runs on",
    ),
    ("diff", &["-p", "-u"], "`--patch` prints a patch"),
    (
        "env",
        &["--unset", "--remove"],
        "`-U NAME` removes a variable",
    ),
    ("save", &["-F", "--file"], "give the file after the image"),
    (
        "wait kill show publish",
        &["-a", "--all"],
        "`contree ps -q` prints the UUIDs of what runs",
    ),
    ("export", &["-f"], "`-F FILE` names the file"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_have_a_proposal() {
        let of_verb = |word| of_subcommand("", word).unwrap_or_default();
        assert!(of_verb("pull").contains("contree images import"));
        assert!(of_verb("checkout").contains("contree session checkout"));
        assert!(of_subcommand("images", "rm").is_some_and(|text| text.contains("rmi")));
        assert_eq!(of_subcommand("", "nothing"), None);
        assert!(of_option("run", "-v").is_some_and(|text| text.contains("-F")));
        assert!(of_option("run", "--volume=.:/x").is_some());
        assert_eq!(of_option("ps", "-v"), None);
    }
}
