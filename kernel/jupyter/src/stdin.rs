//! The owner of stdin: questions of cells out, answers of people in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::AskError;
use crate::router::{Receiver, Sender};
use crate::wire::{Incoming, Parent, Wire};

/// One question for each shell at a time, and some.
pub(crate) const QUEUE: usize = 16;
/// How long a client that has gone may take to come back: one whose connection broke off comes at once.
const COMES_BACK: Duration = Duration::from_secs(5);
/// People sleep before they approve; longer, and the page is not open any more.
const ANSWER_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) struct Question {
    pub(crate) parent: Arc<Parent>,
    pub(crate) prompt: String,
    pub(crate) password: bool,
}

pub(crate) struct Asked {
    question: Question,
    answer: oneshot::Sender<Result<String, AskError>>,
}

/// Hands questions to the owner.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    sender: mpsc::Sender<Asked>,
}

impl Asker {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Asked>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self { sender }, receiver)
    }

    pub(crate) async fn ask(&self, question: Question) -> Result<String, AskError> {
        let prompt = question.prompt.clone();
        let (answer, answered) = oneshot::channel();
        if self.sender.send(Asked { question, answer }).await.is_err() {
            return Err(AskError::Closed { prompt });
        }
        match tokio::time::timeout(ANSWER_LIMIT, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(AskError::Closed { prompt }),
            Err(_) => Err(AskError::TimedOut {
                prompt,
                limit: ANSWER_LIMIT,
            }),
        }
    }
}

struct Pending {
    request_id: String,
    /// The question on the wire.
    frames: Vec<Bytes>,
    identity: Bytes,
    prompt: String,
    answer: oneshot::Sender<Result<String, AskError>>,
    /// When its client was found gone.
    gone: Option<Instant>,
}

pub(crate) async fn run(
    wire: Wire,
    mut receiver: Receiver,
    mut sender: Sender,
    mut questions: mpsc::Receiver<Asked>,
    stop: CancellationToken,
) {
    let mut pending: Vec<Pending> = Vec::new();
    let mut departures = sender.departures();
    loop {
        let gone = pending.iter().filter_map(|pending| pending.gone).min();
        let given_up = gone.map(|gone| gone + COMES_BACK);
        // Every arm only waits; what came is handled after the select.
        tokio::select! {
            () = stop.cancelled() => return,
            asked = questions.recv() => {
                let Some(asked) = asked else { return };
                pending.retain(|pending| !pending.answer.is_closed());
                pending.push(send(&wire, &mut sender, asked));
            }
            incoming = receiver.next() => settle(&mut pending, &incoming),
            Ok(()) = departures.changed() => {}
            () = tokio::time::sleep_until(given_up.unwrap_or_else(Instant::now)), if given_up.is_some() => {}
        }
        look_for(&mut pending, &mut sender);
    }
}

/// Asks clients again that have come back, and gives up the questions of those that have not.
fn look_for(pending: &mut Vec<Pending>, sender: &mut Sender) {
    let now = Instant::now();
    for one in pending.iter_mut() {
        if !sender.has(&one.identity) {
            one.gone = one.gone.or(Some(now));
        } else if one.gone.take().is_some() {
            sender.send(&one.frames);
        }
    }
    let is_lost = |one: &mut Pending| one.gone.is_some_and(|gone| now >= gone + COMES_BACK);
    for lost in pending.extract_if(.., is_lost) {
        let prompt = lost.prompt;
        let _ = lost.answer.send(Err(AskError::Gone { prompt }));
    }
}

fn send(wire: &Wire, sender: &mut Sender, asked: Asked) -> Pending {
    let Question {
        parent,
        prompt,
        password,
    } = asked.question;
    let request_id = wire.next_id();
    let content = json!({"prompt": prompt, "password": password});
    let frames = wire.encode_as(
        &request_id,
        &parent.identities,
        "input_request",
        Some(&parent),
        &json!({}),
        &content,
    );
    sender.send(&frames);
    Pending {
        request_id,
        frames,
        identity: parent.identities.first().cloned().unwrap_or_default(),
        prompt,
        answer: asked.answer,
        gone: None,
    }
}

fn settle(pending: &mut Vec<Pending>, incoming: &Incoming) {
    if incoming.kind() != "input_reply" {
        tracing::warn!(kind = incoming.kind(), "unknown message on stdin");
        return;
    }
    pending.retain(|pending| !pending.answer.is_closed());
    let by_id = incoming
        .answers
        .as_ref()
        .and_then(|id| pending.iter().position(|pending| pending.request_id == *id));
    // Some clients send no parent: then the oldest question put to this client is meant.
    let identity = incoming.parent.identities.first();
    let position = by_id.or_else(|| {
        pending
            .iter()
            .position(|pending| Some(&pending.identity) == identity)
    });
    let Some(position) = position else {
        tracing::info!("an answer came to no question");
        return;
    };
    match incoming.content::<Value>() {
        Ok(content) => {
            let value = content
                .get("value")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let _ = pending.remove(position).answer.send(Ok(value.to_owned()));
        }
        Err(error) => tracing::warn!(%error, "an answer could not be read"),
    }
}
