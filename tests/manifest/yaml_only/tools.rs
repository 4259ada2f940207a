// Generated from tools.yaml by build/manifest.

/// The arguments of each tool, checked and with defaults filled in.
pub mod params {
    /// The arguments of `list_uploads`.
    #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
    pub struct ListUploads {
        /// Files at most
        pub limit: u64,
    }
}
/// Handlers of the `files` tools: Files.
#[diagnostic::on_unimplemented(
    message = "the `files` tools of tools.yaml have no handlers",
    note = "write `impl FilesTools for {Self}` in src/tools/files.rs"
)]
pub trait FilesTools: Sync {
    /// List what was uploaded.
    fn list_uploads(
        &self,
        p: params::ListUploads,
        cx: &Context,
    ) -> impl ::std::future::Future<Output = Result<results::Plain, ToolError>> + Send {
        async move {
            let client = cx.client().await?;
            let request = client.list_files();
            let request = request.limit(p.limit);
            results::Plain::of(request.send().await?.into_inner())
        }
    }
}
/// Handlers for every tool.
pub trait Tools: FilesTools {}
impl<T: FilesTools> Tools for T {}
const _: fn() = || {
    fn complete<T: FilesTools>() {}
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
        "list_uploads" => {
            Answer::of(
                tools.list_uploads(TOOLS[0usize].arguments(arguments)?, cx).await?,
            )
        }
        _ => Err(unknown_tool(name)),
    }
}
/// All tools, in the order in which they are listed.
pub static TOOLS: [Tool; 1usize] = [
    Tool {
        name: "list_uploads",
        title: "List uploads",
        description: "List what was uploaded.",
        toolset: "files",
        hints: Hints {
            read_only: true,
            destructive: false,
            idempotent: true,
            open_world: false,
        },
        local: Local::None,
        uses: &["listFiles"],
        aliases: &[],
        null_values: &[],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"limit\":{\"type\":\"integer\",\"description\":\"Files at most\",\"minimum\":1,\"maximum\":1000,\"default\":100}},\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::Plain>),
    },
];
/// What a client is told when it connects.
pub const INSTRUCTIONS: &str = "Uploads.";
/// The template of that.
pub const INSTRUCTIONS_TEMPLATE: &str = "Uploads.";
/// The guides, in the order in which they are listed.
pub static GUIDES: [Guide; 0usize] = [];
/// The prompts, in the order in which they are listed.
pub static PROMPTS: [Prompt; 0usize] = [];
/// The resource templates, in the order in which they are listed.
pub static RESOURCES: [Resource; 0usize] = [];
/// Every template by its name, for those that are rendered at run time.
pub static TEMPLATES: [(&str, &str); 0usize] = [];
/// What templates may speak of, as a JSON object: tools, toolsets, guides, prompts, resources, the instructions
/// and the version.
pub const FACTS: &str = "{\"tools\":{\"list_uploads\":{\"name\":\"list_uploads\",\"title\":\"List uploads\",\"toolset\":\"files\",\"uses\":[\"listFiles\"],\"read_only\":true,\"destructive\":false,\"params\":{\"limit\":{\"name\":\"limit\",\"type\":\"integer\",\"required\":false,\"default\":100,\"min\":1,\"max\":1000,\"doc\":\"Files at most\"}},\"description\":\"List what was uploaded.\"}},\"toolsets\":{\"files\":{\"name\":\"files\",\"doc\":\"Files\",\"tools\":[\"list_uploads\"]}},\"guides\":{},\"prompts\":{},\"resources\":{},\"version\":\"1.2.3\",\"instructions\":\"Uploads.\"}";
