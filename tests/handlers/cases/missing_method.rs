// The tool `rename` has no handler.

include!("../../manifest/stand_in.rs");
include!("../../manifest/good/tools.rs");

impl DeskTools for Handlers {
    async fn lend(&self, _: params::Lend, _: &Context) -> Result<results::Lend, ToolError> {
        Ok(results::Lend(String::new()))
    }
}

impl OfficeTools for Handlers {
    async fn about(&self, _: params::About, _: &Context) -> Result<results::About, ToolError> {
        Ok(results::About(String::new()))
    }
}

fn main() {}
