use super::{Advice, Policy, Residents};

/// Bits of a hint that hold the interval; the time of the last use stands above.
const INTERVAL_BITS: u16 = 7;
const LONGEST: u16 = (1 << INTERVAL_BITS) - 1;
/// Accesses of a tick, as a power of two.
const TICK: u16 = 2;
/// The clock goes round after so many ticks.
const TICKS: u16 = 1 << (u16::BITS as u16 - INTERVAL_BITS);
/// Interval of an object of which nothing is known: 256 ticks.
const UNKNOWN: u16 = 8 * 8;
/// Candidates that are compared for one victim.
const SAMPLE: u16 = 32;
/// What a transaction costs besides its bytes, in bytes, shared among the objects of a burst.
const OVERHEAD: u32 = 24;

/// Predicts the next use of each object from the intervals between its uses, and takes the candidate whose next use is farthest,
/// weighted by its size and by what it costs.
///
/// The hint of an object holds the tick of its last use (9 bits, a tick is four accesses to the heap) and the moving average of
/// the binary logarithm of the ticks between its uses (7 bits, in eighths). An object is expected after its interval; one that is
/// overdue for as long again is taken for one that is not used any more. So frequently used objects stay, a scan that is longer than the arena or
/// the dirty limit does not drive everything out, and a working set that was left goes at once. Nothing has to be tuned.
///
/// A hit costs a counter, and a comparison; the first one in a tick some 30 instructions. A victim is the worst of the 32 candidates
/// that a hand meets next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Adaptive {
    accesses: u16,
    hand: u16,
}

impl Adaptive {
    #[inline]
    const fn now(self) -> u16 {
        self.accesses >> TICK & (TICKS - 1)
    }

    #[inline(never)]
    fn used_again(hint: u16, now: u16) -> u16 {
        let interval = hint & LONGEST;
        let ticks = now.wrapping_sub(hint >> INTERVAL_BITS) & (TICKS - 1);
        // A quarter of the way towards the last interval, rounded.
        let moved = (i32::from(logarithm(ticks)) - i32::from(interval) + 2) >> 2;
        now << INTERVAL_BITS | interval.saturating_add_signed(moved as i16).min(LONGEST)
    }

    /// Ticks until the next use, as far as can be known.
    const fn expected(self, hint: u16) -> u32 {
        let age = (self.now().wrapping_sub(hint >> INTERVAL_BITS) & (TICKS - 1)) as u32;
        let interval = power(hint & LONGEST);
        if age > 2 * interval {
            8 * age
        } else if age < interval {
            interval - age
        } else {
            1
        }
    }
}

/// Eight times the binary logarithm, linear between powers of two; 0 for 0.
const fn logarithm(value: u16) -> u16 {
    match value.checked_ilog2() {
        Some(exponent) => 8 * exponent as u16 + ((((value as u32) << 3) >> exponent) & 7) as u16,
        None => 0,
    }
}

/// The value of which this is eight times the binary logarithm.
const fn power(logarithm: u16) -> u32 {
    (8 + (logarithm & 7) as u32) << (logarithm >> 3) >> 3
}

impl Policy for Adaptive {
    fn loaded(&mut self) -> u16 {
        self.accesses = self.accesses.wrapping_add(1);
        self.now() << INTERVAL_BITS | UNKNOWN
    }

    #[inline]
    fn hit(&mut self, hint: u16) -> u16 {
        self.accesses = self.accesses.wrapping_add(1);
        let now = self.now();
        if hint >> INTERVAL_BITS == now { hint } else { Self::used_again(hint, now) }
    }

    fn advised(&mut self, _: u16, advice: Advice) -> u16 {
        self.now() << INTERVAL_BITS | if advice == Advice::WontNeed { LONGEST } else { 0 }
    }

    fn victim(&mut self, residents: &mut dyn Residents) -> Option<u16> {
        let first = residents.next(self.hand)?;
        let (mut at, mut victim, mut most) = (first, first, 0);
        for _ in 0..SAMPLE {
            let size = residents.block_bytes(at);
            let worth = self.expected(residents.hint(at)).saturating_mul(size) / (size + OVERHEAD);
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
            let exact = 8.0 * f64::from(value).log2();
            assert!((f64::from(logarithm(value)) - exact).abs() < 2.0, "{value}");
            let back = power(logarithm(value));
            assert!(back <= u32::from(value) && 9 * back + 9 > 8 * u32::from(value), "{value}");
        }
    }

    /// Objects of one size, `room` of them resident; how many of `uses` were misses.
    fn misses(slots: u16, room: usize, uses: impl Iterator<Item = u16>) -> u32 {
        let mut policy = Adaptive::default();
        let mut table = Table(vec![None; usize::from(slots)]);
        let mut misses = 0;
        for index in uses {
            match table.0[usize::from(index)] {
                Some(hint) => table.set_hint(index, policy.hit(hint)),
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
    fn a_cyclic_scan_does_not_drive_everything_out() {
        // Least recently used would miss each time.
        let misses = misses(64, 48, (0..64 * 100).map(|at| at % 64));
        assert!(misses < 64 * 100 * 45 / 100, "{misses} of {}", 64 * 100);
    }

    #[test]
    fn a_working_set_that_was_left_goes() {
        let misses = misses(256, 32, (0..25_600u32).map(|at| (at / 400 * 16 % 256 + at * 7 % 16) as u16));
        // 64 working sets of 16 objects.
        assert!(misses < 64 * 16 * 12 / 10, "{misses}");
    }
}
