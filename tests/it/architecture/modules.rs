//! The modules of a crate, with their definitions, imports and paths.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, ItemUse, Meta, Token, UseTree, punctuated::Punctuated};

/// The source files of a crate by their path below its source directory.
pub(super) struct Sources(pub(super) BTreeMap<String, String>);

/// A module, in its own file or inline in another one.
pub(super) struct Module {
    pub(super) file: String,
    pub(super) parent: Option<usize>,
    pub(super) children: BTreeMap<String, usize>,
    /// The names that it defines, without those of its children.
    pub(super) defined: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    /// The paths of at least two names in its code.
    pub(super) paths: Vec<Vec<String>>,
}

/// A path that a `use` brings into a module.
pub(super) struct Import {
    pub(super) path: Vec<String>,
    pub(super) kind: ImportKind,
}

/// The name that an import defines.
#[derive(PartialEq)]
pub(super) enum ImportKind {
    Named(String),
    /// All names below its path.
    Glob,
}

/// Reads a crate, beginning with `lib.rs` or `main.rs`. The first module is the root.
pub(super) fn modules(sources: &Sources) -> Vec<Module> {
    let root = ["lib.rs", "main.rs"]
        .into_iter()
        .find(|root| sources.0.contains_key(*root))
        .expect("a crate has a root");
    let mut reader = Reader {
        sources,
        modules: Vec::new(),
    };
    reader.file(root, "", None);
    reader.modules
}

struct Reader<'a> {
    sources: &'a Sources,
    modules: Vec<Module>,
}

impl Reader<'_> {
    /// Reads a file whose child modules are in `directory`.
    fn file(&mut self, file: &str, directory: &str, parent: Option<usize>) -> usize {
        let parsed = syn::parse_file(&self.sources.0[file])
            .unwrap_or_else(|error| panic!("{file} cannot be read: {error}"));
        self.module(file, directory, parent, parsed.items)
    }

    fn module(
        &mut self,
        file: &str,
        directory: &str,
        parent: Option<usize>,
        items: Vec<Item>,
    ) -> usize {
        let this = self.modules.len();
        self.modules.push(Module {
            file: file.to_owned(),
            parent,
            children: BTreeMap::new(),
            defined: BTreeSet::new(),
            imports: Vec::new(),
            paths: Vec::new(),
        });
        for item in items {
            if is_of_tests(attributes(&item)) {
                continue;
            }
            match item {
                Item::Mod(item) => {
                    let name = item.ident.to_string();
                    let child = match item.content {
                        Some((_, items)) => {
                            let within = format!("{directory}{name}/");
                            Some(self.module(file, &within, Some(this), items))
                        }
                        None => self.child_file(&name, file, directory, &item.attrs, this),
                    };
                    if let Some(child) = child {
                        self.modules[this].children.insert(name, child);
                    }
                }
                Item::Use(item) => self.modules[this].imports.extend(imports(&item)),
                item => {
                    let module = &mut self.modules[this];
                    module.defined.extend(name(&item));
                    scan(item.to_token_stream(), module);
                }
            }
        }
        this
    }

    /// Reads the file of `mod name;`. A file outside the source directory belongs to the tests.
    fn child_file(
        &mut self,
        name: &str,
        file: &str,
        directory: &str,
        attributes: &[Attribute],
        parent: usize,
    ) -> Option<usize> {
        let given = attributes
            .iter()
            .find_map(|attribute| match &attribute.meta {
                Meta::NameValue(pair) if pair.path.is_ident("path") => {
                    let text = pair.value.to_token_stream().to_string();
                    Some(text.trim_matches('"').to_owned())
                }
                _ => None,
            });
        let beside = file.rsplit_once('/').map_or("", |(directory, _)| directory);
        let candidates = match given {
            Some(path) if beside.is_empty() => vec![path],
            Some(path) => vec![format!("{beside}/{path}")],
            None => vec![
                format!("{directory}{name}.rs"),
                format!("{directory}{name}/mod.rs"),
            ],
        };
        let found = candidates
            .into_iter()
            .find(|file| self.sources.0.contains_key(file))?;
        Some(self.file(&found, &format!("{directory}{name}/"), Some(parent)))
    }
}

/// Whether code with these attributes exists only for tests.
fn is_of_tests(attributes: &[Attribute]) -> bool {
    fn needs_test(meta: &Meta) -> bool {
        let Meta::List(list) = meta else {
            return meta.path().is_ident("test");
        };
        let parsed = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        let inner: Vec<Meta> = parsed.into_iter().flatten().collect();
        match list.path.get_ident().map(ToString::to_string).as_deref() {
            Some("cfg" | "all") => inner.iter().any(needs_test),
            Some("any") => inner.iter().all(needs_test),
            _ => false,
        }
    }
    attributes
        .iter()
        .any(|attribute| attribute.path().is_ident("cfg") && needs_test(&attribute.meta))
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// The leaves of a `use`.
fn imports(item: &ItemUse) -> Vec<Import> {
    fn leaves(tree: &UseTree, path: &[String], found: &mut Vec<Import>) {
        let below = |name: &syn::Ident| {
            let mut path = path.to_vec();
            // `{self}` is the path before the braces.
            if name != "self" || path.is_empty() {
                path.push(name.to_string());
            }
            path
        };
        let mut named = |path: Vec<String>, name: String| {
            let kind = ImportKind::Named(name);
            found.push(Import { path, kind });
        };
        match tree {
            UseTree::Path(tree) => leaves(&tree.tree, &below(&tree.ident), found),
            UseTree::Name(tree) => {
                let path = below(&tree.ident);
                let name = path.last().cloned().unwrap_or_default();
                named(path, name);
            }
            UseTree::Rename(tree) => named(below(&tree.ident), tree.rename.to_string()),
            UseTree::Glob(_) => found.push(Import {
                path: path.to_vec(),
                kind: ImportKind::Glob,
            }),
            UseTree::Group(tree) => {
                for tree in &tree.items {
                    leaves(tree, path, found);
                }
            }
        }
    }
    let mut found = Vec::new();
    // `use ::name` refers to another crate.
    if item.leading_colon.is_none() {
        leaves(&item.tree, &[], &mut found);
    }
    found
}

/// Finds the paths and the imports in code, including arguments of macros.
fn scan(tokens: TokenStream, module: &mut Module) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => scan(group.stream(), module),
            TokenTree::Ident(ident) if ident == "pub" => {
                // The path in `pub(in path)` imports nothing.
                if let Some(TokenTree::Group(group)) = tokens.get(at + 1)
                    && group.delimiter() == Delimiter::Parenthesis
                {
                    at += 1;
                }
            }
            TokenTree::Ident(ident) if ident == "use" => {
                let statement: TokenStream = tokens[at..]
                    .iter()
                    .take_while(|token| !is_punct(token, ';'))
                    .cloned()
                    .chain([TokenTree::Punct(proc_macro2::Punct::new(
                        ';',
                        Spacing::Alone,
                    ))])
                    .collect();
                // Otherwise it is `use<…>` in a type.
                if let Ok(item) = syn::parse2::<ItemUse>(statement) {
                    module.imports.extend(imports(&item));
                    while at < tokens.len() && !is_punct(&tokens[at], ';') {
                        at += 1;
                    }
                }
            }
            TokenTree::Ident(ident) => {
                // A name after `::` belongs to a type in angle brackets or to another crate.
                let begins = at < 2 || !is_path_separator(&tokens[at - 2..]);
                let mut path = vec![ident.to_string()];
                while is_path_separator(&tokens[at + 1..])
                    && let Some(TokenTree::Ident(next)) = tokens.get(at + 3)
                {
                    path.push(next.to_string());
                    at += 3;
                }
                if begins && path.len() > 1 {
                    module.paths.push(path);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn is_path_separator(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(first), second, ..]
        if first.as_char() == ':' && first.spacing() == Spacing::Joint && is_punct(second, ':'))
}
