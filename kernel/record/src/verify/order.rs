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
    /// The number of the event that belongs there: lines counted from 0.
    number: u64,
    place: Place,
}

/// Says of what stands in the place of an event and does not follow from the one before, whose digest is `head`, which event
/// it is and where the one is that belongs there; returns `what` where they are in order.
pub(super) fn told(run: &RunFolder, event: u64, head: &Digest, what: String) -> Result<String> {
    let found = search(run, event, head)?;
    let Some(here) = found.here else {
        return Ok(what);
    };
    // It follows: something else is wrong with it.
    if here.prev == *head {
        return Ok(what);
    }
    let own = here.seq;
    let belongs = found.following.or(found.numbered);
    Ok(match belongs {
        Some(other) if own == other.number && other.place.seq == event => {
            format!("out of order: events {event} and {own} have changed places")
        }
        Some(other) => out_of_order(event, own, other.number),
        None if own > event => missing(event, own),
        None if own < event => format!(
            "out of order: by its number it is event {own}, and what follows from event {} is nowhere",
            event - 1
        ),
        None => what,
    })
}

/// `own` is the event that stands here, by its number; `other` is in whose place the one stands that belongs here.
fn out_of_order(event: u64, own: u64, other: u64) -> String {
    let belongs = match event.checked_sub(1) {
        None => format!("the first event stands where event {other} belongs"),
        Some(before) => {
            format!("what follows from event {before} stands where event {other} belongs")
        }
    };
    if own == event {
        format!("out of order: {belongs}")
    } else {
        format!("out of order: {belongs}, and what stands here is event {own} by its number")
    }
}

fn missing(event: u64, own: u64) -> String {
    let events = match own - event {
        1 => format!("event {event} is"),
        _ => format!("events {event} to {} are", own - 1),
    };
    format!("removed: by its number it is event {own}, and {events} nowhere")
}

/// What is found of the lines from one on. However many there are, no more is kept of them.
#[derive(Default)]
struct Found {
    /// What stands in that place.
    here: Option<Place>,
    /// The first behind it that follows from what stands before it.
    following: Option<Line>,
    /// The first behind it that has its number.
    numbered: Option<Line>,
}

/// Looks through the lines from that event's on for what stands there, and for what belongs there.
fn search(run: &RunFolder, event: u64, head: &Digest) -> Result<Found> {
    let path = run.journal_path();
    let failed = || Error::io("read", &path);
    let mut file = BufReader::new(run.disk().read(&path).map_err(failed())?);
    let (mut found, mut text) = (Found::default(), Vec::new());
    for number in 0.. {
        text.clear();
        let mut part = (&mut file).take(LONGEST);
        part.read_until(b'\n', &mut text).map_err(failed())?;
        if text.last() != Some(&b'\n') || found.following.is_some() {
            break;
        }
        if number < event {
            continue;
        }
        let place: Option<Place> = serde_json::from_slice(&text).ok();
        if number == event {
            found.here = place;
            continue;
        }
        let Some(place) = place else { continue };
        let (follows, is_numbered) = (place.prev == *head, place.seq == event);
        let line = Line { number, place };
        if follows {
            found.following = Some(line);
        } else if is_numbered && found.numbered.is_none() {
            found.numbered = Some(line);
        }
    }
    Ok(found)
}
