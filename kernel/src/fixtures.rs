//! Events of a run that never was, for tests.

use chrono::{DateTime, TimeDelta, Utc};
use code_deploy_record::{Digest, Event, EventBody};

/// Returns the moment so many seconds after the time of these runs began.
pub fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

/// Returns an event of that moment.
pub fn event(seconds: i64, body: EventBody) -> Event {
    Event {
        seq: 1,
        time: at(seconds),
        actor: "engine".to_owned(),
        prev: Digest::ZERO,
        body,
    }
}

/// Returns that a run stands still.
pub fn paused() -> EventBody {
    EventBody::Paused {
        after: None,
        by: None,
        reason: None,
    }
}

/// Returns that a run goes on.
pub fn resumed() -> EventBody {
    let found = "ann resumed it: on".to_owned();
    EventBody::Resumed { found }
}

/// Returns that a process carries a run out from here on.
pub fn lock_taken(fencing: u64) -> EventBody {
    EventBody::LockTaken {
        fencing,
        host: "vm".to_owned(),
        pid: 7,
        program: "0.1.0".to_owned(),
    }
}
