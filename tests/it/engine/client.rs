//! Features of `Client` with the embedded engine.

use std::fs;
use std::path::Path;

use contree::Client;
use contree::engine::LocalConfig;
use serde_json::json;
use tokio::net::UnixListener;

use super::support::data_dir;

#[tokio::test]
async fn two_engines_on_one_store_have_one_identity() {
    let data = data_dir();
    let one = Client::local(LocalConfig::new(data.path())).await.unwrap();
    let two = Client::local(LocalConfig::new(data.path())).await.unwrap();
    assert_eq!(one.backend().identity(), two.backend().identity());
    assert_ne!(one.backend().url(), two.backend().url());
}

#[tokio::test]
async fn an_image_outlives_the_client_that_made_it() {
    let data = data_dir();
    let request = json!({
        "command": "echo kept >/kept", "shell": true, "image": "tag:host", "disposable": false
    });
    let client = Client::local(LocalConfig::new(data.path())).await.unwrap();
    let outcome = client.run(serde_json::from_value(request).unwrap()).await;
    let image = outcome.unwrap().result_image.unwrap();
    drop(client);
    let client = Client::local(LocalConfig::new(data.path())).await.unwrap();
    let found = client.inspect_image().image_uuid(image).send().await;
    assert_eq!(found.unwrap().uuid, Some(image));
}

#[tokio::test]
async fn a_null_unsets_a_variable_of_the_image() {
    let data = data_dir();
    let client = Client::local(LocalConfig::new(data.path())).await.unwrap();
    let request = serde_json::from_value(json!({
        "command": "echo ${LANG-unset}", "shell": true, "image": "tag:host", "env": {"LANG": null}, "disposable": true
    }));
    let outcome = client.run(request.unwrap()).await.unwrap();
    assert_eq!(outcome.stdout.bytes, b"unset\n");
}

/// If others can write to the directory that has the socket's directory, they can put one of theirs
/// in its place.
#[tokio::test]
async fn requests_reach_the_engine_even_if_its_socket_is_exchanged() {
    let data = data_dir();
    let runtime = tempfile::tempdir().unwrap();
    let mut config = LocalConfig::new(data.path());
    config.runtime_dir = Some(runtime.path().to_owned());
    let client = Client::local(config).await.unwrap();
    let url = client.backend().url();
    let socket = Path::new(url.strip_prefix("unix:").unwrap());
    assert!(socket.starts_with(runtime.path()));
    let directory = socket.parent().unwrap();
    fs::rename(directory, runtime.path().join("elsewhere")).unwrap();
    fs::create_dir(directory).unwrap();
    let impostor = UnixListener::bind(socket).unwrap();
    tokio::select! {
        listed = client.list_images().send() => drop(listed.unwrap()),
        _ = impostor.accept() => panic!("another process got the request"),
    }
}
