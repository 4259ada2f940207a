//! Tools that map straight to an operation: where each argument goes in the request.

use super::super::api::{Body, Plain};
use super::super::model;
use super::super::shape::Shape;
use super::super::yaml::At;
use super::{Param, Resolver};

/// What an argument becomes in a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The parameter of this name, in the path, the query or a header.
    Parameter(String),
    /// A field of the body.
    Body {
        /// Its name there.
        name: String,
        /// Whether the client's type for it is an `Option`.
        optional: bool,
        /// Its type, or that of its items if it is a list.
        plain: Option<Plain>,
    },
}

impl Target {
    fn is_parameter(&self, wanted: &str) -> bool {
        matches!(self, Self::Parameter(name) if name == wanted)
    }

    fn is_field(&self, wanted: &str) -> bool {
        matches!(self, Self::Body { name, .. } if name == wanted)
    }
}

impl Resolver<'_> {
    /// Finds out where an argument of a mapped tool goes. `None`, with a problem, if it goes nowhere.
    pub(super) fn target(
        &mut self,
        label: &str,
        operation: &At<String>,
        name: &At<String>,
        param: &model::Param,
    ) -> Option<Target> {
        let body = self.api.body(operation);
        if !self.api.operations.contains_key(operation.as_str()) || matches!(body, Body::Other(_)) {
            return None;
        }
        let from = param.from.as_ref().and_then(|from| from.split_once('.'));
        if let Some((owner, own)) = from {
            if owner == operation.as_str() && self.api.has_parameter(operation, own) {
                return Some(Target::Parameter(own.to_owned()));
            }
            let is_body =
                owner == operation.as_str() || self.api.body_name(operation) == Some(owner);
            if let (true, Body::Fields(fields)) = (is_body, &body)
                && let Some(field) = fields.iter().find(|field| field.name == own)
            {
                return Some(Target::Body {
                    name: own.to_owned(),
                    optional: field.optional,
                    plain: field.plain,
                });
            }
        }
        // A dangling reference is a problem of its own.
        if from.is_none_or(|(owner, _)| owner != operation.as_str()) {
            let text = format!(
                "{label}: a generated handler passes only `{}.…` on",
                operation.value
            );
            self.problem(
                name.line,
                format!("{text} (give `from`, or write a handler, and `uses`)"),
            );
        }
        None
    }

    /// A generated handler gives all that the operation requires, and nothing that it cannot convert.
    pub(super) fn mapped(&mut self, tool: &At<String>, operation: &At<String>, params: &[Param]) {
        let label = &tool.value;
        let body = self.api.body(operation);
        if let Body::Other(what) = &body {
            let text = format!(
                "{label}: `{}` takes a body {what} (write a handler, and `uses`)",
                operation.value
            );
            self.problem(operation.line, text);
            return;
        }
        let goes = |to: &dyn Fn(&Target) -> bool| {
            params
                .iter()
                .any(|param| param.target.as_ref().is_some_and(to))
        };
        let parameters = self.api.required_parameters(operation).into_iter();
        let mut missing: Vec<String> = parameters
            .filter(|name| !goes(&|target| target.is_parameter(name)))
            .map(str::to_owned)
            .collect();
        if let Body::Fields(fields) = &body {
            let required = fields.iter().filter(|field| field.required);
            let absent = required.filter(|field| !goes(&|target| target.is_field(&field.name)));
            missing.extend(absent.map(|field| field.name.clone()));
        }
        for name in missing {
            let text = format!(
                "{label}: `{}` requires `{name}` (add a param from it)",
                operation.value
            );
            self.problem(operation.line, text);
        }
    }

    /// The client takes the type of a field of the body.
    pub(super) fn convertible(&mut self, label: &str, line: u64, param: &Param) {
        let shape = &param.shape;
        if let Some(Target::Body {
            name,
            optional,
            plain,
        }) = &param.target
        {
            // A setter converts what it is given, but not what stands in an `Option` or a list.
            let same = plain.is_some() && *plain == plain_type(shape);
            let what = match (&shape.items, &shape.additional_properties) {
                (_, Some(_)) => "a map",
                (Some(_), None) if !same => "a list of what is not of a plain type",
                (None, None) if *optional && !same => "optional and not of a plain type",
                _ => return,
            };
            let text =
                format!("{label}: a generated handler cannot convert `{name}`, which is {what}");
            self.problem(line, format!("{text} (write a handler, and `uses`)"));
        }
    }
}

/// The Rust type of an argument, or of the items of a list, if it is a plain one.
fn plain_type(shape: &Shape) -> Option<Plain> {
    if let Some(items) = &shape.items {
        return items.items.is_none().then(|| plain_type(items))?;
    }
    let least = shape.minimum.as_ref().and_then(serde_json::Value::as_f64);
    match (shape.kind.as_str(), shape.format.as_deref()) {
        ("string", Some("uuid")) => Some(Plain::Uuid),
        ("string", _) if shape.choices.is_none() => Some(Plain::Text),
        ("boolean", _) => Some(Plain::Boolean),
        ("number", _) => Some(Plain::Number),
        ("integer", _) if least.is_some_and(|least| least >= 0.0) => Some(Plain::Unsigned),
        ("integer", _) => Some(Plain::Signed),
        _ => None,
    }
}
