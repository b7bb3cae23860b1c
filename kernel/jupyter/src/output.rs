use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::cells::MimeBundle;
use crate::error::AskError;
use crate::interrupt::Interrupt;
use crate::iopub::{Iopub, Output, Scope, SharedLive, StreamName};
use crate::stdin::{Asker, Question};

/// Pages are shown one after another by clients; more than a few are a fault of the cell.
const PAGES_LIMIT: usize = 16;

/// Where a cell's output goes. Cheap to clone; can be used from other tasks while the cell runs. What is sent
/// after the cell has ended is dropped.
///
/// Sending waits where the cell is faster than its readers; it never waits longer than half a second for a
/// reader that stalls.
#[derive(Debug, Clone)]
pub struct CellOutput {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    iopub: Iopub,
    scope: Arc<Scope>,
    execution_count: u64,
    asker: Option<Asker>,
    interrupt: Interrupt,
    main_cells: Arc<AtomicUsize>,
    pages: Mutex<Vec<Value>>,
    displays: AtomicU64,
}

impl CellOutput {
    pub(crate) fn new(
        iopub: Iopub,
        scope: Arc<Scope>,
        execution_count: u64,
        asker: Option<Asker>,
        interrupt: Interrupt,
        main_cells: Arc<AtomicUsize>,
    ) -> Self {
        let (pages, displays) = (Mutex::default(), AtomicU64::new(0));
        let inner = Inner {
            iopub,
            scope,
            execution_count,
            asker,
            interrupt,
            main_cells,
            pages,
            displays,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Writes text to the cell's standard output.
    pub async fn stdout(&self, text: impl Into<String>) {
        self.stream(StreamName::Stdout, text.into()).await;
    }

    /// Writes text to the cell's standard error.
    pub async fn stderr(&self, text: impl Into<String>) {
        self.stream(StreamName::Stderr, text.into()).await;
    }

    /// Shows a content; `metadata` is keyed by MIME type, such as the width of an image.
    pub async fn display(&self, bundle: &MimeBundle, metadata: Value) {
        let content = json!({
            "data": bundle.to_value(), "metadata": object(metadata), "transient": {},
        });
        self.message("display_data", content).await;
    }

    /// Shows a content under an id of the caller's, so that [`CellOutput::update_display`] can replace it.
    pub async fn display_as(&self, display_id: &str, bundle: &MimeBundle) {
        let content = json!({
            "data": bundle.to_value(), "metadata": {}, "transient": {"display_id": display_id},
        });
        self.message("display_data", content).await;
    }

    /// Replaces what was shown under an id, wherever it was shown.
    pub async fn update_display(&self, display_id: &str, bundle: &MimeBundle) {
        let content = json!({
            "data": bundle.to_value(), "metadata": {}, "transient": {"display_id": display_id},
        });
        self.message("update_display_data", content).await;
    }

    /// Shows a content that moves: see [`LiveDisplay`].
    pub async fn live_display(&self, first: MimeBundle) -> LiveDisplay {
        let number = self.inner.displays.fetch_add(1, Ordering::Relaxed);
        let display_id = format!("{}-live-{number}", self.inner.scope.parent.header.msg_id);
        let state = SharedLive::default();
        lock(&state).bundle = first;
        let live = LiveDisplay {
            state: Arc::clone(&state),
            display_id: display_id.clone(),
        };
        let scope = Arc::clone(&self.inner.scope);
        self.inner
            .iopub
            .send(Output::Live {
                scope,
                display_id,
                state,
            })
            .await;
        live
    }

    /// Shows the result of the cell, with its number.
    pub async fn result(&self, bundle: &MimeBundle) {
        let content = json!({
            "execution_count": self.inner.execution_count,
            "data": bundle.to_value(),
            "metadata": {},
        });
        self.message("execute_result", content).await;
    }

    /// Clears what the cell has shown; with `wait`, only when the next output comes.
    pub async fn clear(&self, wait: bool) {
        self.message("clear_output", json!({"wait": wait})).await;
    }

    /// Returns how many cells of the main shell wait behind the one that runs there. A page that was loaded anew shows
    /// them as if nobody had asked for them.
    #[must_use]
    pub fn waiting_cells(&self) -> usize {
        let cells = self.inner.main_cells.load(Ordering::Relaxed);
        cells.saturating_sub(1)
    }

    /// Shows a content in the client's pager, as `?` does, when the cell has ended.
    pub fn page(&self, bundle: &MimeBundle) {
        let mut pages = self
            .inner
            .pages
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if pages.len() < PAGES_LIMIT {
            pages.push(json!({"source": "page", "data": bundle.to_value(), "start": 0}));
        }
    }

    /// Asks whoever runs the cell; with `password`, what is typed is not shown.
    ///
    /// # Errors
    /// Where the client takes no input, the cell is interrupted, nobody answers within a day, or the kernel ends.
    ///
    /// # Cancel safety
    /// A late answer to a dropped question is ignored.
    pub async fn ask(&self, prompt: &str, password: bool) -> Result<String, AskError> {
        let Some(asker) = &self.inner.asker else {
            return Err(AskError::NotAllowed {
                prompt: prompt.to_owned(),
            });
        };
        self.inner.iopub.flush().await;
        let parent = Arc::clone(&self.inner.scope.parent);
        let question = Question {
            parent,
            prompt: prompt.to_owned(),
            password,
        };
        tokio::select! {
            answer = asker.ask(question) => answer,
            () = self.inner.interrupt.requested() => {
                Err(AskError::Interrupted { prompt: prompt.to_owned() })
            }
        }
    }

    pub(crate) fn take_pages(&self) -> Vec<Value> {
        std::mem::take(
            &mut *self
                .inner
                .pages
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    async fn stream(&self, name: StreamName, text: String) {
        let scope = Arc::clone(&self.inner.scope);
        self.inner
            .iopub
            .send(Output::Stream(scope, name, text))
            .await;
    }

    async fn message(&self, kind: &'static str, content: Value) {
        self.inner
            .iopub
            .message(&self.inner.scope, kind, content)
            .await;
    }
}

/// A display that shows the newest of its states, at most four a second; the last one always arrives before
/// the cell's `idle`.
#[derive(Debug, Clone)]
pub struct LiveDisplay {
    state: SharedLive,
    display_id: String,
}

impl LiveDisplay {
    /// Replaces the state. Never waits: states that come faster than they are shown are left out.
    pub fn update(&self, bundle: MimeBundle) {
        let mut state = lock(&self.state);
        state.version += 1;
        state.bundle = bundle;
    }

    /// Returns the id clients know the display by.
    #[must_use]
    pub fn display_id(&self) -> &str {
        &self.display_id
    }
}

fn lock(state: &SharedLive) -> std::sync::MutexGuard<'_, crate::iopub::LiveState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn object(value: Value) -> Value {
    if value.is_object() { value } else { json!({}) }
}
