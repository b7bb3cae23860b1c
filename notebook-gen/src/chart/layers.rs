//! Where the boxes of a map stand: in columns, callers left of what they call.

use std::collections::{BTreeMap, BTreeSet};

/// How often columns are put in order by what stands beside them; more changes nothing in maps of a few columns.
const SWEEPS: usize = 4;

/// How many boxes a map has at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) columns: usize,
    pub(super) in_column: usize,
}

/// What stands in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The box of that number.
    Box(usize),
    /// Lines that lead past the column to one box share their way.
    Way {
        /// The number of the box.
        to: usize,
        /// Whether they lead back to the left.
        back: bool,
    },
}

/// A line from a caller to what it calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Whether it leads back to the left: the two call each other in a circle.
    pub(super) back: bool,
}

/// Boxes in their columns.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// From left to right, each from top to bottom.
    pub(super) columns: Vec<Vec<Part>>,
    pub(super) lines: Vec<Line>,
    /// Boxes for which there is no room.
    pub(super) left_out: Vec<usize>,
    place: BTreeMap<usize, usize>,
}

/// Parts beside each other that a line joins: the column of the left one, and both.
type Link = (usize, Part, Part);

impl Layers {
    /// Puts boxes in columns: each at least in that of `least`, and right of those that call it as far as nobody
    /// calls in a circle. `calls` holds for each box the numbers of those that it calls.
    pub(super) fn new(calls: &[Vec<usize>], least: &[usize], room: Room) -> Self {
        let (order, back) = walk(calls);
        let mut depth: Vec<usize> = least.to_vec();
        depth.resize(calls.len(), 0);
        for (from, to) in lines_of(calls, &order).filter(|line| !back.contains(line)) {
            let next = depth.get(from).copied().unwrap_or(0) + 1;
            if let Some(depth) = depth.get_mut(to) {
                *depth = next.max(*depth);
            }
        }
        let mut layers = Self::default();
        for (number, column) in depth.into_iter().enumerate() {
            layers.put(number, column, room);
        }
        for (from, to) in lines_of(calls, &order) {
            let back = back.contains(&(from, to));
            let drawn = layers.place.contains_key(&from) && layers.place.contains_key(&to);
            if drawn && from != to {
                layers.lines.push(Line { from, to, back });
            }
        }
        layers.lines.sort_unstable();
        layers.lines.dedup();
        layers.arrange();
        layers
    }

    fn put(&mut self, number: usize, column: usize, room: Room) {
        if column < room.columns && self.columns.len() <= column {
            self.columns.resize(column + 1, Vec::new());
        }
        match self.columns.get_mut(column) {
            Some(parts) if parts.len() < room.in_column => {
                parts.push(Part::Box(number));
                self.place.insert(number, column);
            }
            _ => self.left_out.push(number),
        }
    }

    /// Returns what a line passes from its left end to its right end, each with its column.
    pub(super) fn passes(&self, line: Line) -> Vec<(usize, Part)> {
        let (left, right) = match line.back {
            true => (line.to, line.from),
            false => (line.from, line.to),
        };
        let column = |number: usize| self.place.get(&number).copied().unwrap_or(0);
        let way = Part::Way {
            to: line.to,
            back: line.back,
        };
        let mut passed = vec![(column(left), Part::Box(left))];
        passed.extend((column(left) + 1..column(right)).map(|between| (between, way)));
        passed.push((column(right), Part::Box(right)));
        passed
    }

    fn arrange(&mut self) {
        let mut links: BTreeSet<Link> = BTreeSet::new();
        for line in self.lines.clone() {
            let passed = self.passes(line);
            for (column, part) in &passed {
                let parts = self.columns.get_mut(*column);
                if let Some(parts) = parts.filter(|parts| !parts.contains(part)) {
                    parts.push(*part);
                }
            }
            for pair in passed.windows(2) {
                if let [(column, left), (_, right)] = pair {
                    links.insert((*column, *left, *right));
                }
            }
        }
        let number = self.columns.len();
        for _ in 0..SWEEPS {
            for column in 1..number {
                self.settle(&links, column, column - 1);
            }
            for column in (0..number.saturating_sub(1)).rev() {
                self.settle(&links, column, column + 1);
            }
        }
    }

    /// Puts the parts of a column in the order of what they are joined with in the one beside it, so that few lines
    /// cross.
    fn settle(&mut self, links: &BTreeSet<Link>, column: usize, beside: usize) {
        let Some(others) = self.columns.get(beside).cloned() else {
            return;
        };
        let Some(parts) = self.columns.get_mut(column) else {
            return;
        };
        let middle = |part: Part, place: usize| {
            let joined = links.iter().filter_map(|(at, left, right)| {
                if *at == column.min(beside) && *right == part && beside < column {
                    Some(left)
                } else if *at == column.min(beside) && *left == part && beside > column {
                    Some(right)
                } else {
                    None
                }
            });
            let places = joined.filter_map(|other| others.iter().position(|one| one == other));
            let (sum, number) = places.fold((0, 0), |(sum, number), at| (sum + at, number + 1));
            match number {
                0 => as_figure(place),
                _ => as_figure(sum) / as_figure(number),
            }
        };
        let keyed = parts.iter().enumerate();
        let mut keyed: Vec<(f64, Part)> = keyed
            .map(|(place, part)| (middle(*part, place), *part))
            .collect();
        keyed.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        *parts = keyed.into_iter().map(|(_, part)| part).collect();
    }
}

#[expect(clippy::cast_precision_loss, reason = "boxes of one drawing")]
fn as_figure(number: usize) -> f64 {
    number as f64
}

/// Returns who calls whom, callers in that order.
fn lines_of<'a>(
    calls: &'a [Vec<usize>],
    order: &'a [usize],
) -> impl Iterator<Item = (usize, usize)> + 'a {
    order.iter().flat_map(move |from| {
        let called = calls.get(*from).map(Vec::as_slice).unwrap_or_default();
        called.iter().map(move |to| (*from, *to))
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Open,
    Ended,
}

/// Returns the boxes in an order in which callers stand before what they call, and the calls that close a circle,
/// which are left out of account for that. It keeps its own stack: a chain may be as long as a file has services.
fn walk(calls: &[Vec<usize>]) -> (Vec<usize>, BTreeSet<(usize, usize)>) {
    let mut marks: BTreeMap<usize, Mark> = BTreeMap::new();
    let (mut ended, mut back) = (Vec::new(), BTreeSet::new());
    for root in 0..calls.len() {
        if marks.contains_key(&root) {
            continue;
        }
        marks.insert(root, Mark::Open);
        let mut stack = vec![(root, 0_usize)];
        while let Some((node, next)) = stack.last_mut() {
            let from = *node;
            let called = calls.get(from).and_then(|called| called.get(*next));
            *next += 1;
            let Some(to) = called.copied() else {
                marks.insert(from, Mark::Ended);
                ended.push(from);
                stack.pop();
                continue;
            };
            match marks.get(&to) {
                Some(Mark::Ended) => {}
                Some(Mark::Open) => {
                    back.insert((from, to));
                }
                None => {
                    marks.insert(to, Mark::Open);
                    stack.push((to, 0));
                }
            }
        }
    }
    ended.reverse();
    (ended, back)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room {
        columns: 6,
        in_column: 8,
    };

    fn layers(calls: &[&[usize]]) -> Layers {
        let calls: Vec<Vec<usize>> = calls.iter().map(|called| called.to_vec()).collect();
        Layers::new(&calls, &[], ROOM)
    }

    fn column_of(layers: &Layers, number: usize) -> usize {
        let of = |parts: &Vec<Part>| parts.contains(&Part::Box(number));
        layers.columns.iter().position(of).unwrap()
    }

    #[test]
    fn callers_stand_left_of_what_they_call_and_lines_keep_clear_of_boxes() {
        let layers = layers(&[&[1, 2], &[2, 3], &[3], &[]]);
        let columns: Vec<usize> = (0..4).map(|number| column_of(&layers, number)).collect();
        assert_eq!(columns, [0, 1, 2, 3]);
        let past = Part::Way { to: 2, back: false };
        assert_eq!(layers.columns[1].len(), 2, "{:?}", layers.columns);
        assert!(layers.columns[1].contains(&past));
        let passed = layers.passes(Line {
            from: 0,
            to: 2,
            back: false,
        });
        assert_eq!(passed, [(0, Part::Box(0)), (1, past), (2, Part::Box(2))]);
    }

    #[test]
    fn those_that_call_each_other_in_a_circle_are_drawn_with_a_line_that_leads_back() {
        let layers = layers(&[&[1], &[2], &[0, 2]]);
        let back: Vec<_> = layers.lines.iter().filter(|line| line.back).collect();
        assert_eq!(back.len(), 1, "{:?}", layers.lines);
        assert_eq!((back[0].from, back[0].to), (2, 0));
        assert_eq!(layers.lines.len(), 3, "who calls itself has no line");
        assert!(layers.left_out.is_empty());
    }

    #[test]
    fn what_there_is_no_room_for_is_named_and_nothing_is_joined_with_it() {
        let chain: Vec<Vec<usize>> = (1..=5_000).map(|next| vec![next]).collect();
        let layers = Layers::new(&chain, &[], ROOM);
        assert_eq!(layers.columns.len(), 6);
        assert_eq!(layers.left_out.len(), 4_994);
        assert_eq!(layers.lines.len(), 5);

        let mut calls = vec![(1..=200).collect::<Vec<usize>>()];
        calls.resize(201, Vec::new());
        let layers = Layers::new(&calls, &[], ROOM);
        let boxes: Vec<usize> = layers.columns.iter().map(Vec::len).collect();
        assert_eq!(boxes, [1, 8]);
        assert_eq!(layers.left_out.len(), 192);
    }

    #[test]
    fn the_same_calls_give_the_same_map_whatever_is_asked_first() {
        let first = layers(&[&[3, 2, 1], &[4], &[4], &[4], &[]]);
        let again = layers(&[&[3, 2, 1], &[4], &[4], &[4], &[]]);
        assert_eq!(first.columns, again.columns);
        assert_eq!(first.columns[1].len(), 3);
    }
}
