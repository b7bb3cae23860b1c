//! Packed histograms, read without making a histogram of them: a second of a service has a few dozen
//! counts, and the arrays of a histogram thousands of places.
//!
//! The form is that of HdrHistogram's V2 encoding, deflated or not (`EncodableHistogram` of HdrHistogram_c and
//! its Java original): a header, then counts as zigzag LEB128 of at most nine bytes, a negative one being so
//! many places without a count.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};

/// What a deflated histogram begins with.
const DEFLATED: u32 = 0x1c84_9304 | 0x10;

/// What is inside begins with.
const PLAIN: u32 = 0x1c84_9303 | 0x10;

/// The bytes of the header inside: cookie, length, index offset, digits, lowest, highest, ratio.
const HEADER: usize = 40;

/// More than the places of a histogram of three digits up to five minutes, a byte each, can take.
const MOST_BYTES: usize = 1024 * 1024;

/// What the first look at a histogram has room for: more than a second of a service needs.
const FIRST_BYTES: usize = 4096;

/// The places of one power of two, for three significant digits, as an exponent.
const HALF: u32 = 10;

thread_local! {
    /// What inflates, and room for what it gives: making both anew for each of millions of samples takes longer than
    /// to inflate them.
    static INFLATER: RefCell<(Decompress, Vec<u8>)> = RefCell::new((Decompress::new(true), Vec::new()));
}

/// Returns the counts by value, ascending, of a histogram of microseconds with three digits; nothing
/// for anything else, also for what is damaged. Values above `highest` are none of such a histogram.
pub fn counts(bytes: &[u8], highest: u64) -> Option<Vec<(u64, u64)>> {
    match word(bytes, 0)? {
        PLAIN => counts_of_plain(bytes, highest),
        DEFLATED => {
            let length = word(bytes, 4)? as usize;
            let deflated = bytes.get(8..)?.get(..length)?;
            INFLATER.with_borrow_mut(|(inflater, inside)| {
                inflate(inflater, deflated, inside)?;
                counts_of_plain(inside, highest)
            })
        }
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn counts_of_plain(bytes: &[u8], highest: u64) -> Option<Vec<(u64, u64)>> {
    let (offset, digits) = (word(bytes, 8)?, word(bytes, 12)?);
    let lowest = u64::from_be_bytes(bytes.get(16..24)?.try_into().ok()?);
    let length = word(bytes, 4)? as usize;
    if (word(bytes, 0)?, offset, digits, lowest) != (PLAIN, 0, 3, 1) {
        return None;
    }
    places(bytes.get(HEADER..)?.get(..length)?, highest)
}

/// Inflates a whole stream into `inside`; nothing for one that is damaged, cut off or too long.
fn inflate(inflater: &mut Decompress, deflated: &[u8], inside: &mut Vec<u8>) -> Option<()> {
    inflater.reset(true);
    inside.clear();
    loop {
        inside.reserve(FIRST_BYTES);
        let taken = usize::try_from(inflater.total_in()).ok()?;
        let before = (taken, inside.len());
        let rest = deflated.get(taken..)?;
        let status = inflater
            .decompress_vec(rest, inside, FlushDecompress::None)
            .ok()?;
        let now = (usize::try_from(inflater.total_in()).ok()?, inside.len());
        match status {
            Status::StreamEnd => return Some(()),
            _ if now == before || inside.len() > MOST_BYTES => return None,
            _ => {}
        }
    }
}

fn places(mut encoded: &[u8], highest: u64) -> Option<Vec<(u64, u64)>> {
    let (mut found, mut place) = (Vec::new(), 0_u64);
    while !encoded.is_empty() {
        let (number, rest) = number(encoded)?;
        encoded = rest;
        if number < 0 {
            place = place.checked_add(number.unsigned_abs())?;
            continue;
        }
        if number > 0 {
            let value = value(place).filter(|value| *value <= highest)?;
            found.push((value, number.unsigned_abs()));
        }
        place = place.checked_add(1)?;
    }
    Some(found)
}

/// Reads one number: seven bits a byte, the lowest first, and all eight of a ninth.
fn number(encoded: &[u8]) -> Option<(i64, &[u8])> {
    let mut zigzag = 0;
    for (place, byte) in encoded.iter().enumerate().take(9) {
        let last = place == 8;
        let bits = if last { *byte } else { *byte & 0x7f };
        zigzag |= u64::from(bits) << (7 * place);
        if last || byte & 0x80 == 0 {
            let number = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
            return Some((number, encoded.get(place + 1..)?));
        }
    }
    None
}

/// Returns the lowest value that is counted in a place.
fn value(place: u64) -> Option<u64> {
    let half = 1 << HALF;
    match (place >> HALF).checked_sub(1) {
        None => Some(place),
        Some(exponent) if exponent < 40 => Some((place % half + half) << exponent),
        Some(_) => None,
    }
}
