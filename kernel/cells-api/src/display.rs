use std::io::Write;

/// The kernel reads these lines where a cell writes them.
const BEGIN: &str = "EVCXR_BEGIN_DISPLAY";
const END: &str = "EVCXR_END_CONTENT";
const CLEAR: &str = "EVCXR_CLEAR_OUTPUT";
const CLEAR_LATER: &str = "EVCXR_CLEAR_OUTPUT_LATER";

/// Shows a content while the cell runs: text of that MIME type, or base64 of a binary one such as `image/png`.
pub fn display(mime: &str, data: &str) {
    write(&shown("show", mime, "", data));
}

/// Shows a content under an id of the cell's choice, so that [`update_display`] can replace it.
pub fn display_as(id: &str, mime: &str, data: &str) {
    write(&shown("show", mime, id, data));
}

/// Replaces what was shown under an id, wherever in the notebook that was.
pub fn update_display(id: &str, mime: &str, data: &str) {
    write(&shown("update", mime, id, data));
}

/// Clears what the cell has shown; with `wait`, when the next output comes, so that nothing flickers.
pub fn clear_output(wait: bool) {
    let line = if wait { CLEAR_LATER } else { CLEAR };
    write(&format!("{line}\n"));
}

fn shown(how: &str, mime: &str, id: &str, data: &str) -> String {
    let mime: String = mime.split_whitespace().collect();
    let id = crate::input::escaped(id);
    format!("{BEGIN} {how} {mime} {id}\n{data}\n{END}\n")
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    // Where nobody reads there is nobody to tell.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_is_a_line_with_its_id_and_the_content_below() {
        let text = shown("update", "text/ html", "a b\nc", "<b>1</b>");
        let wanted = "EVCXR_BEGIN_DISPLAY update text/html a b\\nc\n<b>1</b>\nEVCXR_END_CONTENT\n";
        assert_eq!(text, wanted);
    }
}
