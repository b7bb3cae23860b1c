/// Numbers that follow from a seed: SplitMix64, so that a seed means the same with every version of every crate.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Returns the numbers of one case.
    pub fn of_case(seed: u64, case: u64) -> Self {
        let mut random = Self(seed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.next();
        random
    }

    /// Returns the next number.
    #[expect(
        clippy::should_implement_trait,
        reason = "these numbers have no end, and an iterator would say `Option`"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `limit`; 0 when that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % limit).unwrap_or(0)
    }

    /// Returns true once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Returns one of them; there must be one.
    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// Returns fewer bytes than `limit`.
    pub fn bytes(&mut self, limit: usize) -> Vec<u8> {
        (0..self.below(limit)).map(|_| self.byte()).collect()
    }

    /// Returns a byte.
    pub fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// Returns text of signs that parsers stumble over.
    pub fn text(&mut self, limit: usize) -> String {
        const SIGNS: [char; 24] = [
            'a',
            'z',
            '0',
            '9',
            ' ',
            '\n',
            '\t',
            '%',
            '?',
            '"',
            '\'',
            '\\',
            '-',
            '=',
            '{',
            '}',
            '/',
            '\u{0}',
            '\u{7f}',
            '\u{e9}',
            '\u{2028}',
            '\u{1f600}',
            '\u{202e}',
            '\u{feff}',
        ];
        (0..self.below(limit))
            .map(|_| SIGNS[self.below(SIGNS.len())])
            .collect()
    }

    /// Changes a few bytes: flips, cuts, doubles, puts in.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = self.byte(),
                2 => bytes.truncate(at),
                3 => bytes.insert(at, self.byte()),
                4 => {
                    let part = bytes[at..].to_vec();
                    bytes.extend_from_slice(&part[..part.len().min(64)]);
                }
                _ => {
                    let odd: [&[u8]; 8] = [
                        b"null",
                        b"-1",
                        b"1e999",
                        b"\xff",
                        b"[",
                        b"{}",
                        b"\"",
                        b"99999999999999999999",
                    ];
                    let odd = self.pick(&odd);
                    bytes.splice(at..at, odd.iter().copied());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_the_same_each_time_and_differs_from_its_neighbours() {
        let numbers = |seed, case| {
            let mut random = Random::of_case(seed, case);
            [random.next(), random.next()]
        };
        assert_eq!(numbers(7, 3), numbers(7, 3));
        assert_ne!(numbers(7, 3), numbers(7, 4));
        assert_ne!(numbers(7, 3), numbers(8, 3));
    }
}
