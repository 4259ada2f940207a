//! The methods of the traits, and the handlers of tools that map straight to an operation.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::super::resolve::{Param, Target, Tool};
use super::super::texts::Texts;
use super::params::{field_name, is_collection, is_enum, is_given};
use super::{result_type, sentence, snake_case, type_name};

/// The method of a tool in the trait of its toolset, with its body if the manifest says all.
pub(super) fn declare(tool: &Tool, texts: &Texts) -> TokenStream {
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
    let setters = tool
        .params
        .iter()
        .filter_map(|param| match param.target.as_ref()? {
            Target::Parameter(name) => Some(parameter(param, name)),
            Target::Body { .. } => None,
        });
    let unused = tool.params.is_empty().then(|| quote!(let _ = p;));
    let body = body(tool);
    let answer = if tool.plain {
        quote!(results::ApiAnswer::of(request.send().await?.into_inner()))
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
                #body
                #answer
            }
        }
    }
}

/// The body of the request, made with the client's builder.
fn body(tool: &Tool) -> Option<TokenStream> {
    let setters: Vec<_> = tool
        .params
        .iter()
        .filter_map(|param| match param.target.as_ref()? {
            Target::Parameter(_) => None,
            Target::Body { name, optional, .. } => Some(field(param, name, *optional)),
        })
        .collect();
    (!setters.is_empty()).then(|| {
        quote! {
            let request = request.body_map(|mut body| {
                #(#setters)*
                body
            });
        }
    })
}

/// Gives an argument to the request as the parameter `name`, if it is there.
fn parameter(param: &Param, name: &str) -> TokenStream {
    let (argument, setter, borrow) = (field_name(param), setter_name(name), borrow(param));
    if is_given(param) || is_collection(&param.shape) {
        return quote!(let request = request.#setter(p.#argument #borrow););
    }
    quote! {
        let request = match p.#argument {
            Some(value) => request.#setter(value #borrow),
            None => request,
        };
    }
}

/// Gives an argument to the body as the field `name`, if it is there.
fn field(param: &Param, name: &str, optional: bool) -> TokenStream {
    let (argument, setter, borrow) = (field_name(param), setter_name(name), borrow(param));
    let set = |value: TokenStream| {
        // A setter converts what it is given, but not what an `Option` holds.
        if optional && !is_collection(&param.shape) {
            quote!(body = body.#setter(Some(#value));)
        } else {
            quote!(body = body.#setter(#value #borrow);)
        }
    };
    if is_given(param) || is_collection(&param.shape) {
        return set(quote!(p.#argument));
    }
    let set = set(quote!(value));
    quote! {
        if let Some(value) = p.#argument {
            #set
        }
    }
}

/// The client's enums and checked texts are made from `&str`, not all of them from `String`.
fn borrow(param: &Param) -> Option<TokenStream> {
    let is_text = param.shape.kind == "string" && param.shape.format.is_none();
    (is_enum(param) || is_text).then(|| quote!(.as_str()))
}

/// The method of the client's builder for a parameter or field.
fn setter_name(name: &str) -> Ident {
    let name = snake_case(name);
    syn::parse_str(&name).unwrap_or_else(|_| format_ident!("{}_", name))
}
