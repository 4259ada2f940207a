//! Decides about each path. The base is the common version, theirs is the image, and ours is the
//! directory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use contree_diff::{Digest, NodeKind};

use super::link_target::leads_outside;
use super::local_tree::{Local, LocalTree};
use super::rules::WriteRules;
use super::tree::{Entry, Tree};

/// A change of one path.
#[derive(Clone, Debug)]
pub(super) struct Action {
    pub(super) path: Vec<u8>,
    /// The entry when the change was decided.
    pub(super) expected: Local,
    pub(super) kind: ActionKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ActionKind {
    Remove,
    /// Removes a directory if it is empty.
    RemoveDirectory,
    MakeDirectory {
        mode: Option<u32>,
    },
    SetMode(u32),
    WriteFile {
        digest: Digest,
        mode: Option<u32>,
    },
    /// Writes a text that was merged.
    WriteText {
        text: Vec<u8>,
        mode: Option<u32>,
    },
    WriteLink {
        target: Vec<u8>,
    },
}

/// A path that changed on both sides.
#[derive(Clone, Debug)]
pub(super) struct Conflict {
    pub(super) path: Vec<u8>,
    pub(super) why: String,
    /// The local entry.
    pub(super) ours: Local,
    /// The action that takes the version of the image. `None` if that would lose other files.
    pub(super) theirs: Option<ActionKind>,
    /// Whether both versions and the base are files.
    pub(super) is_mergeable: bool,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    pub(super) conflicts: Vec<Conflict>,
    /// Paths that the rules refuse, with the reason.
    pub(super) refused: Vec<(Vec<u8>, String)>,
}

/// The three sides, and the rules.
pub(super) struct Sides<'a> {
    pub(super) base: &'a Tree,
    pub(super) has_exact_modes: bool,
    pub(super) theirs: &'a Tree,
    pub(super) local: &'a LocalTree,
    pub(super) rules: &'a WriteRules,
}

impl Sides<'_> {
    /// Decides about every path that differs between base and theirs. May block.
    pub(super) fn plan(&self) -> io::Result<Plan> {
        let mut plan = Plan::default();
        // Paths at which a directory replaces a file, and whether that is a conflict.
        let mut replaced: BTreeMap<&[u8], bool> = BTreeMap::new();
        let paths: BTreeSet<&Vec<u8>> = self.base.keys().chain(self.theirs.keys()).collect();
        for path in paths {
            let (base, theirs) = (self.base.get(path), self.theirs.get(path));
            if path.is_empty() || base == theirs {
                continue;
            }
            if let (Some(base), Some(theirs)) = (base, theirs)
                && base.is_same(theirs)
            {
                continue;
            }
            let mut ours = self.local.look(path, true)?;
            let above = ancestors(path).find_map(|above| replaced.get(above).copied());
            if let Some(is_conflict) = above
                && ours == Local::Blocked
            {
                if is_conflict {
                    self.add_below_conflict(&mut plan, path, theirs);
                    continue;
                }
                ours = Local::Missing;
            }
            let decided = self.decide(base, theirs, &ours);
            let Some(decision) = decided else { continue };
            if let Some(why) = self.refusal(path, theirs) {
                plan.refused.push((path.clone(), why));
                continue;
            }
            let makes_directory = theirs.is_some_and(Entry::is_directory)
                && matches!(&ours, Local::Entry(entry) if !entry.is_directory());
            let is_conflict = matches!(decision, Decision::Conflict { .. });
            if makes_directory {
                replaced.insert(path, is_conflict);
            }
            match decision {
                Decision::Act(kind) => plan.actions.push(Action {
                    path: path.clone(),
                    expected: ours,
                    kind,
                }),
                Decision::Conflict { why, theirs: take } => {
                    let is_file = |entry: &Entry| entry.kind == NodeKind::File;
                    let is_mergeable = base.is_some_and(is_file)
                        && theirs.is_some_and(is_file)
                        && matches!(&ours, Local::Entry(entry) if is_file(entry));
                    plan.conflicts.push(Conflict {
                        path: path.clone(),
                        why,
                        ours,
                        theirs: take,
                        is_mergeable,
                    });
                }
            }
        }
        self.check_replaced_directories(&mut plan)?;
        Ok(plan)
    }

    /// Why a path must not be written as the image has it.
    fn refusal(&self, path: &[u8], theirs: Option<&Entry>) -> Option<String> {
        if let Some(why) = self.rules.refusal(&self.local.absolute(path)) {
            return Some(why);
        }
        let theirs = theirs?;
        match (theirs.kind, &theirs.target) {
            (NodeKind::Fifo, _) => Some("it is a pipe, which is not written".to_owned()),
            (NodeKind::Symlink, Some(target)) if leads_outside(path, target) => Some(format!(
                "it is a link to {}, which leads out of the directory",
                String::from_utf8_lossy(target)
            )),
            _ => None,
        }
    }

    /// Adds a path below a file that a directory of the image would replace.
    fn add_below_conflict(&self, plan: &mut Plan, path: &[u8], theirs: Option<&Entry>) {
        let Some(theirs) = theirs else { return };
        if let Some(why) = self.refusal(path, Some(theirs)) {
            plan.refused.push((path.to_vec(), why));
            return;
        }
        plan.conflicts.push(Conflict {
            path: path.to_vec(),
            why: format!(
                "a directory of the image that has it would replace a file here; the image has {}",
                theirs.describe()
            ),
            ours: Local::Blocked,
            theirs: write(theirs, theirs.mode),
            is_mergeable: false,
        });
    }

    /// Decides about one path. `None` if nothing is to be done.
    fn decide(
        &self,
        base: Option<&Entry>,
        theirs: Option<&Entry>,
        ours: &Local,
    ) -> Option<Decision> {
        let conflict = |why: String, theirs| Some(Decision::Conflict { why, theirs });
        let local = match ours {
            Local::Blocked => {
                theirs?;
                return conflict(
                    "a directory on the way to it is a link or a file here".to_owned(),
                    None,
                );
            }
            Local::Missing => None,
            Local::Entry(entry) => Some(entry),
        };
        match (base, theirs, local) {
            (_, None, None) => None,
            (Some(base), None, Some(ours)) => {
                let removal = match ours.is_directory() {
                    true => ActionKind::RemoveDirectory,
                    false => ActionKind::Remove,
                };
                match (base.is_directory(), ours.is_directory()) {
                    (true, true) => Some(Decision::Act(removal)),
                    _ if ours.has_content_of(base) => Some(Decision::Act(removal)),
                    (_, is_directory) => conflict(
                        format!(
                            "changed here to {}, and removed in the image",
                            ours.describe()
                        ),
                        (!is_directory).then_some(removal),
                    ),
                }
            }
            (None, None, Some(_)) => None,
            (None, Some(theirs), None) => write(theirs, theirs.mode).map(Decision::Act),
            (Some(base), Some(theirs), None) => {
                let take = write(theirs, theirs.mode);
                if base.is_directory() || theirs.is_directory() {
                    return take.map(Decision::Act);
                }
                conflict(
                    format!(
                        "removed here, and changed in the image to {}",
                        theirs.describe()
                    ),
                    take,
                )
            }
            (base, Some(theirs), Some(ours)) => self.decide_both(base, theirs, ours),
        }
    }

    fn decide_both(&self, base: Option<&Entry>, theirs: &Entry, ours: &Entry) -> Option<Decision> {
        if ours.is_same(theirs) {
            return None;
        }
        let Some(base) = base else {
            if ours.has_content_of(theirs) {
                return None;
            }
            return Some(Decision::Conflict {
                why: format!(
                    "added here and in the image: {}",
                    ours.difference_from(theirs)
                ),
                theirs: taking_theirs(ours, theirs),
            });
        };
        let mode_changed = !theirs.has_mode_of(base);
        let ours_changed_mode = !self.has_mode_of_base(ours, base);
        if theirs.has_content_of(base) || ours.has_content_of(theirs) {
            // Only the permissions remain to be set.
            let mode = theirs
                .mode
                .filter(|_| mode_changed && !ours.has_mode_of(theirs))?;
            if ours.kind != theirs.kind {
                return None;
            }
            let kind = ActionKind::SetMode(mode);
            return Some(match ours_changed_mode {
                true => Decision::Conflict {
                    why: format!(
                        "its permissions changed here and in the image: {}",
                        ours.difference_from(theirs)
                    ),
                    theirs: Some(kind),
                },
                false => Decision::Act(kind),
            });
        }
        if ours.has_content_of(base) && !(mode_changed && ours_changed_mode) {
            let is_same_kind = ours.kind == theirs.kind;
            let mode = match mode_changed || !is_same_kind {
                true => theirs.mode,
                false => ours.mode,
            };
            return write(theirs, mode).map(Decision::Act);
        }
        Some(Decision::Conflict {
            why: format!(
                "changed here and in the image: {}",
                ours.difference_from(theirs)
            ),
            theirs: taking_theirs(ours, theirs),
        })
    }

    /// Whether the permissions here are those that the base had.
    fn has_mode_of_base(&self, ours: &Entry, base: &Entry) -> bool {
        const EXECUTE: u32 = 0o100;
        if self.has_exact_modes {
            return ours.has_mode_of(base);
        }
        let is_executable = |entry: &Entry| entry.mode.map(|mode| mode & EXECUTE);
        ours.is_directory() || is_executable(ours) == is_executable(base)
    }

    /// Makes a conflict of each file that would replace a directory with files that stay.
    fn check_replaced_directories(&self, plan: &mut Plan) -> io::Result<()> {
        let removed: BTreeSet<Vec<u8>> = plan
            .actions
            .iter()
            .filter(|action| {
                matches!(
                    action.kind,
                    ActionKind::Remove | ActionKind::RemoveDirectory
                )
            })
            .map(|action| action.path.clone())
            .collect();
        let mut kept = Vec::new();
        for action in std::mem::take(&mut plan.actions) {
            let replaces = match &action.expected {
                Local::Entry(entry) => entry.is_directory(),
                _ => false,
            } && matches!(
                action.kind,
                ActionKind::WriteFile { .. } | ActionKind::WriteLink { .. }
            );
            let stays = match replaces {
                true => self.local.paths_below(&action.path)?,
                false => Vec::new(),
            };
            let stays = stays.into_iter().find(|path| !removed.contains(path));
            match stays {
                None => kept.push(action),
                Some(stays) => plan.conflicts.push(Conflict {
                    why: format!(
                        "it is a directory here, which has {}, and not a directory in the image",
                        String::from_utf8_lossy(&stays)
                    ),
                    path: action.path,
                    ours: action.expected,
                    theirs: None,
                    is_mergeable: false,
                }),
            }
        }
        plan.actions = kept;
        Ok(())
    }
}

enum Decision {
    Act(ActionKind),
    Conflict {
        why: String,
        theirs: Option<ActionKind>,
    },
}

/// The action that takes the version of the image, unless a directory would be lost.
fn taking_theirs(ours: &Entry, theirs: &Entry) -> Option<ActionKind> {
    if ours.is_directory() && !theirs.is_directory() {
        return None;
    }
    write(theirs, theirs.mode)
}

/// The action that writes an entry.
fn write(entry: &Entry, mode: Option<u32>) -> Option<ActionKind> {
    match entry.kind {
        NodeKind::Directory => Some(ActionKind::MakeDirectory { mode }),
        NodeKind::File => entry
            .digest
            .map(|digest| ActionKind::WriteFile { digest, mode }),
        NodeKind::Symlink => entry
            .target
            .clone()
            .map(|target| ActionKind::WriteLink { target }),
        // It is refused, and this is never performed.
        NodeKind::Fifo => Some(ActionKind::Remove),
    }
}

/// The directories above a path, the innermost first.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().rev();
    let ends = ends.filter(|(_, byte)| **byte == b'/');
    ends.map(|(end, _)| &path[..end])
}
