//! Amounts, ports and lines of environment files as Compose writes them.

/// Returns the bytes that an amount in a Compose file stands for: `256M`, `1gb`, `512k`, `1024`.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => return None,
    };
    match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(1 << shift),
        Err(_) => {
            let part: f64 = number.parse().ok()?;
            let bytes = part * f64::from(1_u32 << shift);
            // Fractions of a byte do not matter; the range is checked before.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "not negative, and far below 2^53"
            )]
            (bytes < 1e15).then_some(bytes as u64)
        }
    }
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PortMapping {
    pub(super) target: u16,
    pub(super) published: Option<u16>,
}

/// Returns the ports of `8080`, `80:8080`, `127.0.0.1:80:8080/tcp`, `3000-3005:3000-3005`.
pub(super) fn port(text: &str) -> Option<PortMapping> {
    let text = text.trim();
    let text = match text.split_once('/') {
        Some((ports, "tcp" | "udp")) => ports,
        Some(_) => return None,
        None => text,
    };
    let (host, target) = match text.rsplit_once(':') {
        Some((host, target)) => (Some(host), target),
        None => (None, text),
    };
    let published = match host.map(|host| host.rsplit_once(':').map_or(host, |(_, port)| port)) {
        None | Some("") => None,
        Some(port) => Some(first_of_range(port)?),
    };
    Some(PortMapping {
        target: first_of_range(target)?,
        published,
    })
}

/// Returns the first port of `3000` or `3000-3005`.
pub(super) fn first_of_range(text: &str) -> Option<u16> {
    range(text).map(|(first, _)| first)
}

/// Returns the first and the last port of `3000` or `3000-3005`.
pub(super) fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then_some((first, last))
}

/// Returns name and value of a line of an environment file; nothing for empty lines and comments.
///
/// # Errors
/// The line is no `NAME=value`.
pub(super) fn env_line(line: &str) -> Result<Option<(&str, Option<String>)>, ()> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name.trim(), Some(unquote(value.trim()))),
        None => (line, None),
    };
    let valid = !name.is_empty() && !name.contains(char::is_whitespace);
    if valid {
        Ok(Some((name, value)))
    } else {
        Err(())
    }
}

fn unquote(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inside) = value.strip_prefix(quote)
            && let Some((inside, _)) = inside.split_once(quote)
        {
            return inside.to_owned();
        }
    }
    let end = value.find(" #").unwrap_or(value.len());
    value.get(..end).unwrap_or(value).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, missing_docs)]
    use super::*;

    #[test]
    fn amounts_of_memory_are_binary() {
        assert_eq!(bytes("256M"), Some(256 << 20));
        assert_eq!(bytes("1gb"), Some(1 << 30));
        assert_eq!(bytes("0.5k"), Some(512));
        assert_eq!(bytes("1024"), Some(1024));
        for text in ["", "M", "1x", "-1", "99999999999999999999g"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn every_short_form_of_a_port_is_read() {
        let read = |text| port(text).map(|p| (p.published, p.target));
        assert_eq!(read("8080"), Some((None, 8080)));
        assert_eq!(read("80:8080"), Some((Some(80), 8080)));
        assert_eq!(read("127.0.0.1:80:8080/tcp"), Some((Some(80), 8080)));
        assert_eq!(read("127.0.0.1::8080"), Some((None, 8080)));
        assert_eq!(read("[::1]:80:8080"), Some((Some(80), 8080)));
        assert_eq!(read("3000-3005:3000-3005"), Some((Some(3000), 3000)));
        for text in ["", "x", "80:y", "70000", "80:8080/sctp", "5-3", "0"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn lines_of_environment_files_are_read() {
        assert_eq!(
            env_line("A=b # c").unwrap(),
            Some(("A", Some("b".to_owned())))
        );
        assert_eq!(
            env_line("export A=\"b # c\"").unwrap(),
            Some(("A", Some("b # c".to_owned())))
        );
        assert_eq!(env_line("A").unwrap(), Some(("A", None)));
        assert_eq!(env_line(" # x").unwrap(), None);
        assert!(env_line("no name = x").is_err());
    }
}
