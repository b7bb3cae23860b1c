//! Messages of one byte between two processes of this machine, with a descriptor where one is about it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Returns the stream with a limit on each message, in both directions.
pub(crate) fn limited(stream: UnixStream, limit: Duration) -> std::io::Result<UnixStream> {
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}

/// Sends one message.
pub(crate) fn send(
    stream: &UnixStream,
    what: u8,
    descriptor: Option<BorrowedFd<'_>>,
) -> std::io::Result<()> {
    let byte = [what];
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(std::io::Error::other(
            "a descriptor does not fit into a message",
        ));
    }
    let content = [IoSlice::new(&byte)];
    sendmsg(stream, &content, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Reads one message; nothing when the other side has closed.
pub(crate) fn receive(stream: &UnixStream) -> std::io::Result<Option<(u8, Option<OwnedFd>)>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut content = [IoSliceMut::new(&mut byte)];
    let read = recvmsg(stream, &mut content, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if read.bytes == 0 {
        return Ok(None);
    }
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let descriptor = rights.flatten().next();
    let [what] = byte;
    Ok(Some((what, descriptor)))
}
