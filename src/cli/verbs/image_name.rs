//! Resolves the images and operations that arguments name.

use std::collections::HashSet;

use contree_error_codes::ErrorCode;
use contree_registry::Reference;
use uuid::Uuid;

use super::context::VerbContext;
use super::error::VerbError;
use super::last_run::LAST_RUN;
use super::local_image::LocalImage;
use super::session_state::{Change, EntryRef, HOST_TAG, SessionState, no_image};
use crate::cli::output::print_message;
pub(super) use crate::cli::units::short;
use crate::{Error, ImageRef, OperationInfo};

/// The fewest digits of a prefix of a UUID.
const MIN_PREFIX: usize = 4;
/// The most similar names that an error proposes.
const MAX_PROPOSED: usize = 3;
/// The similarity from which a name is proposed.
const MIN_SIMILARITY: f64 = 0.75;

/// Whether a text may be the beginning of a UUID.
fn is_prefix(text: &str) -> bool {
    digits(text).len() >= MIN_PREFIX
        && text.len() <= 36
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// The digits of a UUID or of a beginning of one.
fn digits(text: &str) -> String {
    text.replace('-', "").to_ascii_lowercase()
}

impl VerbContext {
    /// The UUID of an image. It is named by a tag with or without `tag:`, or by a UUID or a unique
    /// beginning of one. `@` and `@3` are entries of the session, and `@main` is a branch of it.
    ///
    /// # Errors
    /// If there is no such image. The error proposes similar tags, and the import that would bring
    /// the image.
    pub(super) async fn image(&self, name: &str) -> Result<Uuid, VerbError> {
        if let Some(reference) = EntryRef::parse(name) {
            let image = self.entry(reference).await?.image;
            return image.parse().map_err(|_| no_image());
        }
        if let Some(branch) = name.strip_prefix('@') {
            let image = self.branch_entry(branch).await?.image;
            return image.parse().map_err(|_| no_image());
        }
        if let Ok(uuid) = name.parse::<Uuid>() {
            self.client.resolve(&ImageRef::Uuid(uuid)).await?;
            return Ok(uuid);
        }
        let tag = name.strip_prefix("tag:").unwrap_or(name);
        if let Ok(reference) = format!("tag:{tag}").parse::<ImageRef>() {
            match self.client.resolve(&reference).await {
                Ok(image) => {
                    return image.uuid.ok_or_else(|| {
                        Error::Protocol(format!("the image `{name}` has no UUID").into()).into()
                    });
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !name.starts_with("tag:") && is_prefix(name) {
            let found = self.images_with_prefix(&digits(name)).await?;
            match found[..] {
                [] => {}
                [one] => return Ok(one),
                _ => return Err(ambiguous("images", name, &found)),
            }
        }
        Err(self.unknown_image(tag).await)
    }

    /// The image of an argument, or the image of the session.
    ///
    /// # Errors
    /// See [`image`](Self::image), and if the session has no image.
    pub(super) async fn image_or_current(&self, name: Option<&str>) -> Result<Uuid, VerbError> {
        match name {
            Some(name) => self.image(name).await,
            None => self.current_image(&self.state().await?).await,
        }
    }

    /// The image of the session, without changing the session.
    ///
    /// # Errors
    /// If the session has no image, and the backend has no image of this machine's programs.
    pub(super) async fn current_image(&self, state: &SessionState) -> Result<Uuid, VerbError> {
        match state.image {
            Some(image) => Ok(image),
            None if self.is_local() => self.image(HOST_TAG).await,
            None => Err(no_image()),
        }
    }

    /// The state of the session. A new session begins with the image of this machine's programs if
    /// the embedded engine is the backend.
    ///
    /// # Errors
    /// If a new session needs an image on another backend.
    pub(super) async fn state_with_image(&self) -> Result<SessionState, VerbError> {
        loop {
            let mut state = self.state().await?;
            if state.image.is_some() {
                return Ok(state);
            }
            state.image = Some(self.current_image(&state).await?);
            let change = Change {
                kind: "use",
                title: format!("tag:{HOST_TAG}"),
                operation: None,
            };
            let tip = self.record_at_tip(&state, change).await?;
            if tip.is_some() {
                print_message(format_args!(
                    "this session begins with tag:{HOST_TAG}, this machine's own programs; `contree use IMAGE` chooses another"
                ));
                state.tip = tip;
                return Ok(state);
            }
        }
    }

    async fn images_with_prefix(&self, prefix: &str) -> Result<Vec<Uuid>, VerbError> {
        let mut images = self.client.images();
        let mut found = Vec::new();
        while let Some(image) = images.next().await {
            let uuid = image?.uuid;
            if uuid.simple().to_string().starts_with(prefix) && !found.contains(&uuid) {
                found.push(uuid);
            }
        }
        Ok(found)
    }

    /// The error for an unknown image.
    async fn unknown_image(&self, name: &str) -> VerbError {
        let mut message = format!("there is no image `{name}`");
        let tags = self.tags().await.unwrap_or_default();
        let near = nearest(name, tags.iter().map(String::as_str));
        let branches = self.branches().await.unwrap_or_default();
        if branches.iter().any(|(branch, _)| branch == name) {
            message.push_str(&format!("; `@{name}` is the image of the branch {name}"));
            return VerbError::WithCode(ErrorCode::ImageNotFound, message);
        }
        if !near.is_empty() {
            message.push_str(&format!("; did you mean {}?", near.join(" or ")));
        }
        if let Some(local) = LocalImage::find(name) {
            message.push_str(&format!(
                "\n`contree images import {} --tag {}` imports it from this machine",
                local.reference(),
                local.name()
            ));
        } else if !is_prefix(name) && name.parse::<Reference>().is_ok() {
            message.push_str(&format!(
                "\n`contree images import {name}` brings it from its registry"
            ));
        } else if near.is_empty() {
            message.push_str("; `contree images -a` lists the images");
        }
        VerbError::WithCode(ErrorCode::ImageNotFound, message)
    }

    /// All tags.
    ///
    /// # Errors
    /// If the backend cannot be reached.
    pub(super) async fn tags(&self) -> Result<Vec<String>, Error> {
        let images = self.client.images().tagged().all().await?;
        Ok(images.into_iter().filter_map(|image| image.tag).collect())
    }

    /// The operation that an argument names: a UUID, a unique beginning of one, or an entry of the
    /// session. `@` is the last run of the session, which has no entry while it runs.
    ///
    /// # Errors
    /// If there is no such operation.
    pub(super) async fn operation(&self, name: &str) -> Result<Uuid, VerbError> {
        if name == LAST_RUN {
            return self.last_run().await;
        }
        if let Some(reference) = EntryRef::parse(name) {
            let entry = self.entry(reference).await?;
            let operation = entry.operation.and_then(|id| id.parse().ok());
            return operation.ok_or_else(|| {
                VerbError::WithCode(
                    ErrorCode::SessionEntryNotFound,
                    format!(
                        "the entry `{name}` of the session is not a run; `contree session show` lists the entries, and `contree ps` the running commands"
                    ),
                )
            });
        }
        if let Ok(uuid) = name.parse() {
            return Ok(uuid);
        }
        if is_prefix(name) {
            let prefix = digits(name);
            let mut operations = self.client.operations();
            let mut found = Vec::new();
            while let Some(operation) = operations.next().await {
                let id = operation?.id;
                if id.simple().to_string().starts_with(&prefix) {
                    found.push(id);
                }
            }
            match found[..] {
                [] => {}
                [one] => return Ok(one),
                _ => return Err(ambiguous("operations", name, &found)),
            }
        }
        Err(VerbError::WithCode(
            ErrorCode::OperationNotFound,
            format!("there is no operation `{name}`; `contree ps -a` lists them"),
        ))
    }

    /// The operations that have not ended.
    ///
    /// # Errors
    /// If the backend cannot be reached.
    pub(super) async fn active_operations(&self) -> Result<Vec<OperationInfo>, VerbError> {
        let mut active = Vec::new();
        for status in ["PENDING", "ASSIGNED", "EXECUTING"] {
            active.extend(self.client.operations().status(status).all().await?);
        }
        keep_newest(&mut active, |operation| Some(operation.id));
        active.sort_by(|a, b| b.created_at.cmp(&a.created_at));
        Ok(active)
    }
}

/// Keeps the last record of each operation. An operation whose status changes between two requests
/// is in both answers.
pub(super) fn keep_newest<T>(records: &mut Vec<T>, id: impl Fn(&T) -> Option<Uuid>) {
    let mut seen = HashSet::new();
    records.reverse();
    records.retain(|record| id(record).is_none_or(|id| seen.insert(id)));
    records.reverse();
}

fn ambiguous(what: &str, name: &str, found: &[Uuid]) -> VerbError {
    let names: Vec<String> = found.iter().take(5).map(Uuid::to_string).collect();
    VerbError::WithCode(
        ErrorCode::AmbiguousName,
        format!(
            "`{name}` is the beginning of {} {what}, such as {}; give more digits",
            found.len(),
            names.join(" and ")
        ),
    )
}

/// The known names that are similar to a wrong one, the closest first.
pub(in crate::cli) fn nearest<'a>(
    wrong: &str,
    known: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let similarity = |name: &str| {
        let bare = name.rsplit_once(':').map_or(name, |(bare, _)| bare);
        // Jaro-Winkler does not see two exchanged letters in a short name.
        let has_one_mistake = strsim::osa_distance(wrong, name) == 1 && wrong.chars().count() > 2;
        let by_letters = strsim::jaro_winkler(wrong, name).max(strsim::jaro_winkler(wrong, bare));
        if has_one_mistake {
            by_letters.max(MIN_SIMILARITY)
        } else {
            by_letters
        }
    };
    let mut near: Vec<(f64, &str)> = known
        .map(|name| (similarity(name), name))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    near.dedup_by(|a, b| a.1 == b.1);
    let names = near.into_iter().take(MAX_PROPOSED);
    names.map(|(_, name)| format!("`{name}`")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_proposed_and_others_are_not() {
        let known = ["python:3.12", "ubuntu:noble", "host", "work/base"];
        let near = |wrong| nearest(wrong, known.into_iter());
        assert_eq!(near("pyhton:3.12"), ["`python:3.12`"]);
        assert_eq!(near("ubuntu"), ["`ubuntu:noble`"]);
        assert_eq!(nearest("tow", ["two"].into_iter()), ["`two`"]);
        assert!(near("zzz").is_empty());
    }

    #[test]
    fn a_prefix_has_at_least_four_hexadecimal_digits() {
        for (text, expected) in [
            ("1a2b", true),
            ("6fbb9061-12", true),
            ("abc", false),
            ("----", false),
            ("cafe:1", false),
            ("host", false),
        ] {
            assert_eq!(is_prefix(text), expected, "{text}");
        }
    }
}
