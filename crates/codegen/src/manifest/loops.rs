//! Checks fields of loop variables, also in branches that are not taken. Minijinja finds undeclared
//! variables, but does not know the values of a loop variable.

use serde_json::Value;

use super::scan::{Tag, Token};

/// A field that none of the loop's values has.
pub struct UndefinedField {
    /// The line, counted from 0.
    pub line: u64,
    /// The variable and the field, joined by a dot.
    pub path: String,
    /// The field.
    pub field: String,
    /// The existing fields.
    pub known: Vec<String>,
}

/// A loop whose values are known.
struct Loop<'a> {
    variable: &'a str,
    values: Vec<&'a Value>,
}

/// Finds fields that are undefined for every value of their loop.
pub fn undefined_fields(tags: &[Tag], context: &Value) -> Vec<UndefinedField> {
    let mut undefined = Vec::new();
    // A loop over unknown values is `None`, so that each `endfor` closes the right loop.
    let mut loops: Vec<Option<Loop<'_>>> = Vec::new();
    for tag in tags {
        match tag.tokens.first() {
            Some(Token::Name(word)) if word == "for" => {
                let opened = read_loop(&tag.tokens, &loops, context);
                loops.push(opened);
            }
            Some(Token::Name(word)) if word == "endfor" => {
                loops.pop();
            }
            _ => {}
        }
        for path in paths(&tag.tokens) {
            let [variable, field, ..] = path.as_slice() else {
                continue;
            };
            let Some(known) = find_loop(&loops, variable) else {
                continue;
            };
            let objects: Vec<_> = known
                .values
                .iter()
                .filter_map(|value| value.as_object())
                .collect();
            if !objects.is_empty()
                && objects.len() == known.values.len()
                && !objects.iter().any(|object| object.contains_key(*field))
            {
                let names = objects.iter().flat_map(|object| object.keys()).cloned();
                undefined.push(UndefinedField {
                    line: tag.line,
                    path: format!("{variable}.{field}"),
                    field: (*field).to_owned(),
                    known: names.collect(),
                });
            }
        }
    }
    undefined
}

/// Reads `for x in path` and `for key, x in path|items`.
fn read_loop<'a>(
    tokens: &'a [Token],
    loops: &[Option<Loop<'a>>],
    context: &'a Value,
) -> Option<Loop<'a>> {
    let position = tokens
        .iter()
        .position(|token| matches!(token, Token::Name(word) if word == "in"))?;
    let (variables, over) = (&tokens[1..position], &tokens[position + 1..]);
    let path = paths(over).into_iter().next()?;
    // The names of the path, with a dot between each two.
    let path_tokens = 2 * path.len() - 1;
    let mut values = match find_loop(loops, path[0]) {
        Some(known) => known.values.clone(),
        None => vec![context.get(path[0])?],
    };
    for part in &path[1..] {
        values = values
            .into_iter()
            .filter_map(|value| value.get(part))
            .collect();
    }
    match (variables, &over[path_tokens..]) {
        ([Token::Name(variable)], []) => {
            let values = values
                .iter()
                .filter_map(|value| value.as_array())
                .flatten()
                .collect();
            Some(Loop { variable, values })
        }
        (
            [Token::Name(_), Token::Sign(','), Token::Name(variable)],
            [Token::Sign('|'), Token::Name(items)],
        ) if items == "items" => {
            let values = values.iter().filter_map(|value| value.as_object());
            Some(Loop {
                variable,
                values: values.flat_map(|object| object.values()).collect(),
            })
        }
        _ => None,
    }
}

fn find_loop<'a, 'b>(loops: &'b [Option<Loop<'a>>], variable: &str) -> Option<&'b Loop<'a>> {
    loops
        .iter()
        .rev()
        .flatten()
        .find(|known| known.variable == variable)
}

/// The dotted names in code, such as `tool.params`.
fn paths(tokens: &[Token]) -> Vec<Vec<&str>> {
    let mut paths: Vec<Vec<&str>> = Vec::new();
    let mut continues = false;
    for token in tokens {
        match token {
            Token::Name(name) if continues => {
                if let Some(path) = paths.last_mut() {
                    path.push(name);
                }
                continues = false;
            }
            Token::Name(name) => paths.push(vec![name]),
            Token::Sign('.') => continues = true,
            _ => continues = false,
        }
    }
    paths
}
