//! Where power is cut, as text: what replays a violation.

use core::fmt;
use core::str::FromStr;
use vnv_sim::{Garbage, Tear};

/// One cut, or one fault of the fifth rung.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// After so many bits of a frame of the life.
    Frame(usize, usize, Tear),
    /// With a byte of a write of the recovery in flight.
    Recovery(usize, usize, Tear),
    /// With a byte of a write after the recovery in flight.
    GoingOn(usize, usize, Tear),
    /// A write of the life is dropped.
    Dropped(usize),
    /// Only half of a write of the life is stored.
    Halved(usize),
    /// A row of the last image is overwritten.
    Stray(usize, Garbage),
    /// A bit of the last image is another one: the byte and the bit.
    Flip(usize, u8),
}

const GARBAGE: [&str; 7] = ["old", "new", "zeros", "ones", "inverted", "noise", "noise2"];

pub(crate) fn garbage_name(garbage: Garbage) -> &'static str {
    Garbage::ALL.iter().zip(GARBAGE).find(|(known, _)| **known == garbage).map_or("?", |(_, name)| name)
}

pub(crate) fn garbage_of(name: &str) -> Option<Garbage> {
    GARBAGE.iter().zip(Garbage::ALL).find(|(known, _)| **known == name).map(|(_, garbage)| garbage)
}

/// The number of the rung, 0 to 4.
#[must_use]
pub const fn rung(tear: Tear) -> usize {
    match tear {
        Tear::T1(_) => 1,
        Tear::T2(_) => 2,
        Tear::T3(_) => 3,
        Tear::T4(_) => 4,
        _ => 0,
    }
}

pub(crate) fn tear_name(tear: Tear) -> String {
    match tear {
        Tear::T1(garbage) | Tear::T2(garbage) | Tear::T3(garbage) | Tear::T4(garbage) => {
            format!("T{}-{}", rung(tear), garbage_name(garbage))
        }
        _ => "T0".to_string(),
    }
}

pub(crate) fn tear_of(name: &str) -> Option<Tear> {
    if name == "T0" {
        return Some(Tear::T0);
    }
    let (rung, garbage) = name.split_once('-')?;
    let garbage = garbage_of(garbage)?;
    match rung {
        "T1" => Some(Tear::T1(garbage)),
        "T2" => Some(Tear::T2(garbage)),
        "T3" => Some(Tear::T3(garbage)),
        "T4" => Some(Tear::T4(garbage)),
        _ => None,
    }
}

impl Point {
    /// Does to an image what this does to the last one; cuts do nothing.
    pub fn spoil(&self, image: &mut [u8], row: u32) {
        match *self {
            Self::Stray(number, garbage) => {
                let rows = image.iter_mut().enumerate().skip(number * row as usize).take(row as usize);
                rows.for_each(|(at, byte)| *byte = garbage.byte(*byte, *byte, at));
            }
            Self::Flip(at, bit) => {
                if let Some(byte) = image.get_mut(at) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            _ => {}
        }
    }

    /// The rung of the tear ladder.
    #[must_use]
    pub const fn rung(&self) -> usize {
        match self {
            Self::Frame(_, _, tear) | Self::Recovery(_, _, tear) | Self::GoingOn(_, _, tear) => rung(*tear),
            Self::Dropped(_) | Self::Halved(_) | Self::Stray(..) | Self::Flip(..) => 5,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(frame, bits, tear) => write!(f, "frame{frame}.{bits}@{}", tear_name(*tear)),
            Self::Recovery(write, byte, tear) => write!(f, "recovery{write}.{byte}@{}", tear_name(*tear)),
            Self::GoingOn(write, byte, tear) => write!(f, "then{write}.{byte}@{}", tear_name(*tear)),
            Self::Dropped(write) => write!(f, "dropped{write}"),
            Self::Halved(write) => write!(f, "halved{write}"),
            Self::Flip(byte, bit) => write!(f, "flip{byte}.{bit}"),
            Self::Stray(row, garbage) => write!(f, "stray{row}@{}", garbage_name(*garbage)),
        }
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let start = text.find(|letter: char| letter.is_ascii_digit())?;
            let (kind, rest) = text.split_at(start);
            let (numbers, tear) = rest.split_once('@').unwrap_or((rest, ""));
            let (first, second) = numbers.split_once('.').unwrap_or((numbers, "0"));
            let (first, second) = (first.parse().ok()?, second.parse().ok()?);
            Some(match kind {
                "frame" => Self::Frame(first, second, tear_of(tear)?),
                "recovery" => Self::Recovery(first, second, tear_of(tear)?),
                "then" => Self::GoingOn(first, second, tear_of(tear)?),
                "dropped" => Self::Dropped(first),
                "halved" => Self::Halved(first),
                "flip" => Self::Flip(first, u8::try_from(second).ok().filter(|bit| *bit < 8)?),
                "stray" => Self::Stray(first, garbage_of(tear)?),
                _ => return None,
            })
        };
        parsed().ok_or_else(|| format!("not a cut: `{text}`; for example: frame12.345@T2-inverted"))
    }
}

/// Cuts one after the other: the second in what follows the first.
#[must_use]
pub fn path_text(path: &[Point]) -> String {
    path.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read() {
        let tears: Vec<Tear> = Tear::of_writes().chain(Tear::of_reads()).collect();
        let cuts = tears.iter().flat_map(|tear| [Point::Frame(1, 2, *tear), Point::Recovery(3, 4, *tear)]);
        for point in
            cuts.chain([Point::GoingOn(0, 1, Tear::T0), Point::Dropped(5), Point::Halved(6), Point::Flip(7, 3)])
        {
            assert_eq!(point.to_string().parse(), Ok(point));
        }
        for garbage in Garbage::ALL {
            assert_eq!(Point::Stray(7, garbage).to_string().parse(), Ok(Point::Stray(7, garbage)));
        }
        assert!("frame1.2@T9-old".parse::<Point>().is_err());
    }
}
