//! The name and the text alternative of a drawing, within it: whoever opens the SVG with a screen reader gets the
//! words that the picture on a page has.

use crate::chart::{Chart, ChartKind};

/// Returns a drawing with the chart's title and sentence as its name and its description.
///
/// A drawing that does not begin with its root is returned as it is; none of ours does not.
pub(super) fn with_words(svg: &str, chart: &Chart) -> String {
    let (title, words) = (id(chart.kind, "title"), id(chart.kind, "desc"));
    let root = svg
        .strip_prefix("<svg ")
        .and_then(|rest| rest.split_once('>'));
    let Some((attributes, drawing)) = root else {
        return svg.to_owned();
    };
    format!(
        "<svg role=\"img\" aria-labelledby=\"{title} {words}\" {attributes}>\n<title id=\"{title}\">{}</title>\n\
         <desc id=\"{words}\">{}</desc>{drawing}",
        escaped(&chart.title),
        escaped(&chart.sentence)
    )
}

/// Returns an identifier that no other chart has, so that a page may hold several drawings.
fn id(kind: ChartKind, part: &str) -> String {
    format!("chart-{kind}-{part}")
}

/// Returns text as the content of an element; what XML allows in no form is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\n' | '\t' | '\r' => out.push(' '),
            '\u{fffe}' | '\u{ffff}' => {}
            one if one.is_control() => {}
            one => out.push(one),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use resvg::usvg::roxmltree::Document;

    use super::*;

    #[test]
    fn what_stands_in_a_title_or_a_sentence_is_no_markup() {
        let sentence = "</desc><script>alert(1)</script> a & b\u{0}\u{ffff}\nnext";
        let chart = Chart::absent(ChartKind::Gates, "1 < 2", sentence);
        let drawn =
            "<svg width=\"8\" height=\"8\" xmlns=\"http://www.w3.org/2000/svg\">\n<rect/>\n</svg>";
        let named = with_words(drawn, &chart);
        let document = Document::parse(&named).unwrap();
        assert_eq!(document.root_element().attribute("role"), Some("img"));
        assert!(
            !document
                .descendants()
                .any(|node| node.tag_name().name() == "script")
        );
        let by_name = |wanted: &str| {
            let mut nodes = document.descendants();
            let found = nodes.find(|node| node.tag_name().name() == wanted);
            found.and_then(|node| node.text()).map(str::to_owned)
        };
        assert_eq!(by_name("title").as_deref(), Some("1 < 2"));
        let said = "</desc><script>alert(1)</script> a & b next";
        assert_eq!(by_name("desc").as_deref(), Some(said));
    }

    #[test]
    fn what_is_no_drawing_stays_as_it_is() {
        let chart = Chart::absent(ChartKind::Gates, "title", "sentence");
        assert_eq!(with_words("", &chart), "");
    }
}
