//! No value of a secret is in any `Debug` output.

use std::collections::BTreeMap;

use contree::{Backend, Client, types};

const SECRET: &str = "hunter2";

fn environment() -> BTreeMap<String, Option<String>> {
    BTreeMap::from([("API_KEY".to_owned(), Some(SECRET.to_owned()))])
}

#[test]
fn no_debug_output_has_a_secret() {
    let backend = Backend::new("https://contree.example")
        .unwrap()
        .with_token(SECRET);
    let client = Client::connect(super::support::backend("http://127.0.0.1:1").with_token(SECRET));
    let client = client.unwrap();
    let input = types::ClosableStreamRepr::builder().value(SECRET);
    let run = types::InstanceSpawnRequest::builder()
        .command("true")
        .image(super::support::IMAGE)
        .env(environment())
        .stdin(Some(input.try_into().unwrap()));
    let request: types::InstanceSpawnRequest = run.clone().try_into().unwrap();
    let process = types::ExecSpec::builder()
        .command("true")
        .env(environment());
    let credentials = types::RegistryCredentials::builder()
        .username(Some("me".to_owned()))
        .password(Some(SECRET.to_owned()));
    let registry = types::Registry::builder()
        .url("docker://r.example/a")
        .credentials(Some(credentials.clone().try_into().unwrap()));
    let import = types::ImageImportRequest::builder().registry(registry.clone());
    let mut answer = types::InstanceSpawnResponse::default();
    answer.env = Some(environment());
    let outputs = [
        format!("{backend:?}"),
        format!("{client:?}"),
        format!("{run:?}"),
        format!("{request:#?}"),
        format!("{:?}", client.spawn_instance().body(request)),
        format!("{process:?}"),
        format!("{:?}", types::ExecSpec::try_from(process).unwrap()),
        format!("{credentials:?}"),
        format!("{registry:?}"),
        format!("{:?}", client.import_image().body(import.clone())),
        format!("{import:?}"),
        format!("{:?}", types::ImageImportRequest::try_from(import).unwrap()),
        format!("{answer:?}"),
    ];
    for output in outputs {
        assert!(!output.contains(SECRET), "{output}");
        assert!(output.contains("hidden"), "{output}");
    }
}
