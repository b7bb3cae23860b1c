//! `{NAME}` in texts of a deployment file.

/// Returns the placeholders of a text, without their braces. Braces that hold anything but a name
/// (JSON, for one) are no placeholders.
pub(crate) fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|part| {
        let (inside, _) = part.split_once('}')?;
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-' | '.');
        (!inside.is_empty() && inside.chars().all(name) && !inside.contains("::")).then_some(inside)
    })
}
