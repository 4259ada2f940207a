//! Resolves tools that map directly to an operation: the part of the request that each argument
//! sets.

use super::super::api::{RequestBody, ScalarType};
use super::super::model;
use super::super::shape::Shape;
use super::super::yaml::Located;
use super::{Param, Resolver};

/// The part of a request that an argument sets.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestTarget {
    /// The parameter of this name, in the path, the query or a header.
    Parameter(String),
    /// A field of the body.
    Body {
        /// The name of the field.
        name: String,
        /// Whether the client's type for it is an `Option`.
        optional: bool,
        /// Its type, or the type of its items if it is a list.
        scalar: Option<ScalarType>,
    },
}

impl RequestTarget {
    fn is_parameter(&self, wanted: &str) -> bool {
        matches!(self, Self::Parameter(name) if name == wanted)
    }

    fn is_field(&self, wanted: &str) -> bool {
        matches!(self, Self::Body { name, .. } if name == wanted)
    }
}

impl Resolver<'_> {
    /// Finds the part of the request that an argument of a mapped tool sets. `None` if there is
    /// none, which is reported as a problem.
    pub(super) fn find_request_target(
        &mut self,
        label: &str,
        operation: &Located<String>,
        name: &Located<String>,
        param: &model::Param,
    ) -> Option<RequestTarget> {
        let body = self.api.body(operation);
        if !self.api.operations.contains_key(operation.as_str())
            || matches!(body, RequestBody::Other(_))
        {
            return None;
        }
        let from = param.from.as_ref().and_then(|from| from.split_once('.'));
        if let Some((owner, field)) = from {
            if owner == operation.as_str() && self.api.has_parameter(operation, field) {
                return Some(RequestTarget::Parameter(field.to_owned()));
            }
            let is_body =
                owner == operation.as_str() || self.api.body_name(operation) == Some(owner);
            if let (true, RequestBody::Fields(fields)) = (is_body, &body)
                && let Some(field) = fields.iter().find(|known| known.name == field)
            {
                return Some(RequestTarget::Body {
                    name: field.name.clone(),
                    optional: field.optional,
                    scalar: field.scalar,
                });
            }
        }
        // A reference that does not exist is reported elsewhere.
        if from.is_none_or(|(owner, _)| owner != operation.as_str()) {
            let text = format!(
                "{label}: a generated handler can pass on only `{}.…`",
                operation.value
            );
            self.problem(
                name.line,
                format!("{text} (give `from`, or write a handler, and `uses`)"),
            );
        }
        None
    }

    /// Checks that a generated handler can send the body and passes on every required value.
    pub(super) fn check_mapped(
        &mut self,
        tool: &Located<String>,
        operation: &Located<String>,
        params: &[Param],
    ) {
        let label = &tool.value;
        let body = self.api.body(operation);
        if let RequestBody::Other(what) = &body {
            let text = format!(
                "{label}: `{}` takes a body {what} (write a handler, and `uses`)",
                operation.value
            );
            self.problem(operation.line, text);
            return;
        }
        let is_sent = |to: &dyn Fn(&RequestTarget) -> bool| {
            params
                .iter()
                .any(|param| param.target.as_ref().is_some_and(to))
        };
        let parameters = self.api.required_parameters(operation).into_iter();
        let mut missing: Vec<String> = parameters
            .filter(|name| !is_sent(&|target| target.is_parameter(name)))
            .map(str::to_owned)
            .collect();
        if let RequestBody::Fields(fields) = &body {
            let required = fields.iter().filter(|field| field.required);
            let absent = required.filter(|field| !is_sent(&|target| target.is_field(&field.name)));
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

    /// Checks that an argument's type converts into the client's type of its body field.
    pub(super) fn check_convertible(&mut self, label: &str, line: u64, param: &Param) {
        let shape = &param.shape;
        if let Some(RequestTarget::Body {
            name,
            optional,
            scalar,
        }) = &param.target
        {
            // A setter converts its argument, but not a value inside an `Option` or a list.
            let same = scalar.is_some() && *scalar == scalar_type(shape);
            let what = match (&shape.items, &shape.additional_properties) {
                (_, Some(_)) => "a map",
                (Some(_), None) if !same => "a list whose items are not of a plain type",
                (None, None) if *optional && !same => "optional and not of a plain type",
                _ => return,
            };
            let text =
                format!("{label}: a generated handler cannot convert `{name}`, which is {what}");
            self.problem(line, format!("{text} (write a handler, and `uses`)"));
        }
    }
}

/// The scalar type of an argument, or of the items of a list.
fn scalar_type(shape: &Shape) -> Option<ScalarType> {
    if let Some(items) = &shape.items {
        return items.items.is_none().then(|| scalar_type(items))?;
    }
    let least = shape.minimum.as_ref().and_then(serde_json::Value::as_f64);
    match (shape.kind.as_str(), shape.format.as_deref()) {
        ("string", Some("uuid")) => Some(ScalarType::Uuid),
        ("string", _) if shape.choices.is_none() => Some(ScalarType::Text),
        ("boolean", _) => Some(ScalarType::Boolean),
        ("number", _) => Some(ScalarType::Number),
        ("integer", _) if least.is_some_and(|least| least >= 0.0) => Some(ScalarType::Unsigned),
        ("integer", _) => Some(ScalarType::Signed),
        _ => None,
    }
}
