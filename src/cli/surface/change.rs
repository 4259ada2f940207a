//! A change between two surfaces, and the list of changes.

use std::fmt;

use serde::Serialize;

use super::read::Labels;

/// The severity of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Severity {
    /// Only texts differ. Models that read them may act differently.
    Wording,
    /// Valid calls stay valid but may act differently, or something was added.
    Behavioural,
    /// Valid calls are refused, or fields of answers are gone.
    Breaking,
}

/// A change between two surfaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(in crate::cli) struct Change {
    pub(in crate::cli) severity: Severity,
    /// The changed item, such as `run.timeout`.
    #[serde(rename = "what")]
    pub(in crate::cli) item: String,
    /// The difference.
    #[serde(rename = "how")]
    pub(in crate::cli) difference: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Wording => "wording",
            Severity::Behavioural => "behavioural",
            Severity::Breaking => "breaking",
        };
        write!(f, "{severity:<12} {}: {}", self.item, self.difference)
    }
}

/// The changes found so far.
pub(super) struct Changes(pub(super) Vec<Change>);

impl Changes {
    pub(super) fn add(
        &mut self,
        severity: Severity,
        item: impl Into<String>,
        difference: impl Into<String>,
    ) {
        self.0.push(Change {
            severity,
            item: item.into(),
            difference: difference.into(),
        });
    }

    /// Adds a change for each text that differs.
    pub(super) fn labels(&mut self, item: &str, old: &Labels, new: &Labels) {
        for (name, old, new) in [
            ("title", &old.title, &new.title),
            ("description", &old.description, &new.description),
        ] {
            if let Some(old) = old
                && Some(old) != new.as_ref()
            {
                self.add(
                    Severity::Wording,
                    item,
                    format!("its {name} reads differently"),
                );
            }
        }
    }
}
