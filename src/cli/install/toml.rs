//! Entries in configurations in TOML.

use std::collections::BTreeMap;

use toml_edit::{Array, DocumentMut, InlineTable, Item, TableLike, Value, value};

use super::error::EditError;

/// The program and the arguments of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) command: Option<String>,
    pub(super) args: Option<Vec<String>>,
}

fn parse(text: &str) -> Result<DocumentMut, EditError> {
    text.parse().map_err(EditError::Toml)
}

fn table<'a>(parent: &'a dyn TableLike, key: &str) -> Result<Option<&'a dyn TableLike>, EditError> {
    match parent.get(key) {
        None => Ok(None),
        Some(item) => item
            .as_table_like()
            .map(Some)
            .ok_or_else(|| EditError::NotAnObject(format!("`{key}`"))),
    }
}

/// Reads the entry `name` of the table `key`.
///
/// # Errors
/// If the text is not TOML, or one of the two is not a table.
pub(super) fn read(text: &str, key: &str, name: &str) -> Result<Option<Entry>, EditError> {
    let document = parse(text)?;
    let Some(servers) = table(document.as_table(), key)? else {
        return Ok(None);
    };
    let Some(entry) = table(servers, name)? else {
        return Ok(None);
    };
    let text = |item: &Item| item.as_str().map(str::to_owned);
    Ok(Some(Entry {
        command: entry.get("command").and_then(text),
        args: entry.get("args").and_then(Item::as_array).map(|args| {
            args.iter()
                .filter_map(|one| one.as_str().map(str::to_owned))
                .collect()
        }),
    }))
}

/// Sets the program of the entry `name` of the table `key`, and its arguments if they are given.
///
/// # Errors
/// See [`read`]. Also if the change would alter anything else.
pub(super) fn set(
    text: &str,
    key: &str,
    name: &str,
    command: &str,
    args: Option<&[String]>,
) -> Result<String, EditError> {
    let existing = read(text, key, name)?;
    let wanted = Entry {
        command: Some(command.to_owned()),
        args: args
            .map(<[String]>::to_vec)
            .or_else(|| existing.as_ref()?.args.clone()),
    };
    let before = leaves(&parse(text)?, key, name);
    let is_right = |changed: &str| {
        read(changed, key, name).is_ok_and(|found| found.as_ref() == Some(&wanted))
            && parse(changed).is_ok_and(|after| leaves(&after, key, name) == before)
    };
    // A table at the end changes no other line.
    let mut candidates = Vec::new();
    if existing.is_none() {
        candidates.push(appended(text, key, name, command, args));
    }
    candidates.push(edited(text, key, name, command, args)?);
    candidates
        .into_iter()
        .find(|changed| is_right(changed))
        .ok_or(EditError::Unsafe)
}

fn array(args: &[String]) -> Array {
    args.iter().map(String::as_str).collect()
}

fn appended(text: &str, key: &str, name: &str, command: &str, args: Option<&[String]>) -> String {
    let gap = match text {
        "" => "",
        text if text.ends_with("\n\n") => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let mut changed = format!(
        "{text}{gap}[{key}.{name}]\ncommand = {}\n",
        Value::from(command)
    );
    if let Some(args) = args {
        changed.push_str(&format!("args = {}\n", array(args)));
    }
    changed
}

fn edited(
    text: &str,
    key: &str,
    name: &str,
    command: &str,
    args: Option<&[String]>,
) -> Result<String, EditError> {
    let mut document = parse(text)?;
    let not_a_table = || EditError::NotAnObject(format!("`{key}`"));
    let servers = document
        .as_table_mut()
        .entry(key)
        .or_insert_with(toml_edit::table)
        .as_table_like_mut()
        .ok_or_else(not_a_table)?;
    let entry = servers
        .entry(name)
        .or_insert_with(|| value(InlineTable::new()))
        .as_table_like_mut()
        .ok_or_else(not_a_table)?;
    put(entry, "command", Value::from(command));
    if let Some(args) = args {
        put(entry, "args", Value::from(array(args)));
    }
    Ok(document.to_string())
}

/// Sets a value and keeps the comments and spaces around it.
fn put(entry: &mut dyn TableLike, key: &str, mut new: Value) {
    match entry.get_mut(key) {
        Some(Item::Value(old)) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        _ => {
            entry.insert(key, value(new));
        }
    }
}

/// Removes the entry `name` of the table `key`.
///
/// # Errors
/// See [`set`].
pub(super) fn remove(text: &str, key: &str, name: &str) -> Result<String, EditError> {
    let before = leaves(&parse(text)?, key, name);
    let lines = without_lines(text, key, name);
    if is_without(&lines, key, name, &before) {
        return Ok(lines);
    }
    let mut document = parse(text)?;
    if let Some(servers) = document
        .as_table_mut()
        .get_mut(key)
        .and_then(Item::as_table_like_mut)
    {
        servers.remove(name);
    }
    let changed = document.to_string();
    if is_without(&changed, key, name, &before) {
        Ok(changed)
    } else {
        Err(EditError::Unsafe)
    }
}

/// Everything of a text except for the entry.
///
/// # Errors
/// If the text is not TOML.
pub(super) fn others(
    text: &str,
    key: &str,
    name: &str,
) -> Result<BTreeMap<String, String>, EditError> {
    Ok(leaves(&parse(text)?, key, name))
}

/// Whether a text lacks the entry and has everything in `others`.
pub(super) fn is_without(
    text: &str,
    key: &str,
    name: &str,
    others: &BTreeMap<String, String>,
) -> bool {
    matches!(read(text, key, name), Ok(None))
        && parse(text).is_ok_and(|after| leaves(&after, key, name) == *others)
}

/// The text without the lines from a header of the entry to the last of its values. Comments after
/// them stay.
fn without_lines(text: &str, key: &str, name: &str) -> String {
    let header = |line: &str| line.trim_start().starts_with('[');
    let own = |line: &str| {
        let line = line.trim();
        [format!("[{key}.{name}]"), format!("[{key}.{name}.")]
            .iter()
            .any(|start| line.starts_with(start.as_str()))
    };
    let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut kept: Vec<&str> = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if !own(lines[at]) {
            kept.push(lines[at]);
            at += 1;
            continue;
        }
        let mut end = at + 1;
        while end < lines.len() && !header(lines[end]) {
            end += 1;
        }
        let last = (at..end).rev().find(|&line| !blank(lines[line]));
        at = last.unwrap_or(at) + 1;
        // At the end of the text, the blank line before the header goes with it.
        if at == lines.len() && kept.last().is_some_and(|line| line.trim().is_empty()) {
            kept.pop();
        }
    }
    kept.concat()
}

/// The values of a document by their path, without those of the entry.
fn leaves(document: &DocumentMut, key: &str, name: &str) -> BTreeMap<String, String> {
    fn add(path: &str, item: &Item, found: &mut BTreeMap<String, String>) {
        if let Some(tables) = item.as_array_of_tables() {
            for (index, table) in tables.iter().enumerate() {
                add_table(&format!("{path}[{index}]"), table, found);
            }
        } else if let Some(table) = item.as_table_like() {
            add_table(path, table, found);
        } else if let Some(one) = item.as_value() {
            let mut one = one.clone();
            one.decor_mut().clear();
            found.insert(path.to_owned(), one.to_string());
        }
    }
    fn add_table(path: &str, table: &dyn TableLike, found: &mut BTreeMap<String, String>) {
        for (key, item) in table.iter() {
            add(&format!("{path}.{key:?}"), item, found);
        }
    }
    let mut found = BTreeMap::new();
    add_table("", document.as_table(), &mut found);
    let own = format!(".{key:?}.{name:?}.");
    found.retain(|path, _| !path.starts_with(&own));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_ours(text: &str) -> Result<String, EditError> {
        set(text, "mcp_servers", "contree", "/bin/x", Some(&[]))
    }

    #[test]
    fn a_new_table_goes_to_the_end_and_changes_nothing_else() {
        let text = "# mine\nmodel = \"o\" # fast\n\n[mcp_servers.git]\ncommand = 'uvx'\n# end";
        let changed = set_ours(text).unwrap();
        assert!(changed.starts_with(text), "{changed}");
        assert_eq!(
            changed.strip_prefix(text).unwrap(),
            "\n\n[mcp_servers.contree]\ncommand = \"/bin/x\"\nargs = []\n"
        );
        assert_eq!(set_ours(&changed).unwrap(), changed);
    }

    #[test]
    fn an_inline_table_and_dotted_keys_are_extended() {
        for text in [
            "mcp_servers = { git = { command = \"uvx\" } } # all\nmodel = 'o'\n",
            "mcp_servers.git.command = \"uvx\" # one\n",
            "[mcp_servers]\ngit = { command = \"uvx\" }\n[other]\na = 1\n",
        ] {
            let changed = set_ours(text).unwrap();
            assert!(read(&changed, "mcp_servers", "contree").unwrap().is_some());
            assert!(changed.contains("uvx"), "{changed}");
        }
    }

    #[test]
    fn an_existing_entry_keeps_its_other_keys_and_comments() {
        let text = "[mcp_servers.contree]\ncommand = \"old\" # mine\nstartup_timeout_sec = 20\n";
        let changed = set(text, "mcp_servers", "contree", "/bin/x", None).unwrap();
        assert_eq!(changed, text.replace("old", "/bin/x"));
    }

    #[test]
    fn comments_around_a_removed_table_stay() {
        let text = "a = 1\n\n# before\n[mcp_servers.contree]\ncommand = \"x\"\n\n[mcp_servers.contree.env]\nB = \"c\"\n\n# after\n[z]\n";
        let changed = remove(text, "mcp_servers", "contree").unwrap();
        assert!(
            changed.contains("# before") && changed.contains("# after"),
            "{changed}"
        );
        assert!(!changed.contains("contree"), "{changed}");
    }

    #[test]
    fn what_cannot_be_edited_safely_is_an_error() {
        for (text, part) in [
            ("a = \n", "not valid TOML"),
            ("mcp_servers = 3\n", "`mcp_servers` is not an object"),
            ("[mcp_servers]\ncontree = 3\n", "`contree` is not an object"),
        ] {
            let error = set_ours(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
