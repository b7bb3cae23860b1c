//! Messages as frames: a thin layer of ours over the sockets. The typed connections of
//! jupyter-zmq-client drop header fields they do not know (`subshell_id`, protocol 5.5) and cannot echo
//! a parent header byte for byte, so frames are split, verified and signed here; the contents of requests are
//! jupyter-protocol's types.
//!
//! Spec: <https://jupyter-client.readthedocs.io/en/latest/messaging.html#the-wire-protocol>.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use chrono::{DateTime, FixedOffset};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::time::Instant;

use crate::PROTOCOL_VERSION;

const DELIMITER: &[u8] = b"<IDS|MSG>";
/// Header, parent header, metadata, content.
const SIGNED_PARTS: usize = 4;

/// Why frames are not a message. Counted and logged; never the end of a channel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("{frames} frames without the delimiter <IDS|MSG>")]
    NoDelimiter { frames: usize },
    #[error("{found} frames after the delimiter, at least 5 are needed")]
    TooFewFrames { found: usize },
    #[error("the signature does not verify")]
    BadSignature,
    #[error("the {part} is not what the protocol asks for")]
    Malformed {
        part: &'static str,
        source: serde_json::Error,
    },
}

/// The fields of a header that the kernel uses; the rest is kept in its bytes.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Header {
    pub(crate) msg_id: String,
    pub(crate) msg_type: String,
    #[serde(default)]
    pub(crate) session: String,
    #[serde(default)]
    pub(crate) subshell_id: Option<String>,
    /// Of any type: a date that is none is no reason to refuse a message.
    #[serde(default)]
    date: Value,
}

impl Header {
    /// When the client made the message, by its own clock: to be compared with other messages of its session only.
    pub(crate) fn sent(&self) -> Option<DateTime<FixedOffset>> {
        DateTime::parse_from_rfc3339(self.date.as_str()?).ok()
    }
}

/// What replies and outputs need of the request they belong to.
#[derive(Debug)]
pub(crate) struct Parent {
    pub(crate) identities: Vec<Bytes>,
    pub(crate) header: Header,
    raw_header: Bytes,
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) parent: Arc<Parent>,
    /// The id of the message that this one answers, on stdin.
    pub(crate) answers: Option<String>,
    pub(crate) metadata: Value,
    /// When it came in.
    pub(crate) received: Instant,
    content: Bytes,
}

impl Incoming {
    pub(crate) fn kind(&self) -> &str {
        &self.parent.header.msg_type
    }

    pub(crate) fn content<T: DeserializeOwned>(&self) -> Result<T, WireError> {
        parse("content", &self.content)
    }
}

/// Signs what goes out and verifies what comes in, for one kernel and its session.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    mac: Option<Hmac<Sha256>>,
    session: String,
    sent: AtomicU64,
}

impl Wire {
    /// An empty key switches signatures off, as the protocol has it.
    pub(crate) fn new(key: &str) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a session is named once, by the kernel"
        )]
        let session = uuid::Uuid::new_v4().to_string();
        // HMAC takes keys of every length, so `ok` drops no error that can happen.
        let mac = Some(key)
            .filter(|key| !key.is_empty())
            .and_then(|key| Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok());
        Self {
            shared: Arc::new(Shared {
                mac,
                session,
                sent: AtomicU64::new(0),
            }),
        }
    }

    pub(crate) fn session(&self) -> &str {
        &self.shared.session
    }

    pub(crate) fn decode(&self, frames: Vec<Bytes>) -> Result<Incoming, WireError> {
        let count = frames.len();
        let Some(delimiter) = frames.iter().position(|frame| frame.as_ref() == DELIMITER) else {
            return Err(WireError::NoDelimiter { frames: count });
        };
        let mut identities = frames;
        let after = identities.split_off(delimiter + 1);
        identities.pop();
        let [signature, header, parent, metadata, content, ..] = after.as_slice() else {
            return Err(WireError::TooFewFrames { found: after.len() });
        };
        self.verify(signature, &[header, parent, metadata, content])?;
        let fields: Header = parse("header", header)?;
        let parent_fields: Value = parse("parent header", parent)?;
        Ok(Incoming {
            answers: parent_fields
                .get("msg_id")
                .and_then(Value::as_str)
                .map(str::to_owned),
            metadata: parse("metadata", metadata)?,
            received: Instant::now(),
            content: content.clone(),
            parent: Arc::new(Parent {
                identities,
                header: fields,
                raw_header: header.clone(),
            }),
        })
    }

    /// Returns an id that no other message of this kernel has.
    pub(crate) fn next_id(&self) -> String {
        let number = self.shared.sent.fetch_add(1, Ordering::Relaxed);
        format!("{}_{number}", self.shared.session)
    }

    /// Returns the frames of a message after its identities or topic.
    pub(crate) fn encode(
        &self,
        prefix: &[Bytes],
        kind: &str,
        parent: Option<&Parent>,
        metadata: &Value,
        content: &Value,
    ) -> Vec<Bytes> {
        self.encode_as(&self.next_id(), prefix, kind, parent, metadata, content)
    }

    /// The same under an id the caller took from [`Wire::next_id`].
    pub(crate) fn encode_as(
        &self,
        msg_id: &str,
        prefix: &[Bytes],
        kind: &str,
        parent: Option<&Parent>,
        metadata: &Value,
        content: &Value,
    ) -> Vec<Bytes> {
        let header = json!({
            "msg_id": msg_id,
            "msg_type": kind,
            "session": self.shared.session,
            "username": "kernel",
            "date": now(),
            "version": PROTOCOL_VERSION,
        });
        let parts: [Bytes; SIGNED_PARTS] = [
            header.to_string().into(),
            parent.map_or_else(
                || Bytes::from_static(b"{}"),
                |parent| parent.raw_header.clone(),
            ),
            metadata.to_string().into(),
            content.to_string().into(),
        ];
        let mut frames = Vec::with_capacity(prefix.len() + 2 + SIGNED_PARTS);
        frames.extend_from_slice(prefix);
        frames.push(Bytes::from_static(DELIMITER));
        frames.push(self.sign(&parts));
        frames.extend(parts);
        frames
    }

    /// Returns the frames of a reply, addressed to who asked.
    pub(crate) fn reply(&self, parent: &Parent, metadata: &Value, content: &Value) -> Vec<Bytes> {
        let kind = reply_kind(&parent.header.msg_type);
        self.encode(&parent.identities, &kind, Some(parent), metadata, content)
    }

    fn sign(&self, parts: &[Bytes]) -> Bytes {
        let Some(mac) = &self.shared.mac else {
            return Bytes::new();
        };
        let mut mac = mac.clone();
        parts.iter().for_each(|part| mac.update(part));
        hex::encode(mac.finalize().into_bytes()).into()
    }

    fn verify(&self, signature: &Bytes, parts: &[&Bytes]) -> Result<(), WireError> {
        let Some(mac) = &self.shared.mac else {
            return Ok(());
        };
        let mut mac = mac.clone();
        parts.iter().for_each(|part| mac.update(part));
        let claimed = hex::decode(signature).map_err(|_| WireError::BadSignature)?;
        mac.verify_slice(&claimed)
            .map_err(|_| WireError::BadSignature)
    }
}

/// The time now as messages carry it: UTC, microseconds.
pub(crate) fn now() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "the date of a protocol message is wall time"
    )]
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

fn reply_kind(request: &str) -> String {
    request
        .strip_suffix("_request")
        .map_or_else(|| request.to_owned(), |kind| format!("{kind}_reply"))
}

fn parse<T: DeserializeOwned>(part: &'static str, bytes: &[u8]) -> Result<T, WireError> {
    serde_json::from_slice(bytes).map_err(|source| WireError::Malformed { part, source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn request(wire: &Wire) -> Vec<Bytes> {
        wire.encode(
            &[Bytes::from_static(b"me")],
            "kernel_info_request",
            None,
            &json!({}),
            &json!({}),
        )
    }

    #[test]
    fn a_message_signed_with_the_key_is_read_back_with_its_identities() {
        let wire = Wire::new("secret");
        let message = wire.decode(request(&wire)).unwrap();
        assert_eq!(message.kind(), "kernel_info_request");
        assert_eq!(message.parent.identities, [Bytes::from_static(b"me")]);
    }

    #[test]
    fn a_message_signed_with_another_key_is_refused() {
        let frames = request(&Wire::new("other"));
        assert!(matches!(
            Wire::new("secret").decode(frames),
            Err(WireError::BadSignature)
        ));
    }

    #[test]
    fn an_empty_key_means_no_signatures() {
        let wire = Wire::new("");
        let frames = request(&wire);
        assert!(frames[2].is_empty());
        wire.decode(frames).unwrap();
    }

    #[test]
    fn unknown_header_fields_are_echoed_as_the_parent_byte_for_byte() {
        let wire = Wire::new("");
        let mut frames = request(&wire);
        frames[3] = Bytes::from_static(br#"{"msg_id":"1", "msg_type":"x_request","odd":[1.50]}"#);
        let incoming = wire.decode(frames.clone()).unwrap();
        let reply = wire.reply(&incoming.parent, &json!({}), &json!({}));
        assert_eq!(reply[4], frames[3]);
    }

    /// JSON as clients send it, and deeper.
    fn json_text() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from);
            let pairs = proptest::collection::btree_map(any::<String>(), inner, 0..4);
            let object = pairs.prop_map(|pairs| Value::Object(pairs.into_iter().collect()));
            prop_oneof![list, object]
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_as_it_was(
            key in any::<String>(),
            kind in any::<String>(),
            identities in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..3),
            metadata in json_text(),
            content in json_text(),
        ) {
            let wire = Wire::new(&key);
            let identities: Vec<Bytes> = identities.into_iter().map(Bytes::from).collect();
            let frames = wire.encode(&identities, &kind, None, &metadata, &content);
            let incoming = wire.decode(frames).unwrap();
            prop_assert_eq!(incoming.kind(), kind);
            prop_assert_eq!(&incoming.parent.identities, &identities);
            prop_assert_eq!(&incoming.metadata, &metadata);
            prop_assert_eq!(incoming.content::<Value>().unwrap(), content);
        }

        #[test]
        fn a_changed_byte_in_what_is_signed_is_noticed(part in 0_usize..5, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let wire = Wire::new("secret");
            let mut frames = request(&wire);
            let mut changed = frames[2 + part].to_vec();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            // Hexadecimal digits mean the same in both cases.
            prop_assume!(part > 0 || !changed[at].eq_ignore_ascii_case(&frames[2][at]));
            frames[2 + part] = changed.into();
            prop_assert!(matches!(wire.decode(frames), Err(WireError::BadSignature)));
        }

        #[test]
        fn no_frames_whatever_break_the_decoder(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..9),
            at in 0_usize..9,
        ) {
            let mut frames: Vec<Bytes> = frames.into_iter().map(Bytes::from).collect();
            if at < frames.len() {
                frames[at] = Bytes::from_static(DELIMITER);
            }
            prop_assert!(Wire::new("secret").decode(frames.clone()).is_err());
            let _ = Wire::new("").decode(frames);
        }
    }
}
