//! Answers a registry's challenges: the distribution specification's token authentication, and
//! Basic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header::AUTHORIZATION};
use reqwest::Client;
use serde::Deserialize;
use url::Url;

use super::address_scope::AddressScope;
use super::host::is_loopback;
use super::named_server::refused_server_error;
use super::transport::{connection_error, read_bounded};
use super::{Challenge, HttpClients, Login, RegistryError, RegistryHost, SecretString};

/// The largest response of a token server, in bytes.
const MAX_RESPONSE_BYTES: usize = 256 * 1024;
/// The client id for token servers.
const CLIENT_ID: &str = "contree";

/// The response of a token server.
#[derive(Deserialize)]
struct TokenResponse {
    token: Option<String>,
    access_token: Option<String>,
}

/// Returns the `Authorization` header that answers the challenges of `registry`. It holds a token,
/// or the login itself. A Bearer challenge has precedence over Basic.
///
/// The token is for `scope`, or for the challenge's scope if `scope` is `None`. A token server must
/// use `https`, unless both it and the registry are on this machine. It must be on the internet or
/// in the registry's part of the network. Its redirects are not followed.
///
/// # Errors
/// Returns [`RegistryError::Rejected`] if the login is rejected, and [`RegistryError::LoginNeeded`]
/// if `login` is `None` and the registry requires one.
pub async fn authorize(
    http: &HttpClients,
    registry: &RegistryHost,
    challenges: &[Challenge],
    scope: Option<&str>,
    login: Option<&Login>,
) -> Result<HeaderValue, RegistryError> {
    for challenge in challenges {
        if let Challenge::Bearer {
            realm,
            service,
            scope: challenge_scope,
        } = challenge
        {
            let scope = scope.or(challenge_scope.as_deref());
            let token =
                request_token(http, registry, realm, service.as_deref(), scope, login).await?;
            return authorization_header(registry, format!("Bearer {}", token.expose()));
        }
    }
    if !challenges.contains(&Challenge::Basic) {
        let names: Vec<&str> = challenges
            .iter()
            .filter_map(|challenge| match challenge {
                Challenge::Other(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        let why = if names.is_empty() {
            "it denies access and does not say how to authenticate".to_owned()
        } else {
            format!("it requires {}, which is not supported", names.join(" or "))
        };
        return Err(RegistryError::Protocol {
            registry: registry.clone(),
            why,
        });
    }
    match login {
        Some(Login::Password { username, secret }) => {
            authorization_header(registry, basic_authorization(username, secret.expose()))
        }
        Some(Login::Identity(_)) => Err(RegistryError::Rejected {
            registry: registry.clone(),
            message: "it requires a user and password, but only a refresh token was given".into(),
        }),
        None => Err(RegistryError::LoginNeeded {
            registry: registry.clone(),
        }),
    }
}

/// Requests a token from a token server.
async fn request_token(
    http: &HttpClients,
    registry: &RegistryHost,
    realm: &str,
    service: Option<&str>,
    scope: Option<&str>,
    login: Option<&Login>,
) -> Result<SecretString, RegistryError> {
    let mut url = token_server(registry, realm)?;
    let client = token_client(http, registry, &url).await?;
    // In a query, the specification puts each scope in its own parameter.
    let scopes: Vec<&str> = scope.unwrap_or_default().split_ascii_whitespace().collect();
    let request = if let Some(Login::Identity(refresh)) = login {
        let scopes = scopes.join(" ");
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", refresh.expose())
            .append_pair("client_id", CLIENT_ID);
        if let Some(service) = service {
            form.append_pair("service", service);
        }
        if !scopes.is_empty() {
            form.append_pair("scope", &scopes);
        }
        client
            .post(url.clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.finish())
    } else {
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        for scope in scopes {
            query.append_pair("scope", scope);
        }
        if let Some(Login::Password { username, .. }) = login {
            query.append_pair("account", username);
        }
        drop(query);
        let request = client.get(url.clone());
        match login {
            Some(Login::Password { username, secret }) => request.header(
                AUTHORIZATION,
                authorization_header(registry, basic_authorization(username, secret.expose()))?,
            ),
            _ => request,
        }
    };
    let response = request.send().await.map_err(|error| {
        refused_server_error(registry, &error)
            .unwrap_or_else(|| connection_error(&url, &error.without_url()))
    })?;
    let status = response.status();
    if matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST
    ) {
        return Err(match login {
            Some(_) => RegistryError::Rejected {
                registry: registry.clone(),
                message: format!("its token server answers {status}"),
            },
            None => RegistryError::LoginNeeded {
                registry: registry.clone(),
            },
        });
    }
    let invalid = |why: String| RegistryError::Protocol {
        registry: registry.clone(),
        why: format!("its token server {why}"),
    };
    if status.is_redirection() {
        return Err(invalid(
            "answers with a redirect, which is not followed with credentials".into(),
        ));
    }
    if !status.is_success() {
        return Err(invalid(format!("answers {status}")));
    }
    let body = read_bounded(registry, response, MAX_RESPONSE_BYTES).await?;
    let response: TokenResponse = serde_json::from_slice(&body)
        .map_err(|_| invalid("answers without a valid token".into()))?;
    // Some servers send both fields, one of them empty.
    [response.token, response.access_token]
        .into_iter()
        .flatten()
        .find(|token| !token.is_empty())
        .map(SecretString::new)
        .ok_or_else(|| invalid("gives no token".into()))
}

/// The client for a token server. A registry that is its own token server may be in any part of the
/// network.
async fn token_client(
    http: &HttpClients,
    registry: &RegistryHost,
    url: &Url,
) -> Result<Client, RegistryError> {
    let api = Url::parse(&registry.api()).map_err(|_| RegistryError::Protocol {
        registry: registry.clone(),
        why: "its URL is not valid".to_owned(),
    })?;
    if api.origin() == url.origin() {
        return http.client(url);
    }
    let from = AddressScope::of_server(&api).await;
    http.client_for_named_server(registry, from, url)
}

/// Parses the token server's URL and checks that credentials may be sent there.
fn token_server(registry: &RegistryHost, realm: &str) -> Result<Url, RegistryError> {
    let invalid = |why: &str| RegistryError::Protocol {
        registry: registry.clone(),
        why: format!("it names a token server that cannot be used: {why}"),
    };
    let url = Url::parse(realm).map_err(|_| invalid("its address is not a URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("its address contains a user or password"));
    }
    match url.scheme() {
        "https" => Ok(url),
        // A remote registry must not make this program send requests to others on this machine.
        "http" if is_loopback(&url) && registry.is_loopback() => Ok(url),
        _ => Err(invalid("it is not `https`")),
    }
}

fn basic_authorization(username: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{secret}")))
}

fn authorization_header(
    registry: &RegistryHost,
    value: String,
) -> Result<HeaderValue, RegistryError> {
    let mut header = HeaderValue::try_from(value).map_err(|_| RegistryError::Protocol {
        registry: registry.clone(),
        why: "a token holds characters that no header can carry".into(),
    })?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn token_servers_are_on_the_internet_or_where_the_registry_is() {
        let http = HttpClients::default();
        for (registry, realm, valid) in [
            ("93.184.216.34", "https://127.0.0.1/token", false),
            ("93.184.216.34", "https://localhost/token", false),
            ("93.184.216.34", "https://10.0.0.1/token", false),
            ("93.184.216.34", "https://[fd00::1]/token", false),
            ("93.184.216.34", "https://169.254.169.254/token", false),
            ("93.184.216.34", "https://8.8.8.8/token", true),
            ("10.0.0.5:5000", "https://10.0.0.5:5000/token", true),
            ("10.0.0.5:5000", "https://10.0.0.6/token", true),
            ("10.0.0.5:5000", "https://127.0.0.1/token", false),
            ("127.0.0.1:5000", "http://127.0.0.1:5001/token", true),
            ("127.0.0.1:5000", "https://10.0.0.6/token", true),
        ] {
            let registry = RegistryHost::new(registry).unwrap();
            let url = token_server(&registry, realm).unwrap();
            let client = token_client(&http, &registry, &url).await;
            assert_eq!(client.is_ok(), valid, "{registry} {realm}");
        }
    }

    #[tokio::test]
    async fn a_registry_without_a_valid_url_leads_to_no_token_server() {
        let http = HttpClients::default();
        let registry = RegistryHost("not a host".to_owned());
        let url = Url::parse("https://127.0.0.1/token").unwrap();
        let error = token_client(&http, &registry, &url).await.unwrap_err();
        assert!(matches!(error, RegistryError::Protocol { .. }), "{error}");
    }

    #[test]
    fn token_servers_on_other_machines_must_use_https() {
        let remote = RegistryHost::new("r.example").unwrap();
        let local = RegistryHost::new("127.0.0.1:5000").unwrap();
        for (registry, realm, valid) in [
            (&remote, "https://auth.example/token", true),
            (&remote, "http://r.example/token", false),
            (&remote, "http://auth.example/token", false),
            (&remote, "http://127.0.0.1:1/token", false),
            (&remote, "https://u:p@auth.example/", false),
            (&remote, "ftp://auth.example/", false),
            (&remote, "/token", false),
            (&local, "http://127.0.0.1:5001/token", true),
            (&local, "http://localhost:5001/token", true),
            (&local, "http://auth.example/token", false),
            (&local, "https://auth.example/token", true),
        ] {
            assert_eq!(
                token_server(registry, realm).is_ok(),
                valid,
                "{registry} {realm}"
            );
        }
    }
}
