//! How much text of a cell is shown.

/// Text of a cell on one stream that is shown, in bytes. A page that shows more stops answering.
pub(super) const SHOWN_LIMIT: usize = 1024 * 1024;
/// The end of what is left out is shown all the same, in bytes.
const TAIL: usize = 16 * 1024;

/// What is shown once there is more.
const MORE: &str = "\n[more is left out; its end is shown when the cell has ended]\n";

/// The text of one stream of a cell: shown up to a limit, then counted, with its end kept.
#[derive(Debug, Default)]
pub(super) struct Shown {
    shown: usize,
    left_out: u64,
    tail: Vec<u8>,
    /// A character of which the end has not come yet.
    begun: Vec<u8>,
}

impl Shown {
    /// Returns what of these bytes is to be shown now.
    pub(super) fn take(&mut self, bytes: &[u8]) -> String {
        let (now, later) = bytes.split_at(bytes.len().min(SHOWN_LIMIT - self.shown));
        self.shown += now.len();
        let before = self.left_out;
        if !later.is_empty() {
            self.keep_tail(later);
        }
        self.begun.extend_from_slice(now);
        let whole = self.begun.len() - unfinished(&self.begun);
        let mut text = String::from_utf8_lossy(&self.begun[..whole]).into_owned();
        self.begun.drain(..whole);
        // A cell that is stopped shows no end. What is not longer than the end is shown whole.
        if before <= TAIL as u64 && self.left_out > TAIL as u64 {
            text.push_str(MORE);
        }
        text
    }

    /// Returns what is to be shown at the end of the cell, and begins anew.
    pub(super) fn finish(&mut self) -> String {
        let ended = std::mem::take(self);
        let begun = String::from_utf8_lossy(&ended.begun).into_owned();
        if ended.tail.is_empty() {
            return begun;
        }
        let tail = &ended.tail[ended.tail.len().saturating_sub(TAIL)..];
        let left_out = ended.left_out - tail.len() as u64;
        let tail = String::from_utf8_lossy(tail);
        if left_out == 0 {
            return format!("{begun}{tail}");
        }
        format!(
            "{begun}\n[{left_out} bytes left out: of a cell's text {} MiB are shown; write more into a file]\n\
             {tail}",
            SHOWN_LIMIT / 1024 / 1024
        )
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        self.left_out += bytes.len() as u64;
        if bytes.len() >= TAIL {
            self.tail.clear();
        } else if self.tail.len() > 4 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
        let from = bytes.len().saturating_sub(TAIL);
        self.tail.extend_from_slice(&bytes[from..]);
    }
}

/// Returns how many bytes at the end begin a character that is not whole.
fn unfinished(bytes: &[u8]) -> usize {
    let last = bytes
        .utf8_chunks()
        .last()
        .map_or(&[][..], |chunk| chunk.invalid());
    let begins = std::str::from_utf8(last).is_err_and(|error| error.error_len().is_none());
    if begins { last.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_character_that_is_cut_on_its_way_is_shown_whole() {
        let mut shown = Shown::default();
        let mut text = String::new();
        for byte in "é→𝄞x".as_bytes() {
            text += &shown.take(&[*byte]);
        }
        assert_eq!(text + &shown.finish(), "é→𝄞x");
        assert_eq!(Shown::default().take(b"a\xffb"), "a\u{fffd}b");
    }

    #[test]
    fn beyond_the_limit_the_end_is_shown_and_the_rest_counted() {
        let mut shown = Shown::default();
        let line = [b'x'; 1000];
        let mut length = 0;
        for _ in 0..40_000 {
            length += shown.take(&line).len();
        }
        assert_eq!(length, SHOWN_LIMIT + MORE.len());
        shown.take(b"the end");
        let end = shown.finish();
        let left_out = 40_000 * 1000 + 7 - SHOWN_LIMIT - TAIL;
        assert!(
            end.contains(&format!("[{left_out} bytes left out")),
            "{end}"
        );
        assert!(end.ends_with("the end"));
        assert!(shown.finish().is_empty());
    }
}
