// Generated from tools.yaml by contree-codegen.

/// The arguments of each tool, checked and with defaults filled in.
pub mod params {
    /// The arguments of `list_uploads`.
    #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
    pub struct ListUploads {
        /// Files at most
        pub limit: u64,
    }
    /// The arguments of `name_image`.
    #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
    pub struct NameImage {
        /// Image
        pub image: ::uuid::Uuid,
        /// Its name
        pub name: ::std::string::String,
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
    ) -> impl ::std::future::Future<
        Output = Result<results::ApiAnswer, ToolError>,
    > + Send {
        async move {
            let client = cx.client().await?;
            let request = client.list_files();
            let request = request.limit(p.limit);
            results::ApiAnswer::of(request.send().await?.into_inner())
        }
    }
    /// Name an image.
    fn name_image(
        &self,
        p: params::NameImage,
        cx: &Context,
    ) -> impl ::std::future::Future<
        Output = Result<results::ApiAnswer, ToolError>,
    > + Send {
        async move {
            let client = cx.client().await?;
            let request = client.update_image_tag();
            let request = request.image_uuid(p.image);
            let request = request
                .body_map(|mut body| {
                    body = body.tag(p.name.as_str());
                    body
                });
            results::ApiAnswer::of(request.send().await?.into_inner())
        }
    }
}
/// Handlers for every tool.
pub trait Tools: FilesTools {}
impl<T: FilesTools> Tools for T {}
const _: fn() = || {
    fn has_all_handlers<T: FilesTools>() {}
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
        "list_uploads" => {
            ToolAnswer::of(
                tools.list_uploads(TOOLS[0usize].arguments(arguments)?, cx).await?,
            )
        }
        "name_image" => {
            ToolAnswer::of(
                tools.name_image(TOOLS[1usize].arguments(arguments)?, cx).await?,
            )
        }
        _ => Err(unknown_tool(name)),
    }
}
/// All tools, in the order in which they are listed.
pub static TOOLS: [Tool; 2usize] = [
    Tool {
        name: "list_uploads",
        aliases: &[],
        title: "List uploads",
        description: "List what was uploaded.",
        toolset: "files",
        hints: ToolHints {
            read_only: true,
            destructive: false,
            idempotent: true,
            open_world: false,
        },
        local: LocalFileUse::None,
        uses: &["listFiles"],
        task: None,
        param_aliases: &[],
        null_values: &[],
        keeps_empty: &[],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"limit\":{\"type\":\"integer\",\"description\":\"Files at most\",\"minimum\":1,\"maximum\":1000,\"default\":100}},\"additionalProperties\":false}",
        )),
        argument_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"limit\":{\"type\":\"integer\",\"description\":\"Files at most\",\"minimum\":1,\"maximum\":1000,\"default\":100}},\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::ApiAnswer>),
    },
    Tool {
        name: "name_image",
        aliases: &[],
        title: "Name an image",
        description: "Name an image.",
        toolset: "files",
        hints: ToolHints {
            read_only: false,
            destructive: false,
            idempotent: true,
            open_world: false,
        },
        local: LocalFileUse::None,
        uses: &["updateImageTag"],
        task: None,
        param_aliases: &[],
        null_values: &[],
        keeps_empty: &[],
        input_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"image\":{\"type\":\"string\",\"description\":\"Image\"},\"name\":{\"type\":\"string\",\"description\":\"Its name\"}},\"required\":[\"image\",\"name\"],\"additionalProperties\":false}",
        )),
        argument_schema: Schema::new(|| input_schema(
            "{\"type\":\"object\",\"properties\":{\"image\":{\"type\":\"string\",\"description\":\"Image\",\"format\":\"uuid\"},\"name\":{\"type\":\"string\",\"description\":\"Its name\"}},\"required\":[\"image\",\"name\"],\"additionalProperties\":false}",
        )),
        output_schema: Schema::new(output_schema::<results::ApiAnswer>),
    },
];
/// The tools that serve every task, if a tool makes tasks.
pub const TASK_TOOLS: Option<TaskTools> = None;
/// The instructions that a client receives when it connects.
pub const INSTRUCTIONS: &str = "Uploads.";
/// The template of the instructions.
pub const INSTRUCTIONS_TEMPLATE: &str = "Uploads.";
/// The guides, in the order in which they are listed.
pub static GUIDES: [Guide; 0usize] = [];
/// The prompts, in the order in which they are listed.
pub static PROMPTS: [Prompt; 0usize] = [];
/// The resource templates, in the order in which they are listed.
pub static RESOURCES: [Resource; 0usize] = [];
/// The name and the text of every template, since the server renders some at run time.
pub static TEMPLATES: [(&str, &str); 0usize] = [];
/// The values for templates, as a JSON object: tools, toolsets, guides, prompts, resources,
/// the instructions and the version.
pub const FACTS: &str = "{\"tools\":{\"list_uploads\":{\"name\":\"list_uploads\",\"title\":\"List uploads\",\"toolset\":\"files\",\"uses\":[\"listFiles\"],\"read_only\":true,\"destructive\":false,\"params\":{\"limit\":{\"name\":\"limit\",\"type\":\"integer\",\"required\":false,\"default\":100,\"min\":1,\"max\":1000,\"doc\":\"Files at most\"}},\"description\":\"List what was uploaded.\"},\"name_image\":{\"name\":\"name_image\",\"title\":\"Name an image\",\"toolset\":\"files\",\"uses\":[\"updateImageTag\"],\"read_only\":false,\"destructive\":false,\"params\":{\"image\":{\"name\":\"image\",\"type\":\"uuid\",\"required\":true,\"doc\":\"Image\"},\"name\":{\"name\":\"name\",\"type\":\"string\",\"required\":true,\"doc\":\"Its name\"}},\"description\":\"Name an image.\"}},\"toolsets\":{\"files\":{\"name\":\"files\",\"doc\":\"Files\",\"tools\":[\"list_uploads\",\"name_image\"]}},\"guides\":{},\"prompts\":{},\"resources\":{},\"version\":\"1.2.3\",\"instructions\":\"Uploads.\"}";
