//! `${NAME}` in a Compose file, as the Compose specification says.

/// The result of replacing the variables of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interpolated {
    pub(super) text: String,
    /// Variables that have neither a value nor a default: Compose takes them as empty.
    pub(super) unset: Vec<String>,
}

/// What is wrong with a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// `${NAME:?message}` without a value.
    Required { name: String, message: String },
    /// Not the form of a variable.
    Form { text: String },
}

/// The depth to which defaults may hold variables themselves.
const MAX_DEPTH: usize = 8;

/// Replaces `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?message}`,
/// `${NAME?message}`, `${NAME:+other}`, `${NAME+other}` and `$$`.
pub(super) fn interpolate(
    text: &str,
    vars: &dyn Fn(&str) -> Option<String>,
) -> Result<Interpolated, Fault> {
    let mut unset = Vec::new();
    let text = replace(text, vars, &mut unset, 0)?;
    Ok(Interpolated { text, unset })
}

/// Returns the variable when the text is one variable without a default and nothing else.
pub(super) fn sole_variable(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix('$')?;
    let name = match inside.strip_prefix('{') {
        Some(braced) => {
            let body = braced.strip_suffix('}')?;
            let end = name_end(body);
            let rest = body.get(end..)?;
            let plain = rest.is_empty() || rest.starts_with(":?") || rest.starts_with('?');
            body.get(..end).filter(|_| plain)?
        }
        None => inside,
    };
    (!name.is_empty() && name_end(name) == name.len()).then_some(name)
}

fn name_end(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len())
}

fn replace(
    text: &str,
    vars: &dyn Fn(&str) -> Option<String>,
    unset: &mut Vec<String>,
    depth: usize,
) -> Result<String, Fault> {
    let form = |text: &str| Fault::Form {
        text: text.chars().take(80).collect(),
    };
    if depth > MAX_DEPTH {
        return Err(form(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(body) = after.strip_prefix('{') {
            let end = closing(body).ok_or_else(|| form(&format!("${after}")))?;
            let (body, tail) = body.split_at(end);
            out.push_str(&braced(body, vars, unset, depth)?);
            rest = tail.get(1..).unwrap_or_default();
        } else {
            let (name, tail) = after.split_at(name_end(after));
            if name.is_empty() {
                return Err(form(&format!("${after}")));
            }
            out.push_str(&value(name, vars, unset));
            rest = tail;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Returns where the brace closes that was opened before the text.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut previous = ' ';
    for (index, c) in text.char_indices() {
        match c {
            '{' if previous == '$' => open += 1,
            '}' if open == 0 => return Some(index),
            '}' => open -= 1,
            _ => {}
        }
        previous = c;
    }
    None
}

fn value(name: &str, vars: &dyn Fn(&str) -> Option<String>, unset: &mut Vec<String>) -> String {
    vars(name).unwrap_or_else(|| {
        unset.push(name.to_owned());
        String::new()
    })
}

fn braced(
    body: &str,
    vars: &dyn Fn(&str) -> Option<String>,
    unset: &mut Vec<String>,
    depth: usize,
) -> Result<String, Fault> {
    let (name, rest) = body.split_at(name_end(body));
    let form = || Fault::Form {
        text: format!("${{{}}}", body.chars().take(80).collect::<String>()),
    };
    if name.is_empty() {
        return Err(form());
    }
    let (empty_counts, rest) = match rest.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let mut chars = rest.chars();
    let Some(operator) = chars.next() else {
        return if empty_counts {
            Err(form())
        } else {
            Ok(value(name, vars, unset))
        };
    };
    let argument = chars.as_str();
    let set = vars(name).filter(|value| !(empty_counts && value.is_empty()));
    match (operator, set) {
        ('-' | '?', Some(value)) => Ok(value),
        ('-', None) | ('+', Some(_)) => replace(argument, vars, unset, depth + 1),
        ('+', None) => Ok(String::new()),
        ('?', None) => Err(Fault::Required {
            name: name.to_owned(),
            message: argument.to_owned(),
        }),
        _ => Err(form()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, missing_docs)]
    use super::*;

    fn vars(name: &str) -> Option<String> {
        match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_as_the_compose_specification_says() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$SET-x ${SET}y", "value-x valuey"),
            ("${SET:-d} ${SET-d}", "value value"),
            ("${NONE:-d} ${NONE-d} ${NONE:-}", "d d "),
            ("${EMPTY:-d}|${EMPTY-d}", "d|"),
            ("${SET:+r}|${NONE:+r}|${EMPTY:+r}|${EMPTY+r}", "r|||r"),
            ("$$SET $${SET}", "$SET ${SET}"),
            ("${NONE:-${SET}}", "value"),
            ("${NONE:-a${NONE-b}c}}", "abc}"),
            ("${NONE:-http://h:1/{x}", "http://h:1/{x"),
            ("${SET:?needed}", "value"),
        ] {
            assert_eq!(interpolate(text, &vars).unwrap().text, expected, "{text}");
        }
        assert_eq!(interpolate("a$NONE", &vars).unwrap().unset, ["NONE"]);
    }

    #[test]
    fn what_is_no_variable_or_must_be_set_is_an_error() {
        for text in [
            "${", "${}", "$", "$ x", "${SET:}", "${1X}", "${SET!x}", "${SET",
        ] {
            assert!(
                matches!(interpolate(text, &vars), Err(Fault::Form { .. })),
                "{text}"
            );
        }
        let required = Fault::Required {
            name: "EMPTY".to_owned(),
            message: "set it".to_owned(),
        };
        assert_eq!(interpolate("${EMPTY:?set it}", &vars), Err(required));
        assert_eq!(interpolate("${EMPTY?x}", &vars).unwrap().text, "");
    }

    #[test]
    fn a_sole_variable_is_told_from_a_value() {
        for text in ["$DB", "${DB}", "${DB:?no}", "${DB?no}"] {
            assert_eq!(sole_variable(text), Some("DB"), "{text}");
        }
        for text in ["x$DB", "${DB:-secret}", "$DB$X", "DB", "${DB}x", "$"] {
            assert_eq!(sole_variable(text), None, "{text}");
        }
    }
}
