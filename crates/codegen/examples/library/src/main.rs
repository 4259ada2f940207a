//! Calls the API of a library with the generated client, and with the generated tools.

mod client;
mod stub;
mod tools;

use std::error::Error;

use client::{Client, Token, types};
use serde_json::{Value, json};
use tools::{Context, Handlers};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = stub::start().await?;
    let client = Client::connect(&url, Token::new("reader's ticket"));

    let book = client
        .lend_book()
        .book_id(stub::BOOK.parse::<uuid::Uuid>()?)
        .body_map(|body| body.reader("Odo"))
        .send()
        .await?
        .into_inner();
    assert_eq!(book.state, types::BookState::Lent);
    println!("client: {} is {}", book.title, book.state);

    let context = Context::new(client);
    for (tool, arguments) in [
        ("find_books", json!({"limit": 3})),
        ("lend_book", json!({"book": stub::BOOK, "reader": "Odo"})),
    ] {
        let Value::Object(arguments) = arguments else {
            return Err("arguments are an object".into());
        };
        let answer = tools::dispatch(&Handlers, tool, arguments, &context).await?;
        println!("tool {tool}: {}", answer.0);
    }
    // A tool checks its arguments before it sends anything.
    let wrong = tools::dispatch(&Handlers, "lend_book", tools::Arguments::new(), &context).await;
    assert!(wrong.is_err());
    Ok(())
}
