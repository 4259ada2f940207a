//! Tests of pulling from a registry in this process.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse as _;

use super::*;

/// Starts a server on loopback. `location` gives the target of a redirect for each path, or the
/// answer is 404. Returns the server's address and the number of requests so far.
async fn server(
    location: impl Fn(&str) -> Option<String> + Clone + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let answer = async move |uri: Uri| {
        counter.fetch_add(1, Ordering::SeqCst);
        match location(uri.path()) {
            Some(to) if to.is_empty() => CONTENT.into_response(),
            Some(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    };
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, requests)
}

/// Starts a server on loopback that uses TLS with an invalid certificate. Returns its address.
fn server_with_an_invalid_certificate() -> String {
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use rustls::{ServerConfig, ServerConnection, crypto::ring as provider};

    let random = ring::rand::SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.as_ref().to_vec()).into();
    let key = provider::sign::any_ecdsa_type(&key).unwrap();
    let certified = CertifiedKey::new(vec![CertificateDer::from(vec![0])], key);
    let config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            // The client refuses the certificate, so this fails.
            let _ = connection.complete_io(&mut stream.unwrap());
        }
    });
    address
}

const CONTENT: &str = "some content";

fn repository<'a>(http: &'a HttpClients, address: &str) -> Repository<'a> {
    Repository::new(http, format!("{address}/app:1").parse().unwrap(), None)
}

fn blob(content: &str) -> Descriptor {
    let text = format!(
        r#"{{"digest": "{}", "size": {}}}"#,
        Digest::of(content.as_bytes()),
        content.len()
    );
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_registry_redirects_to_its_own_part_of_the_network_or_to_the_internet() {
    let (elsewhere, requests) = server(|_| Some(String::new())).await;
    let to = format!("http://{elsewhere}/blob");
    let (address, _) = server(move |_| Some(to.clone())).await;
    let http = HttpClients::default();
    let folder = std::env::temp_dir().join(format!("contree-pull-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("blob");
    // With this scope, the check takes the registry for one on the internet.
    let public = repository(&http, &address);
    public.scope.set(AddressScope::Public).unwrap();
    let error = public
        .download(&blob(CONTENT), &path, |_| {})
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&address) && text.contains("leads to 127.0.0.1, which is this machine"),
        "{text}"
    );
    assert_eq!(requests.load(Ordering::SeqCst), 0);
    std::fs::remove_file(&path).unwrap();
    // Without that scope, the check finds that the registry is on this machine.
    let local = repository(&http, &address);
    local.download(&blob(CONTENT), &path, |_| {}).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), CONTENT);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused_before_anybody_connects() {
    for to in [
        "https://10.0.0.1/x",
        "https://[fd00::1]/x",
        "https://169.254.169.254/x",
    ] {
        let (address, requests) = server(move |_| Some(to.to_owned())).await;
        let http = HttpClients::default();
        let public = repository(&http, &address);
        public.scope.set(AddressScope::Public).unwrap();
        let error = public.find_image().await.unwrap_err();
        assert!(matches!(error, RegistryError::Protocol { .. }), "{error}");
        assert!(error.to_string().contains("leads to "), "{error}");
        // The request is not repeated, since a further attempt would fail too.
        assert_eq!(requests.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn an_invalid_certificate_is_an_error_at_once() {
    let to = format!("https://{}/blob", server_with_an_invalid_certificate());
    let (address, requests) = server(move |_| Some(to.clone())).await;
    let http = HttpClients::default();
    let error = repository(&http, &address).find_image().await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Certificate { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_part_that_the_registry_lacks_is_named() {
    let (address, _) = server(|_| None).await;
    let http = HttpClients::default();
    let repository = repository(&http, &address);
    let part = blob("lost");
    let path = std::env::temp_dir().join(format!("contree-lost-{}", std::process::id()));
    let layer = repository.download(&part, &path, |_| {}).await.unwrap_err();
    std::fs::remove_file(&path).unwrap();
    let config = repository.config(&part).await.unwrap_err();
    for (error, kind) in [(layer, "layer"), (config, "configuration")] {
        let text = error.to_string();
        assert!(text.contains(&format!("{kind} {}", part.digest)), "{text}");
        assert!(
            text.contains("incomplete") && !text.contains("there is no"),
            "{text}"
        );
    }
    let image = repository.find_image().await.unwrap_err().to_string();
    assert!(
        image.contains(&format!("there is no {address}/app:1")),
        "{image}"
    );
}

#[tokio::test]
async fn an_error_of_this_machines_disk_is_not_the_registrys() {
    let (address, _) = server(|_| Some(String::new())).await;
    let http = HttpClients::default();
    let repository = repository(&http, &address);
    let path = Path::new("/nowhere/blob");
    let error = repository
        .download(&blob(CONTENT), path, |_| {})
        .await
        .unwrap_err();
    assert!(
        matches!(&error, RegistryError::LocalFile { path, .. } if path.starts_with("/nowhere")),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(text.starts_with("cannot write /nowhere/blob: "), "{text}");
    assert!(!text.contains(&address), "{text}");
}
