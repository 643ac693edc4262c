//! An application with three types of values, generic over what keeps them.

#![no_std]

use vnv_persist::{Durable, Link};

/// What a station counts.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
pub struct Station {
    /// Measurements so far.
    pub count: u32,
    /// The newest one.
    pub newest: Link<Reading>,
    /// How it is set up.
    pub settings: Link<Settings>,
}

/// A measurement.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
pub struct Reading {
    /// When.
    pub at: u32,
    /// What.
    pub values: [u16; 8],
}

/// How a station is set up.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
pub struct Settings {
    /// Between two measurements.
    pub interval: u32,
    /// Where an alarm is raised.
    pub threshold: f32,
}

/// What keeps the values.
pub trait Values {
    /// Changes the station.
    fn station(&mut self, change: &mut dyn FnMut(&mut Station)) -> Option<()>;
    /// Changes the newest reading.
    fn reading(&mut self, change: &mut dyn FnMut(&mut Reading)) -> Option<()>;
    /// Changes the settings.
    fn settings(&mut self, change: &mut dyn FnMut(&mut Settings)) -> Option<()>;
    /// Makes it durable.
    fn commit(&mut self) -> Option<()>;
}

const INPUT: *const u32 = 0x6000_4000 as *const u32;

fn input() -> u32 {
    // SAFETY: nothing runs this program; the address stands for a device's register.
    unsafe { INPUT.read_volatile() }
}

/// The application.
pub fn run(values: &mut impl Values) -> Option<()> {
    loop {
        let measured = input();
        values.station(&mut |station| station.count += 1)?;
        values.reading(&mut |reading| {
            reading.at = input();
            reading.values[measured as usize % 8] = measured as u16;
        })?;
        if measured == 0 {
            values.settings(&mut |settings| settings.interval = input())?;
        }
        values.commit()?;
    }
}
