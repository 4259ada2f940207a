//! Handlers destructure all of their arguments, so that rustc reports a new argument that a handler
//! ignores.
//!
//! A function with `arguments: params::TOOL` begins with `let params::TOOL { … } = arguments;`,
//! without `..`, or only passes the arguments to a function that does the same.

use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{FnArg, ImplItem, Item, Pat, Stmt, Type};

use super::root;

#[test]
fn handlers_destructure_their_arguments() {
    let mut found = Vec::new();
    let mut functions = 0;
    check_folder(&root().join("src/tools"), &mut functions, &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(functions > 15, "only {functions} functions take arguments");
}

#[test]
fn code_that_may_ignore_an_argument_is_found() {
    let wrong = |body: &str| {
        let text =
            format!("impl T for H {{ async fn t(&self, a: params::T, cx: &C) {{ {body} }} }}");
        let mut found = Vec::new();
        let functions = check(&text, "t.rs", &mut found);
        assert_eq!(functions, 1);
        found
    };
    for good in [
        "let params::T { x, y } = a; use_both(x, y)",
        "let params::T { x, y: _ } = a;",
        "other::t(a, cx).await",
        "other::t(cx, &a).await",
    ] {
        assert!(wrong(good).is_empty(), "{good}: {:?}", wrong(good));
    }
    for bad in [
        "let params::T { x, .. } = a;",
        "use_one(a.x)",
        "let b = a; b.x",
        "let x = match a { params::T { x, .. } => x };",
        "",
    ] {
        assert!(!wrong(bad).is_empty(), "{bad}");
    }
}

fn check_folder(folder: &Path, functions: &mut usize, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            check_folder(&path, functions, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            *functions += check(&text, &path.display().to_string(), found);
        }
    }
}

/// Checks the functions of a file. Returns the number of functions with arguments of a tool.
fn check(text: &str, file: &str, found: &mut Vec<String>) -> usize {
    let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut functions = 0;
    for item in &parsed.items {
        match item {
            Item::Fn(function) => {
                functions += check_function(&function.sig, &function.block, file, found);
            }
            Item::Impl(block) => {
                for item in &block.items {
                    if let ImplItem::Fn(method) = item {
                        functions += check_function(&method.sig, &method.block, file, found);
                    }
                }
            }
            _ => {}
        }
    }
    functions
}

fn check_function(
    signature: &syn::Signature,
    body: &syn::Block,
    file: &str,
    found: &mut Vec<String>,
) -> usize {
    let arguments = signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(typed) => Some((typed, tool_of(&typed.ty)?)),
        FnArg::Receiver(_) => None,
    });
    let mut functions = 0;
    for (typed, tool) in arguments {
        functions += 1;
        let tokens = body.to_token_stream();
        let forgets = match &*typed.pat {
            Pat::Struct(pattern) => pattern.rest.is_some(),
            Pat::Ident(name) => {
                let name = name.ident.to_string();
                let is_let = body
                    .stmts
                    .first()
                    .is_some_and(|first| destructures(first, &name));
                let mut uses = Vec::new();
                uses_of(tokens.clone(), &name, false, &mut uses);
                let others = if is_let { &uses[1..] } else { &uses };
                (!is_let && uses.is_empty()) || others.contains(&Use::Part)
            }
            _ => true,
        };
        if forgets || has_rest(tokens) {
            let name = &signature.ident;
            found.push(format!(
                "{file}: `{name}` may forget an argument (begin it with `let params::{tool} {{ … }} = …;`, without `..`)"
            ));
        }
    }
    functions
}

/// `X` of `params::X` or `&params::X`.
fn tool_of(kind: &Type) -> Option<String> {
    let path = match kind {
        Type::Path(path) => &path.path,
        Type::Reference(reference) => return tool_of(&reference.elem),
        _ => return None,
    };
    let names: Vec<_> = path
        .segments
        .iter()
        .map(|part| part.ident.to_string())
        .collect();
    match names.as_slice() {
        [.., module, tool] if module == "params" => Some(tool.clone()),
        _ => None,
    }
}

/// Whether the statement is `let params::X { … } = name;` without `..`.
fn destructures(statement: &Stmt, name: &str) -> bool {
    let Stmt::Local(local) = statement else {
        return false;
    };
    let (Pat::Struct(pattern), Some(init)) = (&local.pat, &local.init) else {
        return false;
    };
    pattern.rest.is_none() && init.expr.to_token_stream().to_string() == name
}

/// How a function uses its arguments.
#[derive(Debug, PartialEq)]
enum Use {
    /// Passed as a whole to a function.
    Whole,
    /// In any other way.
    Part,
}

fn uses_of(tokens: TokenStream, name: &str, in_call: bool, uses: &mut Vec<Use>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_punct = |tree: Option<&TokenTree>, any: &[char]| match tree {
        None => true,
        Some(TokenTree::Punct(punct)) => any.contains(&punct.as_char()),
        Some(_) => false,
    };
    for (at, tree) in tokens.iter().enumerate() {
        match tree {
            TokenTree::Ident(ident) if ident == name => {
                let before = at.checked_sub(1).map(|at| &tokens[at]);
                let alone = is_punct(before, &[',', '&']) && is_punct(tokens.get(at + 1), &[',']);
                uses.push(if in_call && alone {
                    Use::Whole
                } else {
                    Use::Part
                });
            }
            TokenTree::Group(group) => {
                let in_call = group.delimiter() == Delimiter::Parenthesis;
                uses_of(group.stream(), name, in_call, uses);
            }
            _ => {}
        }
    }
}

/// Whether the tokens contain `params::X { …, .. }`.
fn has_rest(tokens: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_ident = |at: usize, name: &str| matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if name.is_empty() || ident == name);
    tokens.iter().enumerate().any(|(at, tree)| {
        let TokenTree::Group(group) = tree else {
            return false;
        };
        let of_params = at >= 4 && is_ident(at - 4, "params") && is_ident(at - 1, "");
        let text = group.stream().to_string();
        (of_params && text.trim_end().ends_with("..")) || has_rest(group.stream())
    })
}
