//! Finds circles of files that depend on each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::resolve::Imports;

/// Files that all depend on each other, with the uses between them.
pub(super) struct Circle {
    pub(super) files: Vec<String>,
    ties: Vec<String>,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {}", self.files.join(", "))?;
        self.ties
            .iter()
            .try_for_each(|tie| writeln!(f, "    {tie}"))
    }
}

/// The strongly connected components of more than one file. Uses between a module and its children
/// are ignored.
pub(super) fn circles(imports: &Imports) -> Vec<Circle> {
    let is_family = |a: &String, b: &String| {
        imports.parents.get(a) == Some(b) || imports.parents.get(b) == Some(a)
    };
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in imports.between_files.keys() {
        if !is_family(from, to) {
            next.entry(from).or_default().insert(to);
        }
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> = next
        .keys()
        .map(|file| (*file, reachable(file, &next)))
        .collect();
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (file, targets) in &reached {
        if !targets.contains(file) || seen.contains(file) {
            continue;
        }
        let together = |other: &&str| reached.get(other).is_some_and(|back| back.contains(file));
        let files: BTreeSet<&str> = targets.iter().copied().filter(together).collect();
        seen.extend(files.iter().copied());
        let ties = imports.between_files.iter().filter(|((from, to), _)| {
            files.contains(from.as_str()) && files.contains(to.as_str()) && !is_family(from, to)
        });
        found.push(Circle {
            files: files.iter().map(|file| (*file).to_owned()).collect(),
            ties: ties
                .map(|((from, to), names)| super::example(from, to, names))
                .collect(),
        });
    }
    found
}

/// The files that `file` depends on, directly or not. The file itself is included only if it is in
/// a circle.
fn reachable<'a>(file: &str, next: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = next.get(file).into_iter().flatten().copied().collect();
    while let Some(file) = open.pop() {
        if reached.insert(file) {
            open.extend(next.get(file).into_iter().flatten());
        }
    }
    reached
}
