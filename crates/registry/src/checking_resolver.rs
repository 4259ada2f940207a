//! A resolver that returns only addresses to which a registry may lead a client.

use std::net::IpAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address_scope::AddressScope;

/// The error for a server to which a registry may not lead a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host}{}, which is {}: only a registry that is there itself may name it",
    .address.map(|address| format!(" ({address})")).unwrap_or_default(),
    .scope.describe()
)]
pub(super) struct RefusedServer {
    pub(super) host: String,
    /// The address, if the host is a name that was resolved.
    pub(super) address: Option<IpAddr>,
    pub(super) scope: AddressScope,
}

/// A resolver that returns only addresses to which a registry in this scope may lead a client.
pub(super) struct CheckingResolver(pub(super) AddressScope);

impl Resolve for CheckingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let from = self.0;
        Box::pin(async move {
            let mut found = Vec::new();
            let mut refused = None;
            for address in tokio::net::lookup_host((name.as_str(), 0)).await? {
                let scope = AddressScope::of(address.ip());
                if from.may_lead_to(scope) {
                    found.push(address);
                } else {
                    refused = Some(RefusedServer {
                        host: name.as_str().to_owned(),
                        address: Some(address.ip()),
                        scope,
                    });
                }
            }
            match refused {
                Some(refused) if found.is_empty() => Err(refused.into()),
                _ => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

impl CheckingResolver {
    /// Makes a shared resolver, which the HTTP library requires.
    pub(super) fn shared(from: AddressScope) -> Arc<Self> {
        Arc::new(Self(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_resolves_to_this_machine_is_refused() {
        let name = || "localhost".parse::<Name>().unwrap();
        for from in [AddressScope::Public, AddressScope::Private] {
            let error = CheckingResolver(from).resolve(name()).await.err().unwrap();
            let text = error.to_string();
            assert!(
                text.contains("localhost (") && text.contains("this machine"),
                "{text}"
            );
        }
        let found = CheckingResolver(AddressScope::Loopback)
            .resolve(name())
            .await;
        assert!(found.is_ok_and(|mut found| found.next().is_some()));
    }
}
