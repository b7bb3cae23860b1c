//! What is secret by its form, whoever made it: keys, tokens and passwords that nobody told of.
//!
//! Only forms that hardly stand for anything else: a text that is no secret is not to lose a word.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// How tokens begin, how many characters follow at least, and what they are.
const TOKENS: [(&str, usize, &str); 12] = [
    ("AKIA", 16, "access key of AWS"),
    ("ASIA", 16, "access key of AWS"),
    ("ghp_", 36, "token of GitHub"),
    ("gho_", 36, "token of GitHub"),
    ("ghs_", 36, "token of GitHub"),
    ("github_pat_", 40, "token of GitHub"),
    ("glpat-", 20, "token of GitLab"),
    ("xoxb-", 20, "token of Slack"),
    ("xoxp-", 20, "token of Slack"),
    ("sk_live_", 20, "key of Stripe"),
    ("AIza", 35, "key of Google"),
    ("npm_", 36, "token of npm"),
];

/// What stands before a value that is secret, in lower case.
const NAMES: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "secret_key",
    "api_key",
    "apikey",
    "api-key",
    "access_token",
    "auth_token",
    "token",
    "client_secret",
];

/// What looks for secrets of one form.
type Scan = fn(&str, &mut Found);

/// The words without one of which a scan, which follows them, finds nothing.
static SCANS: [(&[&str], Scan); 6] = [
    (&["-----BEGIN "], blocks),
    (&TOKEN_STARTS, tokens),
    (&["eyJ"], web_tokens),
    (&SCHEMES, authorizations),
    (&["://"], urls),
    (&NAMES, assigned),
];

/// What stands before the credentials of a header, in lower case.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];

const TOKEN_STARTS: [&str; TOKENS.len()] = {
    let mut starts = [""; TOKENS.len()];
    let mut at = 0;
    while at < TOKENS.len() {
        starts[at] = TOKENS[at].0;
        at += 1;
    }
    starts
};

/// Looks for the words of all scans in one pass, and knows whose each is; nothing where the words
/// were too many for it, which a test rules out.
static WORDS: LazyLock<Option<(AhoCorasick, Vec<usize>)>> = LazyLock::new(|| {
    let (mut words, mut scan_of) = (Vec::new(), Vec::new());
    for (scan, (of_scan, _)) in SCANS.iter().enumerate() {
        words.extend_from_slice(of_scan);
        scan_of.extend(of_scan.iter().map(|_| scan));
    }
    let mut builder = AhoCorasick::builder();
    let words = builder.ascii_case_insensitive(true).build(words).ok()?;
    Some((words, scan_of))
});

fn scan(text: &str) -> Found {
    let mut found = Vec::new();
    let Some((words, scan_of)) = &*WORDS else {
        SCANS.iter().for_each(|(_, scan)| scan(text, &mut found));
        return found;
    };
    let mut wanted = [false; SCANS.len()];
    for word in words.find_overlapping_iter(text) {
        if let Some(scan) = scan_of.get(word.pattern().as_usize())
            && let Some(wanted) = wanted.get_mut(*scan)
        {
            *wanted = true;
        }
    }
    let scans = SCANS.iter().zip(wanted).filter(|(_, wanted)| *wanted);
    scans.for_each(|((_, scan), _)| scan(text, &mut found));
    found
}

/// Replaces what is secret by its form with what it is; nothing where there is none.
pub(super) fn clean(text: &str) -> Option<String> {
    let mut found = scan(text);
    if found.is_empty() {
        return None;
    }
    found.sort_by_key(|(span, _)| (span.start, std::cmp::Reverse(span.end)));
    let (mut cleaned, mut end) = (String::with_capacity(text.len()), 0);
    for (span, kind) in found {
        if span.start < end {
            continue;
        }
        cleaned.push_str(text.get(end..span.start).unwrap_or_default());
        cleaned.push_str(&format!("[secret: {kind}]"));
        end = span.end;
    }
    cleaned.push_str(text.get(end..).unwrap_or_default());
    Some(cleaned)
}

type Found = Vec<(Range<usize>, &'static str)>;

fn blocks(text: &str, found: &mut Found) {
    for (at, _) in text.match_indices("-----BEGIN ") {
        let rest = text.get(at..).unwrap_or_default();
        let head = rest.get(..80.min(rest.len())).unwrap_or(rest);
        if !head.contains("PRIVATE KEY") {
            continue;
        }
        let ends = rest.match_indices("PRIVATE KEY-----").nth(1);
        // A block without its end runs on to the end of the text.
        let length = ends.map_or(rest.len(), |(end, word)| end + word.len());
        found.push((at..at + length, "private key"));
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

fn run_of(text: &str, from: usize, is_part: impl Fn(char) -> bool) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    let end = rest.find(|c| !is_part(c));
    from + end.unwrap_or(rest.len())
}

fn is_alone(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    // Inside JSON, a line or a column begins behind `\n`, `\r` or `\t`.
    let begins = ["\\n", "\\r", "\\t"]
        .iter()
        .any(|escape| before.ends_with(escape));
    let last = before.chars().next_back();
    begins || last.is_none_or(|c| !c.is_ascii_alphanumeric())
}

fn tokens(text: &str, found: &mut Found) {
    for (start, length, kind) in TOKENS {
        for (at, _) in text
            .match_indices(start)
            .filter(|(at, _)| is_alone(text, *at))
        {
            let end = run_of(text, at + start.len(), is_plain);
            if end - at - start.len() >= length {
                found.push((at..end, kind));
            }
        }
    }
}

/// JSON web tokens: three parts in base64url, the first two of which begin as JSON does.
fn web_tokens(text: &str, found: &mut Found) {
    for (at, _) in text
        .match_indices("eyJ")
        .filter(|(at, _)| is_alone(text, *at))
    {
        let end = run_of(text, at, |c| is_plain(c) || c == '.');
        let token = text.get(at..end).unwrap_or_default();
        let parts: Vec<&str> = token.split('.').collect();
        if let [head, body, signature] = parts[..]
            && head.len() >= 10
            && body.starts_with("eyJ")
            && signature.len() >= 10
        {
            found.push((at..end, "JSON web token"));
        }
    }
}

fn is_value(c: char) -> bool {
    !c.is_whitespace()
        && !matches!(
            c,
            '"' | '\'' | '`' | '\\' | ',' | ';' | '<' | '>' | '{' | '}' | '&'
        )
}

fn authorizations(text: &str, found: &mut Found) {
    let lower = text.to_ascii_lowercase();
    for scheme in SCHEMES {
        for (at, word) in lower
            .match_indices(scheme)
            .filter(|(at, _)| is_alone(text, *at))
        {
            let before = lower.get(at.saturating_sub(24)..at).unwrap_or_default();
            let from = at + word.len();
            let end = run_of(text, from, is_value);
            let value = text.get(from..end).unwrap_or_default();
            if before.contains("authorization") && value.len() >= 6 && is_literal(value) {
                found.push((from..end, "credentials of a header"));
            }
        }
    }
}

fn urls(text: &str, found: &mut Found) {
    for (at, _) in text.match_indices("://") {
        let from = at + 3;
        let end = run_of(text, from, |c| {
            is_value(c) && !matches!(c, '/' | '?' | '#' | ')')
        });
        let authority = text.get(from..end).unwrap_or_default();
        let Some((user, _)) = authority.rsplit_once('@') else {
            continue;
        };
        let Some((name, password)) = user.split_once(':') else {
            continue;
        };
        if is_literal(password) {
            let start = from + name.len() + 1;
            found.push((start..start + password.len(), "password in a URL"));
        }
    }
}

/// `password=VALUE`, `"api_key": "VALUE"`, also inside JSON that stands as text in JSON, and
/// `api_key: VALUE` where the value looks as if it were made by chance.
fn assigned(text: &str, found: &mut Found) {
    let lower = text.to_ascii_lowercase();
    for name in NAMES {
        for (at, _) in lower.match_indices(name) {
            let mut from = at + name.len();
            let rest = |from: usize| text.get(from..).unwrap_or_default();
            let quoted = rest(from).starts_with(['"', '\\', '\'']);
            from = run_of(text, from, |c| matches!(c, '"' | '\\' | '\''));
            let sign = rest(from).chars().next();
            if !matches!(sign, Some('=' | ':')) {
                continue;
            }
            let is_set = quoted || sign == Some('=');
            from = run_of(text, from + 1, |c| matches!(c, ' ' | '"' | '\\' | '\''));
            let end = run_of(text, from, is_value);
            let value = text.get(from..end).unwrap_or_default();
            let is_secret = value.len() >= 6 && (is_set || is_by_chance(value));
            if is_literal(value) && is_secret {
                found.push((from..end, "value of that name"));
            }
        }
    }
}

/// Letters and digits mixed, and too long for a word of a sentence.
fn is_by_chance(value: &str) -> bool {
    let digits = value.chars().filter(char::is_ascii_digit).count();
    value.len() >= 16 && value.chars().all(is_plain) && digits >= 2 && value.len() - digits >= 8
}

/// A reference, a placeholder or a word of a schema is no secret.
fn is_literal(value: &str) -> bool {
    let refers = value.contains(['$', '%', '*', '(', '['])
        || value.starts_with("env:")
        || value.starts_with("file:")
        || value.starts_with('/');
    !value.is_empty() && !refers && !matches!(value, "string" | "object" | "boolean" | "number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_all_scans_are_looked_for_in_one_pass() {
        let words = WORDS.as_ref().map(|(_, scan_of)| scan_of.len());
        assert_eq!(
            words,
            Some(SCANS.iter().map(|(words, _)| words.len()).sum())
        );
    }

    #[test]
    fn forms_are_cleaned_and_the_rest_stays() {
        let ghp = format!("ghp_{}", "a1B2".repeat(10));
        let web = format!(
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.{}",
            "s".repeat(20)
        );
        let block = "-----BEGIN EC PRIVATE KEY-----\nAAAA\nBBBB\n-----END EC PRIVATE KEY-----";
        let hidden = [
            ghp.as_str(),
            web.as_str(),
            "AAAA\nBBBB",
            "hunter22xyz",
            "dXNlcjpwYXNz",
            "kwcX3uCEwSVTwE66LWp3",
            "jh2NR5KzVNSZ3JQgkkAM",
            "s3cr3tvalue",
            "topsecret99",
        ];
        let text = format!(
            "got {ghp} and {web};\n{block}\npassword=hunter22xyz Authorization: Basic dXNlcjpwYXNz \
             postgres://app:s3cr3tvalue@db/shop {{\"api_key\": \"topsecret99\"}} api_key: kwcX3uCEwSVTwE66LWp3 \\nglpat-jh2NR5KzVNSZ3JQgkkAM \
             end"
        );
        let cleaned = clean(&text).unwrap_or_default();
        for secret in hidden {
            assert!(!cleaned.contains(secret), "{secret} in {cleaned}");
        }
        for word in ["got ", "postgres://app:", "@db/shop", " end"] {
            assert!(cleaned.contains(word), "{word} not in {cleaned}");
        }
        assert_eq!(clean(&cleaned), None, "{cleaned}");
    }

    #[test]
    fn what_only_speaks_of_secrets_stays() {
        for text in [
            "password: ${DB_PASSWORD}",
            "{\"secrets\":{\"DB_PASSWORD\":\"env:DB_PASSWORD\"}}",
            "DB_PASSWORD_FILE=/run/secrets/db",
            "a password in a URL, a token of GitHub",
            "Bearer of bad news",
            "{\"token\":{\"type\":\"string\"},\"password\":\"$PASSWORD\"}",
            "http://localhost:8080/a@b",
            "the key is -----BEGIN PUBLIC KEY-----",
            "token: the one of the run before, see 06_Application_Deployment",
        ] {
            assert_eq!(clean(text), None, "{text}");
        }
    }
}
