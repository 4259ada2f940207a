//! Finds the code in templates, with its lines, and does not run it.

/// The line, counted from 0, that reads the variable `path`; 0 if none does.
pub fn line_of(source: &str, path: &str) -> u64 {
    let wanted: Vec<_> = path
        .split('.')
        .map(|part| Token::Name(part.to_owned()))
        .collect();
    let found = tags(source).into_iter().find(|tag| {
        let names = tag
            .tokens
            .split(|token| !matches!(token, Token::Name(_) | Token::Sign('.')));
        names.into_iter().any(|names| {
            let names: Vec<_> = names
                .iter()
                .filter(|token| matches!(token, Token::Name(_)))
                .cloned()
                .collect();
            names.windows(wanted.len()).any(|window| window == wanted)
        })
    });
    found.map_or(0, |tag| tag.line)
}

/// Code between `{{ }}` or `{% %}`.
pub struct Tag {
    /// The code with its braces.
    pub text: String,
    /// Its line, counted from 0.
    pub line: u64,
    /// Its tokens.
    pub tokens: Vec<Token>,
}

/// A token of the code.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A variable, keyword, filter or test.
    Name(String),
    /// A text in quotes.
    Text(String),
    /// Any other character.
    Sign(char),
}

impl Tag {
    /// The keyword and the template of `include`, `import`, `from` and `extends`.
    pub fn referenced_template(&self) -> Option<(&str, &str)> {
        match self.tokens.as_slice() {
            [Token::Name(keyword), Token::Text(target), ..]
                if matches!(keyword.as_str(), "include" | "import" | "from" | "extends") =>
            {
                Some((keyword, target))
            }
            _ => None,
        }
    }
}

/// All code in a template.
pub fn tags(source: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut rest = source;
    let mut line = 0;
    while let Some(start) = rest
        .find("{{")
        .into_iter()
        .chain(rest.find("{%"))
        .chain(rest.find("{#"))
        .min()
    {
        line += newlines(&rest[..start]);
        rest = &rest[start..];
        let (close, is_code) = match &rest[..2] {
            "{{" => ("}}", true),
            "{%" => ("%}", true),
            _ => ("#}", false),
        };
        let end = rest.find(close).map_or(rest.len(), |end| end + 2);
        if is_code {
            let inner = rest[2..end].trim_end_matches(close).trim_matches('-');
            tags.push(Tag {
                line,
                text: rest[..end].to_owned(),
                tokens: tokens(inner),
            });
        }
        line += newlines(&rest[..end]);
        rest = &rest[end..];
    }
    tags
}

fn newlines(text: &str) -> u64 {
    text.matches('\n').count() as u64
}

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = code.chars().peekable();
    while let Some(first) = chars.next() {
        if first == '"' || first == '\'' {
            tokens.push(Token::Text(
                chars.by_ref().take_while(|c| *c != first).collect(),
            ));
        } else if first.is_alphabetic() || first == '_' {
            let mut name = String::from(first);
            while let Some(next) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                name.push(next);
            }
            tokens.push(Token::Name(name));
        } else if !first.is_whitespace() {
            tokens.push(Token::Sign(first));
        }
    }
    tokens
}
