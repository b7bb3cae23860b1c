//! A shop on free ports with its own database, and a client.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use code_deploy_shop::{Config, Error, LogTarget, Server, Service};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Everything in these tests happens within this, on the slowest machine.
pub const LIMIT: Duration = Duration::from_secs(60);

pub type Lines = Arc<Mutex<Vec<Value>>>;

/// One service, running in this process.
pub struct Running {
    pub url: String,
    pub lines: Lines,
    pub stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub async fn start(service: Service, env: &[(&str, &str)]) -> Running {
        let mut env: HashMap<_, _> = env.iter().copied().collect();
        env.entry("SHOP_DRAIN_MS").or_insert("0");
        let lookup = |name: &str| env.get(name).map(|value| (*value).to_owned());
        let mut config = Config::from_env(service, lookup).unwrap();
        let lines = Lines::default();
        let sink = Arc::clone(&lines);
        config.log = LogTarget::Function(Arc::new(move |line: &str| {
            sink.lock()
                .unwrap()
                .push(serde_json::from_str(line).unwrap());
        }));
        let server = Server::bind(config).await.unwrap();
        let url = format!("http://{}", server.address());
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        Running {
            url,
            lines,
            stop,
            task,
        }
    }

    /// Waits for the end of the service.
    pub async fn ended(self) -> Result<(), Error> {
        tokio::time::timeout(LIMIT, self.task)
            .await
            .expect("ends in time")
            .unwrap()
    }

    /// Waits for a log line.
    pub async fn line(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let find = || {
            self.lines
                .lock()
                .unwrap()
                .iter()
                .find(|line| wanted(line))
                .cloned()
        };
        until("a log line", async || find()).await
    }
}

/// Polls until there is something; fails when there is not in time.
pub async fn until<T>(what: &str, poll: impl AsyncFn() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(found) = poll().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, polling)
        .await
        .unwrap_or_else(|_| panic!("no {what} in {LIMIT:?}"))
}

/// All three services and their database.
pub struct Shop {
    pub catalog: Running,
    pub orders: Running,
    pub storefront: Running,
    _folder: tempfile::TempDir,
}

impl Shop {
    /// Starts release `release` on a database that has its migrations; `env` is added for all.
    pub async fn start(release: &str, env: &[(&str, &str)]) -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("shop.db");
        migrate(&database, if release.starts_with("1.0") { 1 } else { 2 }).await;
        let database = sqlite_url(&database);
        let mut env = env.to_vec();
        env.extend([("SHOP_RELEASE", release), ("DATABASE_URL", &database)]);
        let catalog = Running::start(Service::Catalog, &env).await;
        let catalog_url = catalog.url.clone();
        env.push(("CATALOG_URL", &catalog_url));
        let orders = Running::start(Service::Orders, &env).await;
        let orders_url = orders.url.clone();
        env.push(("ORDERS_URL", &orders_url));
        let storefront = Running::start(Service::Storefront, &env).await;
        Shop {
            catalog,
            orders,
            storefront,
            _folder: folder,
        }
    }

    pub fn of(&self, service: Service) -> &Running {
        match service {
            Service::Storefront => &self.storefront,
            Service::Catalog => &self.catalog,
            Service::Orders => &self.orders,
        }
    }
}

pub fn sqlite_url(database: &Path) -> String {
    format!("sqlite://{}", database.display())
}

pub fn migrations() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")
}

pub async fn pool(database: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(true);
    SqlitePool::connect_with(options).await.unwrap()
}

/// Brings the database to migration `version`, upwards or downwards.
pub async fn migrate(database: &Path, version: i64) {
    let pool = pool(database).await;
    let migrator = Migrator::new(migrations()).await.unwrap();
    migrator.run_to(version, &pool).await.unwrap();
    migrator.undo(&pool, version).await.unwrap();
    pool.close().await;
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub type Headers<'a> = &'a [(&'a str, &'a str)];

/// Sends one request on a connection of its own.
pub async fn send(
    method: Method,
    url: &str,
    headers: Headers<'_>,
    body: &str,
) -> Result<Answer, String> {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let answered = async {
        let response = client
            .request(request)
            .await
            .map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    };
    tokio::time::timeout(LIMIT, answered)
        .await
        .expect("an answer in time")
}

pub async fn get(url: &str) -> Answer {
    send(Method::GET, url, &[], "").await.unwrap()
}

pub async fn post_json(url: &str, headers: Headers<'_>, body: &Value) -> Answer {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    send(Method::POST, url, &all, &body.to_string())
        .await
        .unwrap()
}
