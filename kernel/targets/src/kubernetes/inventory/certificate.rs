//! What an X.509 certificate says of itself (RFC 5280, 4.1): whose it is, by whom, and until when.
//! Nothing is verified.

use chrono::{DateTime, Utc};
use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode as _, ErrorKind, Reader as _, SliceReader, Tag, Tagged as _};
use k8s_openapi::ByteString;
use kube::ResourceExt as _;
use kube::core::DynamicObject;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Parts of names that are told, by their object identifiers as they stand in a certificate (RFC 4519, 2).
const PARTS: [(&str, &[u8]); 4] = [
    ("CN", &[0x55, 4, 3]),
    ("C", &[0x55, 4, 6]),
    ("O", &[0x55, 4, 10]),
    ("OU", &[0x55, 4, 11]),
];

/// The form in which the day is told, which is also its order.
const DAY: &str = "%Y-%m-%d";

/// What is told of a certificate.
#[derive(Debug, PartialEq, Eq)]
struct Certificate {
    subject: String,
    issuer: String,
    expires: DateTime<Utc>,
}

/// Returns what is told of the certificate of a Secret of the type `kubernetes.io/tls`. Its key is not looked at.
pub fn rows(secret: &DynamicObject) -> Option<Vec<Vec<String>>> {
    let held = secret.data.get("data")?.get("tls.crt")?;
    let ByteString(pem) = serde_json::from_value(held.clone()).ok()?;
    let found = first(&pem)?;
    let day = found.expires.format(DAY).to_string();
    Some(vec![vec![
        secret.name_any(),
        found.subject,
        found.issuer,
        day,
    ]])
}

/// Returns what the rows come to: how many there are, which is the first to expire, and which have.
pub fn summary(rows: &[Vec<String>], now: DateTime<Utc>) -> String {
    let dated = rows
        .iter()
        .filter_map(|row| Some((row.last()?, row.first()?)));
    let Some((day, name)) = dated.clone().min() else {
        return "no certificate is kept in the namespace".to_owned();
    };
    let today = now.format(DAY).to_string();
    let expired: Vec<&str> = dated
        .filter(|(day, _)| **day < today)
        .map(|(_, name)| name.as_str())
        .collect();
    let count = match rows.len() {
        1 => "1 certificate is".to_owned(),
        count => format!("{count} certificates are"),
    };
    let expired = match expired.as_slice() {
        [] => "none has expired".to_owned(),
        names => format!("expired: {}", names.join(", ")),
    };
    format!(
        "{count} kept in the namespace, with issuer and expiry; the first to expire is that of {name}, on {day}; \
         {expired}"
    )
}

/// Reads the first certificate of a PEM text, which is the one of the server itself (RFC 8446, 4.4.2).
fn first(pem: &[u8]) -> Option<Certificate> {
    let text = std::str::from_utf8(pem).ok()?;
    let text = text.get(text.find(BEGIN)?..)?;
    let block = text.get(..text.find(END)? + END.len())?;
    let (_, bytes) = der::pem::decode_vec(block.as_bytes()).ok()?;
    read(&bytes).ok()
}

fn read(bytes: &[u8]) -> der::Result<Certificate> {
    let mut certificate = inside(AnyRef::from_der(bytes)?)?;
    let mut fields = inside(next(&mut certificate)?)?;
    // The version stands there in all but those of the first one; the serial number follows.
    if next(&mut fields)?.tag().is_context_specific() {
        next(&mut fields)?;
    }
    let _algorithm = next(&mut fields)?;
    let issuer = name(next(&mut fields)?)?;
    let mut validity = inside(next(&mut fields)?)?;
    let _not_before = next(&mut validity)?;
    let expires = time(next(&mut validity)?)?;
    let subject = name(next(&mut fields)?)?;
    Ok(Certificate {
        subject,
        issuer,
        expires,
    })
}

fn inside(sequence: AnyRef<'_>) -> der::Result<SliceReader<'_>> {
    sequence.tag().assert_eq(Tag::Sequence)?;
    SliceReader::new(sequence.value())
}

fn next<'a>(reader: &mut SliceReader<'a>) -> der::Result<AnyRef<'a>> {
    AnyRef::decode(reader)
}

/// A name is a sequence of sets of parts, each with its kind and its text.
fn name(name: AnyRef<'_>) -> der::Result<String> {
    let mut words = Vec::new();
    let mut sets = inside(name)?;
    while !sets.is_finished() {
        let mut parts = SliceReader::new(next(&mut sets)?.value())?;
        while !parts.is_finished() {
            let mut part = inside(next(&mut parts)?)?;
            let (kind, text) = (next(&mut part)?, next(&mut part)?);
            let known = PARTS.iter().find(|(_, kinds)| *kinds == kind.value());
            if let Some((word, _)) = known {
                words.push(format!("{word}={}", printable(text.value())));
            }
        }
    }
    Ok(match words.is_empty() {
        true => "no name".to_owned(),
        false => words.join(", "),
    })
}

fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().filter(|c| !c.is_control()).collect()
}

fn time(time: AnyRef<'_>) -> der::Result<DateTime<Utc>> {
    let since = match time.tag() {
        Tag::UtcTime => time.decode_as::<UtcTime>()?.to_unix_duration(),
        _ => time.decode_as::<GeneralizedTime>()?.to_unix_duration(),
    };
    let seconds = i64::try_from(since.as_secs()).ok();
    let found = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    found.ok_or_else(|| ErrorKind::DateTime.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    /// Of version 1.
    const SERVER: &str = "-----BEGIN CERTIFICATE-----
MIIBOTCB3wIUKSgpJ3+OpQnS6oKXXOFAd+y13zQwCgYIKoZIzj0EAwIwJzEQMA4G
A1UECgwHRXhhbXBsZTETMBEGA1UEAwwKRXhhbXBsZSBDQTAeFw0yNjExMjkwNzA4
MTBaFw0zNjExMjYwNzA4MTBaMBcxFTATBgNVBAMMDHNob3AuZXhhbXBsZTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABMJrutdY3xm9Ri4UwUM5cqdRX457QOE3TWoF
33GAvHwu6oHLtsb4TF6VcnMTWF+cP0V+3KGXbbBXYlPPPKW1xwowCgYIKoZIzj0E
AwIDSQAwRgIhAKp50P7LcXf54xNrf8JDKvSMs5tSokJkQ0nSl4xxmwIcAiEA8tEi
adREi8L8KlcSAN1/Y+omIYjXn28lyoGX6kBqxgI=
-----END CERTIFICATE-----
";

    /// Without a subject, and with a time beyond 2050, which is written in another form.
    const NAMELESS: &str = "-----BEGIN CERTIFICATE-----
MIIBIjCBygIUKSgpJ3+OpQnS6oKXXOFAd+y13zUwCgYIKoZIzj0EAwIwJzEQMA4G
A1UECgwHRXhhbXBsZTETMBEGA1UEAwwKRXhhbXBsZSBDQTAgFw0yNjExMjkwNzA4
MTBaGA8yMDU5MTAwNzA3MDgxMFowADBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA
BJdhgOYXiJr1yYzSelQvGo/SHXH8sfHQ3XTtUGS9jOcXhPs2DwfTAa5WnODuU0Mq
txSV7VX9bD3GMe05QohE0ZYwCgYIKoZIzj0EAwIDRwAwRAIgTQ7R0aYWvDhTegHR
vOrUiFNsCdBqgiwWtVm879XAHrACIC1D8PPw2b0wMoasdV4CjvRF5/7Et/LC+9bt
T9l4gvU/
-----END CERTIFICATE-----
";

    /// Of version 3.
    const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----
MIIBozCCAUmgAwIBAgIUPckeJy01yfY7OyLoVeU1onk7jY8wCgYIKoZIzj0EAwIw
JzEQMA4GA1UECgwHRXhhbXBsZTETMBEGA1UEAwwKRXhhbXBsZSBDQTAeFw0yNjEx
MjkwNzA4MTBaFw00NjExMjQwNzA4MTBaMCcxEDAOBgNVBAoMB0V4YW1wbGUxEzAR
BgNVBAMMCkV4YW1wbGUgQ0EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQBxwnf
sLhPbsmABv/dvLeOvNb7S2fGZIXBTThFV9/gLP8oZp6GjkZIVp8s9PU7pmUPRATa
n13hbT2UK2U6WM+Eo1MwUTAdBgNVHQ4EFgQU1yLCnuLnvjexLnK4gykB7kW7QYww
HwYDVR0jBBgwFoAU1yLCnuLnvjexLnK4gykB7kW7QYwwDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNIADBFAiEA4TM9l0rOKcMfzV4/X9kMJgMy2+3/khUIN8cr
6xR35joCICUuIXffW+l4rSPKnrzN836N9ZW2RR2cvuIVNiPSsppK
-----END CERTIFICATE-----
";

    #[test]
    fn whose_a_certificate_is_by_whom_and_until_when() {
        let told = |pem: &str| {
            let found = first(pem.as_bytes()).unwrap();
            [found.subject, found.issuer, found.expires.to_rfc3339()]
        };
        let authority = "O=Example, CN=Example CA";
        let chain = format!("Bag Attributes\n{SERVER}{AUTHORITY}");
        let expected = ["CN=shop.example", authority, "2036-11-26T07:08:10+00:00"];
        assert_eq!(told(&chain), expected);
        let expected = ["no name", authority, "2059-10-07T07:08:10+00:00"];
        assert_eq!(told(NAMELESS), expected);
        let expected = [authority, authority, "2046-11-24T07:08:10+00:00"];
        assert_eq!(told(AUTHORITY), expected);
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        let cut = &SERVER[..SERVER.len() / 2];
        let flipped = SERVER.replacen("MII", "QII", 1);
        for text in ["", "a key", BEGIN, cut, &flipped] {
            assert_eq!(first(text.as_bytes()), None, "{text}");
        }
        let secret = json!({ "metadata": { "name": "one" }, "data": { "tls.key": "a2V5" } });
        assert_eq!(rows(&serde_json::from_value(secret).unwrap()), None);
    }

    #[test]
    fn the_first_to_expire_and_those_that_have_are_named() {
        let row = |name: &str, day: &str| {
            vec![
                name.to_owned(),
                String::new(),
                String::new(),
                day.to_owned(),
            ]
        };
        let rows = [
            row("late", "2031-01-01"),
            row("old", "2024-05-01"),
            row("soon", "2027-01-01"),
        ];
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        let said = summary(&rows, now);
        assert!(said.contains("3 certificates"), "{said}");
        assert!(
            said.contains("that of old, on 2024-05-01; expired: old"),
            "{said}"
        );
        assert!(summary(&rows[..1], now).ends_with("none has expired"));
        assert!(summary(&[], now).starts_with("no certificate"));
    }
}
