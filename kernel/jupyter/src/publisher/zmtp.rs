//! The publisher's side of ZMTP 3.0 with the NULL mechanism: <https://rfc.zeromq.org/spec/23/>.

use std::io::{Error, ErrorKind, Result};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const MORE: u8 = 0b001;
const LONG: u8 = 0b010;
const COMMAND: u8 = 0b100;
const GREETING_SIZE: usize = 64;
/// Subscribers send topics, which are short.
const REQUEST_LIMIT: u64 = 4096;

/// What a subscriber may say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Subscribe(Bytes),
    Cancel(Bytes),
    Ping(Bytes),
    Other,
}

/// Exchanges greetings and READY commands.
pub(super) async fn greet(
    input: &mut (impl AsyncRead + Unpin),
    output: &mut (impl AsyncWrite + Unpin),
) -> Result<()> {
    output.write_all(&greeting()).await?;
    output.flush().await?;
    let mut theirs = [0; GREETING_SIZE];
    input.read_exact(&mut theirs).await?;
    let signed = theirs[0] == 0xff && theirs[9] & 1 == 1;
    if !signed || theirs[10] < 3 || !theirs[12..].starts_with(b"NULL\0") {
        return Err(invalid("not a ZMTP 3 peer with the NULL mechanism"));
    }
    output.write_all(&ready()).await?;
    output.flush().await?;
    let (flags, body) = read_frame(input).await?;
    if flags & COMMAND == 0 || !body.starts_with(b"\x05READY") {
        return Err(invalid("no READY after the greeting"));
    }
    Ok(())
}

/// Reads the next thing a subscriber says.
pub(super) async fn read_request(input: &mut (impl AsyncRead + Unpin)) -> Result<Request> {
    let (flags, body) = read_frame(input).await?;
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
    } else if body.starts_with(b"\x04PING") && body.len() >= 7 {
        Request::Ping(body.slice(7..))
    } else {
        Request::Other
    })
}

/// Returns the bytes of a message of several frames.
pub(super) fn message(frames: &[Bytes]) -> Bytes {
    let size = frames.iter().map(|frame| frame.len() + 9).sum();
    let mut bytes = BytesMut::with_capacity(size);
    for (index, frame) in frames.iter().enumerate() {
        let more = if index + 1 < frames.len() { MORE } else { 0 };
        put_frame(&mut bytes, more, frame);
    }
    bytes.freeze()
}

/// Returns the answer to a ping.
pub(super) fn pong(context: &[u8]) -> Bytes {
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

fn ready() -> Bytes {
    let mut body = BytesMut::from(&b"\x05READY\x0bSocket-Type"[..]);
    body.put_u32(4);
    body.put_slice(b"XPUB");
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

async fn read_frame(input: &mut (impl AsyncRead + Unpin)) -> Result<(u8, Bytes)> {
    let flags = input.read_u8().await?;
    let size = if flags & LONG == 0 {
        u64::from(input.read_u8().await?)
    } else {
        input.read_u64().await?
    };
    if size > REQUEST_LIMIT {
        return Err(invalid("a subscription of more than 4096 bytes"));
    }
    let mut body = vec![0; usize::try_from(size).map_err(|_| invalid("size"))?];
    input.read_exact(&mut body).await?;
    Ok((flags, body.into()))
}

fn invalid(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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

    #[test]
    fn frames_above_255_bytes_are_written_in_the_long_form() {
        let long = Bytes::from(vec![7; 300]);
        let bytes = message(&[Bytes::from_static(b"t"), long]);
        assert_eq!(&bytes[..3], b"\x01\x01t");
        assert_eq!(&bytes[3..12], &[LONG, 0, 0, 0, 0, 0, 0, 1, 44]);
    }
}
