//! The kernel's side of ZMTP 3.0 with the NULL mechanism: <https://rfc.zeromq.org/spec/23/>.
//!
//! Ours for all five sockets. The `zeromq` crate (0.7.0) believes the length that a frame says it has and
//! reserves that much before a byte of it has come: ten bytes from any process of the machine, without a key, end the
//! kernel. It has no limit for messages either, waits for greetings for ever, and offers no flush.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const MORE: u8 = 0b001;
const LONG: u8 = 0b010;
const COMMAND: u8 = 0b100;
const GREETING_SIZE: usize = 64;
/// Subscribers send topics, and commands a few properties: all are short.
const COMMAND_LIMIT: usize = 4096;
const IDENTITY_LIMIT: usize = 255;
/// What a frame costs besides its bytes.
const FRAME_COST: usize = 64;
/// How much is reserved for a frame before any of it has come.
const FIRST_BYTES: usize = 16 * 1024;
/// A peer that cannot greet in this time is not a client.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// What a subscriber may say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Subscribe(Bytes),
    Cancel(Bytes),
    Ping(Bytes),
    Other,
}

/// What a peer says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    socket_type: Bytes,
    /// Empty where the peer leaves it to us.
    pub(crate) identity: Bytes,
}

/// Exchanges greetings and READY commands as a socket of type `ours`, for a peer of one of those types.
pub(crate) async fn greet(
    input: &mut (impl AsyncRead + Unpin),
    output: &mut (impl AsyncWrite + Unpin),
    ours: &'static str,
    theirs: &[&str],
) -> Result<Peer> {
    let met = tokio::time::timeout(HANDSHAKE_LIMIT, exchange(input, output, ours)).await;
    let peer = met.map_err(|_| Error::from(ErrorKind::TimedOut))??;
    let fits = theirs
        .iter()
        .any(|name| peer.socket_type == name.as_bytes());
    if fits {
        Ok(peer)
    } else {
        Err(invalid("a socket of another kind"))
    }
}

async fn exchange(
    input: &mut (impl AsyncRead + Unpin),
    output: &mut (impl AsyncWrite + Unpin),
    ours: &'static str,
) -> Result<Peer> {
    output.write_all(&greeting()).await?;
    output.flush().await?;
    let mut theirs = [0; GREETING_SIZE];
    input.read_exact(&mut theirs).await?;
    let signed = theirs[0] == 0xff && theirs[9] & 1 == 1;
    if !signed || theirs[10] < 3 || !theirs[12..].starts_with(b"NULL\0") {
        return Err(invalid("not a ZMTP 3 peer with the NULL mechanism"));
    }
    output.write_all(&ready(ours)).await?;
    output.flush().await?;
    let (flags, body) = read_frame(input, COMMAND_LIMIT).await?;
    let properties = body.strip_prefix(b"\x05READY");
    match properties.filter(|_| flags & COMMAND != 0) {
        Some(properties) => peer_of(&body.slice_ref(properties)),
        None => Err(invalid("no READY after the greeting")),
    }
}

/// Reads the properties of a READY command; unknown ones are left aside.
fn peer_of(properties: &Bytes) -> Result<Peer> {
    let cut = || invalid("a READY that is cut off");
    let mut rest = properties.clone();
    let mut peer = Peer::default();
    while !rest.is_empty() {
        let size = usize::from(rest.get_u8());
        if rest.len() < size + 4 {
            return Err(cut());
        }
        let name = rest.split_to(size);
        let size = usize::try_from(rest.get_u32()).map_err(|_| cut())?;
        if rest.len() < size {
            return Err(cut());
        }
        let value = rest.split_to(size);
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            peer.socket_type = value;
        } else if name.eq_ignore_ascii_case(b"Identity") {
            peer.identity = value;
        }
    }
    if peer.identity.len() > IDENTITY_LIMIT {
        return Err(invalid("an identity of more than 255 bytes"));
    }
    Ok(peer)
}

/// What a peer of a request socket may say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Message(Vec<Bytes>),
    Ping(Bytes),
    Other,
}

/// Reads the next thing that a peer says. What a message holds costs memory only as it comes, and at most `limit`
/// bytes, its frames counted in.
pub(crate) async fn read_said(input: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<Said> {
    let mut frames = Vec::new();
    let mut left = limit;
    loop {
        let (flags, body) = read_frame(input, left).await?;
        if flags & COMMAND != 0 {
            // Commands stand between messages, never inside one.
            if !frames.is_empty() {
                return Err(invalid("a command inside a message"));
            }
            return Ok(match ping(&body) {
                Some(context) => Said::Ping(context),
                None => Said::Other,
            });
        }
        left = left.saturating_sub(body.len() + FRAME_COST);
        frames.push(body);
        if flags & MORE == 0 {
            return Ok(Said::Message(frames));
        }
    }
}

fn ping(body: &Bytes) -> Option<Bytes> {
    (body.starts_with(b"\x04PING") && body.len() >= 7).then(|| body.slice(7..))
}

/// Reads the next thing a subscriber says.
pub(crate) async fn read_request(input: &mut (impl AsyncRead + Unpin)) -> Result<Request> {
    let (flags, body) = read_frame(input, COMMAND_LIMIT).await?;
    if flags & COMMAND == 0 {
        return Ok(match body.first() {
            Some(1) => Request::Subscribe(body.slice(1..)),
            Some(0) => Request::Cancel(body.slice(1..)),
            _ => Request::Other,
        });
    }
    // Peers of version 3.1 say the same in commands.
    Ok(if body.starts_with(b"\x09SUBSCRIBE") {
        Request::Subscribe(body.slice(10..))
    } else if body.starts_with(b"\x06CANCEL") {
        Request::Cancel(body.slice(7..))
    } else {
        ping(&body).map_or(Request::Other, Request::Ping)
    })
}

/// Returns the bytes of a message of several frames.
pub(crate) fn message(frames: &[Bytes]) -> Bytes {
    let size = frames.iter().map(|frame| frame.len() + 9).sum();
    let mut bytes = BytesMut::with_capacity(size);
    for (index, frame) in frames.iter().enumerate() {
        let more = if index + 1 < frames.len() { MORE } else { 0 };
        put_frame(&mut bytes, more, frame);
    }
    bytes.freeze()
}

/// Returns the answer to a ping.
pub(crate) fn pong(context: &[u8]) -> Bytes {
    let mut body = BytesMut::from(&b"\x04PONG"[..]);
    body.put_slice(context);
    let mut bytes = BytesMut::new();
    put_frame(&mut bytes, COMMAND, &body);
    bytes.freeze()
}

fn greeting() -> [u8; GREETING_SIZE] {
    let mut bytes = [0; GREETING_SIZE];
    bytes[0] = 0xff;
    bytes[9] = 0x7f;
    bytes[10] = 3;
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

fn ready(socket_type: &'static str) -> Bytes {
    let mut body = BytesMut::from(&b"\x05READY\x0bSocket-Type"[..]);
    body.put_u32(u32::try_from(socket_type.len()).unwrap_or(0));
    body.put_slice(socket_type.as_bytes());
    let mut bytes = BytesMut::new();
    put_frame(&mut bytes, COMMAND, &body);
    bytes.freeze()
}

fn put_frame(bytes: &mut BytesMut, flags: u8, body: &[u8]) {
    match u8::try_from(body.len()) {
        Ok(short) => {
            bytes.put_u8(flags);
            bytes.put_u8(short);
        }
        Err(_) => {
            bytes.put_u8(flags | LONG);
            bytes.put_u64(body.len() as u64);
        }
    }
    bytes.put_slice(body);
}

async fn read_frame(input: &mut (impl AsyncRead + Unpin), limit: usize) -> Result<(u8, Bytes)> {
    let flags = input.read_u8().await?;
    if flags & !(MORE | LONG | COMMAND) != 0 {
        return Err(invalid("a frame with flags that do not exist"));
    }
    let size = if flags & LONG == 0 {
        u64::from(input.read_u8().await?)
    } else {
        input.read_u64().await?
    };
    let size = usize::try_from(size).ok().filter(|size| *size <= limit);
    let size = size.ok_or_else(|| invalid("more than this socket takes at once"))?;
    let mut body = BytesMut::with_capacity(size.min(FIRST_BYTES));
    while body.len() < size {
        let missing = size - body.len();
        if body.capacity() == body.len() {
            // What has come may come again: room grows with what is there, not with what is announced.
            body.reserve(missing.min(body.len().max(FIRST_BYTES)));
        }
        let mut part = (&mut *input).take(missing as u64);
        if part.read_buf(&mut body).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((flags, body.freeze()))
}

fn invalid(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn subscriptions_are_read_in_both_forms() {
        let mut bytes: &[u8] = b"\x00\x03\x01ab\x04\x0b\x09SUBSCRIBEx\x00\x02\x00q";
        let mut requests = Vec::new();
        for _ in 0..3 {
            requests.push(read_request(&mut bytes).await.unwrap());
        }
        let expected = [
            Request::Subscribe(Bytes::from_static(b"ab")),
            Request::Subscribe(Bytes::from_static(b"x")),
            Request::Cancel(Bytes::from_static(b"q")),
        ];
        assert_eq!(requests, expected);
    }

    #[tokio::test]
    async fn an_oversized_subscription_is_refused_before_it_is_read() {
        let mut bytes: &[u8] = b"\x02\xff\xff\xff\xff\xff\xff\xff\xff";
        assert!(read_request(&mut bytes).await.is_err());
    }

    #[tokio::test]
    async fn a_message_that_announces_more_than_the_limit_is_refused_before_it_is_read() {
        for size in [1_u64 << 40, u64::MAX, 1001] {
            let mut bytes = vec![LONG];
            bytes.extend_from_slice(&size.to_be_bytes());
            let refused = read_said(&mut bytes.as_slice(), 1000).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidData, "{size}");
        }
    }

    #[tokio::test]
    async fn frames_count_against_the_limit_even_when_they_are_empty() {
        let bytes = [MORE, 0].repeat(100);
        let refused = read_said(&mut bytes.as_slice(), 1000).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnexpectedEof);
        let bytes = [MORE, 1, b'x'].repeat(100);
        let refused = read_said(&mut bytes.as_slice(), 1000).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_message_comes_as_the_frames_it_was_sent_as() {
        let frames = [b"a".to_vec(), vec![7; 70_000], Vec::new()].map(Bytes::from);
        let bytes = message(&frames);
        let said = read_said(&mut bytes.as_ref(), 100_000).await.unwrap();
        assert_eq!(said, Said::Message(frames.to_vec()));
    }

    #[test]
    fn a_peer_is_known_by_its_properties_and_a_cut_off_one_is_refused() {
        let whole = Bytes::from_static(b"\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\x02me");
        let peer = peer_of(&whole).unwrap();
        assert_eq!(
            (peer.socket_type.as_ref(), peer.identity.as_ref()),
            (&b"DEALER"[..], &b"me"[..])
        );
        for end in [5, 14, 20, whole.len() - 1] {
            assert!(peer_of(&whole.slice(..end)).is_err(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut input = bytes.as_slice();
            runtime.block_on(async {
                while let Ok(said) = read_said(&mut input, 1000).await {
                    drop(said);
                }
                let _ = read_request(&mut bytes.as_slice()).await;
            });
            let _ = peer_of(&Bytes::from(bytes));
        }
    }

    #[test]
    fn frames_above_255_bytes_are_written_in_the_long_form() {
        let long = Bytes::from(vec![7; 300]);
        let bytes = message(&[Bytes::from_static(b"t"), long]);
        assert_eq!(&bytes[..3], b"\x01\x01t");
        assert_eq!(&bytes[3..12], &[LONG, 0, 0, 0, 0, 0, 0, 1, 44]);
    }
}
