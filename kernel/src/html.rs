//! Text as HTML, without colours of its own: it takes those of the page around it, light or dark.

/// Returns text as it stands in an element or an attribute.
pub fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

/// Returns a sentence in which what stands between backticks is code.
pub fn sentence(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    // A backtick without its fellow is a letter like others.
    let last = parts.len().saturating_sub(1);
    let mut html = String::new();
    for (index, part) in parts.iter().enumerate() {
        let part = escape(part).replace('\n', "<br>");
        if index % 2 == 0 {
            html.push_str(&part);
        } else if index == last {
            html.push('`');
            html.push_str(&part);
        } else {
            html.push_str(&format!("<code>{part}</code>"));
        }
    }
    html
}

/// Returns a table with a row of headings.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let row = |cells: &[String], tag: &str| -> String {
        let cells: String = cells
            .iter()
            .map(|cell| format!("<{tag} style=\"text-align: left\">{cell}</{tag}>"))
            .collect();
        format!("<tr>{cells}</tr>")
    };
    let headings: Vec<String> = headings.iter().map(|text| escape(text)).collect();
    let rows: String = rows
        .iter()
        .map(|cells| {
            let cells: Vec<String> = cells.iter().map(|text| escape(text)).collect();
            row(&cells, "td")
        })
        .collect();
    format!(
        "<table><thead>{}</thead><tbody>{rows}</tbody></table>",
        row(&headings, "th")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_backticks_is_code_and_nothing_is_markup() {
        assert_eq!(
            sentence("Give `%plan <b>` again & wait"),
            "Give <code>%plan &lt;b&gt;</code> again &amp; wait"
        );
        assert_eq!(sentence("one ` alone"), "one ` alone");
        assert_eq!(sentence("`a` and ` b"), "<code>a</code> and ` b");
    }

    #[test]
    fn cells_of_a_table_are_text() {
        let html = table(&["A"], &[vec!["<i>".to_owned()]]);
        assert!(html.contains(">&lt;i&gt;</td>"), "{html}");
    }
}
