// Generated from tools.yaml by contree-codegen.

/// The arguments of each tool, checked and with defaults filled in.
pub mod params {
    /// The arguments of `lend`.
    #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
    pub struct Lend {
        /// Title
        pub book: ::std::string::String,
        /// How long
        pub days: u64,
        /// Who
        pub name: ::std::string::String,
        /// Today
        pub rush: bool,
        /// Notes; null removes one
        #[serde(default)]
        pub notes: ::indexmap::IndexMap<
            ::std::string::String,
            ::std::option::Option<::std::string::String>,
        >,
        /// Stamps
        #[serde(default)]
        pub stamps: ::std::vec::Vec<::std::string::String>,
        /// Weight
        pub weight: ::std::option::Option<i64>,
        /// Until it is back
        pub wait: bool,
    }
    /// The arguments of `list_books`.
    #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
    pub struct ListBooks {
        /// Books at most
        pub limit: u64,
        /// Only this shelf
        pub r#type: ::std::option::Option<ListBooksType>,
        /// Only titles that begin so
        pub title: ::std::option::Option<::std::string::String>,
    }
    /// The choices of `type` of `list_books`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, ::serde::Deserialize)]
    pub enum ListBooksType {
        /// `fiction`
        #[serde(rename = "fiction")]
        Fiction,
        /// `science`
        #[serde(rename = "science")]
        Science,
    }
    impl ListBooksType {
        /// The choice as clients write it.
        #[must_use]
        pub const fn as_str(self) -> &'static str {
            match self {
                Self::Fiction => "fiction",
                Self::Science => "science",
            }
        }
    }
    impl ::std::fmt::Display for ListBooksType {
        fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
            f.write_str(self.as_str())
        }
    }
    /// The arguments of `get_book`.
    #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
    pub struct GetBook {
        /// The book
        pub book_id: ::uuid::Uuid,
    }
    /// The arguments of `rename`.
    #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
    pub struct Rename {
        /// The book
        pub book_id: ::uuid::Uuid,
        /// Its new title
        pub title: ::std::string::String,
        /// Numbers
        #[serde(default)]
        pub tags: ::std::vec::Vec<i64>,
        /// Way to write it
        pub mode: RenameMode,
    }
    /// The choices of `mode` of `rename`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, ::serde::Deserialize)]
    pub enum RenameMode {
        /// `print`
        #[serde(rename = "print")]
        Print,
        /// `emboss`
        #[serde(rename = "emboss")]
        Emboss,
    }
    impl RenameMode {
        /// The choice as clients write it.
        #[must_use]
        pub const fn as_str(self) -> &'static str {
            match self {
                Self::Print => "print",
                Self::Emboss => "emboss",
            }
        }
    }
    impl ::std::fmt::Display for RenameMode {
        fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
            f.write_str(self.as_str())
        }
    }
    /// The arguments of `about`.
    #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
    pub struct About {}
    /// The arguments of `order`.
    #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
    pub struct Order {
        /// Where it will stand
        pub shelf: OrderShelf,
        /// What to order
        pub title: ::std::string::String,
        /// How many
        pub copies: u64,
        /// Remark
        pub remark: ::std::option::Option<::std::string::String>,
        /// Binding
        pub binding: OrderBinding,
        /// Kind
        pub kind: ::std::string::String,
        /// Languages
        #[serde(default)]
        pub languages: ::std::vec::Vec<::std::string::String>,
        /// Whether it is paid
        pub gift: bool,
    }
    /// The choices of `shelf` of `order`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, ::serde::Deserialize)]
    pub enum OrderShelf {
        /// `fiction`
        #[serde(rename = "fiction")]
        Fiction,
        /// `science`
        #[serde(rename = "science")]
        Science,
    }
    impl OrderShelf {
        /// The choice as clients write it.
        #[must_use]
        pub const fn as_str(self) -> &'static str {
            match self {
                Self::Fiction => "fiction",
                Self::Science => "science",
            }
        }
    }
    impl ::std::fmt::Display for OrderShelf {
        fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
            f.write_str(self.as_str())
        }
    }
    /// The choices of `binding` of `order`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, ::serde::Deserialize)]
    pub enum OrderBinding {
        /// `soft`
        #[serde(rename = "soft")]
        Soft,
        /// `hard-cover`
        #[serde(rename = "hard-cover")]
        HardCover,
    }
    impl OrderBinding {
        /// The choice as clients write it.
        #[must_use]
        pub const fn as_str(self) -> &'static str {
            match self {
                Self::Soft => "soft",
                Self::HardCover => "hard-cover",
            }
        }
    }
    impl ::std::fmt::Display for OrderBinding {
        fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
            f.write_str(self.as_str())
        }
    }
    /// The arguments of `list_news`.
    #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
    pub struct ListNews {}
}
/// Handlers of the `desk` tools: Lend and look up.
#[diagnostic::on_unimplemented(
    message = "the `desk` tools of tools.yaml have no handlers",
    note = "write `impl DeskTools for {Self}` in src/tools/desk.rs"
)]
pub trait DeskTools: Sync {
    /** Lend a book for 14 days. It takes book, days, name, rush, notes, stamps, weight, wait.
 The shelf closes after 30 days.*/
    fn lend(
        &self,
        p: params::Lend,
        cx: &Context,
    ) -> impl ::std::future::Future<Output = Result<results::Lend, ToolError>> + Send;
    /// List books. Then `lend(book="…", days=3)`.
    fn list_books(
        &self,
        p: params::ListBooks,
        cx: &Context,
    ) -> impl ::std::future::Future<
        Output = Result<results::ListBooks, ToolError>,
    > + Send {
        async move {
            let client = cx.client().await?;
            let request = client.list_books();
            let request = request.limit(p.limit);
            let request = match p.r#type {
                Some(value) => request.shelf(value.as_str()),
                None => request,
            };
            let request = match p.title {
                Some(value) => request.title_prefix(value.as_str()),
                None => request,
            };
            Ok(request.send().await?.into_inner().into())
        }
    }
    /// Look up one book.
    fn get_book(
        &self,
        p: params::GetBook,
        cx: &Context,
    ) -> impl ::std::future::Future<
        Output = Result<results::GetBook, ToolError>,
    > + Send {
        async move {
            let client = cx.client().await?;
            let request = client.get_book();
            let request = request.book_id(p.book_id);
            Ok(request.send().await?.into_inner().into())
        }
    }
}
/// Handlers of the `office` tools: Everything else.
#[diagnostic::on_unimplemented(
    message = "the `office` tools of tools.yaml have no handlers",
    note = "write `impl OfficeTools for {Self}` in src/tools/office.rs"
)]
pub trait OfficeTools: Sync {
    /** Give a book another title.
 The title of lend must then be the new one.*/
    fn rename(
        &self,
        p: params::Rename,
        cx: &Context,
    ) -> impl ::std::future::Future<Output = Result<results::Rename, ToolError>> + Send;
    /// About this library. More in contree://guide/house.
    fn about(
        &self,
        p: params::About,
        cx: &Context,
    ) -> impl ::std::future::Future<Output = Result<results::About, ToolError>> + Send;
    /// Order a book.
    fn order(
        &self,
        p: params::Order,
        cx: &Context,
    ) -> impl ::std::future::Future<
        Output = Result<results::ApiAnswer, ToolError>,
    > + Send {
        async move {
            let client = cx.client().await?;
            let request = client.order_book();
            let request = request.shelf(p.shelf.as_str());
            let request = request
                .body_map(|mut body| {
                    body = body.title(p.title.as_str());
                    body = body.copies(Some(p.copies));
                    if let Some(value) = p.remark {
                        body = body.note(Some(value));
                    }
                    body = body.binding(p.binding.as_str());
                    body = body.type_(p.kind.as_str());
                    body = body.languages(p.languages);
                    body = body.gift(Some(p.gift));
                    body
                });
            results::ApiAnswer::of(request.send().await?.into_inner())
        }
    }
    /// List the news as the API returns them.
    fn list_news(
        &self,
        p: params::ListNews,
        cx: &Context,
    ) -> impl ::std::future::Future<
        Output = Result<results::ApiAnswer, ToolError>,
    > + Send {
        async move {
            let _ = p;
            let client = cx.client().await?;
            let request = client.list_news();
            results::ApiAnswer::of(request.send().await?.into_inner())
        }
    }
}
/// Handlers for every tool.
pub trait Tools: DeskTools + OfficeTools {}
impl<T: DeskTools + OfficeTools> Tools for T {}
const _: fn() = || {
    fn has_all_handlers<T: DeskTools + OfficeTools>() {}
    has_all_handlers::<Handlers>();
};
/// Calls the tool `name`.
///
/// # Errors
/// An error for agents to read: an unknown tool, wrong arguments, or the error of the
/// handler.
pub async fn dispatch<T: Tools>(
    tools: &T,
    name: &str,
    arguments: Arguments,
    cx: &Context,
) -> Result<ToolAnswer, ToolError> {
    match name {
        "lend" => {
            ToolAnswer::of(tools.lend(TOOLS[0usize].arguments(arguments)?, cx).await?)
        }
        "list_books" => {
            ToolAnswer::of(
                tools.list_books(TOOLS[1usize].arguments(arguments)?, cx).await?,
            )
        }
        "get_book" => {
            ToolAnswer::of(
                tools.get_book(TOOLS[2usize].arguments(arguments)?, cx).await?,
            )
        }
        "rename" | "retitle" => {
            ToolAnswer::of(tools.rename(TOOLS[3usize].arguments(arguments)?, cx).await?)
        }
        "about" => {
            ToolAnswer::of(tools.about(TOOLS[4usize].arguments(arguments)?, cx).await?)
        }
        "order" => {
            ToolAnswer::of(tools.order(TOOLS[5usize].arguments(arguments)?, cx).await?)
        }
        "list_news" => {
            ToolAnswer::of(
                tools.list_news(TOOLS[6usize].arguments(arguments)?, cx).await?,
            )
        }
        _ => Err(unknown_tool(name)),
    }
}
/// All tools, in the order in which they are listed.
pub static TOOLS: [Tool; 7usize] = [
    Tool {
        name: "lend",
        aliases: &[],
        title: "Lend a book",
        description: "Lend a book for 14 days. It takes book, days, name, rush, notes, stamps, weight, wait.\nThe shelf closes after 30 days.",
        toolset: "desk",
        hints: ToolHints {
            read_only: false,
            destructive: false,
            idempotent: false,
            open_world: true,
        },
        local: LocalFileUse::None,
        uses: &["lendBook", "getBook", "returnBook"],
        task: Some(TaskSource {
            operation: "lendBook",
            id: "loan_id",
            waits: Some("wait"),
        }),
        param_aliases: &[],
        null_values: &["notes"],
        keeps_empty: &[],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"book\":{\"type\":\"string\",\"description\":\"Title\"},\"days\":{\"type\":\"integer\",\"description\":\"How long\",\"minimum\":1,\"maximum\":30,\"default\":14},\"name\":{\"type\":\"string\",\"description\":\"Who\",\"pattern\":\"^[a-z]+$\"},\"rush\":{\"type\":\"boolean\",\"description\":\"Today\",\"default\":false},\"notes\":{\"type\":\"object\",\"description\":\"Notes; null removes one\",\"additionalProperties\":{\"type\":\"string\"}},\"stamps\":{\"type\":\"array\",\"description\":\"Stamps\",\"items\":{\"type\":\"string\"}},\"weight\":{\"type\":\"integer\",\"description\":\"Weight\"},\"wait\":{\"type\":\"boolean\",\"description\":\"Until it is back\",\"default\":true}},\"required\":[\"book\",\"name\"],\"additionalProperties\":false}",
        )),
        argument_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"book\":{\"type\":\"string\",\"description\":\"Title\"},\"days\":{\"type\":\"integer\",\"description\":\"How long\",\"minimum\":1,\"maximum\":30,\"default\":14},\"name\":{\"type\":\"string\",\"description\":\"Who\",\"pattern\":\"^[a-z]+$\"},\"rush\":{\"type\":\"boolean\",\"description\":\"Today\",\"default\":false},\"notes\":{\"type\":\"object\",\"description\":\"Notes; null removes one\",\"additionalProperties\":{\"type\":\"string\"}},\"stamps\":{\"type\":\"array\",\"description\":\"Stamps\",\"items\":{\"type\":\"string\"}},\"weight\":{\"type\":\"integer\",\"description\":\"Weight\"},\"wait\":{\"type\":\"boolean\",\"description\":\"Until it is back\",\"default\":true}},\"required\":[\"book\",\"name\"],\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::Lend>),
    },
    Tool {
        name: "list_books",
        aliases: &[],
        title: "List books",
        description: "List books. Then `lend(book=\"…\", days=3)`.",
        toolset: "desk",
        hints: ToolHints {
            read_only: true,
            destructive: false,
            idempotent: true,
            open_world: false,
        },
        local: LocalFileUse::None,
        uses: &["listBooks"],
        task: None,
        param_aliases: &[("shelf", "type")],
        null_values: &[],
        keeps_empty: &[],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"limit\":{\"type\":\"integer\",\"description\":\"Books at most\",\"minimum\":1,\"maximum\":100,\"default\":10},\"type\":{\"type\":\"string\",\"description\":\"Only this shelf\",\"enum\":[\"fiction\",\"science\"]},\"title\":{\"type\":\"string\",\"description\":\"Only titles that begin so\"}},\"additionalProperties\":false}",
        )),
        argument_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"limit\":{\"type\":\"integer\",\"description\":\"Books at most\",\"minimum\":1,\"maximum\":100,\"default\":10},\"type\":{\"type\":\"string\",\"description\":\"Only this shelf\",\"enum\":[\"fiction\",\"science\"]},\"title\":{\"type\":\"string\",\"description\":\"Only titles that begin so\"}},\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::ListBooks>),
    },
    Tool {
        name: "get_book",
        aliases: &[],
        title: "Look up a book",
        description: "Look up one book.",
        toolset: "desk",
        hints: ToolHints {
            read_only: true,
            destructive: false,
            idempotent: true,
            open_world: false,
        },
        local: LocalFileUse::None,
        uses: &["getBook"],
        task: None,
        param_aliases: &[],
        null_values: &[],
        keeps_empty: &[],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"book_id\":{\"type\":\"string\",\"description\":\"The book\"}},\"required\":[\"book_id\"],\"additionalProperties\":false}",
        )),
        argument_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"book_id\":{\"type\":\"string\",\"description\":\"The book\",\"format\":\"uuid\"}},\"required\":[\"book_id\"],\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::GetBook>),
    },
    Tool {
        name: "rename",
        aliases: &["retitle"],
        title: "Rename a book",
        description: "Give a book another title.\nThe title of lend must then be the new one.",
        toolset: "office",
        hints: ToolHints {
            read_only: false,
            destructive: true,
            idempotent: true,
            open_world: false,
        },
        local: LocalFileUse::Read,
        uses: &["renameBook"],
        task: None,
        param_aliases: &[],
        null_values: &[],
        keeps_empty: &[],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"book_id\":{\"type\":\"string\",\"description\":\"The book\"},\"title\":{\"type\":\"string\",\"description\":\"Its new title\",\"minLength\":1},\"tags\":{\"type\":\"array\",\"description\":\"Numbers\",\"items\":{\"type\":\"integer\"}},\"mode\":{\"type\":\"string\",\"description\":\"Way to write it\",\"enum\":[\"print\",\"emboss\"],\"default\":\"print\"}},\"required\":[\"book_id\",\"title\"],\"additionalProperties\":false}",
        )),
        argument_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"book_id\":{\"type\":\"string\",\"description\":\"The book\",\"format\":\"uuid\"},\"title\":{\"type\":\"string\",\"description\":\"Its new title\",\"minLength\":1},\"tags\":{\"type\":\"array\",\"description\":\"Numbers\",\"items\":{\"type\":\"integer\"}},\"mode\":{\"type\":\"string\",\"description\":\"Way to write it\",\"enum\":[\"print\",\"emboss\"],\"default\":\"print\"}},\"required\":[\"book_id\",\"title\"],\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::Rename>),
    },
    Tool {
        name: "about",
        aliases: &[],
        title: "About",
        description: "About this library. More in contree://guide/house.",
        toolset: "office",
        hints: ToolHints {
            read_only: true,
            destructive: false,
            idempotent: true,
            open_world: false,
        },
        local: LocalFileUse::None,
        uses: &[],
        task: None,
        param_aliases: &[],
        null_values: &[],
        keeps_empty: &[],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}",
        )),
        argument_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::About>),
    },
    Tool {
        name: "order",
        aliases: &[],
        title: "Order a book",
        description: "Order a book.",
        toolset: "office",
        hints: ToolHints {
            read_only: false,
            destructive: false,
            idempotent: false,
            open_world: true,
        },
        local: LocalFileUse::None,
        uses: &["orderBook"],
        task: None,
        param_aliases: &[],
        null_values: &[],
        keeps_empty: &["remark"],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"shelf\":{\"type\":\"string\",\"description\":\"Where it will stand\",\"enum\":[\"fiction\",\"science\"]},\"title\":{\"type\":\"string\",\"description\":\"What to order\",\"minLength\":1},\"copies\":{\"type\":\"integer\",\"description\":\"How many\",\"minimum\":1,\"default\":1},\"remark\":{\"type\":\"string\",\"description\":\"Remark\"},\"binding\":{\"type\":\"string\",\"description\":\"Binding\",\"enum\":[\"soft\",\"hard-cover\"]},\"kind\":{\"type\":\"string\",\"description\":\"Kind\"},\"languages\":{\"type\":\"array\",\"description\":\"Languages\",\"items\":{\"type\":\"string\"}},\"gift\":{\"type\":\"boolean\",\"description\":\"Whether it is paid\"}},\"required\":[\"shelf\",\"title\",\"binding\",\"kind\",\"gift\"],\"additionalProperties\":false}",
        )),
        argument_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"shelf\":{\"type\":\"string\",\"description\":\"Where it will stand\",\"enum\":[\"fiction\",\"science\"]},\"title\":{\"type\":\"string\",\"description\":\"What to order\",\"minLength\":1},\"copies\":{\"type\":\"integer\",\"description\":\"How many\",\"minimum\":1,\"default\":1},\"remark\":{\"type\":\"string\",\"description\":\"Remark\"},\"binding\":{\"type\":\"string\",\"description\":\"Binding\",\"enum\":[\"soft\",\"hard-cover\"]},\"kind\":{\"type\":\"string\",\"description\":\"Kind\"},\"languages\":{\"type\":\"array\",\"description\":\"Languages\",\"items\":{\"type\":\"string\"}},\"gift\":{\"type\":\"boolean\",\"description\":\"Whether it is paid\"}},\"required\":[\"shelf\",\"title\",\"binding\",\"kind\",\"gift\"],\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::ApiAnswer>),
    },
    Tool {
        name: "list_news",
        aliases: &[],
        title: "List the news",
        description: "List the news as the API returns them.",
        toolset: "office",
        hints: ToolHints {
            read_only: true,
            destructive: false,
            idempotent: true,
            open_world: false,
        },
        local: LocalFileUse::None,
        uses: &["listNews"],
        task: None,
        param_aliases: &[],
        null_values: &[],
        keeps_empty: &[],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}",
        )),
        argument_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::ApiAnswer>),
    },
];
/// The tools that serve every task, if a tool makes tasks.
pub const TASK_TOOLS: Option<TaskTools> = Some(TaskTools {
    look_up: "get_book",
    cancel: "rename",
});
/// The instructions that a client receives when it connects.
pub const INSTRUCTIONS: &str = "A library. `about` says more.";
/// The template of the instructions.
pub const INSTRUCTIONS_TEMPLATE: &str = "instructions.md.j2";
/// The guides, in the order in which they are listed.
pub static GUIDES: [Guide; 1usize] = [
    Guide {
        name: "house",
        uri: "contree://guide/house",
        title: "House rules",
        doc: "How to behave",
        text: "Be quiet. contree://guide/house is where you read this. See https://books.example/rules.\n\n```\nlend(book=\"…\", days=2)\n```",
        tools: &["lend"],
    },
];
/// The prompts, in the order in which they are listed.
pub static PROMPTS: [Prompt; 1usize] = [
    Prompt {
        name: "find-book",
        title: "Find a book",
        description: "Find a book and lend it",
        template: "prompts/find-book.md.j2",
        arguments: &[
            PromptArgument {
                name: "title",
                doc: "What it is called",
                required: true,
                default: None,
                complete: None,
            },
            PromptArgument {
                name: "shelf",
                doc: "Where to look",
                required: false,
                default: Some("fiction"),
                complete: None,
            },
            PromptArgument {
                name: "reader",
                doc: "Who reads it",
                required: false,
                default: None,
                complete: None,
            },
        ],
        tools: &["lend", "list_books"],
    },
];
/// The resource templates, in the order in which they are listed.
pub static RESOURCES: [Resource; 1usize] = [
    Resource {
        name: "page",
        uri: "contree://book/{book}/page/{page}",
        title: "Page",
        doc: "A page of a book",
        mime: "text/plain",
        tool: "get_book",
        variables: &[
            ("book", Some(CompletionSource::Image)),
            ("page", Some(CompletionSource::Path)),
        ],
    },
];
/// The variables of each resource template.
pub mod uris {
    /// The variables of `contree://book/{book}/page/{page}`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Page {
        /// `book`, decoded.
        pub book: ::std::string::String,
        /// `page`, decoded.
        pub page: ::std::string::String,
    }
}
/// Handlers of the resource templates.
#[diagnostic::on_unimplemented(
    message = "the resources of tools.yaml have no handlers",
    note = "write `impl ResourceHandlers for {Self}` in src/tools/resources.rs"
)]
pub trait ResourceHandlers: Sync {
    /// `contree://book/{book}/page/{page}`: A page of a book.
    fn page(
        &self,
        uri: uris::Page,
        cx: &Context,
    ) -> impl ::std::future::Future<Output = Result<ResourceContent, ToolError>> + Send;
}
/// Reads the resource template `name`.
///
/// # Errors
/// The error of the handler, or an unknown template.
pub async fn read_resource<T: ResourceHandlers>(
    handlers: &T,
    name: &str,
    mut variables: UriVariables,
    cx: &Context,
) -> Result<ResourceContent, ToolError> {
    match name {
        "page" => {
            handlers
                .page(
                    uris::Page {
                        book: variables.take("book")?,
                        page: variables.take("page")?,
                    },
                    cx,
                )
                .await
        }
        _ => Err(unknown_resource(name)),
    }
}
/// The name and the text of every template, since the server renders some at run time.
pub static TEMPLATES: [(&str, &str); 7usize] = [
    (
        "guides/house.md.j2",
        "Be quiet. {{ guides.house.uri }} is where you read this. See https://books.example/rules.\n\n```\nlend(book=\"…\", days=2)\n```\n",
    ),
    ("instructions.md.j2", "A library. `{{ tools.about.name }}` says more.\n"),
    (
        "macros.md.j2",
        "{% macro names(params) %}{% for name, param in params|items %}{{ name }}{% if not loop.last %}, {% endif %}{% endfor %}{% endmacro %}\n",
    ),
    (
        "page.md.j2",
        "<!-- Generated from tools.yaml -->\n{% for name, tool in tools|items %}\n- {{ name }}: {{ tool.description }}\n{% endfor %}\n",
    ),
    ("part.md.j2", "The shelf closes after {{ tools.lend.params.days.max }} days.\n"),
    (
        "prompts/find-book.md.j2",
        "Find {{ title|quoted }} among {{ shelf }}: `list_books(type=\"fiction\")`.\n{% if reader is defined %}\nThen lend it: `lend(book={{ title|quoted }}, name={{ reader|quoted }})`.\n{% endif %}\n",
    ),
    (
        "tools/lend.md.j2",
        "{% from \"macros.md.j2\" import names %}\nLend a book for {{ tool.params.days.default }} days. It takes {{ names(tool.params) }}.\n{% if \"max\" in tool.params.days %}\n{% include \"part.md.j2\" %}\n{% else %}\nWithout end, {{ tool.params.days.default }}.\n{% endif %}\n",
    ),
];
/// The values for templates, as a JSON object: tools, toolsets, guides, prompts, resources,
/// the instructions and the version.
pub const FACTS: &str = "{\"tools\":{\"lend\":{\"name\":\"lend\",\"title\":\"Lend a book\",\"toolset\":\"desk\",\"uses\":[\"lendBook\",\"getBook\",\"returnBook\"],\"read_only\":false,\"destructive\":false,\"params\":{\"book\":{\"name\":\"book\",\"type\":\"string\",\"required\":true,\"doc\":\"Title\"},\"days\":{\"name\":\"days\",\"type\":\"integer\",\"required\":false,\"default\":14,\"min\":1,\"max\":30,\"doc\":\"How long\"},\"name\":{\"name\":\"name\",\"type\":\"string\",\"required\":true,\"doc\":\"Who\"},\"rush\":{\"name\":\"rush\",\"type\":\"boolean\",\"required\":false,\"default\":false,\"doc\":\"Today\"},\"notes\":{\"name\":\"notes\",\"type\":\"map of string\",\"required\":false,\"doc\":\"Notes; null removes one\"},\"stamps\":{\"name\":\"stamps\",\"type\":\"array of string\",\"required\":false,\"doc\":\"Stamps\"},\"weight\":{\"name\":\"weight\",\"type\":\"integer\",\"required\":false,\"doc\":\"Weight\"},\"wait\":{\"name\":\"wait\",\"type\":\"boolean\",\"required\":false,\"default\":true,\"doc\":\"Until it is back\"}},\"description\":\"Lend a book for 14 days. It takes book, days, name, rush, notes, stamps, weight, wait.\\nThe shelf closes after 30 days.\"},\"list_books\":{\"name\":\"list_books\",\"title\":\"List books\",\"toolset\":\"desk\",\"uses\":[\"listBooks\"],\"read_only\":true,\"destructive\":false,\"params\":{\"limit\":{\"name\":\"limit\",\"type\":\"integer\",\"required\":false,\"default\":10,\"min\":1,\"max\":100,\"doc\":\"Books at most\"},\"type\":{\"name\":\"type\",\"type\":\"string\",\"required\":false,\"choices\":[\"fiction\",\"science\"],\"doc\":\"Only this shelf\"},\"title\":{\"name\":\"title\",\"type\":\"string\",\"required\":false,\"doc\":\"Only titles that begin so\"}},\"description\":\"List books. Then `lend(book=\\\"…\\\", days=3)`.\"},\"get_book\":{\"name\":\"get_book\",\"title\":\"Look up a book\",\"toolset\":\"desk\",\"uses\":[\"getBook\"],\"read_only\":true,\"destructive\":false,\"params\":{\"book_id\":{\"name\":\"book_id\",\"type\":\"uuid\",\"required\":true,\"doc\":\"The book\"}},\"description\":\"Look up one book.\"},\"rename\":{\"name\":\"rename\",\"title\":\"Rename a book\",\"toolset\":\"office\",\"uses\":[\"renameBook\"],\"read_only\":false,\"destructive\":true,\"params\":{\"book_id\":{\"name\":\"book_id\",\"type\":\"uuid\",\"required\":true,\"doc\":\"The book\"},\"title\":{\"name\":\"title\",\"type\":\"string\",\"required\":true,\"min_length\":1,\"doc\":\"Its new title\"},\"tags\":{\"name\":\"tags\",\"type\":\"array of integer\",\"required\":false,\"doc\":\"Numbers\"},\"mode\":{\"name\":\"mode\",\"type\":\"string\",\"required\":false,\"default\":\"print\",\"choices\":[\"print\",\"emboss\"],\"doc\":\"Way to write it\"}},\"description\":\"Give a book another title.\\nThe title of lend must then be the new one.\"},\"about\":{\"name\":\"about\",\"title\":\"About\",\"toolset\":\"office\",\"uses\":[],\"read_only\":true,\"destructive\":false,\"params\":{},\"description\":\"About this library. More in contree://guide/house.\"},\"order\":{\"name\":\"order\",\"title\":\"Order a book\",\"toolset\":\"office\",\"uses\":[\"orderBook\"],\"read_only\":false,\"destructive\":false,\"params\":{\"shelf\":{\"name\":\"shelf\",\"type\":\"string\",\"required\":true,\"choices\":[\"fiction\",\"science\"],\"doc\":\"Where it will stand\"},\"title\":{\"name\":\"title\",\"type\":\"string\",\"required\":true,\"min_length\":1,\"doc\":\"What to order\"},\"copies\":{\"name\":\"copies\",\"type\":\"integer\",\"required\":false,\"default\":1,\"min\":1,\"doc\":\"How many\"},\"remark\":{\"name\":\"remark\",\"type\":\"string\",\"required\":false,\"doc\":\"Remark\"},\"binding\":{\"name\":\"binding\",\"type\":\"string\",\"required\":true,\"choices\":[\"soft\",\"hard-cover\"],\"doc\":\"Binding\"},\"kind\":{\"name\":\"kind\",\"type\":\"string\",\"required\":true,\"doc\":\"Kind\"},\"languages\":{\"name\":\"languages\",\"type\":\"array of string\",\"required\":false,\"doc\":\"Languages\"},\"gift\":{\"name\":\"gift\",\"type\":\"boolean\",\"required\":true,\"doc\":\"Whether it is paid\"}},\"description\":\"Order a book.\"},\"list_news\":{\"name\":\"list_news\",\"title\":\"List the news\",\"toolset\":\"office\",\"uses\":[\"listNews\"],\"read_only\":true,\"destructive\":false,\"params\":{},\"description\":\"List the news as the API returns them.\"}},\"toolsets\":{\"desk\":{\"name\":\"desk\",\"doc\":\"Lend and look up\",\"tools\":[\"lend\",\"list_books\",\"get_book\"]},\"office\":{\"name\":\"office\",\"doc\":\"Everything else\",\"tools\":[\"rename\",\"about\",\"order\",\"list_news\"]}},\"guides\":{\"house\":{\"name\":\"house\",\"title\":\"House rules\",\"doc\":\"How to behave\",\"uri\":\"contree://guide/house\",\"text\":\"Be quiet. contree://guide/house is where you read this. See https://books.example/rules.\\n\\n```\\nlend(book=\\\"…\\\", days=2)\\n```\"}},\"prompts\":{\"find-book\":{\"name\":\"find-book\",\"title\":\"Find a book\",\"description\":\"Find a book and lend it\",\"arguments\":{\"title\":{\"name\":\"title\",\"doc\":\"What it is called\",\"required\":true},\"shelf\":{\"name\":\"shelf\",\"doc\":\"Where to look\",\"required\":false,\"default\":\"fiction\"},\"reader\":{\"name\":\"reader\",\"doc\":\"Who reads it\",\"required\":false}}}},\"resources\":{\"page\":{\"name\":\"page\",\"uri\":\"contree://book/{book}/page/{page}\",\"title\":\"Page\",\"doc\":\"A page of a book\",\"mime\":\"text/plain\",\"tool\":\"get_book\"}},\"version\":\"1.2.3\",\"instructions\":\"A library. `about` says more.\"}";
