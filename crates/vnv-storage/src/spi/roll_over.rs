//! Is the part as large as it was described? A part that is not ignores the upper address bits, so that what is
//! written behind its end changes its beginning.

use embedded_storage::ReadStorage as _;

use super::{Error, Fram, Transport};

/// Bytes that are compared at once.
const WINDOW: usize = 64;
/// Content that repeats after so many bytes, or fewer, is no evidence: a blank part repeats everywhere.
const LONGEST_PERIOD: usize = WINDOW / 2;
/// The least capacity that is looked for. No part with two address bytes or more is smaller than 1 KiB (25LC080).
const LEAST: u32 = 512;

impl<T: Transport> Fram<T> {
    /// The capacity at which the part rolls over, if that is below the one that it was described with; only reads.
    ///
    /// The first 64 bytes are compared with those at 512, 1,024, 2,048 and so on below the capacity. Where they are
    /// the same, everything behind is compared too, 32 bytes and 32 bytes, until there is a difference: two copies of
    /// something are not a part that rolls over. Nothing is known (`None`) if the first bytes repeat themselves with a
    /// period of up to 32 bytes, as those of a blank part do, or everything with one of 256, as a test pattern does:
    /// no part is that small.
    ///
    /// On its own, that its buffers (128 bytes) are not on the stack of a caller.
    #[inline(never)]
    pub(super) fn rolls_over_at(&mut self) -> Result<Option<u32>, Error<T::BusError, T::PinError>> {
        let mut first = [0; WINDOW];
        let mut other = [0; WINDOW];
        let mut candidates = powers(self.part.capacity).peekable();
        if candidates.peek().is_none() {
            return Ok(None);
        }
        self.read(0, &mut first)?;
        if repeats(&first) {
            return Ok(None);
        }
        for distance in candidates {
            self.read(distance, &mut other)?;
            if first == other && self.repeats_after(distance, WINDOW as u32, &mut other)? {
                let has_a_pattern = self.repeats_after(LEAST / 2, 0, &mut other)?;
                return Ok(if has_a_pattern { None } else { Some(distance) });
            }
        }
        Ok(None)
    }

    /// Whether each byte from `start` on is the same as the one `distance` behind it.
    fn repeats_after(
        &mut self,
        distance: u32,
        start: u32,
        buffer: &mut [u8; WINDOW],
    ) -> Result<bool, Error<T::BusError, T::PinError>> {
        let (near, far) = buffer.split_at_mut(WINDOW / 2);
        let mut position = start;
        let end = self.part.capacity.saturating_sub(distance);
        while position < end {
            let length = (end.saturating_sub(position) as usize).min(WINDOW / 2);
            let near = near.get_mut(..length).unwrap_or_default();
            let far = far.get_mut(..length).unwrap_or_default();
            self.read(position, near)?;
            self.read(position.saturating_add(distance), far)?;
            if near != far {
                return Ok(false);
            }
            position = position.saturating_add(length as u32);
        }
        Ok(true)
    }
}

/// The capacities that a part could have instead: powers of two with a window behind them.
fn powers(capacity: u32) -> impl Iterator<Item = u32> {
    let last = capacity.saturating_sub(WINDOW as u32);
    core::iter::successors(Some(LEAST), |power| power.checked_mul(2)).take_while(move |power| *power <= last)
}

/// Whether `bytes` repeat themselves after [`LONGEST_PERIOD`] bytes or fewer.
fn repeats(bytes: &[u8; WINDOW]) -> bool {
    (1..=LONGEST_PERIOD).any(|period| bytes.iter().zip(bytes.iter().skip(period)).all(|(one, next)| one == next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_of_up_to_half_a_window_repeat() {
        for period in 1..WINDOW {
            let bytes = core::array::from_fn(|at| (at % period) as u8);
            assert_eq!(repeats(&bytes), period <= LONGEST_PERIOD, "{period}");
        }
        let mut almost = [0xFF; WINDOW];
        almost[WINDOW - 1] = 0xFE;
        assert!(!repeats(&almost), "one bit is evidence");
    }

    #[test]
    fn candidates_are_the_powers_below_the_capacity() {
        let of = |capacity| powers(capacity).collect::<Vec<_>>();
        assert_eq!(of(8), []);
        assert_eq!(of(512), []);
        assert_eq!(of(575), []);
        assert_eq!(of(576), [512]);
        assert_eq!(of(8192), [512, 1024, 2048, 4096]);
        assert_eq!(of(1 << 24).last(), Some(&(1 << 23)));
        assert_eq!(of(u32::MAX).last(), Some(&(1 << 31)));
    }
}
