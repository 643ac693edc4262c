//! The storages that lives run on: the simulated part behind the real driver, and a recorder of writes.

use core::fmt::Debug;
use embedded_hal::delay::DelayNs;
use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::rc::Rc;
use vnv_sim::{Fram, SimBus, SimChipSelect, Tear, TearError, TearStorage};
use vnv_storage::embedded_storage::{ReadStorage, Storage};
use vnv_storage::{Device, OwnedSpiFram, Part, Pieces};

/// A storage whose writes can be made to fail.
pub trait LabDevice: Device + Sized
where
    Self::Error: Debug,
{
    /// Lets the `write`th write from now (0: the next) fail after `bytes` bytes, once; 255: when all is stored.
    fn arm(&mut self, write: u8, bytes: u8);
    /// Takes back a fault that is still to come.
    fn disarm(&mut self);
    /// Bytes written so far.
    fn written(&self) -> u64;
    /// The same storage once more, as a program finds it that starts again.
    ///
    /// # Errors
    ///
    /// If it is not found.
    fn again(&self) -> Result<Self, String>;
}

/// The driver on the simulated part.
pub struct SpiPart {
    fram: Fram,
    part: Part,
    driver: OwnedSpiFram<SimBus, SimChipSelect>,
    /// Writes still to come before one fails.
    armed: Option<(u8, u8)>,
}

struct NoDelay;

impl DelayNs for NoDelay {
    fn delay_ns(&mut self, _: u32) {}
}

impl SpiPart {
    /// Probes the part and drives it.
    ///
    /// # Errors
    ///
    /// The driver's, as text.
    pub fn new(fram: &Fram, part: Part) -> Result<Self, String> {
        let driver = OwnedSpiFram::new(fram.bus(), fram.chip_select(), part, &mut NoDelay);
        let driver = driver.map_err(|error| format!("probe: {error:?}"))?;
        Ok(Self { fram: fram.clone(), part, driver, armed: None })
    }
}

impl ReadStorage for SpiPart {
    type Error = <OwnedSpiFram<SimBus, SimChipSelect> as ReadStorage>::Error;
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.driver.read(offset, bytes)
    }
    fn capacity(&self) -> usize {
        self.driver.capacity()
    }
}

impl Storage for SpiPart {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.write_gather(offset, &[bytes])
    }
}

impl Device for SpiPart {
    fn row_size(&self) -> u32 {
        self.driver.row_size()
    }
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), Self::Error> {
        match &mut self.armed {
            Some((0, u8::MAX)) => {
                // The write is done, and fails all the same.
                self.armed = None;
                self.driver.write_gather(offset, slices)?;
                self.fram.fail_bus_after_bytes(0);
                return self.driver.read(0, &mut [0]);
            }
            Some((0, bytes)) => {
                // The frame of WREN, opcode and address come before the bytes.
                let total: usize = slices.iter().map(|slice| slice.len()).sum();
                let after = u64::from(*bytes).min(total.saturating_sub(1) as u64);
                self.fram.fail_bus_after_bytes(4 + after);
                self.armed = None;
            }
            Some((writes, _)) => *writes -= 1,
            None => {}
        }
        self.driver.write_gather(offset, slices)
    }
    fn write_stream(&mut self, offset: u32, length: u32, pieces: Pieces<'_>) -> Result<(), Self::Error> {
        self.write_gather(offset, &[&collected(length, pieces)])
    }
    fn sync(&mut self) -> Result<(), Self::Error> {
        self.driver.sync()
    }
}

impl LabDevice for SpiPart {
    fn arm(&mut self, write: u8, bytes: u8) {
        self.armed = Some((write, bytes));
    }
    fn disarm(&mut self) {
        self.armed = None;
    }
    fn written(&self) -> u64 {
        self.fram.counters().bytes_written
    }
    fn again(&self) -> Result<Self, String> {
        Self::new(&self.fram, self.part)
    }
}

/// A write as it reached the storage.
#[derive(Clone, Debug)]
pub struct Write {
    /// Where.
    pub offset: u32,
    /// What.
    pub bytes: Vec<u8>,
}

/// What a [`Recorder`] shares with the test.
#[derive(Default)]
pub struct Tape {
    /// The writes so far, unless recording has stopped.
    pub writes: RefCell<Vec<Write>>,
    /// Number of writes so far, recorded or not.
    pub position: Cell<usize>,
    /// Whether writes are recorded.
    pub recording: Cell<bool>,
}

/// A storage that records its writes. The test keeps a hand on the storage below it.
pub struct Recorder {
    inner: Rc<RefCell<TearStorage>>,
    tape: Rc<Tape>,
}

impl Recorder {
    /// Over an image, in rows of so many bytes.
    #[must_use]
    pub fn new(image: Vec<u8>, row: u32) -> (Self, Rc<RefCell<TearStorage>>, Rc<Tape>) {
        let inner = Rc::new(RefCell::new(TearStorage::from_image(image, row)));
        let tape = Rc::new(Tape::default());
        (Self { inner: Rc::clone(&inner), tape: Rc::clone(&tape) }, inner, tape)
    }

    /// What the storage holds.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.inner.borrow().image().to_vec()
    }
}

impl ReadStorage for Recorder {
    type Error = TearError;
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), TearError> {
        self.inner.borrow_mut().read(offset, bytes)
    }
    fn capacity(&self) -> usize {
        self.inner.borrow().capacity()
    }
}

impl Storage for Recorder {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), TearError> {
        self.write_gather(offset, &[bytes])
    }
}

impl Device for Recorder {
    fn row_size(&self) -> u32 {
        self.inner.borrow().row_size()
    }
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), TearError> {
        let mut inner = self.inner.borrow_mut();
        let before = inner.total_written();
        let result = inner.write_gather(offset, slices);
        if self.tape.recording.get() {
            let mut bytes = slices.concat();
            bytes.truncate((inner.total_written() - before) as usize);
            self.tape.writes.borrow_mut().push(Write { offset, bytes });
        }
        self.tape.position.set(self.tape.position.get() + 1);
        result
    }
    fn write_stream(&mut self, offset: u32, length: u32, pieces: Pieces<'_>) -> Result<(), Self::Error> {
        self.write_gather(offset, &[&collected(length, pieces)])
    }
    fn sync(&mut self) -> Result<(), TearError> {
        self.inner.borrow_mut().sync()
    }
}

impl LabDevice for Recorder {
    fn arm(&mut self, write: u8, bytes: u8) {
        let mut inner = self.inner.borrow_mut();
        // Only one fault at a time is on its way.
        inner.power_on();
        inner.fail_write_at(write.into(), bytes.into());
    }
    fn disarm(&mut self) {
        self.inner.borrow_mut().power_on();
    }
    fn written(&self) -> u64 {
        self.inner.borrow().total_written()
    }
    fn again(&self) -> Result<Self, String> {
        Ok(Self { inner: Rc::clone(&self.inner), tape: Rc::clone(&self.tape) })
    }
}

/// What is left of `image` when power fails with the byte at `cut` of a write in flight.
#[must_use]
pub fn torn(image: &[u8], row: u32, write: &Write, cut: usize, tear: Tear) -> Vec<u8> {
    let mut storage = TearStorage::from_image(image.to_vec(), row).with_tear(tear);
    storage.cut_after_bytes(cut as u64);
    // It fails: that is the point.
    let _ = storage.write_gather(write.offset, &[&write.bytes]);
    storage.into_image()
}

/// The bytes of a stream, for a storage on which one write is one frame in any case.
fn collected(length: u32, pieces: Pieces<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pieces(&mut |piece| {
        bytes.extend_from_slice(piece);
        ControlFlow::Continue(())
    });
    bytes.truncate(length as usize);
    bytes
}
