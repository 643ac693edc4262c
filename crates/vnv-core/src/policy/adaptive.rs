use super::{Advice, Policy, Residents};

/// Bits of a hint that hold the interval; one that says whether the object was hit since it was looked at; above, the time of the last
/// use.
const INTERVAL: u16 = 0x3F;
const HIT: u16 = 0x40;
const TIME: u32 = 7;
/// The clock goes round after so many ticks.
const TICKS: u16 = 1 << (u16::BITS - TIME);
/// Interval of an object of which nothing is known: 64 ticks.
const UNKNOWN: u16 = 24;
/// Candidates that are compared for one victim.
const SAMPLE: u16 = 32;
/// Intervals without a use after which an object is taken for one that is not used any more.
const LEFT: u32 = 8;
/// What a transaction costs besides its bytes, in bytes, shared among the objects of a burst.
const OVERHEAD: u32 = 16;

/// Predicts the next use of each object from the intervals between its uses, and takes the candidate whose next use is farthest,
/// weighted by its size and by what it costs.
///
/// The hint of an object holds the time of its last use (9 bits; a tick is a load, an allocation, or a change of a clean object) and the
/// moving average of the binary logarithm of the ticks between its uses (6 bits, in quarters). If uses are periodic, an object is
/// expected when its interval has passed; if they are random, after another interval, however long ago the last one was: the mean
/// of both is taken. An object that was not used for eight intervals is taken for one that is not used any more. So frequently used
/// objects stay, a scan that is longer than the arena or the dirty limit does not drive everything out, and a working set that
/// was left goes soon. Nothing has to be tuned.
///
/// A hit sets a bit, three instructions; the next look takes it for one just now, and for one of many. A victim is the worst of the 32 candidates that a hand meets next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Adaptive {
    /// The time as in a hint.
    stamp: u16,
    hand: u16,
}

/// The moving average of logarithms of intervals: half of the way from that of a hint to another one.
const fn average(hint: u16, interval: u16) -> u16 {
    ((hint & INTERVAL) + interval).div_ceil(2)
}

impl Adaptive {
    /// Ticks since the last use of an object.
    const fn age(self, hint: u16) -> u16 {
        (self.stamp >> TIME).wrapping_sub(hint >> TIME) & (TICKS - 1)
    }

    const fn tick(&mut self) {
        self.stamp = self.stamp.wrapping_add(1 << TIME);
    }

    /// Now, with this interval.
    const fn now(self, interval: u16) -> u16 {
        self.stamp | interval
    }

    /// What hits since the last look say: it was used often, within a tick, and just now.
    const fn looked_at(self, hint: u16) -> u16 {
        if hint & HIT == 0 { hint } else { self.now(0) }
    }

    /// Ticks until the next use, as far as can be known.
    fn expected(self, hint: u16) -> u32 {
        let age = self.age(hint) as u32;
        let interval = power(hint & INTERVAL);
        if age > LEFT * interval { 16 * age } else { interval - age.min(interval) / 2 }
    }
}

/// Four times the binary logarithm, linear between powers of two; 0 for 0.
const fn logarithm(value: u16) -> u16 {
    match value.checked_ilog2() {
        Some(exponent) => 4 * exponent as u16 + ((((value as u32) << 2) >> exponent) & 3) as u16,
        None => 0,
    }
}

/// The value of which this is four times the binary logarithm.
const fn power(logarithm: u16) -> u32 {
    (4 + (logarithm & 3) as u32) << (logarithm >> 2) >> 2
}

impl Policy for Adaptive {
    fn loaded(&mut self) -> u16 {
        self.tick();
        self.now(UNKNOWN)
    }

    #[inline]
    fn hit(&mut self, hint: u16) -> u16 {
        hint | HIT
    }

    fn used(&mut self, hint: u16) -> u16 {
        self.tick();
        self.now(average(self.looked_at(hint), logarithm(self.age(hint))))
    }

    fn advised(&mut self, _: u16, advice: Advice) -> u16 {
        self.now(if advice == Advice::WontNeed { INTERVAL } else { 0 })
    }

    fn victim(&mut self, residents: &mut dyn Residents) -> Option<u16> {
        let first = residents.next(self.hand)?;
        let (mut at, mut victim, mut most) = (first, first, 0);
        for _ in 0..SAMPLE {
            let size = residents.block_bytes(at);
            let hint = self.looked_at(residents.hint(at));
            residents.set_hint(at, hint);
            let worth = self.expected(hint).saturating_mul(size) / (size + OVERHEAD);
            // A dirty object has to be written before it can be loaded again.
            let worth = if residents.is_dirty(at) { worth } else { worth.saturating_mul(2) };
            if worth >= most {
                (victim, most) = (at, worth);
            }
            self.hand = at;
            match residents.next(at) {
                Some(next) if next != first => at = next,
                _ => break,
            }
        }
        Some(victim)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Table;
    use super::*;

    #[test]
    fn logarithms_are_close() {
        for value in 1..TICKS {
            let exact = 4.0 * f64::from(value).log2();
            assert!((f64::from(logarithm(value)) - exact).abs() < 1.5, "{value}");
            let back = power(logarithm(value));
            assert!(back <= u32::from(value) && 5 * back + 5 > 4 * u32::from(value), "{value}");
        }
    }

    /// Objects of one size, `room` of them resident; how many of `uses` were misses.
    fn misses(slots: u16, room: usize, uses: impl Iterator<Item = u16>) -> u32 {
        let mut policy = Adaptive::default();
        let mut table = Table(vec![None; usize::from(slots)]);
        let mut misses = 0;
        for index in uses {
            match table.0[usize::from(index)] {
                Some(hint) => table.set_hint(index, policy.used(hint)),
                None => {
                    misses += 1;
                    if table.0.iter().flatten().count() == room {
                        let victim = policy.victim(&mut table).unwrap();
                        table.0[usize::from(victim)] = None;
                    }
                    table.0[usize::from(index)] = Some(policy.loaded());
                }
            }
        }
        misses
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of choices, none of them unsafe")]
    fn a_cyclic_scan_does_not_drive_everything_out() {
        // Least recently used would miss each time.
        let misses = misses(64, 48, (0..64 * 100).map(|at| at % 64));
        assert!(misses < 64 * 100 * 45 / 100, "{misses} of {}", 64 * 100);
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of choices, none of them unsafe")]
    fn a_working_set_that_was_left_goes() {
        let misses = misses(256, 32, (0..25_600u32).map(|at| (at / 400 * 16 % 256 + at * 7 % 16) as u16));
        // 64 working sets of 16 objects.
        assert!(misses < 64 * 16 * 12 / 10, "{misses}");
    }
}
