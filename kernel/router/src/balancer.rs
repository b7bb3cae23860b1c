//! Chooses a release by weight and an instance by load.

use std::sync::Arc;

use rand::Rng as _;

use crate::backend::Backend;

/// A release's part in the split.
pub(crate) trait Weighted {
    /// Weight in percent.
    fn weight(&self) -> i32;
    /// The running credit.
    fn credit(&mut self) -> &mut i32;
}

/// Chooses the next entry by smooth weighted round robin: of every 100 choices after a switch each
/// entry gets exactly its weight, spread evenly, and with two entries no prefix is off by one or more.
pub(crate) fn next_by_weight<W: Weighted>(entries: &mut [W]) -> Option<usize> {
    let total: i32 = entries.iter().map(Weighted::weight).sum();
    let mut best: Option<(usize, i32)> = None;
    for (index, entry) in entries.iter_mut().enumerate() {
        let weight = entry.weight();
        if weight == 0 {
            continue;
        }
        *entry.credit() += weight;
        let credit = *entry.credit();
        if best.is_none_or(|(_, most)| credit > most) {
            best = Some((index, credit));
        }
    }
    let (index, _) = best?;
    *entries.get_mut(index)?.credit() -= total;
    Some(index)
}

/// Chooses the less loaded of two random instances that can be used, leaving out those already tried.
pub(crate) fn less_loaded(
    backends: &[Arc<Backend>],
    tried: &[Arc<str>],
    can_be_used: impl Fn(&Backend) -> bool,
) -> Option<Arc<Backend>> {
    let usable = || {
        backends
            .iter()
            .filter(|backend| !tried.contains(&backend.id) && can_be_used(backend))
    };
    let count = usable().count();
    if count <= 1 {
        return usable().next().cloned();
    }
    let mut random = rand::rng();
    let first = random.random_range(0..count);
    let second = (first + random.random_range(1..count)) % count;
    let (first, second) = (usable().nth(first), usable().nth(second));
    match (first, second) {
        (Some(first), Some(second)) if second.in_flight() < first.in_flight() => Some(second),
        (Some(first), _) => Some(first),
        (None, second) => second,
    }
    .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Entry(i32, i32);

    impl Weighted for Entry {
        fn weight(&self) -> i32 {
            self.0
        }
        fn credit(&mut self) -> &mut i32 {
            &mut self.1
        }
    }

    #[test]
    fn no_prefix_of_a_two_way_split_is_off_by_one_request() {
        for weight in 1..100_i32 {
            let mut entries = [Entry(100 - weight, 0), Entry(weight, 0)];
            let mut served = 0_i32;
            for round in 1..=300_i32 {
                if next_by_weight(&mut entries) == Some(1) {
                    served += 1;
                }
                assert!(
                    (served * 100 - round * weight).abs() < 100,
                    "{weight} % after {round}"
                );
            }
        }
    }

    #[test]
    fn of_every_hundred_each_of_three_gets_exactly_its_weight() {
        let mut entries = [Entry(61, 0), Entry(29, 0), Entry(10, 0)];
        let mut served = [0; 3];
        for _ in 0..100 {
            if let Some(slot) = next_by_weight(&mut entries).and_then(|i| served.get_mut(i)) {
                *slot += 1;
            }
        }
        assert_eq!(served, [61, 29, 10]);
    }

    #[test]
    fn nothing_is_chosen_when_every_weight_is_zero() {
        assert_eq!(next_by_weight(&mut [Entry(0, 0), Entry(0, 0)]), None);
    }
}
