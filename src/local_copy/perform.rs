//! Performs the decided changes. Each file appears by a rename.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write as _};

use contree_diff::Digest;

use super::local_tree::{Local, LocalTree, permissions};
use super::plan::{Action, ActionKind};
use super::rules::WriteRules;
use super::staged_contents::name_of;
use super::staging::Staging;
use super::unfinished::StopFlag;
use crate::Error;
use crate::client::blocking;

/// The mode of a file whose permissions are not known.
const DEFAULT_MODE: u32 = 0o644;
/// Changes between two progress messages.
const PROGRESS_STEP: usize = 200;

/// The changes that were made. Paths are below the directory.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) written: Vec<Vec<u8>>,
    pub(super) removed: Vec<Vec<u8>>,
    pub(super) kept: Vec<Vec<u8>>,
    /// Paths that changed after the decision.
    pub(super) changed: Vec<Vec<u8>>,
}

/// Performs the actions: removals, then directories, then files and links.
///
/// If the future is dropped, no further action is begun, and the opened directories are closed
/// again.
pub(super) async fn perform(
    local: LocalTree,
    staging: Staging,
    actions: Vec<Action>,
    rules: WriteRules,
) -> Result<Done, Error> {
    let stop = StopFlag::default();
    let _stop_on_drop = stop.set_on_drop();
    blocking(move || {
        let mut performer = Performer {
            stop,
            local,
            staging,
            done: Done::default(),
            uses: HashMap::new(),
            opened: BTreeMap::new(),
            modes: BTreeMap::new(),
        };
        performer.run(&actions, &rules)?;
        let Done {
            mut written,
            mut removed,
            kept,
            changed,
        } = performer.done;
        written.sort_unstable();
        written.dedup();
        removed.sort_unstable();
        Ok(Done {
            written,
            removed,
            kept,
            changed,
        })
    })
    .await
}

/// The caller has gone.
#[derive(Debug, thiserror::Error)]
#[error("the changes were stopped before their end")]
struct Stopped;

struct Performer {
    stop: StopFlag,
    local: LocalTree,
    staging: Staging,
    done: Done,
    /// How often each content is still needed.
    uses: HashMap<Digest, usize>,
    /// The earlier permissions of the directories that were opened up.
    opened: BTreeMap<Vec<u8>, u32>,
    /// The permissions of directories that are still to be set.
    modes: BTreeMap<Vec<u8>, u32>,
}

impl Performer {
    fn run(&mut self, actions: &[Action], rules: &WriteRules) -> Result<(), Error> {
        for action in actions {
            if let ActionKind::WriteFile { digest, .. } = &action.kind {
                *self.uses.entry(*digest).or_default() += 1;
            }
        }
        let performed = self
            .open_up(actions)
            .and_then(|()| self.perform_all(actions, rules));
        // Also after a failure, since the opened directories have to be closed again.
        let set = self.set_modes();
        performed.and(set)
    }

    /// Lets the owner change the entries of the directories in which actions are to be performed.
    fn open_up(&mut self, actions: &[Action]) -> Result<(), Error> {
        let changed = actions
            .iter()
            .filter(|action| !matches!(action.kind, ActionKind::SetMode(_)));
        let parents: BTreeSet<&[u8]> = changed
            .filter_map(|action| {
                let end = action.path.iter().rposition(|byte| *byte == b'/')?;
                Some(&action.path[..end])
            })
            .collect();
        for parent in parents {
            let opened = self.local.open_up(parent);
            let before = opened.map_err(Error::io(&self.local.absolute(parent)))?;
            if let Some(mode) = before {
                self.opened.insert(parent.to_vec(), mode);
                self.modes.insert(parent.to_vec(), mode);
            }
        }
        Ok(())
    }

    fn perform_all(&mut self, actions: &[Action], rules: &WriteRules) -> Result<(), Error> {
        let count = actions.len();
        let removes = |action: &&Action| {
            matches!(
                action.kind,
                ActionKind::Remove | ActionKind::RemoveDirectory
            )
        };
        let makes = |action: &&Action| matches!(action.kind, ActionKind::MakeDirectory { .. });
        let others = |action: &&Action| !removes(action) && !makes(action);
        let ordered = actions
            .iter()
            .rev()
            .filter(removes)
            .chain(actions.iter().filter(makes))
            .chain(actions.iter().filter(others));
        for (at, action) in ordered.enumerate() {
            if self.stop.is_set() {
                return Err(Error::other(Stopped));
            }
            let shown = self.local.absolute(&action.path);
            self.perform(action).map_err(Error::io(&shown))?;
            if (at + 1).is_multiple_of(PROGRESS_STEP) {
                rules.progress(&format!("applied {} of {count} changes", at + 1));
            }
        }
        Ok(())
    }

    /// Sets the permissions of directories. This comes last and inside out, since a directory may
    /// become read-only.
    fn set_modes(&self) -> Result<(), Error> {
        let mut result = Ok(());
        for (path, mode) in self.modes.iter().rev() {
            match self.local.set_mode(path, *mode) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let failed = Error::io(&self.local.absolute(path))(error);
                    result = result.and(Err(failed));
                }
                _ => {}
            }
        }
        result
    }

    fn perform(&mut self, action: &Action) -> io::Result<()> {
        let path = &action.path;
        if !self.is_as_expected(action)? {
            self.done.changed.push(path.clone());
            return Ok(());
        }
        match &action.kind {
            ActionKind::Remove => {
                self.local.remove_file(path)?;
                self.done.removed.push(path.clone());
            }
            ActionKind::RemoveDirectory => match self.local.remove_directory(path)? {
                true => {
                    self.modes.remove(path);
                    self.done.removed.push(path.clone());
                }
                false => self.done.kept.push(path.clone()),
            },
            ActionKind::MakeDirectory { mode } => {
                self.local.make_directory(path)?;
                if let Some(mode) = mode {
                    self.modes.insert(path.clone(), *mode);
                }
                self.done.written.push(path.clone());
            }
            ActionKind::SetMode(mode) => {
                match &action.expected {
                    Local::Entry(entry) if entry.is_directory() => {
                        self.modes.insert(path.clone(), *mode);
                    }
                    _ => self.local.set_mode(path, *mode)?,
                }
                self.done.written.push(path.clone());
            }
            ActionKind::WriteFile { digest, mode } => {
                let staged = self.staged(digest)?;
                self.place(&staged, path, *mode)?;
            }
            ActionKind::WriteText { text, mode } => {
                let staged = b"text".to_vec();
                let mut file = self.staging.tree().create_file(&staged)?;
                file.write_all(text)?;
                self.place(&staged, path, *mode)?;
            }
            ActionKind::WriteLink { target } => {
                let staged = b"link".to_vec();
                self.staging.tree().create_link(&staged, target)?;
                self.local.move_from(self.staging.tree(), &staged, path)?;
                self.done.written.push(path.clone());
            }
        }
        Ok(())
    }

    /// Whether the path is still as it was when the change was decided.
    fn is_as_expected(&self, action: &Action) -> io::Result<bool> {
        let mut now = self.local.look(&action.path, true)?;
        if let (Local::Entry(entry), Some(mode)) = (&mut now, self.opened.get(&action.path))
            && entry.is_directory()
        {
            entry.mode = Some(*mode);
        }
        Ok(match (&action.expected, &now) {
            // Other changes of this call made room.
            (Local::Blocked, _) => true,
            (Local::Entry(before), Local::Missing) => before.is_directory(),
            (Local::Missing, Local::Entry(entry)) => {
                entry.is_directory() && matches!(action.kind, ActionKind::MakeDirectory { .. })
            }
            (before, now) => before == now,
        })
    }

    /// The name of a staged content that may be moved.
    fn staged(&mut self, digest: &Digest) -> io::Result<Vec<u8>> {
        let name = name_of(digest);
        let uses = self.uses.entry(*digest).or_default();
        *uses = uses.saturating_sub(1);
        if *uses == 0 {
            return Ok(name);
        }
        let copy = b"copy".to_vec();
        let mut from = self.staging.tree().open_file(&name)?;
        io::copy(&mut from, &mut self.staging.tree().create_file(&copy)?)?;
        Ok(copy)
    }

    fn place(&mut self, staged: &[u8], path: &[u8], mode: Option<u32>) -> io::Result<()> {
        let mode = mode.unwrap_or(DEFAULT_MODE);
        rustix::fs::fchmod(self.staging.tree().open_file(staged)?, permissions(mode))?;
        self.local.move_from(self.staging.tree(), staged, path)?;
        self.done.written.push(path.to_vec());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::ordinary_user::as_ordinary_user;
    use super::*;

    /// Performs actions of these kinds below a directory `d` that has the file `old`.
    fn perform_in_directory(mode: u32, kinds: &[(&str, ActionKind)]) -> (Done, Vec<String>, u32) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let directory = root.join("d");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("old"), "").unwrap();
        let set = |mode| fs::set_permissions(&directory, PermissionsExt::from_mode(mode)).unwrap();
        set(mode);
        let mut done = Done::default();
        as_ordinary_user(|| {
            let local = LocalTree::open(&root).unwrap();
            let actions: Vec<Action> = kinds
                .iter()
                .map(|(path, kind)| Action {
                    path: path.as_bytes().to_vec(),
                    expected: local.look(path.as_bytes(), true).unwrap(),
                    kind: kind.clone(),
                })
                .collect();
            let mut performer = Performer {
                stop: StopFlag::default(),
                local,
                staging: Staging::create(&root).unwrap(),
                done: Done::default(),
                uses: HashMap::new(),
                opened: BTreeMap::new(),
                modes: BTreeMap::new(),
            };
            performer.run(&actions, &WriteRules::default()).unwrap();
            done = performer.done;
        });
        let found = fs::metadata(&directory).map_or(0, |found| found.permissions().mode() & 0o777);
        let names = fs::read_dir(&directory).into_iter().flatten();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        if directory.exists() {
            set(0o755);
        }
        (done, names, found)
    }

    fn text() -> ActionKind {
        ActionKind::WriteText {
            text: b"new".to_vec(),
            mode: Some(0o644),
        }
    }

    #[test]
    fn a_directory_becomes_read_only_after_its_files_are_written() {
        let kinds = [("d", ActionKind::SetMode(0o555)), ("d/x", text())];
        let (done, names, mode) = perform_in_directory(0o755, &kinds);
        assert_eq!((names, mode), (vec!["old".into(), "x".into()], 0o555));
        assert_eq!(done.written, [b"d".to_vec(), b"d/x".to_vec()]);
    }

    #[test]
    fn a_stopped_call_does_nothing_more_and_closes_the_directories() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let directory = root.join("d");
        fs::create_dir(&directory).unwrap();
        let set = |mode| fs::set_permissions(&directory, PermissionsExt::from_mode(mode)).unwrap();
        set(0o555);
        let stop = StopFlag::default();
        drop(stop.set_on_drop());
        let mut performer = Performer {
            stop,
            local: LocalTree::open(&root).unwrap(),
            staging: Staging::create(&root).unwrap(),
            done: Done::default(),
            uses: HashMap::new(),
            opened: BTreeMap::new(),
            modes: BTreeMap::new(),
        };
        let action = Action {
            path: b"d/x".to_vec(),
            expected: Local::Missing,
            kind: text(),
        };
        assert!(performer.run(&[action], &WriteRules::default()).is_err());
        assert_eq!(performer.opened.len(), 1);
        assert!(performer.done.written.is_empty());
        let mode = fs::metadata(&directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o555);
    }

    #[test]
    fn a_directory_is_writable_before_its_files_are_removed() {
        let kinds = [
            ("d", ActionKind::SetMode(0o755)),
            ("d/old", ActionKind::Remove),
        ];
        let (done, names, mode) = perform_in_directory(0o555, &kinds);
        assert_eq!((names.len(), mode), (0, 0o755));
        assert!(done.changed.is_empty(), "{done:?}");
    }

    #[test]
    fn a_directory_that_stays_read_only_changes_and_one_that_goes_is_removed() {
        let kinds = [("d/old", ActionKind::Remove), ("d/x", text())];
        let (_, names, mode) = perform_in_directory(0o555, &kinds);
        assert_eq!((names, mode), (vec!["x".into()], 0o555));
        let kinds = [
            ("d", ActionKind::RemoveDirectory),
            ("d/old", ActionKind::Remove),
        ];
        let (done, names, mode) = perform_in_directory(0o500, &kinds);
        assert_eq!(
            (done.removed.len(), names.len(), mode),
            (2, 0, 0),
            "{done:?}"
        );
    }
}
