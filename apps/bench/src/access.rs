//! Which key of the key-value store is updated next.

use crate::random::Random;
use crate::values::KEYS;

/// An access pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// Each key as likely as any other.
    Random,
    /// Round robin.
    Sequential,
    /// 100 random accesses in 16 neighbouring keys, then in the next 16.
    Partitioned,
    /// Key i with weight sin^4(40 i / 256) + 0.1.
    Distributed,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Random, Self::Sequential, Self::Partitioned, Self::Distributed];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Sequential => "sequential",
            Self::Partitioned => "partitioned",
            Self::Distributed => "distributed",
        }
    }
}

impl Pattern {
    /// How often a key is used, in the long run, as far as keys differ: relative to others.
    #[must_use]
    pub const fn weight(self, key: usize) -> u32 {
        match self {
            Self::Distributed if key > 0 => WEIGHTS[key] - WEIGHTS[key - 1],
            Self::Distributed => WEIGHTS[0],
            _ => 1,
        }
    }
}

/// Neighbouring keys that are used together in [`Pattern::Partitioned`].
pub const PARTITION: u32 = 16;
/// Accesses in each of them.
pub const VISIT: u32 = 100;

/// Sums of the weights of the keys up to each one, in millionths.
const WEIGHTS: [u32; KEYS] = {
    let mut sums = [0; KEYS];
    let (mut key, mut sum) = (0, 0);
    while key < KEYS {
        let sine = sine(40.0 * key as f64 / 256.0);
        sum += ((sine * sine * sine * sine + 0.1) * 1e6) as u32;
        sums[key] = sum;
        key += 1;
    }
    sums
};

/// The sine of `x` up to its sign, by its series: of nothing but the fourth power it is asked.
const fn sine(x: f64) -> f64 {
    let x = x - (x / core::f64::consts::PI) as u32 as f64 * core::f64::consts::PI;
    let (mut sum, mut term, mut n) = (x, x, 1.0);
    while n < 24.0 {
        term = -term * x * x / ((n + 1.0) * (n + 2.0));
        sum += term;
        n += 2.0;
    }
    sum
}

/// The keys of a pattern, one after the other, without end.
#[derive(Clone, Debug)]
pub struct Accesses {
    pattern: Pattern,
    random: Random,
    number: u32,
}

impl Accesses {
    /// The same seed, the same keys.
    #[must_use]
    pub const fn new(pattern: Pattern, seed: u64) -> Self {
        Self { pattern, random: Random::new(seed), number: 0 }
    }
}

impl Iterator for Accesses {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let number = self.number;
        self.number = self.number.wrapping_add(1);
        let keys = KEYS as u32;
        let key = match self.pattern {
            Pattern::Random => self.random.below(keys),
            Pattern::Sequential => number % keys,
            Pattern::Partitioned => number / VISIT * PARTITION % keys + self.random.below(PARTITION),
            Pattern::Distributed => {
                let at = self.random.below(WEIGHTS[KEYS - 1]);
                return Some(WEIGHTS.partition_point(|sum| *sum <= at));
            }
        };
        Some(key as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_are_those_of_the_sine() {
        let mut before = 0;
        for (key, sum) in WEIGHTS.iter().enumerate() {
            let weight = (40.0 * key as f64 / 256.0).sin().powi(4) + 0.1;
            assert!((f64::from(sum - before) / 1e6 - weight).abs() < 2e-6, "key {key}");
            before = *sum;
        }
    }

    #[test]
    fn each_pattern_has_its_keys() {
        let keys = |pattern: Pattern, number| Accesses::new(pattern, 1).take(number).collect::<Vec<_>>();
        assert_eq!(keys(Pattern::Sequential, 258)[254..], [254, 255, 0, 1]);
        assert!(keys(Pattern::Random, 10_000).iter().all(|key| *key < KEYS));
        for (visit, visited) in keys(Pattern::Partitioned, 3200).chunks(100).enumerate() {
            assert!(visited.iter().all(|key| key / 16 == visit % 16));
        }
        let often = keys(Pattern::Distributed, 20_000);
        let count = |key| often.iter().filter(|at| **at == key).count();
        assert!(count(10) > 5 * count(0) && count(0) > 0);
        assert_eq!(often, keys(Pattern::Distributed, 20_000), "the same seed, the same keys");
    }
}
