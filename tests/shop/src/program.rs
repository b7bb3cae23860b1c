//! The command line of the shop, for its own program and for programs that embed it.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{BaseUrl, Config};
use crate::context::RequestContext;
use crate::downstream::{Call, Downstream};
use crate::error::Error;
use crate::server::serve;
use crate::service::Service;

const USAGE: &str = "usage: shop storefront|catalog|orders   run a service, configured by environment\n\
                     \x20      shop probe URL                  end with 0 when URL answers with 2xx";

/// A service uses little; many of them share one machine in a demonstration.
const WORKERS: usize = 2;

/// How long `shop probe` waits for an answer.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// Runs one service until SIGTERM or SIGINT, or probes a URL; `args` are the arguments without
/// the program's name.
///
/// The exit code is 0 after a graceful end, 1 after a failure, 2 for wrong usage or settings, and
/// 70 when the fault `crash` ended the service.
pub fn main_with_args(args: impl IntoIterator<Item = String>) -> ExitCode {
    let args: Vec<String> = args.into_iter().take(8).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["probe", url] => block_on(probe(url)),
        [service] => service.parse().and_then(run),
        _ => {
            complain(USAGE);
            return ExitCode::from(2);
        }
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    complain(&describe(&error));
    ExitCode::from(match error {
        Error::UnknownService { .. } | Error::Setting { .. } | Error::MissingSetting { .. } => 2,
        Error::InjectedCrash { .. } => 70,
        _ => 1,
    })
}

fn run(service: Service) -> Result<(), Error> {
    let config = Config::from_env(service, |name| std::env::var(name).ok())?;
    block_on(until_signal(config))
}

fn block_on(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|source| Error::Runtime { source })?;
    let result = runtime.block_on(work);
    // Whatever still blocks a thread must not keep the process.
    runtime.shutdown_background();
    result
}

async fn until_signal(config: Config) -> Result<(), Error> {
    let listen = |kind| signal(kind).map_err(|source| Error::Runtime { source });
    let (mut terminate, mut interrupt) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    let shutdown = CancellationToken::new();
    let mut serving = std::pin::pin!(serve(config, shutdown.clone()));
    tokio::select! {
        result = &mut serving => return result,
        () = either(&mut terminate, &mut interrupt) => shutdown.cancel(),
    }
    tokio::select! {
        result = &mut serving => result,
        () = either(&mut terminate, &mut interrupt) => Err(Error::Interrupted),
    }
}

/// Cancel safe: a signal is kept until it is received.
async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

async fn probe(url: &str) -> Result<(), Error> {
    let failed = |reason: String| Error::Probe {
        url: url.to_owned(),
        reason,
    };
    let uri: http::Uri = url
        .parse()
        .map_err(|_| failed("it is not a URL".to_owned()))?;
    let authority = uri
        .authority()
        .ok_or_else(|| failed("it has no host".to_owned()))?;
    let base = BaseUrl::parse("URL", &format!("http://{authority}"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let context = RequestContext::from_headers(&http::HeaderMap::new());
    let answer = Downstream::new(PROBE_LIMIT, 0)
        .call(&context, &Call::get(&base, path))
        .await;
    match answer {
        Ok(answer) if answer.status.is_success() => Ok(()),
        Ok(answer) => Err(failed(format!("it answered {}", answer.status))),
        Err(problem) => Err(failed(problem.detail)),
    }
}

/// Puts the error and its causes into one line.
fn describe(error: &Error) -> String {
    let mut text = format!("shop: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

fn complain(text: &str) {
    // Nobody can be told that standard error is gone.
    let _gone = writeln!(std::io::stderr(), "{text}");
}
