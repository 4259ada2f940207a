//! Substitution of variables in words, and the quotes around words.

use std::iter::Peekable;
use std::str::Chars;

use super::error::Problem;

/// The most substitutions within each other.
const MAX_DEPTH: usize = 32;

/// The values of variables.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces variables in a word, and removes its quotes and escapes.
///
/// # Errors
/// A wrong substitution, or a missing variable that `${NAME:?TEXT}` needs.
pub(super) fn expand(word: &str, escape: char, lookup: Lookup<'_>) -> Result<String, Problem> {
    Expansion::of(word, escape, false, lookup).until(None)
}

/// Replaces variables in the text of a here-document. Quotes and escapes stay, except `\$`.
///
/// # Errors
/// See [`expand`].
pub(super) fn expand_text(text: &str, escape: char, lookup: Lookup<'_>) -> Result<String, Problem> {
    Expansion::of(text, escape, true, lookup).until(None)
}

/// Splits a text at its spaces. Quotes keep spaces, and stay.
pub(super) fn words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, character) if character.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), character) if open == character => quote = None,
            (Some('\''), _) => {}
            (_, character) if character == escape => {
                word.push(character);
                word.extend(characters.next());
                continue;
            }
            _ => {}
        }
        word.push(character);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A text that is being expanded.
struct Expansion<'a> {
    rest: Peekable<Chars<'a>>,
    escape: char,
    /// Whether quotes have no meaning.
    keeps_quotes: bool,
    lookup: Lookup<'a>,
    /// The number of substitutions around the current position.
    depth: usize,
}

/// The part of a value that a substitution removes or replaces.
#[derive(Clone, Copy)]
enum MatchedPart {
    Prefix { longest: bool },
    Suffix { longest: bool },
    Replace { all: bool },
}

impl<'a> Expansion<'a> {
    fn of(text: &'a str, escape: char, keeps_quotes: bool, lookup: Lookup<'a>) -> Self {
        Self {
            rest: text.chars().peekable(),
            escape,
            keeps_quotes,
            lookup,
            depth: 0,
        }
    }

    /// Expands up to a character, which is consumed, or to the end.
    fn until(&mut self, stop: Option<char>) -> Result<String, Problem> {
        let mut text = String::new();
        while let Some(character) = self.rest.next() {
            match character {
                character if Some(character) == stop => return Ok(text),
                '\'' if !self.keeps_quotes => {
                    text.extend(self.rest.by_ref().take_while(|next| *next != '\''));
                }
                '"' if !self.keeps_quotes => self.double_quoted(&mut text)?,
                '$' => text.push_str(&self.variable()?),
                character if character == self.escape => match self.rest.peek() {
                    Some('$') => text.extend(self.rest.next()),
                    Some(_) if !self.keeps_quotes => text.extend(self.rest.next()),
                    _ => text.push(character),
                },
                _ => text.push(character),
            }
        }
        match stop {
            Some(_) => Err(Problem::Substitution(format!("${{…{text}"))),
            None => Ok(text),
        }
    }

    fn double_quoted(&mut self, text: &mut String) -> Result<(), Problem> {
        while let Some(character) = self.rest.next() {
            match character {
                '"' => return Ok(()),
                '$' => text.push_str(&self.variable()?),
                character if character == self.escape => match self.rest.peek() {
                    Some('"' | '$') => text.extend(self.rest.next()),
                    Some(next) if *next == self.escape => text.extend(self.rest.next()),
                    _ => text.push(character),
                },
                _ => text.push(character),
            }
        }
        Ok(())
    }

    /// The value of a variable whose `$` was consumed.
    fn variable(&mut self) -> Result<String, Problem> {
        if self.rest.next_if_eq(&'{').is_some() {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(Problem::NestedTooDeeply);
            }
            let value = self.braced();
            self.depth -= 1;
            return value;
        }
        let name = self.name();
        match name.is_empty() {
            true => Ok("$".to_owned()),
            false => Ok((self.lookup)(&name).unwrap_or_default()),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(character) = self
            .rest
            .next_if(|next| next.is_ascii_alphanumeric() || *next == '_')
        {
            name.push(character);
        }
        name
    }

    fn braced(&mut self) -> Result<String, Problem> {
        let name = self.name();
        let wrong = |name: &str| Problem::Substitution(format!("${{{name}"));
        if name.is_empty() {
            return Err(wrong(&name));
        }
        let value = (self.lookup)(&name);
        let mut operator = self.rest.next().ok_or_else(|| wrong(&name))?;
        let mut is_unset_if_empty = false;
        match operator {
            '}' => return Ok(value.unwrap_or_default()),
            '#' | '%' => {
                let longest = self.rest.next_if_eq(&operator).is_some();
                let part = match operator {
                    '#' => MatchedPart::Prefix { longest },
                    _ => MatchedPart::Suffix { longest },
                };
                let pattern = self.until(Some('}'))?;
                return Ok(replace_matching(
                    &value.unwrap_or_default(),
                    &pattern,
                    part,
                    "",
                ));
            }
            '/' => {
                let all = self.rest.next_if_eq(&'/').is_some();
                let pattern = self.until(Some('/'))?;
                let replacement = self.until(Some('}'))?;
                let value = value.unwrap_or_default();
                return Ok(replace_matching(
                    &value,
                    &pattern,
                    MatchedPart::Replace { all },
                    &replacement,
                ));
            }
            ':' => {
                is_unset_if_empty = true;
                operator = self.rest.next().ok_or_else(|| wrong(&name))?;
            }
            _ => {}
        }
        let word = self.until(Some('}'))?;
        let value = value.filter(|value| !(is_unset_if_empty && value.is_empty()));
        match operator {
            '-' => Ok(value.unwrap_or(word)),
            '+' => Ok(value.map_or_else(String::new, |_| word)),
            '?' => value.ok_or_else(|| Problem::Required {
                name,
                message: match word.is_empty() {
                    true => "give --build-arg, or set it before".to_owned(),
                    false => word,
                },
            }),
            _ => Err(wrong(&name)),
        }
    }
}

/// Replaces the parts of a value that match a pattern of `*` and `?`. A prefix or suffix is
/// removed.
fn replace_matching(value: &str, pattern: &str, part: MatchedPart, replacement: &str) -> String {
    let pattern: Vec<char> = pattern.chars().collect();
    let value: Vec<char> = value.chars().collect();
    let text = |characters: &[char]| characters.iter().collect::<String>();
    let longest_at = |start: usize| {
        let mut ends = (start + 1..=value.len()).rev();
        ends.find(|end| is_match(&pattern, &value[start..*end]))
    };
    match part {
        MatchedPart::Prefix { longest } => {
            let ends = 0..=value.len();
            let matching = |end: &usize| is_match(&pattern, &value[..*end]);
            let end = match longest {
                true => ends.rev().find(matching),
                false => ends.into_iter().find(matching),
            };
            text(&value[end.unwrap_or(0)..])
        }
        MatchedPart::Suffix { longest } => {
            let starts = 0..=value.len();
            let matching = |start: &usize| is_match(&pattern, &value[*start..]);
            let start = match longest {
                true => starts.into_iter().find(matching),
                false => starts.rev().find(matching),
            };
            text(&value[..start.unwrap_or(value.len())])
        }
        MatchedPart::Replace { all } => {
            let mut result = String::new();
            let mut at = 0;
            let mut count = 0;
            while at < value.len() {
                match longest_at(at).filter(|_| all || count == 0) {
                    Some(end) => {
                        result.push_str(replacement);
                        at = end;
                        count += 1;
                    }
                    None => {
                        result.push(value[at]);
                        at += 1;
                    }
                }
            }
            result
        }
    }
}

/// Whether a pattern matches a whole text. `*` is any text, `?` one character.
fn is_match(pattern: &[char], text: &[char]) -> bool {
    // The position after the last `*`, and the text that it covers so far.
    let mut star: Option<(usize, usize)> = None;
    let (mut p, mut t) = (0, 0);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(one) if *one == '?' || *one == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((after, covered)) => {
                    star = Some((after, covered + 1));
                    p = after;
                    t = covered + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|one| *one == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "X" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            "PATH_" => Some("/a/b/c.tar.gz".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced() {
        for (word, expected) in [
            ("$X", "value"),
            ("${X}y", "valuey"),
            ("$X/$NONE/z", "value//z"),
            ("${NONE:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${NONE-d}", "d"),
            ("${X:+w}", "w"),
            ("${EMPTY:+w}", ""),
            ("${EMPTY+w}", "w"),
            ("${NONE:-${X}s}", "values"),
            ("${NONE:-$X}", "value"),
            ("$", "$"),
            ("a$ b", "a$ b"),
            (r"\$X", "$X"),
            (r"\\", r"\"),
            ("'$X'", "$X"),
            ("\"$X y\"", "value y"),
            (r#""a\"b\c""#, r#"a"b\c"#),
            ("a'b c'd", "ab cd"),
            ("${X?no}", "value"),
            ("${PATH_#*/}", "a/b/c.tar.gz"),
            ("${PATH_##*/}", "c.tar.gz"),
            ("${PATH_%.*}", "/a/b/c.tar"),
            ("${PATH_%%.*}", "/a/b/c"),
            ("${PATH_/b/X}", "/a/X/c.tar.gz"),
            ("${PATH_//\\//-}", "-a-b-c.tar.gz"),
        ] {
            assert_eq!(expand(word, '\\', &lookup).unwrap(), expected, "{word}");
        }
        assert_eq!(expand("C:\\$X`$", '`', &lookup).unwrap(), "C:\\value$");
    }

    #[test]
    fn wrong_substitutions_are_errors() {
        for word in [
            "${}",
            "${X",
            "${X:",
            "${X:=y}",
            "${X:-y",
            "${NONE:?}",
            "${-x}",
        ] {
            assert!(expand(word, '\\', &lookup).is_err(), "{word}");
        }
        let nested = "${NONE:-".repeat(100_000);
        assert!(expand(&nested, '\\', &lookup).is_err());
        let error = expand("${NONE:?set it}", '\\', &lookup).unwrap_err();
        assert!(error.to_string().contains("set it"), "{error}");
    }

    #[test]
    fn here_documents_keep_their_quotes() {
        let text = "a='$X' \"${NONE:-d}\" \\n \\$X\n";
        let expanded = expand_text(text, '\\', &lookup).unwrap();
        assert_eq!(expanded, "a='value' \"d\" \\n $X\n");
    }

    #[test]
    fn quotes_keep_spaces() {
        let found = words(r#"a=b  c="d e" f='g "h' i\ j"#, '\\');
        assert_eq!(found, ["a=b", "c=\"d e\"", "f='g \"h'", r"i\ j"]);
        assert!(words("  ", '\\').is_empty());
    }
}
