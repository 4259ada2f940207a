//! The Contree API over the engine: routes, requests and answers.

pub(crate) mod extract;
pub(crate) mod flag;
pub(crate) mod moment;
pub(crate) mod report;
pub(crate) mod request;
pub(crate) mod routes;
pub(crate) mod types;
