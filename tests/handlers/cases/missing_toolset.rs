// The toolset `office` has no handlers at all.

include!("../../manifest/stand_in.rs");
include!("../../manifest/good/tools.rs");

impl DeskTools for Handlers {
    async fn lend(&self, _: params::Lend, _: &Context) -> Result<results::Lend, ToolError> {
        Ok(results::Lend(String::new()))
    }
}

fn main() {}
