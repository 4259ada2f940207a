//! Constructions that readers stumble over, each with a reason and a better form.

use std::sync::LazyLock;

use regex::Regex;

use super::sentence::Sentence;

/// A forbidden construction.
pub(super) struct Rule {
    pattern: Regex,
    /// Sentences in which the pattern is good English.
    except: Option<Regex>,
    reason: &'static str,
    better: &'static str,
}

/// Pattern, exception, reason and better form of each rule.
const RULES: &[(&str, &str, &str, &str)] = &[
    (
        r"^(?:What|Whatever|Who|Whoever) .*\.$",
        "",
        "a clause with a question word stands where a noun belongs",
        "name the thing: `Options of prune.`, not `What to remove.`",
    ),
    (
        r"^Where [^,]*\.$",
        "",
        "a clause with a question word stands where a noun belongs",
        "name the thing: `The source of an image.`",
    ),
    (
        r"(?i)\bnone (?:that|which)\b|\b(?:that|which) (?:is|are) none\b",
        "",
        "`none` stands for something that the reader has to find",
        "name it: `an unknown name`, `closes idle connections`",
    ),
    (
        r"(?i)\bnobody\b.*\bany ?more\b",
        "",
        "a negated person hides who does what",
        "say who does what: `unused files`, `later cancels are refused`",
    ),
    (
        r"(?i)\bso many [a-z]+",
        r"(?i)\bso many\b.*\bthat\b",
        "`so many` stands for a number",
        "give the number, or its name: `after DAYS days`",
    ),
    (
        r"(?i)\bas far as\b",
        "",
        "it is vague",
        "say `if`, `up to` or `whichever`",
    ),
    (
        r"(?i)\bcomes? beyond\b",
        "",
        "it does not say what happens",
        "`is not subject to`, `in addition to`",
    ),
    (
        r"(?i)\b(?:is|are|was|were|be) (?:told|said)\b",
        r"(?i)\b(?:told|said) (?:apart|to)\b",
        "the passive hides who reports",
        "`reports`, `the error says`",
    ),
    (
        r"(?i)\bfor ever\b",
        "",
        "it is vague",
        "`without limit`, `never ends`",
    ),
    (
        r"(?i)\bthe like\b",
        "",
        "the reader has to guess the rest",
        "name the members, or the class: `and similar files`",
    ),
    (
        r"(?i)\bof (?:its|their|his|her|our|your) own\b.*\bof (?:its|their|his|her|our|your) own\b",
        "",
        "the phrase repeats",
        "`its own directory`",
    ),
    (
        r"(?i)\bwhat (?:is|are|was|were) (?:kept|left|told|asked|given|made|found|written|shown|sent|stored|served|offered|recorded|placed|removed|mounted|printed|generated)\b",
        "",
        "a clause stands where a noun belongs",
        "`the result`, `the stored files`",
    ),
    (
        r"(?i)\bthat (?:\S+ ){1,4}that (?:\S+ ){1,4}that\b",
        "",
        "relative clauses are chained",
        "make two sentences",
    ),
    (
        r"(?i)\b(?:stranger|strangers|crew|crews|patient|patients|fate|doors?)\b",
        "",
        "a metaphor has to be decoded",
        "the field's word: `untrusted`, `process`, `outcome`, `socket`",
    ),
];

static COMPILED: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rules = RULES.iter().map(|&(pattern, except, reason, better)| Rule {
        pattern: Regex::new(pattern).unwrap(),
        except: (!except.is_empty()).then(|| Regex::new(except).unwrap()),
        reason,
        better,
    });
    rules.collect()
});

/// A problem of a sentence for each rule that it breaks.
pub(super) fn broken(sentence: &Sentence<'_>) -> Vec<String> {
    let mut found: Vec<String> = COMPILED
        .iter()
        .filter(|rule| {
            let excepted = rule.except.as_ref();
            !excepted.is_some_and(|except| except.is_match(sentence.text))
        })
        .filter_map(|rule| {
            let part = rule.pattern.find(sentence.text)?.as_str();
            let part: String = part.chars().take(60).collect();
            Some(format!(
                "\"{part}\": {}; better: {}",
                rule.reason, rule.better
            ))
        })
        .collect();
    // As the first sentence it describes a flag.
    if !sentence.is_first && sentence.text.starts_with("Whether ") {
        found.push("\"Whether …\" as a subject: say what decides it".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::paragraph::Paragraph;
    use super::super::sentence::sentences;
    use super::*;

    fn problems(text: &str) -> usize {
        let paragraph = Paragraph::on_line(1, text);
        let sentences = sentences(&paragraph);
        sentences
            .iter()
            .map(|sentence| broken(sentence).len())
            .sum()
    }

    #[test]
    fn forbidden_constructions_are_found() {
        for text in [
            "What cannot be asked for in time has none.",
            "Where an image comes from.",
            "Closes connections and none that says nothing.",
            "A name that is none fails the start.",
            "Removes what nobody needs any more.",
            "Images that were not used for so many days.",
            "Lists tools as far as they are installed.",
            "It comes beyond the limit.",
            "The denial is told at the end.",
            "It stays for ever.",
            "Covers kcore, keys and the like.",
            "A process of its own in a namespace of its own.",
            "Lists what is kept of a run.",
            "The file that the run that the user that asked made.",
            "Checks whether a stranger may ask.",
            "It waits. Whether it ends is decided later.",
        ] {
            assert_eq!(problems(text), 1, "{text}");
        }
    }

    #[test]
    fn good_english_is_not() {
        for text in [
            "What does the engine do?",
            "Where the engine may use control groups, it limits memory.",
            "Whether the socket is open.",
            "There were so many files that the test took a minute.",
            "Operations are told apart by their kind.",
            "The error says what is missing.",
            "Each sandbox has a group of its own.",
            "It checks that the file has the mode that the user set.",
            "Nobody reads this file.",
            "None of the tests failed.",
            "What it does",
            "It writes `door` to the log.",
        ] {
            let text = text.replace("`door`", super::super::paragraph::CODE);
            assert_eq!(problems(&text), 0, "{text}");
        }
    }
}
