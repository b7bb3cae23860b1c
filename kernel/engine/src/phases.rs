//! The steps of the phases, section by section.

pub mod handover;
pub mod observe;
pub mod validate;

/// Fills a template: each `{{ name }}` becomes its value.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{ ") {
        filled.push_str(before);
        let (name, after) = after.split_once(" }}").unwrap_or((after, ""));
        let value = values.iter().find(|(known, _)| *known == name);
        filled.push_str(value.map_or("not known", |(_, value)| value));
        rest = after;
    }
    filled + rest
}
