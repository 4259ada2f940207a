// Minimal definitions of the names that generated code needs. Tests that compile generated code
// include this file.

pub type Arguments = serde_json::Map<String, serde_json::Value>;

#[derive(Debug)]
pub struct ToolAnswer(pub String);

impl ToolAnswer {
    fn of(result: impl Into<String>) -> Result<Self, ToolError> {
        Ok(Self(result.into()))
    }
}

#[derive(Debug)]
pub struct ToolError(pub String);

fn unknown_tool(name: &str) -> ToolError {
    ToolError(format!("no {name}"))
}

pub struct Handlers;

#[derive(Default)]
pub struct Context {
    client: client::Client,
}

impl Context {
    pub async fn client(&self) -> Result<&client::Client, ToolError> {
        Ok(&self.client)
    }
}

#[derive(Debug, PartialEq)]
pub enum LocalFileUse {
    None,
    Read,
    Write,
}

pub struct ToolHints {
    pub read_only: bool,
    pub destructive: bool,
    pub idempotent: bool,
    pub open_world: bool,
}

type Schema = std::sync::LazyLock<serde_json::Value>;

fn input_schema(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn output_schema<T>() -> serde_json::Value {
    serde_json::Value::from(std::any::type_name::<T>())
}

pub struct Tool {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub title: &'static str,
    pub description: &'static str,
    pub toolset: &'static str,
    pub hints: ToolHints,
    pub local: LocalFileUse,
    pub uses: &'static [&'static str],
    pub task: Option<TaskSource>,
    pub param_aliases: &'static [(&'static str, &'static str)],
    pub null_values: &'static [&'static str],
    pub keeps_empty: &'static [&'static str],
    pub input_schema: Schema,
    pub argument_schema: Schema,
    pub output_schema: Schema,
}

#[derive(Debug, PartialEq)]
pub struct TaskSource {
    pub operation: &'static str,
    pub id: &'static str,
    pub waits: Option<&'static str>,
}

#[derive(Debug, PartialEq)]
pub struct TaskTools {
    pub look_up: &'static str,
    pub cancel: &'static str,
}

impl Tool {
    fn arguments<T: serde::de::DeserializeOwned>(&self, sent: Arguments) -> Result<T, ToolError> {
        serde_json::from_value(serde_json::Value::Object(sent)).map_err(|error| ToolError(error.to_string()))
    }
}

pub struct Guide {
    pub name: &'static str,
    pub uri: &'static str,
    pub title: &'static str,
    pub doc: &'static str,
    pub text: &'static str,
    pub tools: &'static [&'static str],
}

pub struct Prompt {
    pub name: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    pub template: &'static str,
    pub arguments: &'static [PromptArgument],
    pub tools: &'static [&'static str],
}

pub struct PromptArgument {
    pub name: &'static str,
    pub doc: &'static str,
    pub required: bool,
    pub default: Option<&'static str>,
    pub complete: Option<CompletionSource>,
}

#[derive(Debug, PartialEq)]
pub enum CompletionSource {
    Image,
    Path,
    Operation,
    Instance,
    Import,
    Guide,
}

pub struct Resource {
    pub name: &'static str,
    pub uri: &'static str,
    pub title: &'static str,
    pub doc: &'static str,
    pub mime: &'static str,
    pub tool: &'static str,
    pub variables: &'static [(&'static str, Option<CompletionSource>)],
}

#[derive(Debug)]
pub struct ResourceContent(pub String);

pub struct UriVariables(pub Vec<(&'static str, String)>);

impl UriVariables {
    fn take(&mut self, name: &str) -> Result<String, ToolError> {
        let at = self.0.iter().position(|(known, _)| *known == name);
        at.map(|at| self.0.remove(at).1).ok_or_else(|| ToolError(format!("no {name}")))
    }
}

fn unknown_resource(name: &str) -> ToolError {
    ToolError(format!("no {name}"))
}

pub mod results {
    macro_rules! results {
        ($($name:ident)*) => {$(
            pub struct $name(pub String);

            impl From<$name> for String {
                fn from(result: $name) -> String {
                    result.0
                }
            }

            impl From<&str> for $name {
                fn from(answer: &str) -> Self {
                    Self(answer.to_owned())
                }
            }
        )*};
    }
    results!(Lend ListBooks GetBook Rename About);

    pub struct ApiAnswer(pub String);

    impl ApiAnswer {
        pub fn of(answer: impl Into<String>) -> Result<Self, super::ToolError> {
            Ok(Self(answer.into()))
        }
    }

    impl From<ApiAnswer> for String {
        fn from(result: ApiAnswer) -> String {
            result.0
        }
    }
}

pub mod client {
    //! A client with the signatures of the generated one, which records its calls.

    use super::ToolError;

    #[derive(Default)]
    pub struct Client {
        pub calls: std::sync::Mutex<Vec<String>>,
    }

    pub struct Request<'a>(&'a Client, String, &'static str);

    impl Client {
        pub fn list_books(&self) -> Request<'_> {
            Request(self, "listBooks".to_owned(), "listed")
        }

        pub fn list_news(&self) -> Request<'_> {
            Request(self, "listNews".to_owned(), "news")
        }

        pub fn order_book(&self) -> Request<'_> {
            Request(self, "orderBook".to_owned(), "ordered")
        }

        pub fn get_book(&self) -> Request<'_> {
            Request(self, "getBook".to_owned(), "got")
        }
    }

    impl Request<'_> {
        pub fn limit(self, value: impl TryInto<std::num::NonZeroU64>) -> Self {
            let value = value.try_into().ok().map_or(0, u64::from);
            Self(self.0, format!("{} limit={value}", self.1), self.2)
        }

        pub fn shelf(self, value: &str) -> Self {
            Self(self.0, format!("{} shelf={value}", self.1), self.2)
        }

        pub fn title_prefix(self, value: impl TryInto<String>) -> Self {
            let value = value.try_into().unwrap_or_default();
            Self(self.0, format!("{} titlePrefix={value}", self.1), self.2)
        }

        pub fn book_id(self, value: impl Into<uuid::Uuid>) -> Self {
            Self(self.0, format!("{} {}", self.1, value.into()), self.2)
        }

        pub fn body_map(self, fill: impl FnOnce(Order) -> Order) -> Self {
            let Order(body) = fill(Order(String::new()));
            Self(self.0, format!("{} {{{body}}}", self.1), self.2)
        }

        pub async fn send(self) -> Result<Response, ToolError> {
            self.0.calls.lock().unwrap().push(self.1);
            Ok(Response(self.2))
        }
    }

    /// The builder of a body.
    pub struct Order(String);

    impl Order {
        fn with(self, field: &str, value: impl std::fmt::Debug) -> Self {
            Self(format!("{} {field}={value:?}", self.0))
        }

        pub fn title(self, value: &str) -> Self {
            self.with("title", value)
        }

        pub fn copies(self, value: Option<u64>) -> Self {
            self.with("copies", value)
        }

        pub fn note(self, value: Option<String>) -> Self {
            self.with("note", value)
        }

        pub fn binding(self, value: &str) -> Self {
            self.with("binding", value)
        }

        pub fn type_(self, value: &str) -> Self {
            self.with("type", value)
        }

        pub fn languages(self, value: Vec<String>) -> Self {
            self.with("languages", value)
        }

        pub fn gift(self, value: Option<bool>) -> Self {
            self.with("gift", value)
        }
    }

    pub struct Response(&'static str);

    impl Response {
        pub fn into_inner(self) -> &'static str {
            self.0
        }
    }
}
