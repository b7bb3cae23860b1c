//! Names that somebody else gave, as a terminal may show them.

/// Returns a text with each character that steers a terminal, or the direction of what is read, written out.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

fn steers(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    turns || character.is_control()
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
}
