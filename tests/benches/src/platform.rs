//! What an update costs beside the platform's own tool, on the same engine and cluster, one after the other.

mod cluster;
mod engine;
mod program;
mod project;
mod users;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use crate::Error;
use crate::report::quantile;

/// What the start of a release may take, beside the platform's own tool.
const GOAL: f64 = 1.15;

/// Where the platforms are, and how often each way is gone.
#[derive(Debug, Args)]
pub struct PlatformArgs {
    /// The program `code-deploy`.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "target/release/code-deploy"
    )]
    kernel: PathBuf,
    /// How often each way is gone.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A Docker engine of this machine, as `DOCKER_HOST` names it.
    #[arg(long, value_name = "ADDRESS", env = "CODE_DEPLOY_STAGE_DOCKER")]
    docker: Option<String>,
    /// A kubeconfig file of a cluster whose pods this machine reaches.
    #[arg(long, value_name = "PATH", env = "CODE_DEPLOY_STAGE_KUBERNETES")]
    kubeconfig: Option<PathBuf>,
    /// The program `kubectl`.
    #[arg(
        long,
        value_name = "PATH",
        env = "CODE_DEPLOY_STAGE_KUBERNETES_KUBECTL",
        default_value = "kubectl"
    )]
    kubectl: PathBuf,
    /// The engine from which the cluster's nodes take their images.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "CODE_DEPLOY_STAGE_KUBERNETES_DOCKER"
    )]
    node_docker: Option<String>,
    /// The socket at which `cargo verify` lends its cluster.
    #[arg(long, value_name = "PATH", env = "CODE_DEPLOY_STAGE_KUBERNETES_LENDER")]
    lender: Option<PathBuf>,
}

/// What one update by the program took, in seconds.
struct Update {
    /// The steps that start instances of the release, until they are found ready; in a rolling update those that move
    /// traffic and end the instances of before, too.
    start: f64,
    /// The whole of the phase that starts the release and moves traffic, with all its gates. No step is soaked.
    phase: f64,
    /// The command, from its start to its end, with all nine phases.
    command: f64,
    /// The requests of the outside client.
    users: Users,
}

/// Requests that were sent while an update was made.
#[derive(Debug, Clone, Copy, Default)]
struct Users {
    sent: u64,
    failed: u64,
}

impl std::iter::Sum for Users {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            sent: sum.sent + one.sent,
            failed: sum.failed + one.failed,
        })
    }
}

/// A part of what an update took.
type Part = fn(&Update) -> f64;

/// What was measured at one platform: in each round both ways.
#[derive(Default)]
struct Measured {
    own: Vec<f64>,
    /// Who asked the platform's own service meanwhile; nobody where it is not replaced behind one address.
    own_users: Vec<Users>,
    ours: Vec<Update>,
}

/// Measures at every platform that was given.
///
/// # Errors
/// When a way does not lead to an update.
pub fn platform(arguments: &PlatformArgs) -> Result<String, Error> {
    let mut text = format!(
        "an update of one service, beside the platform's own tool (medians of {} rounds, one way after the other)\n",
        arguments.rounds
    );
    match &arguments.docker {
        Some(docker) => {
            let measured = engine::measure(&arguments.kernel, docker, arguments.rounds)?;
            table(&mut text, "Docker, 1 instance", engine::TOOL, &measured);
        }
        None => text.push_str("  Docker: not run, no engine was given (--docker)\n"),
    }
    match (&arguments.kubeconfig, &arguments.node_docker) {
        (Some(kubeconfig), Some(node_docker)) => {
            let place = cluster::Place {
                kubeconfig,
                kubectl: &arguments.kubectl,
                node_docker,
                lender: arguments.lender.as_deref(),
            };
            let measured = cluster::measure(&arguments.kernel, &place, arguments.rounds)?;
            table(&mut text, "Kubernetes, 2 pods", cluster::TOOL, &measured);
        }
        _ => text.push_str(
            "  Kubernetes: not run, no cluster was given (--kubeconfig, --node-docker)\n",
        ),
    }
    Ok(text)
}

fn table(text: &mut String, place: &str, tool: &str, measured: &Measured) {
    let own = quantile(&measured.own, 0.5);
    let _ = writeln!(text, "{place}");
    let _ = writeln!(text, "  {tool:<56} {own:>7.2} s");
    let ways: [(&str, Part, bool); 3] = [
        (
            "code-deploy, steps that start the release",
            |one| one.start,
            true,
        ),
        (
            "code-deploy, phase release, with gates and traffic",
            |one| one.phase,
            false,
        ),
        (
            "code-deploy, the whole command, all nine phases",
            |one| one.command,
            false,
        ),
    ];
    for (title, part, is_goal) in ways {
        let all: Vec<f64> = measured.ours.iter().map(part).collect();
        let seconds = quantile(&all, 0.5);
        let ratio = seconds / own;
        let _ = write!(text, "  {title:<56} {seconds:>7.2} s  ratio {ratio:>6.2}");
        if is_goal {
            let reached = if ratio <= GOAL { "yes" } else { "NO" };
            let _ = write!(text, " (goal {GOAL}, reached: {reached})");
        }
        text.push('\n');
    }
    let users = [
        (
            "the tool",
            measured.own_users.iter().copied().sum::<Users>(),
        ),
        (
            "code-deploy",
            measured.ours.iter().map(|one| one.users).sum(),
        ),
    ];
    let told = users.iter().filter(|(_, users)| users.sent > 0);
    let told = told.map(|(way, users)| format!("{way} {} of {}", users.failed, users.sent));
    let told: Vec<String> = told.collect();
    let _ = writeln!(
        text,
        "  requests of users that failed meanwhile: {}",
        told.join(", ")
    );
}
