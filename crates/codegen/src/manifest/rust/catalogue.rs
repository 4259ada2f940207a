//! The generated Rust for guides, prompts and resources.

use heck::ToUpperCamelCase;
use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::super::Inputs;
use super::super::model::CompletionSource;
use super::super::resolve::{Prompt, ResolvedManifest, Resource};
use super::super::texts::RenderedTexts;
use super::option_tokens;

/// The tables of guides, prompts and resources, and the templates rendered at run time.
pub(super) fn generate(
    inputs: &Inputs<'_>,
    resolved: &ResolvedManifest,
    texts: &RenderedTexts,
) -> TokenStream {
    let guides = resolved.guides.iter().map(|guide| {
        let (name, title, doc) = (&guide.name, &guide.title, &guide.doc);
        let uri = &guide.uri;
        let known = texts.guides.iter().find(|(known, _)| known == name);
        let text = known.map_or("", |(_, text)| text.as_str());
        let tools = texts.mentioned_by(name);
        quote! {
            Guide { name: #name, uri: #uri, title: #title, doc: #doc, text: #text, tools: &[#(#tools),*] }
        }
    });
    let prompts = resolved
        .prompts
        .iter()
        .map(|prompt| prompt_entry(prompt, texts));
    let resources = resolved.resources.iter().map(resource_entry);
    let (guide_count, prompt_count) = (resolved.guides.len(), resolved.prompts.len());
    let resource_count = resolved.resources.len();
    let handlers = resource_handlers(inputs, &resolved.resources);
    let template_count = inputs.templates.len();
    let templates = inputs.templates.iter().map(|template| {
        let (name, text) = (&template.name, &template.text);
        quote!((#name, #text))
    });
    let facts = texts.facts.to_string();
    quote! {
        /// The guides, in the order in which they are listed.
        pub static GUIDES: [Guide; #guide_count] = [#(#guides),*];

        /// The prompts, in the order in which they are listed.
        pub static PROMPTS: [Prompt; #prompt_count] = [#(#prompts),*];

        /// The resource templates, in the order in which they are listed.
        pub static RESOURCES: [Resource; #resource_count] = [#(#resources),*];

        #handlers

        /// The name and the text of every template, since the server renders some at run time.
        pub static TEMPLATES: [(&str, &str); #template_count] = [#(#templates),*];

        /// The values for templates, as a JSON object: tools, toolsets, guides, prompts, resources,
        /// the instructions and the version.
        pub const FACTS: &str = #facts;
    }
}

fn prompt_entry(prompt: &Prompt, texts: &RenderedTexts) -> TokenStream {
    let (name, title, description) = (&prompt.name, &prompt.title, &prompt.description);
    let template = &prompt.template;
    let arguments = prompt.arguments.iter().map(|argument| {
        let (name, doc, required) = (&argument.name, &argument.doc, argument.required);
        let (default, complete) = (option_tokens(argument.default.as_ref()), completion(argument.complete));
        quote! {
            PromptArgument { name: #name, doc: #doc, required: #required, default: #default, complete: #complete }
        }
    });
    let tools = texts.called_by(name);
    quote! {
        Prompt {
            name: #name,
            title: #title,
            description: #description,
            template: #template,
            arguments: &[#(#arguments),*],
            tools: &[#(#tools),*],
        }
    }
}

fn resource_entry(resource: &Resource) -> TokenStream {
    let (name, uri, title, doc) = (
        &resource.name,
        &resource.uri,
        &resource.title,
        &resource.doc,
    );
    let (mime, tool) = (&resource.mime, &resource.tool);
    let variables = resource.variables.iter().map(|(name, complete)| {
        let complete = completion(*complete);
        quote!((#name, #complete))
    });
    quote! {
        Resource {
            name: #name,
            uri: #uri,
            title: #title,
            doc: #doc,
            mime: #mime,
            tool: #tool,
            variables: &[#(#variables),*],
        }
    }
}

/// The variables of each resource, the trait with one handler for each, and the dispatch.
fn resource_handlers(inputs: &Inputs<'_>, resources: &[Resource]) -> TokenStream {
    if resources.is_empty() {
        return TokenStream::new();
    }
    let message = format!("the resources of {} have no handlers", inputs.manifest.name);
    let note = format!(
        "write `impl ResourceHandlers for {{Self}}` in {}/resources.rs",
        inputs.handlers
    );
    let type_name = |resource: &Resource| format_ident!("{}", resource.name.to_upper_camel_case());
    let structs = resources.iter().map(|resource| {
        let (name, doc) = (
            type_name(resource),
            format!(" The variables of `{}`.", resource.uri),
        );
        let fields = resource.variables.iter().map(|(variable, _)| {
            let field = variable_name(variable);
            let doc = format!(" `{variable}`, decoded.");
            quote!(#[doc = #doc] pub #field: ::std::string::String)
        });
        quote! {
            #[doc = #doc]
            #[derive(Clone, Debug, PartialEq)]
            pub struct #name {
                #(#fields),*
            }
        }
    });
    let methods = resources.iter().map(|resource| {
        let (method, name) = (format_ident!("{}", resource.name), type_name(resource));
        let doc = format!(
            " `{}`: {}.",
            resource.uri,
            resource.doc.trim_end_matches('.')
        );
        quote! {
            #[doc = #doc]
            fn #method(
                &self,
                uri: uris::#name,
                cx: &Context,
            ) -> impl ::std::future::Future<Output = Result<ResourceContent, ToolError>> + Send;
        }
    });
    let arms = resources.iter().map(|resource| {
        let (text, method, name) = (
            &resource.name,
            format_ident!("{}", resource.name),
            type_name(resource),
        );
        let fields = resource.variables.iter().map(|(variable, _)| {
            let field = variable_name(variable);
            quote!(#field: variables.take(#variable)?)
        });
        quote!(#text => handlers.#method(uris::#name { #(#fields),* }, cx).await,)
    });
    quote! {
        /// The variables of each resource template.
        pub mod uris {
            #(#structs)*
        }

        /// Handlers of the resource templates.
        #[diagnostic::on_unimplemented(
            message = #message,
            note = #note
        )]
        pub trait ResourceHandlers: Sync {
            #(#methods)*
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
                #(#arms)*
                _ => Err(unknown_resource(name)),
            }
        }
    }
}

fn variable_name(name: &str) -> Ident {
    syn::parse_str::<Ident>(name).unwrap_or_else(|_| format_ident!("r#{}", name))
}

fn completion(kind: Option<CompletionSource>) -> TokenStream {
    let name = match kind {
        None => return quote!(None),
        Some(CompletionSource::Image) => "Image",
        Some(CompletionSource::Path) => "Path",
        Some(CompletionSource::Operation) => "Operation",
        Some(CompletionSource::Instance) => "Instance",
        Some(CompletionSource::Import) => "Import",
        Some(CompletionSource::Guide) => "Guide",
    };
    let name = format_ident!("{}", name);
    quote!(Some(CompletionSource::#name))
}
