//! The text of a configuration with and without the entry.

use std::path::Path;

use serde_json::{Value, json};

use super::change::TextChange;
use super::client::{ENTRY, Form, json_entry};
use super::error::EditError;
use super::{json, toml};

/// The mark at the beginning of files of some editors. Parsers refuse it.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The name of the program. Entries that start it are ours.
const PROGRAM: &str = "contree-mcp";

/// The text with LF as its only line end, and without a byte order mark.
fn plain(text: &str) -> String {
    text.trim_start_matches(BYTE_ORDER_MARK)
        .replace("\r\n", "\n")
}

/// Carries a change of the plain text over to the text itself.
fn carry_over(text: &str, old: &str, new: &str) -> String {
    if old == new {
        return text.to_owned();
    }
    let rest = text.trim_start_matches(BYTE_ORDER_MARK);
    let mark = &text[..text.len() - rest.len()];
    let change = TextChange::between(old, new);
    format!("{mark}{}", change.apply_keeping_line_ends(rest))
}

/// The object that holds the servers. Newer configurations of OpenCode have it one level deeper.
fn servers(form: Form, text: &str) -> Vec<&'static str> {
    match form {
        Form::Json { servers, .. } => servers.to_vec(),
        Form::JsonArray { servers } => {
            let nested = super::json::read(text, servers, "servers")
                .ok()
                .and_then(|content| content.entry)
                .is_some_and(|entry| entry.is_object() && entry.get("type").is_none());
            let mut path = servers.to_vec();
            if nested {
                path.push("servers");
            }
            path
        }
        Form::Toml { servers } => vec![servers],
    }
}

/// Whether a command is this program, maybe at another path.
fn is_ours(command: &str) -> bool {
    Path::new(command)
        .file_stem()
        .is_some_and(|name| name == PROGRAM)
}

/// The text with an entry that starts `command`. If an entry starts this program from another path,
/// its options stay.
///
/// # Errors
/// See [`EditError`].
pub(super) fn with_entry(form: Form, text: &str, command: &str) -> Result<String, EditError> {
    let old = plain(text);
    let path = servers(form, &old);
    let new = match form {
        Form::Toml { servers } => {
            let existing = toml::read(&old, servers, ENTRY)?;
            let args = match &existing {
                Some(entry) => match &entry.command {
                    None => return Err(EditError::OtherKind(format!("`{servers}.{ENTRY}`"))),
                    Some(command) => (!is_ours(command)).then_some(&[][..]),
                },
                None => Some(&[][..]),
            };
            toml::set(&old, servers, ENTRY, command, args)?
        }
        Form::Json { .. } | Form::JsonArray { .. } => {
            let existing = json::read(&old, &path, ENTRY)?.entry;
            let wanted = match existing {
                None => json_entry(form, command),
                Some(existing) => updated(form, &existing, command)
                    .ok_or_else(|| EditError::OtherKind(format!("`{}.{ENTRY}`", path.join("."))))?,
            };
            json::set(&old, &path, ENTRY, &wanted)?
        }
    };
    Ok(carry_over(text, &old, &new))
}

/// The keys to set in an existing entry. `None` if it does not start a program.
fn updated(form: Form, existing: &Value, command: &str) -> Option<Value> {
    match form {
        Form::JsonArray { .. } => {
            let old = existing.get("command")?.as_array()?;
            let is_own = old.first().and_then(Value::as_str).is_some_and(is_ours);
            let rest = old.iter().skip(1).filter(|_| is_own).cloned();
            let all: Vec<Value> = std::iter::once(Value::from(command)).chain(rest).collect();
            Some(json!({ "command": all }))
        }
        _ => match existing.get("command")?.as_str()? {
            old if is_ours(old) => Some(json!({ "command": command })),
            _ => Some(json!({ "command": command, "args": [] })),
        },
    }
}

/// The text without the entry.
///
/// # Errors
/// See [`EditError`].
pub(super) fn without_entry(form: Form, text: &str) -> Result<String, EditError> {
    let old = plain(text);
    let new = match form {
        Form::Toml { servers } => match toml::read(&old, servers, ENTRY)? {
            Some(_) => toml::remove(&old, servers, ENTRY)?,
            None => old.clone(),
        },
        Form::Json { .. } | Form::JsonArray { .. } => {
            let path = servers(form, &old);
            match json::read(&old, &path, ENTRY)?.entry {
                Some(_) => json::remove(&old, &path, ENTRY)?,
                None => old.clone(),
            }
        }
    };
    Ok(carry_over(text, &old, &new))
}

/// Whether the text has the entry.
///
/// # Errors
/// If the text cannot be read.
pub(super) fn has_entry(form: Form, text: &str) -> Result<bool, EditError> {
    let text = plain(text);
    match form {
        Form::Toml { servers } => Ok(toml::read(&text, servers, ENTRY)?.is_some()),
        Form::Json { .. } | Form::JsonArray { .. } => {
            Ok(json::read(&text, &servers(form, &text), ENTRY)?
                .entry
                .is_some())
        }
    }
}

/// Whether `undone` is `current` without the entry and with everything else.
pub(super) fn is_undone(form: Form, current: &str, undone: &str) -> bool {
    let (current, undone) = (plain(current), plain(undone));
    match form {
        Form::Toml { servers } => toml::others(&current, servers, ENTRY)
            .is_ok_and(|others| toml::is_without(&undone, servers, ENTRY, &others)),
        Form::Json { .. } | Form::JsonArray { .. } => {
            let path = servers(form, &current);
            json::read(&current, &path, ENTRY)
                .is_ok_and(|content| json::is_without(&undone, &path, ENTRY, content.value))
        }
    }
}
