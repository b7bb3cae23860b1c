//! The owner of control: answers while cells run, because it never runs one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::executor::bad_request;
use crate::iopub::{Output, Scope};
use crate::router::{Receiver, Replies};
use crate::shell::Kernel;
use crate::wire::{Incoming, WireError};

pub(crate) async fn run(
    kernel: Arc<Kernel>,
    mut receiver: Receiver,
    replies: Replies,
    stop: CancellationToken,
) {
    loop {
        // Only waits: a request that was received is handled below.
        let request = tokio::select! {
            () = stop.cancelled() => return,
            request = receiver.next() => request,
        };
        handle(&kernel, &replies, &request).await;
    }
}

async fn handle(kernel: &Arc<Kernel>, replies: &Replies, request: &Incoming) {
    let scope = Scope::new(Arc::clone(&request.parent), false);
    kernel.iopub.send(Output::Busy(Arc::clone(&scope))).await;
    let content = match answer(kernel, request) {
        Ok(content) => content,
        Err(error) => Some(bad_request(request, &error)),
    };
    if let Some(content) = content {
        let frames = kernel.wire.reply(&request.parent, &json!({}), &content);
        // Nobody is left to tell when the channel has gone: the kernel has ended.
        let _ = replies.send(frames).await;
    }
    kernel.iopub.send(Output::Idle(scope)).await;
}

fn answer(kernel: &Arc<Kernel>, request: &Incoming) -> Result<Option<Value>, WireError> {
    Ok(Some(match request.kind() {
        "kernel_info_request" => kernel.info.clone(),
        "interrupt_request" => {
            let cells = kernel.running.interrupt();
            tracing::info!(cells, "interrupt requested");
            json!({"status": "ok"})
        }
        "shutdown_request" => kernel.shutdown(request)?,
        "create_subshell_request" => match kernel.create_subshell() {
            Some(id) => json!({"status": "ok", "subshell_id": id}),
            None => failed(
                "TooManySubshells",
                "no more subshells can be opened; delete one",
            ),
        },
        "delete_subshell_request" => {
            let content: Value = request.content()?;
            let id = content
                .get("subshell_id")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if kernel.delete_subshell(id) {
                json!({"status": "ok"})
            } else {
                failed("NoSuchSubshell", "no subshell of this id exists (any more)")
            }
        }
        "list_subshell_request" => json!({"status": "ok", "subshell_id": kernel.subshells()}),
        "usage_request" => usage(),
        // The debug protocol answers in its own form.
        "debug_request" => {
            let content: Value = request.content()?;
            json!({
                "type": "response",
                "request_seq": content.get("seq").cloned().unwrap_or_else(|| json!(0)),
                "seq": 0,
                "command": content.get("command").cloned().unwrap_or_else(|| json!("")),
                "success": false,
                "message": "this kernel has no debugger",
            })
        }
        kind => {
            let unknown = kernel.unknown.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(kind, unknown, "unknown message on control");
            return Ok(None);
        }
    }))
}

fn failed(ename: &str, evalue: &str) -> Value {
    json!({"status": "error", "ename": ename, "evalue": evalue, "traceback": []})
}

/// What the machine says about this process; what it does not say is absent.
fn usage() -> Value {
    let mut usage = json!({"status": "ok", "pid": std::process::id()});
    if let Ok(name) = nix::unistd::gethostname() {
        usage["hostname"] = json!(name.to_string_lossy());
    }
    if let Ok(cores) = std::thread::available_parallelism() {
        usage["cpu_count"] = json!(cores.get());
    }
    if let Some(bytes) = field_in_kib("/proc/self/status", "VmRSS:") {
        usage["kernel_memory"] = json!(bytes);
    }
    let total = field_in_kib("/proc/meminfo", "MemTotal:");
    let available = field_in_kib("/proc/meminfo", "MemAvailable:");
    if let (Some(total), Some(available)) = (total, available) {
        let percent = 100.0 * (1.0 - available as f64 / total.max(1) as f64);
        usage["host_virtual_memory"] =
            json!({"total": total, "available": available, "percent": percent});
    }
    usage
}

/// Returns bytes from a file of the form `Name:  123 kB`.
fn field_in_kib(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
