//! The pages of well-known registries on which users make access tokens.

use super::RegistryHost;

/// A page for making a token, with instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPage {
    /// The URL of the page.
    pub url: &'static str,
    /// The kind of token to make there, and the user name that goes with it.
    pub instructions: &'static str,
}

/// Returns the token page of a registry, if the registry is well known.
pub fn token_page(registry: &RegistryHost) -> Option<TokenPage> {
    let name = registry.as_str();
    let (url, instructions) = match name {
        "docker.io" => (
            "https://app.docker.com/settings/personal-access-tokens",
            "make a personal access token that may read; the user is the Docker ID",
        ),
        "ghcr.io" => (
            "https://github.com/settings/tokens/new?scopes=read:packages&description=contree",
            "make a classic token with read:packages; the user is the GitHub login",
        ),
        "registry.gitlab.com" => (
            "https://gitlab.com/-/user_settings/personal_access_tokens?name=contree&scopes=read_registry",
            "make a token with read_registry; the user is the GitLab login",
        ),
        "quay.io" => (
            "https://quay.io/repository/",
            "make a robot account that may read, or an encrypted password in the account's settings; the user is the robot's \
             whole name",
        ),
        "public.ecr.aws" => (
            "https://docs.aws.amazon.com/AmazonECR/latest/public/public-registry-auth.html",
            "run `aws ecr-public get-login-password --region us-east-1`; the user is AWS",
        ),
        _ if is_google(name) => (
            "https://console.cloud.google.com/iam-admin/serviceaccounts",
            "make a key of a service account that may read; the user is _json_key and the token the whole JSON file",
        ),
        _ if is_ecr(name) => (
            "https://console.aws.amazon.com/ecr/private-registry",
            "run `aws ecr get-login-password`; the user is AWS, and the token lasts 12 hours",
        ),
        _ if name.ends_with(".azurecr.io") => (
            "https://portal.azure.com/#browse/Microsoft.ContainerRegistry%2Fregistries",
            "make a token of the registry, or run `az acr login --expose-token` with the user \
             00000000-0000-0000-0000-000000000000",
        ),
        _ => return None,
    };
    Some(TokenPage { url, instructions })
}

/// Returns whether the host is `gcr.io`, one of its regions, or Artifact Registry.
fn is_google(name: &str) -> bool {
    name == "gcr.io" || name.ends_with(".gcr.io") || name.ends_with("-docker.pkg.dev")
}

/// Returns whether the host is `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, in China too.
fn is_ecr(name: &str) -> bool {
    name.contains(".dkr.ecr.")
        && (name.ends_with(".amazonaws.com") || name.ends_with(".amazonaws.com.cn"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_registries_have_a_page() {
        for name in [
            "docker.io",
            "index.docker.io",
            "ghcr.io",
            "registry.gitlab.com",
            "gcr.io",
            "eu.gcr.io",
            "europe-docker.pkg.dev",
            "quay.io",
            "1234.dkr.ecr.eu-west-1.amazonaws.com",
            "x.azurecr.io",
        ] {
            let page = token_page(&RegistryHost::new(name).unwrap()).unwrap();
            assert!(page.url.starts_with("https://"), "{name}");
        }
        for name in [
            "evilgcr.io",
            "r.example",
            "docker.io.example",
            "x.dkr.ecr.example",
        ] {
            assert_eq!(
                token_page(&RegistryHost::new(name).unwrap()),
                None,
                "{name}"
            );
        }
    }
}
