//! Chance that follows from a number.

use std::sync::{Mutex, PoisonError};

/// A sequence of numbers that follows from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Returns the sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds have nothing in common after the first steps.
        let mut dice = Self(seed ^ 0x5DEE_CE66_D1CE_4E5B);
        dice.number();
        Self(dice.number())
    }

    /// Returns the next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % (high - low + 1)
    }

    /// Returns whether it happens that has this chance in percent.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.number() % 100 < chance
    }

    /// Returns one of several.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.between(0, all.len() as u64 - 1) as usize]
    }
}

/// Chance for the engine, from a seed.
#[derive(Debug)]
pub struct Seeded(Mutex<Dice>);

impl Seeded {
    /// Returns the chance of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Dice::new(seed)))
    }
}

impl code_deploy_engine::surroundings::Chance for Seeded {
    fn bits(&self) -> u128 {
        let mut dice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        u128::from(dice.number()) << 64 | u128::from(dice.number())
    }
}
