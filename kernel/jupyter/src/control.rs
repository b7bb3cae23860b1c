//! The owner of control: answers while cells run, because it never runs one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::executor::bad_request;
use crate::iopub::{Iopub, Output, Scope};
use crate::router::{Receiver, Replies};
use crate::shell::Kernel;
use crate::usage::Usage;
use crate::wire::{Incoming, WireError};

/// States that wait for room on iopub; more, and control waits, too.
const LATE: usize = 1024;

pub(crate) async fn run(
    kernel: Arc<Kernel>,
    mut receiver: Receiver,
    replies: Replies,
    stop: CancellationToken,
) {
    let mut control = Control {
        states: States::default(),
        usage: Usage::begin(),
        kernel,
        replies,
    };
    loop {
        let states = &mut control.states;
        let is_late = !states.late.is_empty();
        // Only waits: a request that was received is handled below.
        let request = tokio::select! {
            () = stop.cancelled() => break,
            () = states.progress(&control.kernel.iopub), if is_late => continue,
            request = receiver.next() => request,
        };
        control.handle(&request).await;
    }
    // The last states are those of the request that ended the kernel.
    while !control.states.late.is_empty() {
        control.states.progress(&control.kernel.iopub).await;
    }
}

struct Control {
    kernel: Arc<Kernel>,
    replies: Replies,
    states: States,
    usage: Usage,
}

/// What control says on iopub. It waits there only for what is behind it already: a cell that floods a slow reader must
/// not keep the stop button from being heard.
#[derive(Default)]
struct States {
    /// What found no room, in the order it came.
    late: VecDeque<Output>,
}

impl States {
    async fn send(&mut self, iopub: &Iopub, output: Output) {
        while self.late.len() >= LATE {
            self.progress(iopub).await;
        }
        let unsent = match self.late.is_empty() {
            true => iopub.try_send(output).err(),
            false => Some(output),
        };
        self.late.extend(unsent);
    }

    /// Waits for room for the first one that found none.
    ///
    /// # Cancel safety
    /// What was not sent waits on.
    async fn progress(&mut self, iopub: &Iopub) {
        let room = iopub.room().await;
        let Some(output) = self.late.pop_front() else {
            return;
        };
        if let Some(room) = room {
            room.send(output);
        }
    }
}

impl Control {
    async fn handle(&mut self, request: &Incoming) {
        let scope = Scope::new(Arc::clone(&request.parent), false);
        self.say(Output::Busy(Arc::clone(&scope))).await;
        let content = self.answer(request);
        let content = content.unwrap_or_else(|error| Some(bad_request(request, &error)));
        if let Some(content) = content {
            let frames = self
                .kernel
                .wire
                .reply(&request.parent, &json!({}), &content);
            // Nobody is left to tell when the channel has gone: the kernel has ended.
            let _ = self.replies.send(frames).await;
            if request.kind() == "shutdown_request" {
                self.say(shutdown(&scope, content)).await;
            }
        }
        self.say(Output::Idle(scope)).await;
    }

    async fn say(&mut self, output: Output) {
        self.states.send(&self.kernel.iopub, output).await;
    }

    fn answer(&mut self, request: &Incoming) -> Result<Option<Value>, WireError> {
        if request.kind() == "usage_request" {
            return Ok(Some(self.usage.now()));
        }
        answer(&self.kernel, request)
    }
}

/// What all clients hear of the end of the kernel, as from other kernels.
fn shutdown(scope: &Arc<Scope>, content: Value) -> Output {
    Output::Message {
        scope: Arc::clone(scope),
        kind: "shutdown_reply",
        content,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn states_that_find_no_room_come_later_in_their_order_and_nobody_waits_for_them() {
        let (iopub, mut outputs) = Iopub::channel();
        while iopub.try_send(Output::Starting).is_ok() {}
        let waiting = outputs.len();
        let mut states = States::default();
        for _ in 0..3 {
            states.send(&iopub, Output::Starting).await;
        }
        assert_eq!((states.late.len(), outputs.len()), (3, waiting));
        drop(outputs.recv().await);
        states.progress(&iopub).await;
        // There is room again only for those that came first.
        drop(outputs.recv().await);
        states.send(&iopub, Output::Starting).await;
        assert_eq!((states.late.len(), outputs.len()), (3, waiting - 1));
    }
}
