//! Names that somebody else gave, as a terminal may show them.

/// Returns a text with each character that steers a terminal, or the direction of what is read, or that nobody sees,
/// written out.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// What ends a line does so for some readers only; with what nobody sees, two names look like one.
fn is_hidden(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let ends_line = matches!(character, '\u{2028}' | '\u{2029}');
    turns || ends_line || is_invisible(character) || character.is_control()
}

/// Those that Unicode has readers show as nothing (`Default_Ignorable_Code_Point`), and marks of annotations.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}'
            | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        let hostile = "a\u{1b}[2Jb\nc\u{9b}\u{202e}\u{2066}ü";
        let written = "a\\u{1b}[2Jb\\nc\\u{9b}\\u{202e}\\u{2066}ü";
        assert_eq!(plain(hostile), written);
    }

    #[test]
    fn what_nobody_sees_and_what_ends_a_line_is_written_out() {
        let hidden = [
            '\u{61c}',
            '\u{ad}',
            '\u{200b}',
            '\u{200d}',
            '\u{2028}',
            '\u{2029}',
            '\u{2060}',
            '\u{feff}',
            '\u{fe0f}',
            '\u{3164}',
            '\u{e0041}',
        ];
        for character in hidden {
            let written = format!("a\\u{{{:x}}}b", u32::from(character));
            assert_eq!(plain(&format!("a{character}b")), written);
        }
        let names = "Björn Œuvre 東京 \u{301}a नमस्ते";
        assert_eq!(plain(names), names);
    }
}
