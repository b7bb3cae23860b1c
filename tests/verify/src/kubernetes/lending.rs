//! Lending the cluster to tests: a node of ours runs only while a test has it, because other tests measure latency.
//!
//! A test connects to a socket, reads one line, which says that the cluster is there or why it is not, and keeps the
//! connection for as long as it needs the cluster.

use super::{Cluster, Kind};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::kubernetes::node::Node;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// What a test is told when it has the cluster.
const READY: &str = "ready";
/// How long the node goes on without a test that has it: the next one often follows at once.
const IDLE: Duration = Duration::from_secs(15);

impl Cluster {
    /// Lends the cluster to whoever asks, until it is interrupted.
    ///
    /// # Errors
    /// If the socket cannot be made, or the node does not end.
    pub async fn lend(&self, until: &Interrupt) -> Result<(), Error> {
        let path = self.socket();
        let listener = listen(&path)?;
        let mut borrowers = JoinSet::new();
        let mut node = None;
        let lent = loop {
            // Cancel safety: what is asked anew in each turn loses nothing when it is dropped.
            tokio::select! {
                _ = until.wait() => break Ok(()),
                Ok((asked, _)) = listener.accept() => {
                    let came = self.wake(&mut node, until).await;
                    borrowers.spawn(answer(asked, came));
                }
                Some(_) = borrowers.join_next() => {}
                () = tokio::time::sleep(IDLE), if node.is_some() && borrowers.is_empty() => {
                    if let Err(error) = put_to_rest(&mut node).await {
                        break Err(error);
                    }
                }
            }
        };
        drop(listener);
        // One that is gone need not be removed.
        let _ = std::fs::remove_file(&path);
        lent.and(put_to_rest(&mut node).await)
    }

    async fn wake(&self, node: &mut Option<Node>, until: &Interrupt) -> Result<(), Error> {
        if let (Kind::Own(programs), None) = (&self.kind, &node) {
            *node = Some(Node::bring_up(self.folder.clone(), programs.clone(), until).await?);
        }
        Ok(())
    }

    /// Returns where tests ask for the cluster.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.with_extension("socket")
    }
}

async fn put_to_rest(node: &mut Option<Node>) -> Result<(), Error> {
    match node.take() {
        Some(mut node) => node.tear_down().await,
        None => Ok(()),
    }
}

/// Makes a socket in place of one that a killed verification left.
fn listen(path: &Path) -> Result<UnixListener, Error> {
    let _ = std::fs::remove_file(path);
    UnixListener::bind(path).map_err(|source| Error::File {
        action: "listen at",
        path: path.to_owned(),
        source,
    })
}

/// Tells a test how it is with the cluster, and waits until the test is gone.
async fn answer(mut asked: UnixStream, came: Result<(), Error>) {
    let said = match came {
        Ok(()) => READY.to_owned(),
        Err(error) => error.chain().replace('\n', " | "),
    };
    // A test that is gone need not be told.
    let _ = asked.write_all((said + "\n").as_bytes()).await;
    let _ = asked.read(&mut [0; 1]).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    async fn first_line(stream: &mut UnixStream) -> String {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.unwrap();
        line
    }

    #[tokio::test]
    async fn a_test_is_told_in_one_line_and_has_the_cluster_until_it_is_gone() {
        for (came, said) in [
            (Ok(()), "ready\n"),
            (
                Err(Error::Machine {
                    missing: "no root.".into(),
                    remedy: "Be root.".into(),
                }),
                "no root. | Be root.\n",
            ),
        ] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let mut answering = Box::pin(answer(ours, came));
            tokio::select! {
                () = &mut answering => panic!("it does not wait"),
                line = first_line(&mut theirs) => assert_eq!(line, said),
            }
            drop(theirs);
            answering.await;
        }
    }

    #[tokio::test]
    async fn a_socket_that_was_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(listen(&path).unwrap());
        assert!(path.exists());
        listen(&path).unwrap();
    }
}
