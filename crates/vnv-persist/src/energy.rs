//! From a capacitor to a dirty limit and back: whether the energy that is left pays for the worst snapshot.

use crate::bound::Bound;
use core::fmt;

/// What the memory part asks of its supply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SupplyLimits {
    /// Lowest supply voltage at which the part works, in millivolts.
    pub minimum_mv: u32,
    /// The supply may fall by one volt in this many nanoseconds, not faster.
    pub fall_ns_per_volt: u64,
    /// Chip select is high this many nanoseconds before the supply falls below the minimum.
    pub chip_select_high_ns: u64,
}

impl SupplyLimits {
    /// 3.0 V, 200 us/V, 400 ns (DS501-00015, "Power-on/off sequence").
    pub const MB85RS64V: Self = Self { minimum_mv: 3000, fall_ns_per_volt: 200_000, chip_select_high_ns: 400 };
}

/// What is left when the alarm comes, and what it is spent on.
///
/// ```
/// use vnv_persist::{Bound, BusCost, EnergyBudget, Layout, Options, SupplyLimits};
///
/// const LAYOUT: Layout = match Layout::new(8192, 8, (48, 6, 4), Options::new(1024)) {
///     Ok(layout) => layout,
///     Err(_) => panic!("no such layout"),
/// };
/// const BOUND: Bound = Bound::new(&LAYOUT, &BusCost::ESP32C3_20MHZ, 64);
/// const BUDGET: EnergyBudget = EnergyBudget {
///     capacitance_nf: 470_000,
///     alarm_mv: 3_300,
///     efficiency_percent: 100,
///     load_mv: 3_300,
///     worst_current_ua: 40_000,
///     limits: SupplyLimits::MB85RS64V,
/// };
/// // Does not compile if the snapshot cannot be paid for.
/// const _: () = BUDGET.require(&BOUND);
/// assert_eq!(BUDGET.usable_nj(), 444_150); // C / 2 (3.3 V squared - 3.0 V squared)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EnergyBudget {
    /// Capacitance at the least favourable tolerance, temperature and age, in nanofarads.
    pub capacitance_nf: u64,
    /// Voltage of the capacitor when the alarm comes, at worst, in millivolts.
    pub alarm_mv: u32,
    /// Efficiency of the regulator between capacitor and load, 1 to 100 (100: none).
    pub efficiency_percent: u32,
    /// Voltage of the load, in millivolts (without a regulator: `alarm_mv`).
    pub load_mv: u32,
    /// Current of everything that is still running, at worst, in microamperes.
    pub worst_current_ua: u32,
    /// What the part asks of its supply.
    pub limits: SupplyLimits,
}

/// Why a configuration cannot be saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BudgetError {
    /// The worst snapshot takes more energy than is left, by so many nanojoules.
    Energy {
        /// Missing energy.
        missing_nj: u64,
    },
    /// The capacitor is too small: the supply falls faster than the part allows.
    Ramp {
        /// Missing capacitance in nanofarads.
        missing_nf: u64,
    },
    /// The alarm comes at or below the part's minimum voltage, efficiency is not 1 to 100 %, or the current is 0.
    Nonsense,
}

impl fmt::Display for BudgetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Energy { missing_nj } => {
                write!(
                    f,
                    "the worst snapshot takes {missing_nj} nJ more than is left: lower the dirty limit, or a larger capacitor"
                )
            }
            Self::Ramp { missing_nf } => {
                write!(f, "the supply falls faster than the part allows: the capacitor is {missing_nf} nF too small")
            }
            Self::Nonsense => f.write_str("alarm voltage, efficiency or current make no sense"),
        }
    }
}

impl core::error::Error for BudgetError {}

impl EnergyBudget {
    /// Energy for the load between the alarm and the part's minimum voltage, in nanojoules.
    #[must_use]
    pub const fn usable_nj(&self) -> u64 {
        let (from, to) = (self.alarm_mv as u128, self.limits.minimum_mv as u128);
        if from <= to {
            return 0;
        }
        // nF mV^2 are femtojoules.
        let femtojoules = self.capacitance_nf as u128 * (from * from - to * to) / 2;
        (femtojoules * self.efficiency_percent as u128 / 100 / 1_000_000) as u64
    }

    /// Energy that so many nanoseconds take, in nanojoules.
    #[must_use]
    pub const fn needed_nj(&self, ns: u64) -> u64 {
        // mV uA ns are 10^-18 J.
        (self.load_mv as u128 * self.worst_current_ua as u128 * ns as u128).div_ceil(1_000_000_000) as u64
    }

    /// How long the load runs on what is left, in nanoseconds.
    #[must_use]
    pub const fn holds_ns(&self) -> u64 {
        let power = self.load_mv as u128 * self.worst_current_ua as u128;
        match (self.usable_nj() as u128 * 1_000_000_000).checked_div(power) {
            Some(ns) => ns as u64,
            None => 0,
        }
    }

    /// Smallest capacitance at which the supply falls as slowly as the part asks, in nanofarads.
    #[must_use]
    pub const fn ramp_nf(&self) -> u64 {
        // uA ns / V are 10^-15 F.
        (self.worst_current_ua as u64 * self.limits.fall_ns_per_volt).div_ceil(1_000_000)
    }

    /// Whether the worst snapshot can be paid for, the wait for its begin included.
    ///
    /// # Errors
    ///
    /// [`BudgetError`]: by how much it cannot.
    pub const fn check(&self, bound: &Bound) -> Result<(), BudgetError> {
        let sensible = self.alarm_mv > self.limits.minimum_mv
            && self.efficiency_percent >= 1
            && self.efficiency_percent <= 100
            && self.worst_current_ua > 0;
        if !sensible {
            return Err(BudgetError::Nonsense);
        }
        let needed = self.needed_nj(bound.total_ns() + self.limits.chip_select_high_ns);
        let usable = self.usable_nj();
        if needed > usable {
            return Err(BudgetError::Energy { missing_nj: needed - usable });
        }
        let ramp = self.ramp_nf();
        if ramp > self.capacitance_nf {
            return Err(BudgetError::Ramp { missing_nf: ramp - self.capacitance_nf });
        }
        Ok(())
    }

    /// [`check`](Self::check) at compile time.
    ///
    /// # Panics
    ///
    /// With the error's text: in a `const` the configuration does not compile.
    #[allow(clippy::panic, reason = "it is for constants: the panic is the compiler's error")]
    pub const fn require(&self, bound: &Bound) {
        match self.check(bound) {
            Ok(()) => {}
            Err(BudgetError::Energy { missing_nj }) => panic!(
                "{}",
                Text::new()
                    .text("the worst snapshot takes ")
                    .number(missing_nj)
                    .text(" nJ more than is left: lower the dirty limit, or a larger capacitor")
                    .as_str()
            ),
            Err(BudgetError::Ramp { missing_nf }) => panic!(
                "{}",
                Text::new()
                    .text("the supply falls faster than the part allows: the capacitor is ")
                    .number(missing_nf)
                    .text(" nF too small")
                    .as_str()
            ),
            Err(BudgetError::Nonsense) => panic!("alarm voltage, efficiency or current make no sense"),
        }
    }
}

/// A message made at compile time.
struct Text {
    bytes: [u8; 160],
    len: usize,
}

impl Text {
    const fn new() -> Self {
        Self { bytes: [0; 160], len: 0 }
    }

    const fn text(mut self, text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() && self.len < self.bytes.len() {
            self.bytes[self.len] = bytes[at];
            self.len += 1;
            at += 1;
        }
        self
    }

    const fn number(mut self, number: u64) -> Self {
        let mut power = 1u64;
        while number / power >= 10 {
            power *= 10;
        }
        while power > 0 && self.len < self.bytes.len() {
            self.bytes[self.len] = b'0' + (number / power % 10) as u8;
            self.len += 1;
            power /= 10;
        }
        self
    }

    const fn as_str(&self) -> &str {
        let (text, _) = self.bytes.split_at(self.len);
        match core::str::from_utf8(text) {
            Ok(text) => text,
            Err(_) => "the configuration cannot be saved",
        }
    }
}
