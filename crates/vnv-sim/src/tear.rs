//! What a power cut leaves behind: the tear ladder, and the one engine that both simulators use.

use core::ops::Range;

/// What the bytes of a torn row become.
///
/// A data sheet that promises nothing allows any content; these are the ones worth trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Garbage {
    /// What was there before the running write.
    Old,
    /// What the running write would have left, as far as the memory has seen it.
    New,
    /// All bits 0.
    Zeros,
    /// All bits 1.
    Ones,
    /// The inverse of [`Garbage::New`].
    Inverted,
    /// Noise, reproducible: a function of this seed and the address.
    Seeded(u64),
}

impl Garbage {
    /// Every kind, with two seeds of noise.
    pub const ALL: [Self; 7] = [
        Self::Old,
        Self::New,
        Self::Zeros,
        Self::Ones,
        Self::Inverted,
        Self::Seeded(0x5EED),
        Self::Seeded(0xF00D_CAFE),
    ];

    /// The byte at `address` that was `old` and should become `new`.
    #[must_use]
    pub fn byte(self, old: u8, new: u8, address: usize) -> u8 {
        match self {
            Self::Old => old,
            Self::New => new,
            Self::Zeros => 0x00,
            Self::Ones => 0xFF,
            Self::Inverted => !new,
            Self::Seeded(seed) => noise(seed, address),
        }
    }

    /// A mix of the bits of `old` and `new`: bits that are equal in both stay.
    ///
    /// [`Garbage::Zeros`] and [`Garbage::Ones`] take the differing bits as 0 or 1, [`Garbage::Inverted`] takes every
    /// other bit from `new`.
    #[must_use]
    pub fn mix(self, old: u8, new: u8, address: usize) -> u8 {
        let taken = match self {
            Self::Old => 0x00,
            Self::New => 0xFF,
            Self::Zeros => old,
            Self::Ones => new,
            Self::Inverted => 0xAA,
            Self::Seeded(seed) => noise(seed, address),
        };
        (new & taken) | (old & !taken)
    }
}

/// One byte of the SplitMix64 sequence of `seed` at `address`.
fn noise(seed: u64, address: usize) -> u8 {
    let mut state = seed.wrapping_add((address as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((state ^ (state >> 31)) >> 56) as u8
}

/// A rung of the tear ladder: what an access that power cuts does to the memory.
///
/// The byte in flight is the one that was being transferred at the cut; its row is the row in flight. Whatever the
/// rung, the bytes before the byte in flight have been stored first, and no row that the access did not reach is
/// touched. The fifth rung (dropped, half and stray writes) is not the effect of a cut: see the injections of
/// [`TearStorage`](crate::TearStorage) and [`Fram`](crate::Fram).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Tear {
    /// The byte in flight and everything behind it keep their old content.
    #[default]
    T0,
    /// The byte in flight is a [mix](Garbage::mix) of its old and new bits.
    T1(Garbage),
    /// The whole row in flight is garbage, with the bytes of it that this write, or an earlier one, had stored.
    T2(Garbage),
    /// As `T2`, and all later bytes of the same write are garbage too.
    T3(Garbage),
    /// As `T2` for a write; moreover a read in flight destroys the row it is reading, because FRAM reads destructively
    /// and the part writes back. The rungs before leave the memory alone when a read is cut.
    T4(Garbage),
}

impl Tear {
    /// Every rung that a write must survive, `T0` to `T3`, each with every garbage that makes a difference.
    pub fn of_writes() -> impl Iterator<Item = Self> + Clone {
        let all = || Garbage::ALL.into_iter();
        let mixes = all().filter(|garbage| !matches!(garbage, Garbage::Old));
        core::iter::once(Self::T0).chain(mixes.map(Self::T1)).chain(all().map(Self::T2)).chain(all().map(Self::T3))
    }

    /// The rung of cut reads, `T4`, with every garbage that makes a difference.
    pub fn of_reads() -> impl Iterator<Item = Self> + Clone {
        Garbage::ALL.into_iter().filter(|garbage| !matches!(garbage, Garbage::Old | Garbage::New)).map(Self::T4)
    }

    /// Tears a write: `memory` already holds the bytes before `in_flight`.
    ///
    /// `before` is the row in flight as it was before the write, `incoming` the bytes not yet stored as far as they
    /// are known, the one at `in_flight` first.
    pub(crate) fn write(self, memory: &mut [u8], row_size: u32, in_flight: usize, before: &[u8], incoming: &[u8]) {
        let row = row_of(in_flight, row_size, memory.len());
        match self {
            Self::T0 => {}
            Self::T1(garbage) => {
                if let (Some(byte), Some(&new)) = (memory.get_mut(in_flight), incoming.first()) {
                    *byte = garbage.mix(*byte, new, in_flight);
                }
            }
            Self::T2(garbage) | Self::T3(garbage) | Self::T4(garbage) => {
                for (address, &old) in row.clone().zip(before) {
                    let arriving = address.checked_sub(in_flight).and_then(|index| incoming.get(index));
                    if let Some(byte) = memory.get_mut(address) {
                        *byte = garbage.byte(old, arriving.copied().unwrap_or(*byte), address);
                    }
                }
                if let Self::T3(garbage) = self {
                    let rest = (in_flight..).zip(incoming).filter(|(address, _)| *address >= row.end);
                    for (address, &new) in rest {
                        if let Some(byte) = memory.get_mut(address) {
                            *byte = garbage.byte(*byte, new, address);
                        }
                    }
                }
            }
        }
    }

    /// Tears a read of the byte at `in_flight`.
    pub(crate) fn read(self, memory: &mut [u8], row_size: u32, in_flight: usize) {
        if let Self::T4(garbage) = self {
            for address in row_of(in_flight, row_size, memory.len()) {
                if let Some(byte) = memory.get_mut(address) {
                    *byte = garbage.byte(*byte, *byte, address);
                }
            }
        }
    }
}

/// The addresses of the row that holds `address`, in a memory of `capacity` bytes.
pub(crate) fn row_of(address: usize, row_size: u32, capacity: usize) -> Range<usize> {
    let row_size = row_size as usize;
    let start = address - address % row_size;
    start..(start + row_size).min(capacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_keeps_the_bits_that_do_not_change() {
        for garbage in Garbage::ALL {
            for (old, new) in [(0x00, 0xFF), (0x0F, 0xF0), (0x3C, 0x3C), (0xA5, 0xA7)] {
                for address in 0..64 {
                    let mixed = garbage.mix(old, new, address);
                    assert_eq!((mixed ^ old) & (mixed ^ new), 0, "{garbage:?} {old:02x} {new:02x}");
                }
            }
        }
        assert_eq!(Garbage::Old.mix(0x12, 0x34, 0), 0x12);
        assert_eq!(Garbage::New.mix(0x12, 0x34, 0), 0x34);
        assert_eq!(Garbage::Zeros.mix(0x0F, 0x3C, 0), 0x0C);
        assert_eq!(Garbage::Ones.mix(0x0F, 0x3C, 0), 0x3F);
    }

    #[test]
    fn noise_depends_on_the_seed_and_the_address() {
        let of = |seed| (0..32).map(|address| noise(seed, address)).collect::<Vec<_>>();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(of(1).windows(2).any(|pair| pair[0] != pair[1]));
    }

    /// A write of 1, 2, 3, .. over 16 bytes from address 2 of a memory of 0x80, cut with the byte at 11 in flight.
    fn torn(tear: Tear) -> Vec<u8> {
        let mut memory = vec![0x80; 32];
        let data: Vec<u8> = (1..=16).collect();
        memory[2..11].copy_from_slice(&data[..9]);
        tear.write(&mut memory, 8, 11, &[0x80; 8], &data[9..]);
        memory
    }

    #[test]
    fn each_rung_damages_what_it_says() {
        let prefix = torn(Tear::T0);
        assert_eq!(prefix[..12], [0x80, 0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x80]);
        assert_eq!(prefix[12..], [0x80; 20]);

        let mixed = torn(Tear::T1(Garbage::Ones));
        assert_eq!(mixed[11], 0x80 | 10);
        assert_eq!((&mixed[..11], &mixed[12..]), (&prefix[..11], &prefix[12..]));

        let row = torn(Tear::T2(Garbage::Ones));
        assert_eq!(row[8..16], [0xFF; 8]);
        assert_eq!((&row[..8], &row[16..]), (&prefix[..8], &prefix[16..]));
        assert_eq!(torn(Tear::T2(Garbage::Old))[8..16], [0x80; 8], "stored bytes of the row go back");
        assert_eq!(torn(Tear::T2(Garbage::New))[8..16], [7, 8, 9, 10, 11, 12, 13, 14]);

        let rest = torn(Tear::T3(Garbage::Zeros));
        assert_eq!(rest[8..18], [0; 10]);
        assert_eq!((&rest[..8], &rest[18..]), (&prefix[..8], &prefix[18..]));
    }

    #[test]
    fn only_the_fourth_rung_destroys_what_is_read() {
        for tear in Tear::of_writes() {
            let mut memory = [7; 16];
            tear.read(&mut memory, 8, 9);
            assert_eq!(memory, [7; 16], "{tear:?}");
        }
        for tear in Tear::of_reads() {
            let mut memory = [7; 16];
            tear.read(&mut memory, 8, 9);
            assert_eq!(memory[..8], [7; 8]);
            assert_ne!(memory[8..], [7; 8], "{tear:?}");
        }
    }
}
