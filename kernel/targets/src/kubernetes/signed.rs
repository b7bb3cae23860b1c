//! A client that signs in with what a credential plugin gives, and again before that runs out or when it is refused.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use code_deploy_record::{Clock as _, SystemClock};
use http::{Request, Response, StatusCode};
use kube::client::{AuthError, Body};
use kube::{Client, Config};
use tokio::sync::Mutex;

use super::patience::{self, Patience};
use super::plugin::{Credentials, Plugin};

/// How long a plugin may take when it is first asked: it may have to be loaded, and to ask somebody far away.
const FIRST: Duration = Duration::from_secs(30);

/// How long it may take later: less than the answer that waits for it may.
const AGAIN: Duration = Duration::from_secs(15);

/// How long before they run out credentials are no longer used.
const EARLY: Duration = Duration::from_secs(60);

/// Who signs in.
struct Signed {
    /// How the cluster is reached, without credentials.
    config: Config,
    plugin: Plugin,
    patience: Patience,
    present: Mutex<Present>,
}

/// The client with the credentials of now. Connections are made with certificates: others are other connections.
#[derive(Clone)]
struct Present {
    client: Client,
    until: Option<DateTime<Utc>>,
    /// How many there were before.
    number: u64,
}

impl Present {
    fn new(
        config: &Config,
        credentials: &Credentials,
        number: u64,
        patience: &Patience,
    ) -> kube::Result<Self> {
        let mut config = config.clone();
        let account = &mut config.auth_info;
        if let Some(token) = &credentials.token {
            account.token = Some(token.expose().into());
        }
        if let Some((certificate, key)) = &credentials.identity {
            account.client_certificate_data = Some(STANDARD.encode(certificate));
            account.client_key_data = Some(STANDARD.encode(key.expose()).into());
        }
        Ok(Self {
            client: patience::client(config, patience)?,
            until: credentials.until,
            number,
        })
    }

    fn lasts(&self) -> bool {
        let soon = SystemClock.now() + EARLY;
        self.until.is_none_or(|until| soon < until)
    }
}

/// Asks the plugin and returns a client with its credentials, which asks it again when it has to.
///
/// # Errors
/// [`kube::Error::Auth`] with what is wrong with the plugin; that no client can be made with what it gives.
pub async fn client(config: Config, plugin: Plugin, patience: &Patience) -> kube::Result<Client> {
    let given = plugin.ask(FIRST).await.map_err(unsigned)?;
    let present = Present::new(&config, &given, 0, patience)?;
    let namespace = config.default_namespace.clone();
    let signed = Arc::new(Signed {
        config,
        plugin,
        patience: patience.clone(),
        present: Mutex::new(present),
    });
    let service = tower::service_fn(move |request: Request<Body>| {
        let signed = Arc::clone(&signed);
        async move { signed.send(request).await }
    });
    Ok(Client::new(service, namespace))
}

impl Signed {
    /// Sends a request. One that is refused because of its credentials is sent once more with others: they may have
    /// been withdrawn, or have run out without that being said.
    async fn send(&self, request: Request<Body>) -> kube::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let again = body.try_clone();
        let again = again.map(|body| Request::from_parts(parts.clone(), body));
        let present = self.present(None).await?;
        let request = Request::from_parts(parts, body);
        let answer = present.client.send(request).await?;
        match again {
            Some(again) if answer.status() == StatusCode::UNAUTHORIZED => {
                let present = self.present(Some(present.number)).await?;
                present.client.send(again).await
            }
            _ => Ok(answer),
        }
    }

    /// Returns the client of now, never the one that was refused. All who wait for a plugin wait for the same one.
    async fn present(&self, refused: Option<u64>) -> kube::Result<Present> {
        let mut present = self.present.lock().await;
        if !present.lasts() || refused == Some(present.number) {
            let given = self.plugin.ask(AGAIN).await.map_err(unsigned)?;
            let number = present.number + 1;
            *present = Present::new(&self.config, &given, number, &self.patience)?;
        }
        Ok(present.clone())
    }
}

fn unsigned(what: String) -> kube::Error {
    kube::Error::Auth(AuthError::AuthExec(what))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use code_deploy_record::Secret;

    use super::*;

    #[tokio::test]
    async fn credentials_are_used_until_shortly_before_their_end_and_have_to_be_some() {
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        config.root_cert = Some(Vec::new());
        let mut credentials = Credentials {
            token: Some(Secret::new("t0ken-of-the-plugin".to_owned())),
            identity: None,
            until: None,
        };
        let present =
            |credentials: &Credentials| Present::new(&config, credentials, 0, &Patience::default());
        assert!(present(&credentials).unwrap().lasts());
        credentials.until = Some(SystemClock.now() + EARLY / 2);
        assert!(!present(&credentials).unwrap().lasts());
        let key = Secret::new("no key".to_owned());
        credentials.identity = Some(("no certificate".to_owned(), key));
        assert!(present(&credentials).is_err());
    }
}
