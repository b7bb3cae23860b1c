//! The Jupyter kernel and the processes that this program starts for itself, in the table of commands.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// The Jupyter kernel.
#[derive(Debug, Clone, Args)]
pub struct KernelArgs {
    #[command(subcommand)]
    pub action: KernelAction,
}

/// What to do with the Jupyter kernel.
#[derive(Debug, Clone, Subcommand)]
pub enum KernelAction {
    /// Install it, so that Jupyter offers it
    Install(KernelInstall),
    /// Remove it
    Uninstall(KernelPlace),
    /// Show where it is installed
    List,
    /// Run it; Jupyter does this
    #[command(hide = true)]
    Launch {
        /// Connection file, written by Jupyter
        connection_file: PathBuf,
        /// What Jupyter's programs say to their own kernels behind it: `jupyter run` adds its files
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        more: Vec<std::ffi::OsString>,
    },
}

/// A kernel to install.
#[derive(Debug, Clone, Default, Args)]
pub struct KernelInstall {
    #[command(flatten)]
    pub place: KernelPlace,
    /// Name by which Jupyter offers it [default: made from its name]
    #[arg(long, value_name = "TEXT")]
    pub display_name: Option<String>,
}

/// Where Jupyter looks for kernels.
#[derive(Debug, Clone, Default, Args)]
pub struct KernelPlace {
    /// For this user (the default)
    #[arg(long, group = "place")]
    pub user: bool,
    /// Under this folder, in share/jupyter/kernels
    #[arg(long, value_name = "FOLDER", group = "place", value_hint = ValueHint::DirPath)]
    pub prefix: Option<PathBuf>,
    /// For the Python environment that is active
    #[arg(long, group = "place")]
    pub sys_prefix: bool,
    /// Name of the kernel; several versions stand side by side under names of their own
    #[arg(long, default_value = "code-deploy")]
    pub name: String,
}

/// Processes that this program starts for itself.
#[derive(Debug, Clone, Args)]
pub struct InternalArgs {
    #[command(subcommand)]
    pub process: InternalProcess,
}

/// Processes that this program starts for itself.
#[derive(Debug, Clone, Subcommand)]
pub enum InternalProcess {
    /// The router
    Router {
        /// Its configuration
        #[arg(long)]
        config: PathBuf,
        /// Take over from the router that runs, whose requests in flight may go on for so many milliseconds
        #[arg(long)]
        take_over: Option<u64>,
        /// The file of this program, where it was started by its loader
        #[arg(long)]
        program: Option<PathBuf>,
    },
    /// The first process of a router's container
    RouterHost {
        /// The router's configuration
        #[arg(long)]
        config: PathBuf,
    },
    /// The process that looks after the router
    RouterKeeper {
        /// The environment's folder
        #[arg(long)]
        environment_folder: PathBuf,
        /// The user's folder for sockets
        #[arg(long)]
        runtime_folder: PathBuf,
    },
    /// The outside client
    Client {
        /// Its configuration
        #[arg(long)]
        config: PathBuf,
    },
    /// The supervisor of an instance
    Instance {
        /// The instance's folder
        #[arg(long)]
        folder: PathBuf,
    },
    /// A service of the demonstration system
    Shop {
        /// What to pass on
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// A command that a cell was given, in a process that outlives the kernel
    Command,
    /// The process that runs Rust cells
    RustCells,
    /// The record of a run, as Rust cells read it
    RunData {
        /// Its name [default: the last run]
        #[arg(long)]
        run: Option<String>,
        /// The deployment file of its project
        #[arg(long)]
        deployment_file: Option<PathBuf>,
    },
}
