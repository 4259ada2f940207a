//! The generated Rust.

mod catalogue;

use heck::ToUpperCamelCase;
use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::model::Local;
use super::problem::Source;
use super::resolve::{Param, Resolved, Tool};
use super::schema::{Shape, input_schema};
use super::texts::Texts;

/// Parameter structs, one trait for each toolset, dispatch and the table of tools.
pub fn generate(resolved: &Resolved, texts: &Texts, templates: &[Source]) -> String {
    let params = resolved.tools.iter().map(|tool| params_struct(tool, texts));
    let traits = resolved
        .toolsets
        .iter()
        .map(|(name, doc)| toolset(name, doc, resolved, texts));
    let names: Vec<_> = resolved
        .toolsets
        .iter()
        .map(|(name, _)| trait_name(name))
        .collect();
    let arms = resolved.tools.iter().enumerate().map(|(index, tool)| {
        let (name, method) = (&tool.name, format_ident!("{}", tool.name));
        quote!(#name => Answer::of(tools.#method(TOOLS[#index].arguments(arguments)?, cx).await?),)
    });
    let table = resolved.tools.iter().map(|tool| table_entry(tool, texts));
    let count = resolved.tools.len();
    let instructions = &texts.instructions;
    let instructions_template = &texts.instructions_template;
    let catalogue = catalogue::generate(resolved, texts, templates);
    let tokens = quote! {
        /// The arguments of each tool, checked and with defaults filled in.
        pub mod params {
            #(#params)*
        }

        #(#traits)*

        /// Handlers for every tool.
        pub trait Tools: #(#names)+* {}

        impl<T: #(#names)+*> Tools for T {}

        // Every toolset must have handlers. Naming the traits one by one makes rustc name the missing one.
        const _: fn() = || {
            fn complete<T: #(#names)+*>() {}
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
                #(#arms)*
                _ => Err(unknown_tool(name)),
            }
        }

        /// All tools, in the order in which they are listed.
        pub static TOOLS: [Tool; #count] = [#(#table),*];

        /// What a client is told when it connects.
        pub const INSTRUCTIONS: &str = #instructions;

        /// The template of that.
        pub const INSTRUCTIONS_TEMPLATE: &str = #instructions_template;

        #catalogue
    };
    match syn::parse2(tokens) {
        Ok(file) => format!(
            "// Generated from tools.yaml by build/manifest.\n\n{}",
            prettyplease::unparse(&file)
        ),
        // Cannot be: names are checked, everything else is quoted. rustc would say where.
        Err(error) => format!("compile_error!({:?});", error.to_string()),
    }
}

fn trait_name(toolset: &str) -> Ident {
    format_ident!("{}Tools", toolset.to_upper_camel_case())
}

fn type_name(tool: &Tool) -> Ident {
    format_ident!("{}", tool.name.to_upper_camel_case())
}

fn field_name(param: &Param) -> Ident {
    match syn::parse_str::<Ident>(&param.name) {
        Ok(name) => name,
        Err(_) => format_ident!("r#{}", param.name),
    }
}

fn params_struct(tool: &Tool, texts: &Texts) -> TokenStream {
    let name = type_name(tool);
    let fields = tool.params.iter().map(|param| {
        let (field, doc) = (
            field_name(param),
            sentence(texts.param(&tool.name, &param.name)),
        );
        let kind = rust_type(param);
        let default =
            (is_collection(&param.shape) && !is_given(param)).then(|| quote!(#[serde(default)]));
        quote! {
            #[doc = #doc]
            #default
            pub #field: #kind
        }
    });
    let doc = format!(" The arguments of `{}`.", tool.name);
    quote! {
        #[doc = #doc]
        #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
        pub struct #name {
            #(#fields),*
        }
    }
}

/// A doc comment may not be taken for Rust or links by rustdoc: brackets of JSON and `<` are escaped.
fn sentence(text: &str) -> String {
    let escaped = text
        .replace('[', "\\[")
        .replace(']', "\\]")
        .replace('<', "\\<");
    format!(" {}", escaped.replace('\n', "\n "))
}

/// Whether the argument is there after normalisation.
fn is_given(param: &Param) -> bool {
    param.required || param.shape.default.is_some()
}

fn is_collection(shape: &Shape) -> bool {
    shape.items.is_some() || shape.additional_properties.is_some()
}

fn rust_type(param: &Param) -> TokenStream {
    let kind = shape_type(&param.shape, param.null_values);
    if is_given(param) || is_collection(&param.shape) {
        kind
    } else {
        quote!(::std::option::Option<#kind>)
    }
}

fn shape_type(shape: &Shape, null_values: bool) -> TokenStream {
    if let Some(items) = &shape.items {
        let item = shape_type(items, false);
        return quote!(::std::vec::Vec<#item>);
    }
    if let Some(values) = &shape.additional_properties {
        let value = shape_type(values, false);
        let value = if null_values {
            quote!(::std::option::Option<#value>)
        } else {
            value
        };
        return quote!(::indexmap::IndexMap<::std::string::String, #value>);
    }
    let least = shape.minimum.as_ref().and_then(serde_json::Value::as_f64);
    match (shape.kind.as_str(), shape.format.as_deref()) {
        ("string", Some("uuid")) => quote!(::uuid::Uuid),
        ("integer", _) if least.is_some_and(|least| least >= 0.0) => quote!(u64),
        ("integer", _) => quote!(i64),
        ("number", _) => quote!(f64),
        ("boolean", _) => quote!(bool),
        _ => quote!(::std::string::String),
    }
}

fn toolset(name: &str, doc: &str, resolved: &Resolved, texts: &Texts) -> TokenStream {
    let trait_name = trait_name(name);
    let methods = resolved
        .tools
        .iter()
        .filter(|tool| tool.toolset == name)
        .map(|tool| method(tool, texts));
    let message = format!("the `{name}` tools of tools.yaml have no handlers");
    let note = format!("write `impl {trait_name} for {{Self}}` in src/tools/{name}.rs");
    let doc = format!(" Handlers of the `{name}` tools: {doc}.");
    quote! {
        #[doc = #doc]
        #[diagnostic::on_unimplemented(message = #message, note = #note)]
        pub trait #trait_name: Sync {
            #(#methods)*
        }
    }
}

fn method(tool: &Tool, texts: &Texts) -> TokenStream {
    let (name, kind) = (format_ident!("{}", tool.name), type_name(tool));
    let doc = sentence(texts.description(&tool.name));
    let result = result_type(tool);
    let signature = quote! {
        #[doc = #doc]
        fn #name(
            &self,
            p: params::#kind,
            cx: &Context,
        ) -> impl ::std::future::Future<Output = Result<#result, ToolError>> + Send
    };
    let Some(operation) = &tool.operation else {
        return quote!(#signature;);
    };
    let call = format_ident!("{}", snake_case(operation));
    let setters = tool.params.iter().filter_map(|param| {
        let (field, setter) = (
            field_name(param),
            format_ident!("{}", snake_case(param.parameter.as_deref()?)),
        );
        // The client's enums and checked texts are made from `&str`, not all of them from `String`.
        let borrow = (param.shape.kind == "string" && param.shape.format.is_none())
            .then(|| quote!(.as_str()));
        Some(if is_given(param) || is_collection(&param.shape) {
            quote!(let request = request.#setter(p.#field #borrow);)
        } else {
            quote! {
                let request = match p.#field {
                    Some(value) => request.#setter(value #borrow),
                    None => request,
                };
            }
        })
    });
    let unused = tool.params.is_empty().then(|| quote!(let _ = p;));
    let answer = if tool.plain {
        quote!(results::Plain::of(request.send().await?.into_inner()))
    } else {
        quote!(Ok(request.send().await?.into_inner().into()))
    };
    quote! {
        #signature {
            async move {
                #unused
                let client = cx.client().await?;
                let request = client.#call();
                #(#setters)*
                #answer
            }
        }
    }
}

/// What a tool answers.
fn result_type(tool: &Tool) -> TokenStream {
    if tool.plain {
        quote!(results::Plain)
    } else {
        let kind = type_name(tool);
        quote!(results::#kind)
    }
}

/// The name that the generated client gives an operation or parameter.
pub fn snake_case(name: &str) -> String {
    heck::ToSnakeCase::to_snake_case(name)
}

fn table_entry(tool: &Tool, texts: &Texts) -> TokenStream {
    let (name, title) = (&tool.name, &tool.title);
    let (toolset, description) = (&tool.toolset, texts.description(name));
    let hints = &tool.hints;
    let (read_only, destructive) = (hints.read_only, hints.destructive);
    let (idempotent, open_world) = (hints.idempotent, hints.open_world);
    let local = match tool.local {
        Local::None => quote!(None),
        Local::Read => quote!(Read),
        Local::Write => quote!(Write),
    };
    let uses = &tool.uses;
    let schema = input_schema(tool, texts).to_string();
    let aliases = tool.params.iter().flat_map(|param| {
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
    let result = result_type(tool);
    quote! {
        Tool {
            name: #name,
            title: #title,
            description: #description,
            toolset: #toolset,
            hints: Hints {
                read_only: #read_only,
                destructive: #destructive,
                idempotent: #idempotent,
                open_world: #open_world,
            },
            local: Local::#local,
            uses: &[#(#uses),*],
            aliases: &[#(#aliases),*],
            null_values: &[#(#nullable),*],
            input_schema: Schema::new(|| input_schema(#schema)),
            output_schema: Schema::new(output_schema::<#result>),
        }
    }
}
