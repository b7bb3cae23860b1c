//! The wish to stop: the first signal asks, a second one means now.

use crate::error::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells running programs that they should stop.
#[derive(Debug, Clone)]
pub struct Interrupt {
    receiver: watch::Receiver<Option<&'static str>>,
}

/// The other end of an [`Interrupt`].
#[derive(Debug)]
pub struct Sender {
    sender: watch::Sender<Option<&'static str>>,
}

impl Interrupt {
    /// Returns both ends.
    pub fn channel() -> (Sender, Self) {
        let (sender, receiver) = watch::channel(None);
        (Sender { sender }, Self { receiver })
    }

    /// Returns an interrupt that never comes: for what has to be done also after one.
    pub fn never() -> Self {
        Self::channel().1
    }

    /// Waits until a signal has come and returns its name.
    ///
    /// # Cancel safety
    /// Can be dropped and asked again.
    pub async fn wait(&self) -> &'static str {
        let mut receiver = self.receiver.clone();
        let name = match receiver.wait_for(Option::is_some).await {
            Ok(name) => *name,
            Err(_) => None,
        };
        match name {
            Some(name) => name,
            // The sender is gone: nobody can interrupt any more.
            None => std::future::pending().await,
        }
    }
}

impl Sender {
    /// Asks everything to stop.
    pub fn send(&self, signal: &'static str) {
        self.sender.send_replace(Some(signal));
    }
}

/// Passes the first signal on and returns at the second.
///
/// # Errors
/// [`Error::Interrupted`] at the second signal, [`Error::Start`] if signals cannot be listened to.
pub async fn forward(sender: &Sender) -> Result<(), Error> {
    let listen = |kind| {
        signal(kind).map_err(|source| Error::Start {
            program: "signal listener".into(),
            source,
        })
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut asked = false;
    loop {
        // Cancel safety: `recv` loses no signal when it is dropped.
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        if asked {
            return Err(Error::Interrupted { signal: name });
        }
        asked = true;
        crate::report::note(&format!(
            "{name}: stopping what runs; once more stops at once"
        ));
        sender.send(name);
    }
}
