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
use tokio::time::Instant;

use super::patience::{self, Patience};
use super::plugin::{Credentials, Plugin};

/// How long a plugin may take when it is first asked: it may have to be loaded, and to ask somebody far away.
const FIRST: Duration = Duration::from_secs(30);

/// How long it may take later: less than the answer that waits for it may.
const AGAIN: Duration = Duration::from_secs(15);

/// How long before they run out others are asked for, but no earlier than in the last quarter of the time for which they
/// were given: some live a minute.
const EARLY: Duration = Duration::from_secs(60);

/// How long a plugin that has failed is left alone while what it gave before holds.
const PAUSE: Duration = Duration::from_secs(5);

/// Who signs in.
struct Signed {
    /// How the cluster is reached, without credentials.
    config: Config,
    plugin: Plugin,
    patience: Patience,
    state: Mutex<State>,
}

struct State {
    present: Present,
    /// When the plugin failed last, if it has since it gave these, and how in words.
    failed: Option<(Instant, String)>,
}

/// The client with the credentials of now. Connections are made with certificates: others are other connections.
#[derive(Clone)]
struct Present {
    client: Client,
    given: DateTime<Utc>,
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
            given: SystemClock.now(),
            until: credentials.until,
            number,
        })
    }

    /// Returns whether they do not run out soon.
    fn lasts(&self) -> bool {
        let now = SystemClock.now();
        self.until.is_none_or(|until| {
            let whole = (until - self.given).to_std().unwrap_or_default();
            now + EARLY.min(whole / 4) < until
        })
    }

    /// Returns whether they have not run out.
    fn holds(&self) -> bool {
        let now = SystemClock.now();
        self.until.is_none_or(|until| now < until)
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
        state: Mutex::new(State {
            present,
            failed: None,
        }),
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

    /// Returns the client of now, never the one that was refused. All who wait for a plugin wait for the same one, and
    /// take over that it failed. What it gave before is used on as long as it holds.
    async fn present(&self, refused: Option<u64>) -> kube::Result<Present> {
        let since = Instant::now();
        let mut state = self.state.lock().await;
        let is_refused = refused == Some(state.present.number);
        if state.present.lasts() && !is_refused {
            return Ok(state.present.clone());
        }
        let is_usable = state.present.holds() && !is_refused;
        let known = state.failed.as_ref().filter(|(at, _)| {
            let recently = is_usable && at.elapsed() < PAUSE;
            recently || *at >= since
        });
        let why = match known {
            Some((_, why)) => why.clone(),
            None => match self.plugin.ask(AGAIN).await {
                Ok(given) => return self.renew(&mut state, &given),
                Err(why) => {
                    tracing::warn!(%why, is_usable, "there are no other credentials");
                    state.failed = Some((Instant::now(), why.clone()));
                    why
                }
            },
        };
        match is_usable {
            true => Ok(state.present.clone()),
            false => Err(unsigned(why)),
        }
    }

    fn renew(&self, state: &mut State, given: &Credentials) -> kube::Result<Present> {
        let number = state.present.number + 1;
        let present = Present::new(&self.config, given, number, &self.patience)?;
        *state = State {
            present: present.clone(),
            failed: None,
        };
        Ok(present)
    }
}

fn unsigned(what: String) -> kube::Error {
    kube::Error::Auth(AuthError::AuthExec(what))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use chrono::TimeDelta;
    use code_deploy_record::{Redactor, Secret};
    use serde_json::json;

    use super::*;

    fn config() -> Config {
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        config.root_cert = Some(Vec::new());
        config
    }

    fn credentials(until: Option<DateTime<Utc>>) -> Credentials {
        Credentials {
            token: Some(Secret::new("t0ken-of-the-plugin".to_owned())),
            identity: None,
            until,
        }
    }

    fn present(credentials: &Credentials) -> kube::Result<Present> {
        Present::new(&config(), credentials, 0, &Patience::default())
    }

    /// Returns credentials that were given so many seconds ago and hold so many more.
    fn given(ago: i64, more: i64) -> Present {
        let now = SystemClock.now();
        let credentials = credentials(Some(now + TimeDelta::seconds(more)));
        Present {
            given: now - TimeDelta::seconds(ago),
            ..present(&credentials).unwrap()
        }
    }

    #[tokio::test]
    async fn credentials_are_used_until_shortly_before_their_end_and_have_to_be_some() {
        assert!(present(&credentials(None)).unwrap().lasts());
        for (ago, more, lasts) in [
            (0, 3600, true),
            (3540, 90, true),
            (3570, 30, false),
            // Some live a minute, and are used for most of it.
            (0, 45, true),
            (30, 30, true),
            (50, 5, false),
        ] {
            let present = given(ago, more);
            assert_eq!(present.lasts(), lasts, "{ago} {more}");
            assert!(present.holds(), "{ago} {more}");
        }
        let over = given(60, -1);
        assert!(!over.lasts() && !over.holds());
        let key = Secret::new("no key".to_owned());
        let unfit = Credentials {
            identity: Some(("no certificate".to_owned(), key)),
            ..credentials(None)
        };
        assert!(present(&unfit).is_err());
    }

    /// Returns who signs in with credentials like these, and a plugin that fails and writes a line into a file each time.
    fn failing(present: Present, count: &std::path::Path) -> Signed {
        let script = "echo asked >> \"$1\"; exit 1";
        let exec = json!({ "command": "sh", "args": ["-c", script, "plugin", count] });
        Signed {
            config: config(),
            plugin: Plugin::new(serde_json::from_value(exec).unwrap(), Redactor::default()),
            patience: Patience::default(),
            state: Mutex::new(State {
                present,
                failed: None,
            }),
        }
    }

    fn asked(count: &std::path::Path) -> usize {
        let text = std::fs::read_to_string(count);
        text.map_or(0, |text| text.lines().count())
    }

    #[tokio::test]
    async fn credentials_that_hold_are_used_on_while_the_plugin_fails_and_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("count");
        let signed = failing(given(86_400, 50), &count);
        for _ in 0..2 {
            assert!(signed.present(None).await.is_ok());
        }
        assert_eq!(asked(&count), 1);
        // Whoever refuses them wants others.
        assert!(signed.present(Some(0)).await.is_err());
        assert_eq!(asked(&count), 2);
    }

    #[tokio::test]
    async fn all_who_wait_for_a_plugin_take_over_that_it_failed() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("count");
        let signed = failing(given(60, -1), &count);
        let both = tokio::join!(signed.present(None), signed.present(None));
        assert!(both.0.is_err() && both.1.is_err());
        assert_eq!(asked(&count), 1);
        assert!(signed.present(None).await.is_err());
        assert_eq!(asked(&count), 2);
    }
}
