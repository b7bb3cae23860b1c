//! Names and values that look as if they held something secret.

/// What a name ends with whose value is secret.
const SECRET_WORDS: &[&str] = &[
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PASS",
    "PWD",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "CREDENTIAL",
    "CREDENTIALS",
    "APIKEY",
    "KEY",
];

/// Names that end like a secret and are none.
const HARMLESS: &[&str] = &[
    "PUBLIC_KEY",
    "PWD",
    "PRIMARY_KEY",
    "PARTITION_KEY",
    "SORT_KEY",
];

/// Returns whether a variable's name says that its value is secret. Names of files that hold
/// a secret (`..._FILE`, `..._PATH`) are not.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let upper = name.to_uppercase().replace(['-', '.'], "_");
    if HARMLESS.iter().any(|harmless| upper.ends_with(harmless)) {
        return upper.ends_with("_PWD");
    }
    let last = upper.rsplit('_').next().unwrap_or_default();
    SECRET_WORDS.contains(&last) || last.ends_with("PASSWORD") || last.ends_with("TOKEN")
}

/// Returns whether a value is a URL with a password in it.
pub(crate) fn has_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
        .is_some_and(|(_, password)| !password.is_empty())
}

/// Returns whether a variable gives away a secret, by its name or its value: an empty value, a file's path under
/// `/run/secrets` and the words of switches do not.
#[must_use]
pub fn gives_away(name: &str, value: &str) -> bool {
    let harmless = value.is_empty()
        || value.starts_with("/run/secrets/")
        || matches!(value, "true" | "false" | "yes" | "no" | "none");
    has_password(value) || (is_secret_name(name) && !harmless)
}

#[cfg(test)]
mod tests {
    #![allow(missing_docs)]
    use super::*;

    #[test]
    fn names_and_urls_that_hold_secrets_are_known() {
        for name in [
            "DB_PASSWORD",
            "api-key",
            "GITHUB_TOKEN",
            "Client.Secret",
            "PGPASSWORD",
            "KEY",
        ] {
            assert!(gives_away(name, "hunter2"), "{name}");
        }
        for name in [
            "PUBLIC_KEY",
            "DB_PASSWORD_FILE",
            "KEYBOARD",
            "PORT",
            "PWD",
            "MONKEY_NAME",
        ] {
            assert!(!gives_away(name, "hunter2"), "{name}");
        }
        assert!(!gives_away("DB_PASSWORD", ""));
        assert!(!gives_away("DB_PASSWORD", "/run/secrets/db"));
        assert!(gives_away("URL", "postgres://u:p@db/x"));
        assert!(!gives_away("URL", "postgres://u@db/x"));
        assert!(!gives_away("URL", "http://db:5432/x@y"));
    }
}
