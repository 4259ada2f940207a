//! Checks whether the disk has room for what the engine needs.

use std::path::Path;

use contree_sandbox::{Check, CheckState, host_root};

/// The room for records, logs and the files of a short command.
const WORKING_BYTES: u64 = 32 << 20;

/// Checks the free space of the data directory's disk. A new data directory needs room for the copy
/// of this machine's programs.
pub(crate) fn check(root: &Path) -> Check {
    let Some(existing) = root.ancestors().find(|path| path.exists()) else {
        return unknown(format!("{} cannot be created", root.display()));
    };
    let free = match rustix::fs::statvfs(existing) {
        // A file system that makes inodes as needed reports 0 of 0.
        Ok(disk) if disk.f_files > 0 && disk.f_favail < WORKING_INODES => {
            return few_inodes(root, disk.f_favail);
        }
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => return unknown(format!("cannot read the size of the disk: {error}")),
    };
    // Layers exist once the copy was made.
    let has_layers =
        std::fs::read_dir(root.join("layers")).is_ok_and(|mut layers| layers.next().is_some());
    let copy = if has_layers {
        0
    } else {
        host_root::bytes().unwrap_or(0)
    };
    check_free(root, free, copy + WORKING_BYTES)
}

const NAME: &str = "disk space";

/// The inodes for the directories and logs of a few commands.
const WORKING_INODES: u64 = 256;

fn few_inodes(root: &Path, free: u64) -> Check {
    Check::new(
        NAME,
        CheckState::Missing,
        format!(
            "{free} inodes are free on the disk of {}, and {WORKING_INODES} are needed",
            root.display()
        ),
        Some(
            "delete many small files there, or set CONTREE_DATA_DIR to a directory on another disk"
                .to_owned(),
        ),
    )
}

fn unknown(detail: String) -> Check {
    Check::new(NAME, CheckState::Degraded, detail, None)
}

fn check_free(root: &Path, free: u64, needed: u64) -> Check {
    let mebibytes = |bytes: u64| bytes >> 20;
    let detail = format!(
        "{} MiB are free on the disk of {}",
        mebibytes(free),
        root.display()
    );
    if free >= needed {
        return Check::new(NAME, CheckState::Fine, detail, None);
    }
    Check::new(
        NAME,
        CheckState::Missing,
        format!("{detail}, and {} MiB are needed", mebibytes(needed)),
        Some(
            "free some space there, or set CONTREE_DATA_DIR to a directory on a larger disk"
                .to_owned(),
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_for_the_first_image_is_reported_with_a_remedy() {
        let root = Path::new("/small");
        let check = check_free(root, 20 << 20, 120 << 20);
        assert_eq!(check.state, CheckState::Missing);
        assert!(check.detail.contains("20 MiB") && check.detail.contains("120 MiB"));
        assert!(check.remedy.unwrap().contains("CONTREE_DATA_DIR"));
        assert_eq!(check_free(root, 1 << 30, 120 << 20).state, CheckState::Fine);
    }

    #[test]
    fn a_disk_without_inodes_is_reported_with_a_remedy() {
        let check = few_inodes(Path::new("/small"), 3);
        assert_eq!(check.state, CheckState::Missing);
        assert!(check.detail.contains("3 inodes") && check.detail.contains("/small"));
        assert!(check.remedy.unwrap().contains("CONTREE_DATA_DIR"));
    }

    #[test]
    fn a_new_data_directory_needs_room_for_this_machines_programs() {
        assert!(host_root::bytes().unwrap() > 1 << 20);
        let folder = tempfile::tempdir().unwrap();
        let check = check(&folder.path().join("not/made/yet"));
        assert_ne!(check.state, CheckState::Degraded, "{check:?}");
    }
}
