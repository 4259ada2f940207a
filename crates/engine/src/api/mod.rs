//! The Contree API: routes, requests and answers.

pub(crate) mod extract;
pub(crate) mod flag;
pub(crate) mod report;
pub(crate) mod request;
pub(crate) mod routes;
pub(crate) mod time;
pub(crate) mod types;
