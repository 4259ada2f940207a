//! Renders and checks templates. Minijinja looks up variables, filters and included files
//! only in branches that are taken; the checks cover all branches.

use std::collections::BTreeSet;

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind};
use serde_json::Value;

use super::loops::undefined_fields;
use super::names::suggestion;
use super::problem::{Problem, SourceFile};
use super::scan::{Tag, Token, line_of, tags};
use contree_templates::environment;

/// A text to render, with its position in the manifest.
#[derive(Clone, Copy)]
pub struct TextEntry<'a> {
    /// The file of the manifest.
    pub file: &'a str,
    /// The line in it.
    pub line: u64,
    /// The text itself, or the name of a template if it ends in `.j2`.
    pub text: &'a str,
}

/// The templates of the repository, compiled.
pub struct Templates {
    environment: Environment<'static>,
    names: BTreeSet<String>,
    broken: BTreeSet<String>,
    used: BTreeSet<String>,
}

/// The directory that template names are relative to.
const FOLDER: &str = "templates";

impl Templates {
    /// Compiles all templates. It reports those with a syntax error and skips them.
    pub fn load(sources: &[SourceFile], problems: &mut Vec<Problem>) -> Self {
        let environment = environment().unwrap_or_default();
        let (names, broken, used) = Default::default();
        let mut templates = Self {
            environment,
            names,
            broken,
            used,
        };
        for source in sources {
            templates.names.insert(source.name.clone());
            if let Err(error) = templates
                .environment
                .add_template_owned(source.name.clone(), source.text.clone())
            {
                templates.broken.insert(source.name.clone());
                problems.push(problem(&error, &format!("{FOLDER}/{}", source.name), 1));
            }
        }
        templates
    }

    /// Checks and renders one text. On failure, it adds to `problems` and returns `None`.
    pub fn render(
        &mut self,
        entry: TextEntry<'_>,
        context: &Value,
        problems: &mut Vec<Problem>,
    ) -> Option<String> {
        let name = if is_template(entry.text) {
            if !self.names.contains(entry.text) {
                let known: Vec<_> = self.names.iter().map(String::as_str).collect();
                let text = format!(
                    "no template `{FOLDER}/{}`{}",
                    entry.text,
                    suggestion(entry.text, known)
                );
                problems.push(Problem::new(entry.file, entry.line, text));
                return None;
            }
            entry.text.to_owned()
        } else {
            let name = format!("{}:{}", entry.file, entry.line);
            if let Err(error) = self
                .environment
                .add_template_owned(name.clone(), entry.text.to_owned())
            {
                problems.push(problem(&error, entry.file, entry.line));
                return None;
            }
            name
        };
        if !self.check(&name, entry, context, &mut BTreeSet::new(), problems) {
            return None;
        }
        self.render_template(&name, entry, context, problems)
    }

    /// Renders a checked template again with other variables. Here, optional ones may be missing.
    pub fn render_again(
        &self,
        entry: TextEntry<'_>,
        context: &Value,
        problems: &mut Vec<Problem>,
    ) -> Option<String> {
        self.render_template(entry.text, entry, context, problems)
    }

    /// Returns true if a template, or one that it includes, reads a variable.
    pub fn reads(&self, name: &str, variable: &str) -> bool {
        let (mut visited, mut queue) = (BTreeSet::new(), vec![name.to_owned()]);
        while let Some(name) = queue.pop() {
            let Ok(template) = self.environment.get_template(&name) else {
                continue;
            };
            if template.undeclared_variables(false).contains(variable) {
                return true;
            }
            let targets = tags(template.source());
            let targets = targets
                .iter()
                .filter_map(|tag| Some(tag.referenced_template()?.1.to_owned()));
            queue.extend(targets.filter(|target| visited.insert(target.clone())));
        }
        false
    }

    fn render_template(
        &self,
        name: &str,
        entry: TextEntry<'_>,
        context: &Value,
        problems: &mut Vec<Problem>,
    ) -> Option<String> {
        let template = self.environment.get_template(name).ok()?;
        match template.render(minijinja::Value::from(Serde(context))) {
            Ok(text) => Some(text.trim_end().to_owned()),
            Err(error) => {
                let failed = error.name().unwrap_or(name);
                let (file, line) = source_position(failed, entry);
                let code = self.quote_code(failed, error.line());
                let mut problem = problem(&error, &file, line);
                problem.text.insert_str(0, &code);
                problems.push(problem);
                None
            }
        }
    }

    /// The code on a line of a template, for error messages that do not show it.
    fn quote_code(&self, name: &str, line: Option<usize>) -> String {
        let Ok(template) = self.environment.get_template(name) else {
            return String::new();
        };
        let tags = tags(template.source()).into_iter();
        let here = tags.filter(|tag| line.is_some_and(|line| tag.line + 1 == line as u64));
        let code: Vec<_> = here.map(|tag| format!("`{}`", tag.text)).collect();
        if code.is_empty() {
            String::new()
        } else {
            format!("{}: ", code.join(" "))
        }
    }

    /// Reports templates that were neither rendered nor included.
    pub fn unused(&self, problems: &mut Vec<Problem>) {
        for name in self
            .names
            .difference(&self.used)
            .filter(|name| !self.broken.contains(*name))
        {
            let text = "nothing uses this template (name it in the manifest, or delete it)";
            problems.push(Problem::new(&format!("{FOLDER}/{name}"), 1, text));
        }
    }

    /// Checks a template and all included ones. Returns whether it can be rendered.
    fn check(
        &mut self,
        name: &str,
        entry: TextEntry<'_>,
        context: &Value,
        visited: &mut BTreeSet<String>,
        problems: &mut Vec<Problem>,
    ) -> bool {
        self.used.insert(name.to_owned());
        if self.broken.contains(name) {
            return false;
        }
        let Ok(template) = self.environment.get_template(name) else {
            return false;
        };
        if !visited.insert(name.to_owned()) {
            return true;
        }
        let source = template.source().to_owned();
        let before = problems.len();
        let mut sound = true;
        self.variables(name, entry, context, problems);
        let (file, first) = source_position(name, entry);
        let tags = tags(&source);
        for field in undefined_fields(&tags, context) {
            let known: Vec<_> = field.known.iter().map(String::as_str).collect();
            let hint = suggestion(&field.field, known);
            let text = format!("`{}` is undefined{hint}", field.path);
            problems.push(Problem::new(&file, first + field.line, text));
        }
        for tag in tags {
            let line = first + tag.line;
            for unknown in self.unknown_words(&tag) {
                problems.push(Problem::new(&file, line, unknown));
            }
            let Some((keyword, target)) = tag.referenced_template() else {
                continue;
            };
            if !self.names.contains(target) {
                let known: Vec<_> = self.names.iter().map(String::as_str).collect();
                let hint = suggestion(target, known);
                let text = format!("no template `{FOLDER}/{target}`{hint}");
                problems.push(Problem::new(&file, line, text));
                continue;
            }
            // Imported macros see only their arguments.
            let included = matches!(keyword, "include" | "extends");
            let context = if included { context } else { &Value::Null };
            sound &= self.check(target, entry, context, visited, problems);
        }
        sound && problems.len() == before
    }

    fn variables(
        &self,
        name: &str,
        entry: TextEntry<'_>,
        context: &Value,
        problems: &mut Vec<Problem>,
    ) {
        let Ok(template) = self.environment.get_template(name) else {
            return;
        };
        let (file, first) = source_position(name, entry);
        let undeclared: BTreeSet<_> = template.undeclared_variables(true).into_iter().collect();
        for path in undeclared {
            let mut known = context;
            for (depth, part) in path.split('.').enumerate() {
                if depth == 0 && self.environment.globals().any(|(global, _)| global == part) {
                    break;
                }
                let Some(next) = known.get(part) else {
                    let names = known
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(name, _)| name.as_str());
                    let names: Vec<_> = names.collect();
                    let hint = match context {
                        Value::Null => " (a macro sees only its arguments)".to_owned(),
                        _ => suggestion(part, names),
                    };
                    let text = format!("`{path}` is undefined{hint}");
                    let line = first + line_of(template.source(), &path);
                    problems.push(Problem::new(&file, line, text));
                    break;
                };
                known = next;
                // After a text or a list, a name is a method or an item, which rendering resolves.
                if !known.is_object() {
                    break;
                }
            }
        }
    }

    /// Messages about unknown filters and tests.
    fn unknown_words(&self, tag: &Tag) -> Vec<String> {
        let mut state = self.environment.empty_state();
        let mut unknown = Vec::new();
        for (position, token) in tag.tokens.iter().enumerate() {
            let Token::Name(name) = token else { continue };
            let before = |distance: usize| {
                position
                    .checked_sub(distance)
                    .and_then(|index| tag.tokens.get(index))
            };
            let is = |token: Option<&Token>, word: &str| matches!(token, Some(Token::Name(name)) if name == word);
            if matches!(before(1), Some(Token::Sign('|'))) {
                let error = state.apply_filter(name, &[]).err();
                if error.is_some_and(|error| error.kind() == ErrorKind::UnknownFilter) {
                    unknown.push(format!(
                        "there is no filter `{name}` (see minijinja's filters)"
                    ));
                }
            } else if (is(before(1), "is") && name != "not")
                || (is(before(1), "not") && is(before(2), "is"))
            {
                let error = state.perform_test(name, &[]).err();
                if error.is_some_and(|error| error.kind() == ErrorKind::UnknownTest) {
                    unknown.push(format!("there is no test `{name}` (see minijinja's tests)"));
                }
            }
        }
        unknown
    }
}

/// Returns true if a text of the manifest is the name of a template.
pub fn is_template(text: &str) -> bool {
    text.ends_with(".j2") && !text.contains(char::is_whitespace)
}

/// The file of a template, and the line in that file where the template starts.
fn source_position(template: &str, entry: TextEntry<'_>) -> (String, u64) {
    if is_template(template) {
        (format!("{FOLDER}/{template}"), 1)
    } else {
        (entry.file.to_owned(), entry.line)
    }
}

fn problem(error: &minijinja::Error, file: &str, first: u64) -> Problem {
    let line = first + error.line().unwrap_or(1) as u64 - 1;
    let detail = error
        .detail()
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    Problem::new(
        file,
        line,
        format!("{}{detail} (correct the template)", error.kind()),
    )
}
