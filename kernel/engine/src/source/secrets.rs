//! What looks like a secret in a line of text. Better one missed than many found that are none:
//! only forms that hardly stand for anything else.

/// Returns the kind of secret that a line seems to hold.
pub(super) fn find(line: &str) -> Option<&'static str> {
    if line.len() > 4096 {
        return None;
    }
    if line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    let forms: [(&str, usize, &'static str); 7] = [
        ("AKIA", 16, "an access key of AWS"),
        ("ghp_", 36, "a token of GitHub"),
        ("github_pat_", 40, "a token of GitHub"),
        ("glpat-", 20, "a token of GitLab"),
        ("xoxb-", 20, "a token of Slack"),
        ("sk_live_", 20, "a key of Stripe"),
        ("AIza", 35, "a key of Google"),
    ];
    let form = forms
        .iter()
        .find(|(start, length, _)| holds(line, start, *length));
    form.map(|(_, _, kind)| *kind).or_else(|| assigned(line))
}

fn holds(line: &str, start: &str, length: usize) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let rest = line.get(at + start.len()..).unwrap_or_default();
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let alone = line
            .get(..at)
            .and_then(|text| text.chars().next_back())
            .is_none_or(|c| !c.is_ascii_alphanumeric());
        alone && rest.chars().take_while(plain).count() >= length
    })
}

/// Finds a literal value given to something called a password or the like, and a password in a
/// URL.
fn assigned(line: &str) -> Option<&'static str> {
    if in_url(line) {
        return Some("a password in a URL");
    }
    let lower = line.to_lowercase();
    for name in [
        "password",
        "passwd",
        "secret_key",
        "api_key",
        "apikey",
        "access_token",
        "auth_token",
    ] {
        for (at, _) in lower.match_indices(name) {
            let rest = lower.get(at + name.len()..).unwrap_or_default();
            let rest = rest.trim_start_matches(['"', '\'']).trim_start();
            let Some(value) = rest.strip_prefix('=').or_else(|| rest.strip_prefix(':')) else {
                continue;
            };
            let value = value.trim_start();
            let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
                continue;
            };
            let value = value
                .get(1..)
                .unwrap_or_default()
                .split(quote)
                .next()
                .unwrap_or_default();
            if is_literal(value) {
                return Some("a literal password or key");
            }
        }
    }
    None
}

fn is_literal(value: &str) -> bool {
    let refers = value.contains(['$', '{', '<', '%', ' ', '/', '*'])
        || value.starts_with("env:")
        || value.starts_with("file:");
    let example = [
        "example",
        "changeme",
        "placeholder",
        "xxxx",
        "your",
        "test",
        "dummy",
        "redacted",
    ];
    value.len() >= 8 && !refers && !example.iter().any(|word| value.contains(word))
}

fn in_url(line: &str) -> bool {
    line.match_indices("://").any(|(at, _)| {
        let rest = line.get(at + 3..).unwrap_or_default();
        let authority = rest
            .split(['/', '"', '\'', ' ', '`', ')', '>'])
            .next()
            .unwrap_or_default();
        let Some((user, _)) = authority.rsplit_once('@') else {
            return false;
        };
        let Some((name, password)) = user.split_once(':') else {
            return false;
        };
        !name.is_empty() && is_literal(&password.to_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_references_are_not() {
        let key = format!("aws = {}{}", "AKIA", "ABCDEFGHIJKLMNOP");
        assert!(find(&key).is_some());
        assert!(find(&format!("pass{} = \"{}\"", "word", "hunter2hunter2")).is_some());
        assert!(find(&format!("postgres://app:{}@db/shop", "s3cr3tvalue")).is_some());
        for line in [
            "password: ${DB_PASSWORD}",
            "password = os.environ[\"DB_PASSWORD\"]",
            "url: {from: env:DATABASE_URL}",
            "let password = \"env:DB_PASSWORD\";",
            "postgres://app:$PASSWORD@db/shop",
            "// the api_key: \"changeme-please\"",
        ] {
            assert_eq!(find(line), None, "{line}");
        }
    }
}
