//! The test runner's own closing line.

/// Watches the runner's output go by and keeps the last closing line.
#[derive(Debug, Default)]
pub struct Closing {
    line: Option<String>,
}

impl Closing {
    /// Looks at one line of output, with or without colours.
    pub fn see(&mut self, line: &str) {
        let plain = without_colours(line);
        if is_closing(&plain) {
            self.line = Some(plain.trim_end().to_owned());
        }
    }

    /// Returns the last closing line seen, without colours.
    pub fn line(&self) -> Option<&str> {
        self.line.as_deref()
    }
}

/// Returns how many tests a closing line says were run.
pub fn tests_run(line: &str) -> Option<u64> {
    let counted = line.split("] ").nth(1)?.trim_start();
    let number = counted.split([' ', '/']).next()?;
    number.parse().ok()
}

fn is_closing(line: &str) -> bool {
    line.trim_start().starts_with("Summary [") && tests_run(line).is_some()
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            characters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSED: &str = "     Summary [   0.004s] 14 tests run: 14 passed, 0 skipped";
    const FAILED: &str = "     Summary [  10.004s] 9/14 tests run: 8 passed, 1 failed, 0 skipped";

    #[test]
    fn the_last_summary_is_the_closing_line_also_when_failures_follow_it() {
        let mut closing = Closing::default();
        for line in [
            PASSED,
            FAILED,
            "        FAIL [   0.003s] a::b",
            "error: test run failed",
        ] {
            closing.see(line);
        }
        assert_eq!(closing.line(), Some(FAILED));
    }

    #[test]
    fn colours_do_not_hide_it() {
        let mut closing = Closing::default();
        closing.see("\u{1b}[32;1m     Summary\u{1b}[0m [   0.004s] \u{1b}[1m1\u{1b}[0m test run: \u{1b}[1m1\u{1b}[0m passed, 0 skipped");
        assert_eq!(
            closing.line(),
            Some("     Summary [   0.004s] 1 test run: 1 passed, 0 skipped")
        );
    }

    #[test]
    fn a_test_that_prints_the_word_is_not_a_closing_line() {
        let mut closing = Closing::default();
        closing.see("Summary of the run");
        closing.see("     Summary [ nothing counted");
        assert_eq!(closing.line(), None);
    }

    #[test]
    fn the_number_of_tests_is_read_from_whole_and_cut_runs() {
        assert_eq!(tests_run(PASSED), Some(14));
        assert_eq!(tests_run(FAILED), Some(9));
    }
}
