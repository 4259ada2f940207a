//! The methods of the traits, and the handlers of tools that map directly to an operation.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::super::resolve::{Param, RequestTarget, Tool};
use super::super::texts::RenderedTexts;
use super::params::{always_has_value, field_name, is_collection, is_enum};
use super::{doc_text, result_type, snake_case, type_name};

/// The method of a tool in the trait of its toolset, with a generated body if the tool maps
/// directly to an operation.
pub(super) fn declare(tool: &Tool, texts: &RenderedTexts) -> TokenStream {
    let (name, params_type) = (format_ident!("{}", tool.name), type_name(tool));
    let doc = doc_text(texts.description(&tool.name));
    let result = result_type(tool);
    let signature = quote! {
        #[doc = #doc]
        fn #name(
            &self,
            p: params::#params_type,
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
            RequestTarget::Parameter(name) => Some(parameter(param, name)),
            RequestTarget::Body { .. } => None,
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
            RequestTarget::Parameter(_) => None,
            RequestTarget::Body { name, optional, .. } => Some(field(param, name, *optional)),
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

/// Sets the request's parameter `name` to an argument, if it is given.
fn parameter(param: &Param, name: &str) -> TokenStream {
    let (argument, setter, borrow) = (field_name(param), setter_name(name), borrow(param));
    if always_has_value(param) || is_collection(&param.shape) {
        return quote!(let request = request.#setter(p.#argument #borrow););
    }
    quote! {
        let request = match p.#argument {
            Some(value) => request.#setter(value #borrow),
            None => request,
        };
    }
}

/// Sets the body's field `name` to an argument, if it is given.
fn field(param: &Param, name: &str, optional: bool) -> TokenStream {
    let (argument, setter, borrow) = (field_name(param), setter_name(name), borrow(param));
    let set = |value: TokenStream| {
        // A setter converts its argument, but not a value inside an `Option`.
        if optional && !is_collection(&param.shape) {
            quote!(body = body.#setter(Some(#value));)
        } else {
            quote!(body = body.#setter(#value #borrow);)
        }
    };
    if always_has_value(param) || is_collection(&param.shape) {
        return set(quote!(p.#argument));
    }
    let set = set(quote!(value));
    quote! {
        if let Some(value) = p.#argument {
            #set
        }
    }
}

/// `.as_str()` for texts and enums. The client's types for both convert from `&str`, but not all of
/// them convert from `String`.
fn borrow(param: &Param) -> Option<TokenStream> {
    let is_text = param.shape.kind == "string" && param.shape.format.is_none();
    (is_enum(param) || is_text).then(|| quote!(.as_str()))
}

/// The method of the client's builder for a parameter or field.
fn setter_name(name: &str) -> Ident {
    let name = snake_case(name);
    syn::parse_str(&name).unwrap_or_else(|_| format_ident!("{}_", name))
}
