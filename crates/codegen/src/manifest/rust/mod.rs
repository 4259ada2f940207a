//! Generates the Rust code of the tools.

mod catalogue;
mod method;
mod params;

use heck::ToUpperCamelCase;
use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::Inputs;
use super::model::LocalEffect;
use super::resolve::{ResolvedManifest, Tool};
use super::schema::{argument_schema, published_schema};
use super::texts::RenderedTexts;
use crate::markdown;

/// Generates parameter structs, one trait for each toolset, the dispatch and the table of tools.
pub fn generate(inputs: &Inputs<'_>, resolved: &ResolvedManifest, texts: &RenderedTexts) -> String {
    let params = resolved
        .tools
        .iter()
        .map(|tool| params::declare(tool, texts));
    let traits = resolved
        .toolsets
        .iter()
        .map(|(name, doc)| toolset_trait(inputs, name, doc, resolved, texts));
    let names: Vec<_> = resolved
        .toolsets
        .iter()
        .map(|(name, _)| trait_name(name))
        .collect();
    let arms = resolved.tools.iter().enumerate().map(|(index, tool)| {
        let (name, method) = (&tool.name, format_ident!("{}", tool.name));
        let aliases = &tool.aliases;
        quote!(#name #(| #aliases)* => ToolAnswer::of(tools.#method(TOOLS[#index].arguments(arguments)?, cx).await?),)
    });
    let table = resolved.tools.iter().map(|tool| table_entry(tool, texts));
    let count = resolved.tools.len();
    let instructions = &texts.instructions;
    let instructions_template = &texts.instructions_template;
    let tasks = match &resolved.tasks {
        Some(tasks) => {
            let (look_up, cancel) = (&tasks.look_up, &tasks.cancel);
            quote!(Some(TaskTools { look_up: #look_up, cancel: #cancel }))
        }
        None => quote!(None),
    };
    let catalogue = catalogue::generate(inputs, resolved, texts);
    let tokens = quote! {
        /// The arguments of each tool, checked and with defaults filled in.
        pub mod params {
            #(#params)*
        }

        #(#traits)*

        /// Handlers for every tool.
        pub trait Tools: #(#names)+* {}

        impl<T: #(#names)+*> Tools for T {}

        // Every toolset must have handlers. The list of traits makes rustc name a missing one.
        const _: fn() = || {
            fn has_all_handlers<T: #(#names)+*>() {} has_all_handlers::<Handlers>();
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
                #(#arms)*
                _ => Err(unknown_tool(name)),
            }
        }

        /// All tools, in the order in which they are listed.
        pub static TOOLS: [Tool; #count] = [#(#table),*];

        /// The tools that serve every task, if a tool makes tasks.
        pub const TASK_TOOLS: Option<TaskTools> = #tasks;

        /// The instructions that a client receives when it connects.
        pub const INSTRUCTIONS: &str = #instructions;

        /// The template of the instructions.
        pub const INSTRUCTIONS_TEMPLATE: &str = #instructions_template;

        #catalogue
    };
    match syn::parse2(tokens) {
        Ok(file) => format!(
            "// Generated from {} by contree-codegen.\n\n{}",
            inputs.manifest.name,
            prettyplease::unparse(&file)
        ),
        // The checks of names leave no way here. If one is wrong, rustc shows the error.
        Err(error) => format!("compile_error!({:?});", error.to_string()),
    }
}

fn trait_name(toolset: &str) -> Ident {
    format_ident!("{}Tools", toolset.to_upper_camel_case())
}

fn type_name(tool: &Tool) -> Ident {
    format_ident!("{}", tool.name.to_upper_camel_case())
}

/// A text as a doc comment, whose code rustdoc does not test. Brackets and `<` are escaped, because
/// rustdoc would take them for links or HTML.
fn doc_text(text: &str) -> String {
    let escaped = markdown::lines(text)
        .join("\n")
        .replace('[', "\\[")
        .replace(']', "\\]")
        .replace('<', "\\<");
    format!(" {}", escaped.replace('\n', "\n "))
}

fn toolset_trait(
    inputs: &Inputs<'_>,
    name: &str,
    doc: &str,
    resolved: &ResolvedManifest,
    texts: &RenderedTexts,
) -> TokenStream {
    let trait_name = trait_name(name);
    let methods = resolved
        .tools
        .iter()
        .filter(|tool| tool.toolset == name)
        .map(|tool| method::declare(tool, texts));
    let message = format!(
        "the `{name}` tools of {} have no handlers",
        inputs.manifest.name
    );
    let note = format!(
        "write `impl {trait_name} for {{Self}}` in {}/{name}.rs",
        inputs.handlers
    );
    let doc = format!(" Handlers of the `{name}` tools: {doc}.");
    quote! {
        #[doc = #doc]
        #[diagnostic::on_unimplemented(message = #message, note = #note)]
        pub trait #trait_name: Sync {
            #(#methods)*
        }
    }
}

/// The result type of a tool.
fn result_type(tool: &Tool) -> TokenStream {
    if tool.plain {
        quote!(results::ApiAnswer)
    } else {
        let kind = type_name(tool);
        quote!(results::#kind)
    }
}

/// The name of an operation or parameter in the generated client.
pub fn snake_case(name: &str) -> String {
    heck::ToSnakeCase::to_snake_case(name)
}

fn table_entry(tool: &Tool, texts: &RenderedTexts) -> TokenStream {
    let (name, title) = (&tool.name, &tool.title);
    let (toolset, description) = (&tool.toolset, texts.description(name));
    let hints = &tool.hints;
    let (read_only, destructive) = (hints.read_only, hints.destructive);
    let (idempotent, open_world) = (hints.idempotent, hints.open_world);
    let local = match tool.local {
        LocalEffect::None => quote!(None),
        LocalEffect::Read => quote!(Read),
        LocalEffect::Write => quote!(Write),
    };
    let (tool_aliases, uses) = (&tool.aliases, &tool.uses);
    let task = match &tool.task {
        Some(task) => {
            let (operation, id) = (&task.operation, &task.id);
            let waits = option_tokens(task.waits.as_ref());
            quote!(Some(TaskSource { operation: #operation, id: #id, waits: #waits }))
        }
        None => quote!(None),
    };
    let published = published_schema(tool, texts).to_string();
    let schema = argument_schema(tool, texts).to_string();
    let param_aliases = tool.params.iter().flat_map(|param| {
        let name = &param.name;
        param
            .aliases
            .iter()
            .map(move |alias| quote!((#alias, #name)))
    });
    let nullable = tool
        .params
        .iter()
        .filter(|param| param.null_values)
        .map(|param| &param.name);
    let keeps_empty = tool
        .params
        .iter()
        .filter(|param| param.keeps_empty)
        .map(|param| &param.name);
    let result = result_type(tool);
    quote! {
        Tool {
            name: #name,
            aliases: &[#(#tool_aliases),*],
            title: #title,
            description: #description,
            toolset: #toolset,
            hints: ToolHints {
                read_only: #read_only,
                destructive: #destructive,
                idempotent: #idempotent,
                open_world: #open_world,
            },
            local: LocalFileUse::#local,
            uses: &[#(#uses),*],
            task: #task,
            param_aliases: &[#(#param_aliases),*],
            null_values: &[#(#nullable),*],
            keeps_empty: &[#(#keeps_empty),*],
            input_schema: Schema::new(|| input_schema(#published)),
            argument_schema: Schema::new(|| input_schema(#schema)),
            output_schema: Schema::new(output_schema::<#result>),
        }
    }
}

fn option_tokens(value: Option<&String>) -> TokenStream {
    match value {
        Some(value) => quote!(Some(#value)),
        None => quote!(None),
    }
}
