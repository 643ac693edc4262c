//! A simulated part behind the driver: transactions are counted at the driver, bytes on the wire at the part.

use super::cost::Traffic;
use super::medium::{Medium, Meter, Tally};
use std::rc::Rc;
use vnv_sim::{Fram, SimBus, SimChipSelect};
use vnv_storage::embedded_storage::{ReadStorage, Storage};
use vnv_storage::{AddressWidth, Device, OwnedSpiFram, Part, Pieces};

type Driver = OwnedSpiFram<SimBus, SimChipSelect>;

/// A part, its driver, and counters of calls.
#[derive(Debug)]
pub struct Simulated {
    part: Fram,
    driver: Driver,
    traffic: Tally,
}

impl Simulated {
    fn count(&self, traffic: Traffic) {
        self.traffic.set(self.traffic.get() + traffic);
    }
}

impl Medium for Simulated {
    fn new(capacity: u32) -> Self {
        let width = if capacity <= 64 * 1024 { AddressWidth::Two } else { AddressWidth::Three };
        let part = Part::new("FRAM", capacity, width);
        let model = Fram::new(part);
        let driver = OwnedSpiFram::without_probe(model.bus(), model.chip_select(), part);
        Self { part: model, driver, traffic: Tally::default() }
    }

    fn meter(&self) -> Meter {
        let (part, traffic) = (self.part.clone(), Rc::clone(&self.traffic));
        Meter::new(move || Traffic { wire_bytes: part.counters().bits / 8, ..traffic.get() })
    }
}

impl ReadStorage for Simulated {
    type Error = <Driver as ReadStorage>::Error;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.driver.read(offset, bytes)?;
        self.count(Traffic::read(bytes.len() as u64, 0));
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.driver.capacity()
    }
}

impl Storage for Simulated {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.write_gather(offset, &[bytes])
    }
}

impl Device for Simulated {
    fn row_size(&self) -> u32 {
        self.driver.row_size()
    }

    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), Self::Error> {
        self.driver.write_gather(offset, slices)?;
        self.count(Traffic::write(slices.iter().map(|slice| slice.len() as u64).sum(), 0));
        Ok(())
    }

    fn write_abortable(
        &mut self,
        offset: u32,
        slices: &[&[u8]],
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<u32, Self::Error> {
        let written = self.driver.write_abortable(offset, slices, stop)?;
        self.count(Traffic::write(u64::from(written), 0));
        Ok(written)
    }

    fn write_stream(&mut self, offset: u32, length: u32, pieces: Pieces<'_>) -> Result<(), Self::Error> {
        let mut written = 0;
        self.driver.write_stream(offset, length, &mut |sink| {
            pieces(&mut |bytes| {
                written += bytes.len() as u64;
                sink(bytes)
            })
        })?;
        self.count(Traffic::write(written.min(u64::from(length)), 0));
        Ok(())
    }

    fn read_abortable(
        &mut self,
        offset: u32,
        bytes: &mut [u8],
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<u32, Self::Error> {
        let read = self.driver.read_abortable(offset, bytes, stop)?;
        self.count(Traffic::read(u64::from(read), 0));
        Ok(read)
    }

    fn sync(&mut self) -> Result<(), Self::Error> {
        self.driver.sync()
    }
}
