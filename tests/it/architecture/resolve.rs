//! Resolves paths in the code to the files that define their names.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{ImportKind, Module, Sources, modules};

/// The imports of the files of a crate.
#[derive(Debug, Default)]
pub(super) struct Imports {
    /// The names that the first file uses from the second.
    pub(super) between_files: BTreeMap<(String, String), BTreeSet<String>>,
    /// The names that a file uses from another crate of the workspace.
    pub(super) of_crates: BTreeMap<(String, String), BTreeSet<String>>,
    /// The file of the parent module of a file.
    pub(super) parents: BTreeMap<String, String>,
}

/// Resolves every `use` and every path of a crate.
pub(super) fn imports(sources: &Sources) -> Imports {
    let modules = modules(sources);
    let resolver = Resolver(&modules);
    let mut imports = Imports::default();
    for (number, module) in modules.iter().enumerate() {
        if let Some(parent) = module.parent
            && modules[parent].file != module.file
        {
            imports
                .parents
                .insert(module.file.clone(), modules[parent].file.clone());
        }
        let used = module.imports.iter().map(|import| &import.path);
        for path in used.chain(&module.paths) {
            let name = path.last().cloned().unwrap_or_default();
            let edges = match resolver.resolve(number, path, &mut Vec::new()) {
                Some(Target::Crate(other)) => {
                    let edge = (module.file.clone(), other);
                    imports.of_crates.entry(edge)
                }
                Some(Target::Item(other) | Target::Module(other)) => {
                    let file = modules[other].file.clone();
                    if file == module.file {
                        continue;
                    }
                    imports.between_files.entry((module.file.clone(), file))
                }
                None => continue,
            };
            edges.or_default().insert(name);
        }
    }
    imports
}

/// The target of a path.
#[derive(Clone)]
enum Target {
    /// A module of this crate.
    Module(usize),
    /// An item that this module defines.
    Item(usize),
    /// Another crate of the workspace, by the name of its package.
    Crate(String),
}

struct Resolver<'a>(&'a [Module]);

/// The pending look-ups, which end circular imports.
type Pending = Vec<(usize, String)>;

impl Resolver<'_> {
    /// The target of `path` in a module; none for a crate outside the workspace.
    fn resolve(&self, module: usize, path: &[String], pending: &mut Pending) -> Option<Target> {
        let (head, mut rest) = path.split_first()?;
        let mut target = match head.as_str() {
            "crate" => Target::Module(0),
            "self" => Target::Module(module),
            "super" => Target::Module(self.0[module].parent?),
            head => match self.find(module, head, rest.is_empty(), pending) {
                Some(target) => target,
                None if is_workspace_crate(head) => Target::Crate(head.replace('_', "-")),
                None => return None,
            },
        };
        while let (Target::Module(at), Some((name, after))) = (&target, rest.split_first()) {
            target = if name == "super" {
                Target::Module(self.0[*at].parent?)
            } else {
                // A name without a visible definition comes from a macro or an included file, so it
                // is defined there.
                self.find(*at, name, after.is_empty(), pending)
                    .unwrap_or(Target::Item(*at))
            };
            rest = after;
        }
        Some(target)
    }

    /// The target of a name in a module. At the end of a path, an item takes precedence over a
    /// module of the same name.
    fn find(
        &self,
        module: usize,
        name: &str,
        is_last: bool,
        pending: &mut Pending,
    ) -> Option<Target> {
        let key = (module, format!("{name} {is_last}"));
        if pending.contains(&key) {
            return None;
        }
        pending.push(key);
        let found = self.found(module, name, is_last, pending);
        pending.pop();
        found
    }

    fn found(
        &self,
        module: usize,
        name: &str,
        is_last: bool,
        pending: &mut Pending,
    ) -> Option<Target> {
        let this = &self.0[module];
        let child = this.children.get(name).map(|child| Target::Module(*child));
        if !is_last && child.is_some() {
            return child;
        }
        let named = this.imports.iter();
        let mut named = named.filter(|import| import.kind == ImportKind::Named(name.to_owned()));
        if let Some(target) = named.find_map(|import| self.resolve(module, &import.path, pending)) {
            return Some(target);
        }
        if this.defined.contains(name) {
            return Some(Target::Item(module));
        }
        if child.is_some() {
            return child;
        }
        let globs = this.imports.iter();
        let mut globs = globs.filter(|import| import.kind == ImportKind::Glob);
        globs.find_map(
            |import| match self.resolve(module, &import.path, pending)? {
                Target::Module(other) if other != module => {
                    self.find(other, name, is_last, pending)
                }
                _ => None,
            },
        )
    }
}

fn is_workspace_crate(name: &str) -> bool {
    name == "contree" || name.starts_with("contree_")
}
