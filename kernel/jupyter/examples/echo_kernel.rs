//! A toy kernel with one command for each thing the protocol can do, for tests and for reading:
//! `echo_kernel CONNECTION_FILE`. A cell without `%` is Rust.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use code_deploy_jupyter::rust_cells::{RustCells, early_hook, host_main};
use code_deploy_jupyter::{
    Cell, CellError, CellOutput, Cells, Completion, CompletionMatch, Interrupt, IsComplete,
    KernelInfo, LanguageInfo, Link, MimeBundle, ServeOptions, serve,
};
use serde_json::json;

const COMMANDS: [&str; 19] = [
    "%print", "%stderr", "%mixed", "%noop", "%error", "%ask", "%display", "%update", "%live",
    "%result", "%clear", "%page", "%long", "%block", "%flood", "%prints", "%late", "%panic",
    "%waiting",
];

struct Echo {
    rust: RustCells,
}

#[async_trait]
impl Cells for Echo {
    async fn execute(
        &self,
        cell: Cell,
        out: CellOutput,
        interrupt: Interrupt,
    ) -> Result<(), CellError> {
        if !cell.code.trim_start().starts_with('%') {
            return self.rust.execute(&cell, &out, &interrupt).await;
        }
        for line in cell.code.lines().filter(|line| !line.trim().is_empty()) {
            let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            command(word, rest, &out, &interrupt).await?;
        }
        Ok(())
    }

    async fn expression(&self, expression: &str) -> Result<MimeBundle, CellError> {
        if let Some(text) = expression.strip_prefix("text:") {
            return Ok(MimeBundle::text(text));
        }
        match expression.strip_prefix("rust:") {
            Some(code) => self.rust.value(code).await,
            None => Err(CellError::new("NoValue", expression)),
        }
    }

    async fn complete(&self, code: &str, cursor: usize) -> Completion {
        if !code.starts_with('%') {
            return self.rust.complete(code, cursor).await;
        }
        let typed: String = code.chars().take(cursor).collect();
        let found = COMMANDS
            .iter()
            .filter(|command| command.starts_with(&typed));
        let candidate = |command: &&str| CompletionMatch {
            text: (*command).into(),
            kind: "magic".into(),
        };
        Completion {
            matches: found.map(candidate).collect(),
            start: 0,
            end: cursor,
        }
    }

    async fn inspect(&self, code: &str, cursor: usize, _detail: u8) -> Option<MimeBundle> {
        if !code.starts_with('%') {
            return self.rust.inspect(code, cursor).await;
        }
        let word = code.split_whitespace().next()?;
        let known = COMMANDS.contains(&word);
        known.then(|| MimeBundle::text(format!("{word}: a command of the echo kernel")))
    }

    async fn is_complete(&self, code: &str) -> IsComplete {
        let word = code.split_whitespace().next().unwrap_or_default();
        if code.ends_with('\\') {
            IsComplete::Incomplete {
                indent: "  ".into(),
            }
        } else if word.starts_with('%') && !COMMANDS.contains(&word) {
            IsComplete::Invalid
        } else {
            IsComplete::Complete
        }
    }

    fn info(&self) -> KernelInfo {
        KernelInfo {
            implementation: "echo_kernel".into(),
            implementation_version: env!("CARGO_PKG_VERSION").into(),
            banner: "echo kernel".into(),
            language: LanguageInfo {
                name: "rust".into(),
                version: "2024".into(),
                mimetype: "text/rust".into(),
                file_extension: ".rs".into(),
                pygments_lexer: None,
                codemirror_mode: None,
            },
            help_links: vec![Link {
                text: "Messaging in Jupyter".into(),
                url: "https://jupyter-client.readthedocs.io/en/latest/messaging.html".into(),
            }],
        }
    }

    async fn shutdown(&self, _restart: bool) {
        self.rust.shutdown().await;
    }
}

async fn command(
    word: &str,
    rest: &str,
    out: &CellOutput,
    interrupt: &Interrupt,
) -> Result<(), CellError> {
    match word {
        "%print" => out.stdout(format!("{rest}\n")).await,
        "%stderr" => out.stderr(format!("{rest}\n")).await,
        "%mixed" => mixed(out).await,
        "%noop" => {}
        "%error" => return Err(CellError::new("EchoError", rest)),
        "%ask" => ask(rest, out).await?,
        "%display" => {
            let bundle = MimeBundle::text("test").with("text/html", "<b>test</b>");
            out.display(&bundle, json!({})).await;
        }
        "%update" => {
            out.display_as("kc", &MimeBundle::text("a")).await;
            out.update_display("kc", &MimeBundle::text("b")).await;
        }
        "%live" => {
            let live = out.live_display(MimeBundle::text("0")).await;
            (1..=number(rest)).for_each(|step| live.update(MimeBundle::text(step.to_string())));
        }
        "%result" => out.result(&MimeBundle::text(rest)).await,
        "%clear" => out.clear(false).await,
        "%page" => out.page(&MimeBundle::text(rest)),
        "%long" => return long(out, interrupt).await,
        "%block" => block(number(rest)),
        "%flood" => {
            for step in 0..number(rest) {
                out.display(&MimeBundle::text(step.to_string()), json!({}))
                    .await;
            }
        }
        "%prints" => {
            for step in 0..number(rest) {
                out.stdout(format!("{step}\n")).await;
            }
        }
        "%waiting" => out.stdout(format!("{}\n", out.waiting_cells())).await,
        "%late" => late(out.clone()),
        "%panic" => panic_on_purpose(),
        _ => {
            return Err(CellError::new(
                "UnknownMagic",
                format!("{word} does not exist"),
            ));
        }
    }
    Ok(())
}

async fn mixed(out: &CellOutput) {
    out.stdout("one ").await;
    out.stdout("two\n").await;
    out.stderr("three\n").await;
    out.display(&MimeBundle::text("four"), json!({})).await;
    out.stdout("five\n").await;
}

async fn ask(prompt: &str, out: &CellOutput) -> Result<(), CellError> {
    let answer = out.ask(prompt, prompt.starts_with("secret")).await;
    let answer = answer.map_err(|error| CellError::new("NoAnswer", error.to_string()))?;
    out.stdout(format!("got {answer}\n")).await;
    Ok(())
}

async fn long(out: &CellOutput, interrupt: &Interrupt) -> Result<(), CellError> {
    out.stdout("started\n").await;
    // Both arms only wait.
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(60)) => Ok(()),
        () = interrupt.requested() => {
            out.stdout("stopping at a safe point\n").await;
            Err(CellError::new("Interrupted", "stopped at a safe point"))
        }
    }
}

/// What a program must not do, so that tests can show that the kernel still answers.
#[expect(
    clippy::disallowed_methods,
    reason = "blocking a worker is what this command is for"
)]
fn block(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

#[expect(
    clippy::disallowed_methods,
    reason = "output after the end of a cell is what this is for"
)]
fn late(out: CellOutput) {
    tokio::spawn(async move {
        for step in 0..10_000 {
            out.stdout(format!("late {step}\n")).await;
        }
    });
}

#[expect(
    clippy::panic,
    reason = "a panic in a cell is what this command is for"
)]
fn panic_on_purpose() {
    panic!("on purpose");
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(1)
}

fn main() -> ExitCode {
    early_hook();
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|word| word == "internal") {
        return host_main();
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let Some(connection_file) = arguments.get(1) else {
        tracing::error!("usage: echo_kernel CONNECTION_FILE");
        return ExitCode::from(2);
    };
    match run(Path::new(connection_file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = &*error, "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(connection_file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let program = std::env::current_exe()?.into_os_string();
    let rust = RustCells::new(vec![program, "internal".into(), "rust-cells".into()]);
    let parent_pid = std::env::var("JPY_PARENT_PID")
        .ok()
        .and_then(|pid| pid.parse().ok());
    let runtime = tokio::runtime::Runtime::new()?;
    let options = ServeOptions {
        parent_pid,
        ..ServeOptions::default()
    };
    let ended = runtime.block_on(serve(connection_file, Arc::new(Echo { rust }), options));
    // A cell that blocks its thread must not keep the process from ending.
    runtime.shutdown_background();
    let ended = ended?;
    tracing::info!(?ended, "the kernel has ended");
    Ok(())
}
