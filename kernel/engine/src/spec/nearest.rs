//! The known name that was probably meant.

/// Returns the known name nearest to a misspelt one, if any is near enough.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| {
            let lower = (name.to_lowercase(), candidate.to_lowercase());
            (strsim::jaro_winkler(&lower.0, &lower.1), candidate)
        })
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Returns names as a sentence lists them: `a`, `b` or `c`.
pub(crate) fn or_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match (names.pop(), names.is_empty()) {
        (None, _) => "none".to_owned(),
        (Some(last), true) => last,
        (Some(last), false) => format!("{} or {last}", names.join(", ")),
    }
}

/// Returns a help text for a name that does not exist: the nearest one, and all there are.
pub(crate) fn did_you_mean<'a>(
    name: &str,
    what: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> String {
    let near = nearest(name, known.clone());
    let list = or_list(known);
    match near {
        Some(near) => format!("Did you mean `{near}`? The {what} are {list}."),
        None => format!("The {what} are {list}."),
    }
}
