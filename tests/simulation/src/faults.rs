//! What goes wrong, where, and how often: decided by a seed as the run comes to each point.

use std::time::Duration;

use crate::chance::Dice;

/// A point at which something can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Bytes are appended to a journal.
    Append,
    /// A journal is flushed.
    Flush,
    /// A file is replaced, or a file or folder made.
    Make,
    /// The target is asked to change something.
    Change,
    /// The target is asked what is there.
    Observe,
    /// A request is sent from outside.
    Ask,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before anything happens.
    KillBefore,
    /// The process dies when it has happened, before it is told so.
    KillAfter,
    /// The process dies when so many thousandths of the bytes are written.
    Torn(u64),
    /// The machine of the process loses power: what was not flushed is lost in part or whole.
    PowerLoss(u64),
    /// The disk is full, read-only or broken from here on.
    Disk(DiskFault),
    /// The call fails, and nothing happened.
    Fail {
        /// Whether it says that trying again may help.
        transient: bool,
    },
    /// The call fails, though it happened whole.
    FailAfter {
        /// Whether it says that trying again may help.
        transient: bool,
    },
    /// The call fails, and half of it happened.
    Half,
    /// The call never returns, and nothing happens.
    Hang,
    /// It happens so much later.
    Late(Duration),
    /// An instance does not answer for so long.
    Ill(Duration),
    /// The clock on the wall is set by so many seconds.
    Jump(i64),
    /// Another runner is started meanwhile.
    Second,
    /// The process is suspended, another takes over, and then it wakes.
    Suspend,
}

/// What is wrong with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// No space is left.
    Full,
    /// It is mounted read-only.
    ReadOnly,
    /// Writes and flushes fail.
    Broken,
}

/// The faults of one run.
#[derive(Debug, Clone)]
pub struct Storm {
    dice: Dice,
    left: u64,
    spacing: u64,
    points: u64,
    next: u64,
    /// The points that were passed, where they are to be told.
    pub seen: Option<Vec<Point>>,
    /// Faults to inject at exact points, in place of chance: for sweeps.
    pub at: Vec<(u64, Fault)>,
    /// What is wrong with the disk now.
    pub disk: Option<DiskFault>,
    /// How many calls that stop something fail from here on.
    pub unstoppable: u64,
}

impl Storm {
    /// Returns a run without faults.
    #[must_use]
    pub fn calm() -> Self {
        Self {
            dice: Dice::new(0),
            left: 0,
            spacing: 1,
            points: 0,
            next: 0,
            seen: None,
            at: Vec::new(),
            disk: None,
            unstoppable: 0,
        }
    }

    /// Returns the faults of a seed.
    #[must_use]
    pub fn of(mut dice: Dice) -> Self {
        let left = dice.between(0, 5);
        let spacing = dice.one_of(&[15, 60, 200, 600]);
        let next = dice.between(0, spacing);
        let unstoppable = if dice.percent(12) {
            dice.between(1, 12)
        } else {
            0
        };
        Self {
            dice,
            left,
            spacing,
            points: 0,
            next,
            seen: None,
            at: Vec::new(),
            disk: None,
            unstoppable,
        }
    }

    /// Ends all faults; what is broken is mended.
    pub fn end(&mut self) {
        (self.left, self.disk, self.unstoppable) = (0, None, 0);
        self.at.clear();
    }

    /// Returns how many points were passed.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.points
    }

    /// Returns a number from `low` to `high` by the same chance.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.dice.between(low, high)
    }

    /// Decides what goes wrong at this point, if anything does.
    pub fn strike(&mut self, point: Point) -> Option<Fault> {
        let here = self.points;
        self.points += 1;
        if let Some(seen) = &mut self.seen {
            seen.push(point);
        }
        if let Some(place) = self.at.iter().position(|(at, _)| *at == here) {
            return Some(self.at.remove(place).1);
        }
        if self.left == 0 || here < self.next {
            return None;
        }
        self.left -= 1;
        self.next = here + self.dice.between(1, self.spacing);
        Some(self.choose(point))
    }

    fn choose(&mut self, point: Point) -> Fault {
        // Whatever the point, time, other runners and the machine have faults of their own.
        match self.dice.between(0, 19) {
            0 => return Fault::Jump(self.jump()),
            1 => return Fault::Second,
            2 if point == Point::Observe || point == Point::Ask => return Fault::Suspend,
            3 => {
                return Fault::Disk(self.dice.one_of(&[
                    DiskFault::Full,
                    DiskFault::ReadOnly,
                    DiskFault::Broken,
                ]));
            }
            4 => {
                let seconds = self.dice.between(1, 30);
                return Fault::Ill(Duration::from_secs(seconds));
            }
            _ => {}
        }
        let part = self.dice.between(0, 1000);
        match point {
            Point::Append => self.dice.one_of(&[
                Fault::KillBefore,
                Fault::KillAfter,
                Fault::Torn(part),
                Fault::PowerLoss(part),
            ]),
            Point::Flush | Point::Make => {
                self.dice
                    .one_of(&[Fault::KillBefore, Fault::KillAfter, Fault::PowerLoss(part)])
            }
            Point::Change => {
                let transient = self.dice.percent(50);
                let late = Duration::from_millis(self.dice.between(1, 40_000));
                self.dice.one_of(&[
                    Fault::KillBefore,
                    Fault::KillAfter,
                    Fault::Fail { transient },
                    Fault::FailAfter { transient },
                    Fault::Half,
                    Fault::Hang,
                    Fault::Late(late),
                ])
            }
            Point::Observe => {
                let transient = self.dice.percent(50);
                self.dice
                    .one_of(&[Fault::KillBefore, Fault::Fail { transient }, Fault::Hang])
            }
            Point::Ask => self.dice.one_of(&[
                Fault::KillBefore,
                Fault::Fail { transient: true },
                Fault::Hang,
            ]),
        }
    }

    fn jump(&mut self) -> i64 {
        let seconds = self.dice.one_of(&[2, 40, 3_600, 90_000, 40_000_000]);
        if self.dice.percent(50) {
            seconds
        } else {
            -seconds
        }
    }
}
