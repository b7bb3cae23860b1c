//! What is out of order in a journal that cannot be followed.

use std::io::{BufRead as _, BufReader, Read as _};

use serde::Deserialize;

use crate::{Digest, Error, Result, RunFolder};

/// The longest line that is looked at, in bytes.
const LONGEST: u64 = 16 * 1024 * 1024;

/// What a line says of its place.
#[derive(Deserialize)]
struct Place {
    seq: u64,
    prev: Digest,
}

/// A line of the journal as it stands there.
struct Line {
    /// Counted from 1.
    number: u64,
    place: Place,
}

/// Says of a line that does not follow from the one before, whose digest is `head`, what stands in its
/// place and where the line is that belongs there; returns `what` where the lines are in order.
pub(super) fn told(run: &RunFolder, line: u64, head: &Digest, what: String) -> Result<String> {
    let lines = lines_from(run, line)?;
    let Some(here) = lines.first().filter(|one| one.number == line) else {
        return Ok(what);
    };
    // It follows: something else is wrong with it.
    if here.place.prev == *head {
        return Ok(what);
    }
    // As lines are counted, the number of an event is that of the line before it.
    let (own, wanted) = (here.place.seq.saturating_add(1), line.saturating_sub(1));
    let behind = || lines.iter().skip(1);
    let belongs = behind()
        .find(|one| one.place.prev == *head)
        .or_else(|| behind().find(|one| one.place.seq == wanted));
    Ok(match belongs {
        Some(other) if own == other.number && other.place.seq == wanted => format!(
            "out of order: lines {line} and {} have changed places",
            other.number
        ),
        Some(other) => out_of_order(line, own, other.number),
        None if own > line => missing(line, own),
        None if own < line => format!(
            "out of order: by its number it is line {own}, and what follows from line {wanted} is nowhere"
        ),
        None => what,
    })
}

/// `own` is the line that stands here, by its number.
fn out_of_order(line: u64, own: u64, other: u64) -> String {
    let belongs = match line {
        1 => format!("the first line stands in line {other}"),
        _ => format!("what follows from line {} stands in line {other}", line - 1),
    };
    if own == line {
        format!("out of order: {belongs}")
    } else {
        format!("out of order: {belongs}, and what stands here is line {own} by its number")
    }
}

fn missing(line: u64, own: u64) -> String {
    let lines = match own - line {
        1 => format!("line {line} is"),
        _ => format!("lines {line} to {} are", own - 1),
    };
    format!("removed: by its number it is line {own}, and {lines} nowhere")
}

/// Returns the lines from that one on that say where they belong.
fn lines_from(run: &RunFolder, from: u64) -> Result<Vec<Line>> {
    let path = run.journal_path();
    let failed = || Error::io("read", &path);
    let mut file = BufReader::new(run.disk().read(&path).map_err(failed())?);
    let (mut lines, mut text) = (Vec::new(), Vec::new());
    for number in 1.. {
        text.clear();
        let mut part = (&mut file).take(LONGEST);
        part.read_until(b'\n', &mut text).map_err(failed())?;
        if text.last() != Some(&b'\n') {
            break;
        }
        let place = serde_json::from_slice(&text).ok();
        lines.extend(
            place
                .filter(|_| number >= from)
                .map(|place| Line { number, place }),
        );
    }
    Ok(lines)
}
