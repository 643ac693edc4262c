//! What the storage holds before a life: blank, noise, or what other lives have left there.

use crate::device::{Recorder, Write, torn};
use crate::found::{Found, found};
use crate::journal::{Journal, at};
use crate::life::Life;
use crate::op::ParseError;
use crate::player::play;
use crate::point::{Point, garbage_name, garbage_of, tear_name, tear_of};
use crate::recording::before;
use crate::shape::Shape;
use crate::state::{Held, State};
use core::fmt;
use core::str::FromStr;
use std::sync::Arc;
use vnv_sim::{Garbage, Tear};

/// What was there first.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Every byte is this one: blank if it is 00 or FF.
    Filled(u8),
    /// Seeded noise.
    Noise(u32),
    /// What this life has left.
    Life(Box<Life>),
}

/// What happened to it before the life begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mishap {
    /// Power failed with a byte of a write of the former life in flight.
    Cut(usize, usize, Tear),
    /// The same, writes counted from the beginning of its last operation on.
    CutLast(usize, usize, Tear),
    /// So many bytes from the beginning on were overwritten.
    Wiped(usize, Garbage),
    /// A copy of the superblock says, with a sound checksum, that the format is a newer one.
    Newer(u8),
    /// As a violation prints it: a row overwritten, a bit flipped.
    Spoilt(Point),
}

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(write, byte, tear) => write!(f, "cut{write}.{byte}@{}", tear_name(*tear)),
            Self::CutLast(write, byte, tear) => write!(f, "last{write}.{byte}@{}", tear_name(*tear)),
            Self::Wiped(bytes, garbage) => write!(f, "wiped{bytes}@{}", garbage_name(*garbage)),
            Self::Newer(copy) => write!(f, "newer{copy}"),
            Self::Spoilt(point) => write!(f, "{point}"),
        }
    }
}

impl FromStr for Mishap {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parsed = || {
            let (kind, rest) = text.split_at(text.find(|letter: char| letter.is_ascii_digit())?);
            let (numbers, what) = rest.split_once('@').unwrap_or((rest, ""));
            let (first, second) = numbers.split_once('.').unwrap_or((numbers, "0"));
            let (first, second) = (first.parse().ok()?, second.parse().ok()?);
            Some(match kind {
                "cut" => Self::Cut(first, second, tear_of(what)?),
                "last" => Self::CutLast(first, second, tear_of(what)?),
                "wiped" => Self::Wiped(first, garbage_of(what)?),
                "newer" => Self::Newer(u8::try_from(first).ok().filter(|copy| *copy < 2)?),
                "stray" | "flip" => Self::Spoilt(text.parse().ok()?),
                _ => return None,
            })
        };
        parsed().ok_or_else(|| ParseError(text.to_string()))
    }
}

/// What the storage holds before a life.
#[derive(Clone, Debug)]
pub struct Start {
    /// What was there first.
    pub origin: Origin,
    /// What happened to it since.
    pub mishaps: Vec<Mishap>,
}

impl Start {
    /// A storage on which nothing was ever written.
    pub const BLANK: Self = Self { origin: Origin::Filled(0xFF), mishaps: Vec::new() };
    /// The same, of another kind.
    pub const ZEROS: Self = Self { origin: Origin::Filled(0), mishaps: Vec::new() };

    /// What another life has left.
    #[must_use]
    pub fn after(life: Life, mishaps: &[Mishap]) -> Self {
        Self { origin: Origin::Life(Box::new(life)), mishaps: mishaps.to_vec() }
    }

    /// Reads what follows `start`: `ff`, `00`, `noise 7`, `life NAME` or a life in braces, whose settings are those of
    /// `outer` unless it has its own; then what happened to it.
    ///
    /// # Errors
    ///
    /// What cannot be read.
    pub fn parse(text: &str, outer: &Life) -> Result<Self, ParseError> {
        let wrong = || ParseError(text.to_string());
        let text = text.trim();
        if let Some(rest) = text.strip_prefix('{') {
            let (inner, mishaps) = rest.rsplit_once('}').ok_or_else(wrong)?;
            let mut life = Life::new("former", Vec::new());
            (life.capacity, life.row, life.options) = (outer.capacity, outer.row, outer.options);
            life.ops.clear();
            return Self::with(Origin::Life(Box::new(life.read(inner)?)), mishaps.split_whitespace());
        }
        let mut words = text.split_whitespace();
        let origin = match words.next() {
            Some("ff") => Origin::Filled(0xFF),
            Some("noise") => Origin::Noise(words.next().and_then(|seed| seed.parse().ok()).ok_or_else(wrong)?),
            Some("life") => {
                let name = words.next().ok_or_else(wrong)?;
                Origin::Life(Box::new(Life::named(name).ok_or_else(wrong)??))
            }
            Some("00") => Origin::Filled(0),
            _ => return Err(wrong()),
        };
        Self::with(origin, words)
    }

    fn with<'t>(origin: Origin, mishaps: impl Iterator<Item = &'t str>) -> Result<Self, ParseError> {
        Ok(Self { origin, mishaps: mishaps.map(str::parse).collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Filled(byte) => write!(f, "{byte:02x}")?,
            Origin::Noise(seed) => write!(f, "noise {seed}")?,
            Origin::Life(life) => write!(f, "{{ {life} }}")?,
        }
        self.mishaps.iter().try_for_each(|mishap| write!(f, " {mishap}"))
    }
}

/// What kind of storage a life begins on, for the counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartKind {
    /// All bytes are 00, or all FF.
    #[default]
    Blank,
    /// Noise.
    Noise,
    /// What a heap of the same layout has left.
    SameLayout,
    /// What a heap of another layout has left.
    OtherLayout,
}

impl fmt::Display for StartKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blank => "blank",
            Self::Noise => "noise",
            Self::SameLayout => "same layout",
            Self::OtherLayout => "other layout",
        })
    }
}

/// A storage before a life.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Its bytes.
    pub image: Vec<u8>,
    /// What it is taken for, by a program of the life's layout or of the one it was written with.
    pub state: State,
    /// What a destroyed last record of the former life, or a destroyed mishap, may bring back.
    pub older: Vec<State>,
    /// What kind of storage it is.
    pub kind: StartKind,
}

/// The end of a former life.
struct Former {
    image: Vec<u8>,
    legal: Vec<Arc<State>>,
    older: Vec<Arc<State>>,
    shape: Shape,
}

impl Start {
    /// The storage for `life`.
    ///
    /// # Errors
    ///
    /// What went wrong in a former life.
    pub fn begin(&self, life: &Life) -> Result<Begun, String> {
        let shape = life.shape();
        let filled = |image: Vec<u8>| Former { image, legal: Vec::new(), older: Vec::new(), shape };
        let Former { mut image, legal, older, shape: left } = match &self.origin {
            Origin::Filled(byte) => filled(vec![*byte; life.capacity as usize]),
            Origin::Noise(seed) => filled(noise(*seed).take(life.capacity as usize).collect()),
            Origin::Life(former) => self.former(former).map_err(|what| format!("the former life: {what}"))?,
        };
        let former = matches!(self.origin, Origin::Life(_)).then_some(left);
        let older = legal.iter().chain(&older).map(|state| (**state).clone()).collect();
        let used = !matches!(self.origin, Origin::Filled(_)) || !self.mishaps.is_empty();
        let kind = match former {
            Some(former) if former == shape => StartKind::SameLayout,
            Some(_) => StartKind::OtherLayout,
            None if used => StartKind::Noise,
            None => StartKind::Blank,
        };
        let mut damaged = false;
        for mishap in &self.mishaps {
            damaged |= !matches!(mishap, Mishap::Cut(..) | Mishap::CutLast(..));
            match mishap {
                Mishap::Cut(..) | Mishap::CutLast(..) => {}
                Mishap::Wiped(bytes, garbage) => {
                    let wiped = image.iter_mut().enumerate().take(*bytes);
                    wiped.for_each(|(at, byte)| *byte = garbage.byte(*byte, *byte, at));
                }
                Mishap::Newer(copy) => newer(&mut image, *copy, former.unwrap_or(shape)),
                Mishap::Spoilt(point) => point.spoil(&mut image, life.row),
            }
        }
        let complete = former.is_none_or(|former| former.capacity <= shape.capacity);
        image.resize(life.capacity as usize, 0xFF);
        let by = |shape: Shape| {
            // A heap that used more than there is now is none any more.
            let part = image.get(..shape.capacity as usize).map(<[u8]>::to_vec);
            part.map(|part| found(Recorder::new(part, shape.row).0, shape))
        };
        let state = match (by(shape), former) {
            _ if self.is_foreign(life) => State::foreign(),
            (Some(Found::OtherLayout), Some(former)) => match by(former) {
                Some(Found::State(state)) => state,
                Some(Found::OtherLayout) | None => State::foreign(),
                Some(Found::Unreadable(_)) if damaged => State::foreign(),
                Some(Found::Unreadable(what)) => return Err(format!("the former life cannot be opened: {what:?}")),
            },
            (Some(Found::State(state)), _) => state,
            (Some(Found::Unreadable(_)), _) if damaged => State::foreign(),
            (Some(Found::Unreadable(what)), _) => return Err(format!("the former life cannot be opened: {what:?}")),
            (Some(Found::OtherLayout) | None, _) => State::foreign(),
        };
        if !damaged && complete && !legal.is_empty() && !legal.iter().any(|legal| **legal == state) {
            return Err(format!("the former life has left {state:?}, legal are {legal:?}"));
        }
        // With the handles that are stale.
        let state = legal.iter().find(|legal| ***legal == state).map_or(state, |legal| (**legal).clone());
        Ok(Begun { image, state, older, kind })
    }

    /// Whether this has to be taken for something else, whatever the heap says: noise, a newer version, a heap whose
    /// superblocks are gone.
    fn is_foreign(&self, life: &Life) -> bool {
        let superblocks = 2 * 64usize.next_multiple_of(life.row.max(8) as usize);
        matches!(self.origin, Origin::Noise(_))
            || self.mishaps.iter().any(|mishap| match mishap {
                Mishap::Newer(_) => true,
                Mishap::Wiped(bytes, _) => (superblocks..life.capacity as usize).contains(bytes),
                _ => false,
            })
    }

    /// Runs the former life, as far as a cut lets it.
    fn former(&self, life: &Life) -> Result<Former, String> {
        let begun = life.start.begin(life)?;
        let (recorder, storage, tape) = Recorder::new(begun.image.clone(), life.row);
        tape.recording.set(true);
        let position = || tape.position.get();
        let journal = Journal::new(begun.state, 0, &position);
        drop(play(recorder, life, 0, &journal, true).map_err(|stopped| stopped.what())?);
        let moments = journal.moments();
        let writes = tape.writes.take();
        let last = moments.iter().filter(|moment| moment.op + 1 == life.ops.len()).map(|moment| moment.position);
        let last = last.min().unwrap_or(0);
        let states: Vec<Arc<State>> = journal.states.borrow().iter().cloned().map(Arc::new).collect();
        let mut image = storage.borrow().image().to_vec();
        let mut position = writes.len();
        for mishap in &self.mishaps {
            let (write, byte, tear) = match *mishap {
                Mishap::Cut(write, byte, tear) => (write, byte, tear),
                Mishap::CutLast(write, byte, tear) => (last + write, byte, tear),
                _ => continue,
            };
            let cut = writes.get(write).ok_or_else(|| format!("there is no write {write}, only {}", writes.len()))?;
            image = torn(&after(&begun.image, writes.get(..write).unwrap_or_default()), life.row, cut, byte, tear);
            position = write;
        }
        let moment = at(&moments, position);
        let legal = moment.legal.all().filter_map(|number| states.get(number).cloned()).collect();
        let older = before(&states, &moments, moment.legal.acknowledged);
        Ok(Former { image, legal, older, shape: life.shape_at(moment.op) })
    }
}

/// What an image becomes by these writes.
#[must_use]
pub fn after(image: &[u8], writes: &[Write]) -> Vec<u8> {
    let mut image = image.to_vec();
    for write in writes {
        let at = write.offset as usize;
        if let Some(to) = image.get_mut(at..at + write.bytes.len()) {
            to.copy_from_slice(&write.bytes);
        }
    }
    image
}

/// Seeded noise.
pub fn noise(seed: u32) -> impl Iterator<Item = u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    core::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
}

/// Makes a superblock copy one of the next version, with a sound checksum.
fn newer(image: &mut [u8], copy: u8, shape: Shape) {
    let unit = shape.row.max(8) as usize;
    let from = usize::from(copy) * 64usize.next_multiple_of(unit);
    let Some(block) = image.get_mut(from..from + 64) else { return };
    block[8] = block[8].wrapping_add(1);
    let crc = crc32(&block[..60]);
    block[60..64].copy_from_slice(&crc.to_le_bytes());
}

/// CRC-32/ISO-HDLC, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

impl Held {
    /// Whether a program's start-up leaves it alone.
    #[must_use]
    pub fn is_refused(self, shape: Shape) -> bool {
        match self {
            Self::Blank => false,
            Self::Foreign => true,
            Self::Heap(held) => held != shape,
        }
    }
}
