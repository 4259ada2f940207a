//! An agent's loop: each command runs on what the one before left, and a failed one is undone.
use contree::{Client, Error};

/// What a language model would answer.
const COMMANDS: [&str; 4] = [
    "echo 'six times seven' > question",
    "rm question; exit 1",
    "cat question",
    "echo $((6 * 7)) > answer",
];

#[tokio::main]
async fn main() -> Result<(), Error> {
    let base = Client::from_env().await?.image("tag:host");
    let mut session = base.session().env("WHO", "agent").cwd("/work");
    for command in COMMANDS {
        let out = session.shell(command).await?;
        println!("$ {command}\n{}{}[{}]", out.stdout, out.stderr, out.status);
        if !out.success() {
            session.rollback(1).await?;
        }
    }
    println!("{}", session.image().fs().text("/work/answer").await?);
    Ok(())
}
