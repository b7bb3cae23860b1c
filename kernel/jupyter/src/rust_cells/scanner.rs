//! Tells what a cell writes from what evcxr's generated code says on the same pipe.

/// Every line of evcxr's begins so.
const MARK: &[u8] = b"EVCXR_";
/// Where the rarest letter of [`MARK`] stands in it.
const RARE: usize = 3;
/// No line of evcxr's is longer; a longer one is text.
const LINE_LIMIT: usize = 64 * 1024;

const DONE: &str = "EVCXR_EXECUTION_COMPLETE";
const PANIC: &str = "EVCXR_PANIC_NOTIFICATION";
const GAVE_UP: &str = "EVCXR_ERROR_OCCURRED";
const CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";
const BEGIN: &str = "EVCXR_BEGIN_CONTENT ";
/// What follows is ours, beside evcxr's: contents that are shown while the cell runs.
const BEGIN_DISPLAY: &str = "EVCXR_BEGIN_DISPLAY ";
const CLEAR: &str = "EVCXR_CLEAR_OUTPUT";
const CLEAR_LATER: &str = "EVCXR_CLEAR_OUTPUT_LATER";
pub(super) const END: &str = "EVCXR_END_CONTENT";
pub(super) const ASK: &str = "EVCXR_INPUT_REQUEST:";
const ASK_PASSWORD: &str = "EVCXR_INPUT_REQUEST_PASSWORD:";

/// A line of evcxr's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Done,
    Panicked,
    GaveUp,
    ChangedType,
    Begin,
    /// A display begins: whether it replaces an earlier one, its MIME type, its id.
    BeginDisplay {
        update: bool,
        mime: String,
        id: String,
    },
    End,
    Clear {
        wait: bool,
    },
    Ask {
        prompt: String,
        password: bool,
    },
}

impl Said {
    fn read(line: &str) -> Option<Self> {
        let ask = |prompt: &str, password| {
            let prompt = prompt.to_owned();
            Self::Ask { prompt, password }
        };
        match line {
            DONE => Some(Self::Done),
            PANIC => Some(Self::Panicked),
            GAVE_UP => Some(Self::GaveUp),
            END => Some(Self::End),
            CLEAR => Some(Self::Clear { wait: false }),
            CLEAR_LATER => Some(Self::Clear { wait: true }),
            _ if line.starts_with(CHANGED_TYPE) => Some(Self::ChangedType),
            _ if line.starts_with(BEGIN) => Some(Self::Begin),
            _ if line.starts_with(BEGIN_DISPLAY) => Self::display(&line[BEGIN_DISPLAY.len()..]),
            _ => line
                .strip_prefix(ASK)
                .map(|prompt| ask(prompt, false))
                .or_else(|| Some(ask(line.strip_prefix(ASK_PASSWORD)?, true))),
        }
    }
}

impl Said {
    fn display(words: &str) -> Option<Self> {
        let mut words = words.splitn(3, ' ');
        let (how, mime, id) = (
            words.next()?,
            words.next()?,
            words.next().unwrap_or_default(),
        );
        let update = match how {
            "show" => false,
            "update" => true,
            _ => return None,
        };
        Some(Self::BeginDisplay {
            update,
            mime: mime.to_owned(),
            id: id.to_owned(),
        })
    }
}

/// A part of what came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a [u8]),
    /// A whole line of evcxr's, without its end.
    Line(Said, &'a str),
}

/// Parts what comes, wherever it was cut on its way. A line of evcxr's may follow text that has no line end.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// What may be a line of evcxr's and is not whole yet: begins as [`MARK`] does.
    held: Vec<u8>,
}

impl Scanner {
    pub(super) fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(Piece<'_>)) {
        let mut rest = bytes;
        loop {
            if self.held.is_empty() {
                let begin = begin_of_mark(rest);
                let (text, held) = rest.split_at(begin);
                if !text.is_empty() {
                    each(Piece::Text(text));
                }
                if held.is_empty() {
                    return;
                }
                rest = held;
            }
            let end = rest.iter().position(|byte| *byte == b'\n');
            let wanted = end.map_or(rest.len(), |end| end + 1);
            let room = LINE_LIMIT.saturating_sub(self.held.len());
            let (taken, after) = rest.split_at(wanted.min(room));
            self.held.extend_from_slice(taken);
            rest = after;
            if !self.settle(each) {
                return;
            }
        }
    }

    /// What is held at the end is text after all.
    pub(super) fn finish(&mut self, each: &mut impl FnMut(Piece<'_>)) {
        if !self.held.is_empty() {
            each(Piece::Text(&std::mem::take(&mut self.held)));
        }
    }

    /// Deals with what is held; returns false where more of it has to come.
    fn settle(&mut self, each: &mut impl FnMut(Piece<'_>)) -> bool {
        let common = self.held.len().min(MARK.len());
        if self.held[..common] != MARK[..common] {
            let held = std::mem::take(&mut self.held);
            each(Piece::Text(&held[..1]));
            self.feed(&held[1..], each);
            return true;
        }
        let whole = self.held.last() == Some(&b'\n');
        if !whole && self.held.len() < LINE_LIMIT {
            return false;
        }
        let held = std::mem::take(&mut self.held);
        let line = held.strip_suffix(b"\n").unwrap_or(&held);
        let line = std::str::from_utf8(line).ok().filter(|_| whole);
        match line.and_then(|line| Some((Said::read(line)?, line))) {
            Some((said, line)) => each(Piece::Line(said, line)),
            None => each(Piece::Text(&held)),
        }
        true
    }
}

/// Returns where [`MARK`], or the beginning of it at the end, begins; the length where it does not.
fn begin_of_mark(bytes: &[u8]) -> usize {
    let mut from = 0;
    while let Some(rare) = bytes[from..].iter().position(|byte| *byte == MARK[RARE]) {
        let rare = from + rare;
        from = rare + 1;
        let Some(begin) = rare.checked_sub(RARE) else {
            continue;
        };
        let there = &bytes[begin..bytes.len().min(begin + MARK.len())];
        if MARK.starts_with(there) {
            return begin;
        }
    }
    let ends = |length: &usize| bytes.ends_with(&MARK[..*length]);
    bytes.len() - (1..=RARE).rev().find(ends).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn parted(chunks: &[&str]) -> (String, Vec<Said>) {
        let (mut text, mut said) = (Vec::new(), Vec::new());
        let mut scanner = Scanner::default();
        let mut each = |piece: Piece<'_>| match piece {
            Piece::Text(bytes) => text.extend_from_slice(bytes),
            Piece::Line(line, _) => said.push(line),
        };
        for chunk in chunks {
            scanner.feed(chunk.as_bytes(), &mut each);
        }
        scanner.finish(&mut each);
        (String::from_utf8(text).unwrap(), said)
    }

    #[test]
    fn a_line_of_evcxr_is_found_behind_text_without_a_line_end_wherever_it_is_cut() {
        let whole =
            "aEVX EVEVCXR no\nEVCXR_OTHER\nbEVCXR_EXECUTION_COMPLETE\nEVCXR_INPUT_REQUEST:a: b\nc";
        let text = "aEVX EVEVCXR no\nEVCXR_OTHER\nbc";
        let ask = Said::Ask {
            prompt: "a: b".into(),
            password: false,
        };
        for cut in 0..=whole.len() {
            let (first, second) = whole.split_at(cut);
            let (got, said) = parted(&[first, second]);
            assert_eq!(got, text, "cut at {cut}");
            assert_eq!(said, [Said::Done, ask.clone()], "cut at {cut}");
        }
        let letters: Vec<String> = whole.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        assert_eq!(parted(&letters).0, text);
    }

    #[test]
    fn text_is_not_held_back_for_want_of_a_line_end() {
        let mut scanner = Scanner::default();
        let mut got = Vec::new();
        scanner.feed(b"50 %", &mut |piece| {
            let Piece::Text(bytes) = piece else {
                panic!("{piece:?}")
            };
            got.extend_from_slice(bytes);
        });
        assert_eq!(got, b"50 %");
    }

    #[test]
    fn a_line_that_is_too_long_for_evcxr_is_text() {
        let long = format!("EVCXR_BEGIN_CONTENT {}\n", "x".repeat(3 * LINE_LIMIT));
        assert_eq!(parted(&[&long]), (long.clone(), Vec::new()));
    }

    proptest::proptest! {
        #[test]
        fn no_byte_is_lost(chunks in proptest::collection::vec("[EVCXR_\nab]{0,12}", 0..20)) {
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            let (text, said) = parted(&chunks);
            proptest::prop_assert_eq!(said.len(), 0);
            proptest::prop_assert_eq!(text, chunks.concat());
        }
    }
}
