// Generated from tools.yaml by build/manifest.

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
    }
    /// The arguments of `list_books`.
    #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
    pub struct ListBooks {
        /// Books at most
        pub limit: u64,
        /// Only this shelf
        pub r#type: ::std::option::Option<::std::string::String>,
        /// Only titles that begin so
        pub title: ::std::option::Option<::std::string::String>,
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
        pub mode: ::std::string::String,
    }
    /// The arguments of `about`.
    #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
    pub struct About {}
}
/// Handlers of the `desk` tools: Lend and look up.
#[diagnostic::on_unimplemented(
    message = "the `desk` tools of tools.yaml have no handlers",
    note = "write `impl DeskTools for {Self}` in src/tools/desk.rs"
)]
pub trait DeskTools: Sync {
    /** Lend a book for 14 days. It takes book, days, name, rush, notes, stamps, weight.
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
}
/// Handlers for every tool.
pub trait Tools: DeskTools + OfficeTools {}
impl<T: DeskTools + OfficeTools> Tools for T {}
const _: fn() = || {
    fn complete<T: DeskTools + OfficeTools>() {}
    complete::<Handlers>();
};
/// Calls the tool `name`.
///
/// # Errors
/// Returns an error that an agent can read: an unknown tool, wrong arguments, or what its handler returned.
pub async fn dispatch<T: Tools>(
    tools: &T,
    name: &str,
    arguments: Arguments,
    cx: &Context,
) -> Result<Answer, ToolError> {
    match name {
        "lend" => Answer::of(tools.lend(TOOLS[0usize].arguments(arguments)?, cx).await?),
        "list_books" => {
            Answer::of(tools.list_books(TOOLS[1usize].arguments(arguments)?, cx).await?)
        }
        "get_book" => {
            Answer::of(tools.get_book(TOOLS[2usize].arguments(arguments)?, cx).await?)
        }
        "rename" => {
            Answer::of(tools.rename(TOOLS[3usize].arguments(arguments)?, cx).await?)
        }
        "about" => {
            Answer::of(tools.about(TOOLS[4usize].arguments(arguments)?, cx).await?)
        }
        _ => Err(unknown_tool(name)),
    }
}
/// All tools, in the order in which they are listed.
pub static TOOLS: [Tool; 5usize] = [
    Tool {
        name: "lend",
        title: "Lend a book",
        description: "Lend a book for 14 days. It takes book, days, name, rush, notes, stamps, weight.\nThe shelf closes after 30 days.",
        toolset: "desk",
        hints: Hints {
            read_only: false,
            destructive: false,
            idempotent: false,
            open_world: true,
        },
        local: Local::None,
        uses: &["lendBook", "getBook", "returnBook"],
        aliases: &[],
        null_values: &["notes"],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"book\":{\"type\":\"string\",\"description\":\"Title\"},\"days\":{\"type\":\"integer\",\"description\":\"How long\",\"minimum\":1,\"maximum\":30,\"default\":14},\"name\":{\"type\":\"string\",\"description\":\"Who\",\"pattern\":\"^[a-z]+$\"},\"rush\":{\"type\":\"boolean\",\"description\":\"Today\",\"default\":false},\"notes\":{\"type\":\"object\",\"description\":\"Notes; null removes one\",\"additionalProperties\":{\"type\":\"string\"}},\"stamps\":{\"type\":\"array\",\"description\":\"Stamps\",\"items\":{\"type\":\"string\"}},\"weight\":{\"type\":\"integer\",\"description\":\"Weight\"}},\"required\":[\"book\",\"name\"],\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::Lend>),
    },
    Tool {
        name: "list_books",
        title: "List books",
        description: "List books. Then `lend(book=\"…\", days=3)`.",
        toolset: "desk",
        hints: Hints {
            read_only: true,
            destructive: false,
            idempotent: true,
            open_world: false,
        },
        local: Local::None,
        uses: &["listBooks"],
        aliases: &[("shelf", "type")],
        null_values: &[],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"limit\":{\"type\":\"integer\",\"description\":\"Books at most\",\"minimum\":1,\"maximum\":100,\"default\":10},\"type\":{\"type\":\"string\",\"description\":\"Only this shelf\",\"enum\":[\"fiction\",\"science\"]},\"title\":{\"type\":\"string\",\"description\":\"Only titles that begin so\"}},\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::ListBooks>),
    },
    Tool {
        name: "get_book",
        title: "Look up a book",
        description: "Look up one book.",
        toolset: "desk",
        hints: Hints {
            read_only: true,
            destructive: false,
            idempotent: true,
            open_world: false,
        },
        local: Local::None,
        uses: &["getBook"],
        aliases: &[],
        null_values: &[],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"book_id\":{\"type\":\"string\",\"description\":\"The book\",\"format\":\"uuid\"}},\"required\":[\"book_id\"],\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::GetBook>),
    },
    Tool {
        name: "rename",
        title: "Rename a book",
        description: "Give a book another title.\nThe title of lend must then be the new one.",
        toolset: "office",
        hints: Hints {
            read_only: false,
            destructive: true,
            idempotent: true,
            open_world: false,
        },
        local: Local::Read,
        uses: &["renameBook"],
        aliases: &[],
        null_values: &[],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"book_id\":{\"type\":\"string\",\"description\":\"The book\",\"format\":\"uuid\"},\"title\":{\"type\":\"string\",\"description\":\"Its new title\",\"minLength\":1},\"tags\":{\"type\":\"array\",\"description\":\"Numbers\",\"items\":{\"type\":\"integer\"}},\"mode\":{\"type\":\"string\",\"description\":\"Way to write it\",\"enum\":[\"print\",\"emboss\"],\"default\":\"print\"}},\"required\":[\"book_id\",\"title\"],\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::Rename>),
    },
    Tool {
        name: "about",
        title: "About",
        description: "About this library. More in contree://guide/house.",
        toolset: "office",
        hints: Hints {
            read_only: true,
            destructive: false,
            idempotent: true,
            open_world: false,
        },
        local: Local::None,
        uses: &[],
        aliases: &[],
        null_values: &[],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::About>),
    },
];
/// What a client is told when it connects.
pub const INSTRUCTIONS: &str = "A library. `about` says more.";
/// The guides by name.
pub static GUIDES: &[(&str, &str)] = &[
    ("house", "Be quiet. contree://guide/house is where you read this."),
];
