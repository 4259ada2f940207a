//! Escapes for characters that readers cannot see, or that change how a terminal shows others.
//!
//! Such characters can hide instructions to a model, reverse the order of a text or control a
//! terminal. An escape keeps the information and takes away the effect.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns a text with hidden characters as `\u{200b}`. Newlines and tabs stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |out, character| {
        out.extend(character.escape_unicode());
    })
}

/// Returns JSON text with hidden characters as `\u200b`. Its value stays the same, since JSON has
/// such characters only within strings.
pub(crate) fn visible_json(text: &str) -> Cow<'_, str> {
    escaped(text, |out, character| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

/// Returns a name on one line: in quotes, with escapes, if it has hidden characters or newlines.
pub(crate) fn one_line(name: &str) -> Cow<'_, str> {
    if name.contains(char::is_control) || matches!(visible(name), Cow::Owned(_)) {
        Cow::Owned(format!("{name:?}"))
    } else {
        Cow::Borrowed(name)
    }
}

fn escaped(text: &str, escape: impl Fn(&mut String, char)) -> Cow<'_, str> {
    let mut result = String::new();
    let (mut copied, mut before) = (0, None);
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let after = characters.peek().map(|(_, after)| *after);
        if is_hidden_between(before, character, after) {
            result.push_str(&text[copied..at]);
            escape(&mut result, character);
            copied = at + character.len_utf8();
        }
        before = Some(character);
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    result.push_str(&text[copied..]);
    Cow::Owned(result)
}

/// Reports whether a character is hidden where it stands. Emoji and some scripts need characters
/// that are hidden elsewhere.
fn is_hidden_between(before: Option<char>, character: char, after: Option<char>) -> bool {
    let shows = |neighbour: Option<char>, class: fn(char) -> bool| {
        neighbour.is_some_and(|neighbour| class(neighbour) && !is_hidden(neighbour))
    };
    match character {
        '\n' | '\t' => false,
        '\r' => after != Some('\n'),
        // The selectors of a symbol's form as text or as emoji.
        '\u{fe0e}' | '\u{fe0f}' => {
            let is_keycap = before.is_some_and(|before| matches!(before, '#' | '*' | '0'..='9'))
                && after == Some('\u{20e3}');
            !is_keycap && !shows(before, is_symbol)
        }
        '\u{200c}' | '\u{200d}' => {
            let joins_letters =
                shows(before, has_joined_letters) && shows(after, has_joined_letters);
            let joins_emoji = character == '\u{200d}'
                && (before == Some('\u{fe0f}') || shows(before, is_symbol))
                && shows(after, is_symbol);
            !joins_letters && !joins_emoji
        }
        _ => is_hidden(character),
    }
}

/// Reports whether a character is a control character, is invisible or reverses the order of text.
///
/// These are the categories Cc and Cf and `Default_Ignorable_Code_Point` of Unicode, and line
/// separators, without the marks of Cf that are visible.
fn is_hidden(character: char) -> bool {
    matches!(character,
        '\u{0}'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Reports whether a character may be a symbol that has an emoji form.
fn is_symbol(character: char) -> bool {
    matches!(character, '©' | '®' | '\u{203c}'..='\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

/// Reports whether a character belongs to a script whose letters join, such as Arabic or
/// Devanagari.
fn has_joined_letters(character: char) -> bool {
    matches!(character,
        '\u{600}'..='\u{dff}'
        | '\u{1000}'..='\u{109f}'
        | '\u{1780}'..='\u{18af}'
        | '\u{a840}'..='\u{abff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_escaped() {
        for hidden in [
            '\0',
            '\u{7}',
            '\u{8}',
            '\u{1b}',
            '\u{7f}',
            '\u{9b}',
            '\u{ad}',
            '\u{61c}',
            '\u{200b}',
            '\u{200e}',
            '\u{2028}',
            '\u{202e}',
            '\u{2066}',
            '\u{feff}',
            '\u{fe00}',
            '\u{fe0f}',
            '\u{e0041}',
            '\u{e0100}',
            '\r',
        ] {
            let text = format!("a{hidden}b");
            let code = u32::from(hidden);
            assert_eq!(visible(&text), format!("a\\u{{{code:x}}}b"));
            let value = serde_json::Value::from(text.clone());
            let json = visible_json(&value.to_string()).into_owned();
            assert!(
                json.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
                "{json}"
            );
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&json).unwrap(),
                value
            );
            assert!(one_line(&text).starts_with('"'), "{code:x}");
        }
    }

    #[test]
    fn visible_text_is_unchanged() {
        for text in [
            "",
            "plain\ttext\r\nof two lines\n",
            "Grüße, 日本語, עברית, العربية",
            "❤\u{fe0f}\u{200d}🔥 1\u{fe0f}\u{20e3} 👩🏽\u{200d}💻 ☎\u{fe0e}",
            // Persian and Hindi words that need a joiner.
            "می\u{200c}خواهم क्\u{200d}ष",
        ] {
            assert!(matches!(visible(text), Cow::Borrowed(_)), "{text:?}");
        }
        assert_eq!(one_line("a name"), "a name");
        assert_eq!(one_line("two\nlines"), r#""two\nlines""#);
    }

    #[test]
    fn selectors_and_joiners_hide_nothing_elsewhere() {
        for text in [
            "a\u{fe0f}",
            "1\u{fe0f}2",
            "❤\u{fe0f}\u{fe0f}",
            "\u{2060}\u{fe0f}",
            "a\u{200d}b",
            "م\u{200c}\u{200c}م",
        ] {
            assert!(matches!(visible(text), Cow::Owned(_)), "{text:?}");
        }
    }
}
