//! The values of build arguments.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Problem;
use super::expand::{expand, words};

/// Build arguments: given ones, those of `ARG` before the first `FROM`, and those of the platform.
#[derive(Debug, Default)]
pub(crate) struct BuildArguments {
    given: BTreeMap<String, String>,
    /// The arguments before the first `FROM`.
    global: BTreeMap<String, String>,
    platform: BTreeMap<String, String>,
    used: BTreeSet<String>,
}

impl BuildArguments {
    /// The arguments of a build on a machine with an architecture as Docker names it.
    pub(crate) fn new(given: BTreeMap<String, String>, architecture: &str) -> Self {
        let mut platform = BTreeMap::new();
        for side in ["TARGET", "BUILD"] {
            for (name, value) in [
                ("PLATFORM", format!("linux/{architecture}")),
                ("OS", "linux".to_owned()),
                ("ARCH", architecture.to_owned()),
                ("VARIANT", String::new()),
            ] {
                platform.insert(format!("{side}{name}"), value);
            }
        }
        Self {
            given,
            platform,
            ..Self::default()
        }
    }

    /// The platform of the machine, such as `linux/amd64`.
    pub(super) fn own_platform(&self) -> &str {
        self.platform
            .get("TARGETPLATFORM")
            .map_or("", String::as_str)
    }

    /// The given arguments that no `ARG` declares.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &str> {
        let names = self.given.keys().map(String::as_str);
        names.filter(|name| !self.used.contains(*name))
    }

    /// Declares arguments before the first `FROM`.
    pub(super) fn declare_global(
        &mut self,
        declared: &[(String, Option<String>)],
        escape: char,
    ) -> Result<(), Problem> {
        for (name, default) in declared {
            self.used.insert(name.clone());
            let value = match (self.given.get(name), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(default)) => Some(expand(default, escape, &|name| self.of_from(name))?),
                (None, None) => None,
            };
            self.global.extend(value.map(|value| (name.clone(), value)));
        }
        Ok(())
    }

    /// The value of a variable in `FROM`.
    pub(super) fn of_from(&self, name: &str) -> Option<String> {
        let value = self.global.get(name).or_else(|| self.platform.get(name));
        value.cloned()
    }

    /// The value of an argument that a stage declares. The stage has expanded its default.
    pub(super) fn of_stage(&mut self, name: &str, default: Option<String>) -> Option<String> {
        self.used.insert(name.to_owned());
        let given = self.given.get(name).cloned();
        given.or(default).or_else(|| self.of_from(name))
    }
}

/// The names of an `ARG`, with their defaults.
pub(super) fn argument_names(text: &str, escape: char) -> Vec<(String, Option<String>)> {
    let words = words(text, escape).into_iter();
    words
        .map(|word| match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        })
        .collect()
}

/// The names and values of an `ENV`: `NAME=VALUE…`, or `NAME VALUE` of the older form.
pub(super) fn pairs(text: &str, escape: char) -> Result<Vec<(String, String)>, Problem> {
    let words = words(text, escape);
    let no_pair = |text: &str| Problem::NoPair {
        text: text.to_owned(),
    };
    let first = words.first().ok_or_else(|| no_pair(text))?;
    if !first.contains('=') {
        let value = text.trim_start().strip_prefix(first.as_str());
        let value = value.map_or("", str::trim);
        return match value {
            "" => Err(no_pair(first)),
            value => Ok(vec![(first.clone(), value.to_owned())]),
        };
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(no_pair(word)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_env_are_read() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            pairs(r#"A=1 B="x y" C=a\ b"#, '\\').unwrap(),
            [pair("A", "1"), pair("B", "\"x y\""), pair("C", r"a\ b")]
        );
        assert_eq!(pairs("A one  two", '\\').unwrap(), [pair("A", "one  two")]);
        for wrong in ["A", "A=1 B", "=x"] {
            assert!(pairs(wrong, '\\').is_err(), "{wrong}");
        }
    }

    #[test]
    fn given_arguments_come_before_defaults() {
        let given = BTreeMap::from([("V".to_owned(), "given".to_owned())]);
        let mut arguments = BuildArguments::new(given, "amd64");
        let declared = argument_names("V=default W=w-$V X", '\\');
        arguments.declare_global(&declared, '\\').unwrap();
        assert_eq!(arguments.of_from("V").as_deref(), Some("given"));
        assert_eq!(arguments.of_from("W").as_deref(), Some("w-given"));
        assert_eq!(arguments.of_from("X"), None);
        let of_stage = arguments.of_stage("W", Some("own".to_owned()));
        assert_eq!(of_stage.as_deref(), Some("own"));
        assert_eq!(arguments.of_stage("W", None).as_deref(), Some("w-given"));
        assert_eq!(
            arguments.of_stage("TARGETARCH", None).as_deref(),
            Some("amd64")
        );
        assert_eq!(arguments.unused().count(), 0);
        let given = BTreeMap::from([("T".to_owned(), String::new())]);
        let unused = BuildArguments::new(given, "amd64");
        assert_eq!(unused.unused().collect::<Vec<_>>(), ["T"]);
    }
}
