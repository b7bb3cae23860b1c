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
    // As lines are counted, the number of an event is that of the line before it.
    let wanted = line.saturating_sub(1);
    let found = search(run, line, head, wanted)?;
    let Some(here) = found.here else {
        return Ok(what);
    };
    // It follows: something else is wrong with it.
    if here.prev == *head {
        return Ok(what);
    }
    let own = here.seq.saturating_add(1);
    let belongs = found.following.or(found.numbered);
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

/// What is found of the lines from one on. However many there are, no more is kept of them.
#[derive(Default)]
struct Found {
    /// What stands in that line.
    here: Option<Place>,
    /// The first behind it that follows from what stands before it.
    following: Option<Line>,
    /// The first behind it that has its number.
    numbered: Option<Line>,
}

/// Looks through the lines from that one on for what stands there, and for what belongs there.
fn search(run: &RunFolder, from: u64, head: &Digest, wanted: u64) -> Result<Found> {
    let path = run.journal_path();
    let failed = || Error::io("read", &path);
    let mut file = BufReader::new(run.disk().read(&path).map_err(failed())?);
    let (mut found, mut text) = (Found::default(), Vec::new());
    for number in 1.. {
        text.clear();
        let mut part = (&mut file).take(LONGEST);
        part.read_until(b'\n', &mut text).map_err(failed())?;
        if text.last() != Some(&b'\n') || found.following.is_some() {
            break;
        }
        if number < from {
            continue;
        }
        let place: Option<Place> = serde_json::from_slice(&text).ok();
        if number == from {
            found.here = place;
            continue;
        }
        let Some(place) = place else { continue };
        let (follows, is_numbered) = (place.prev == *head, place.seq == wanted);
        let line = Line { number, place };
        if follows {
            found.following = Some(line);
        } else if is_numbered && found.numbered.is_none() {
            found.numbered = Some(line);
        }
    }
    Ok(found)
}
