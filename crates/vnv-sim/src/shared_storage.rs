//! A device that a test keeps a hand on while a heap owns it.

use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;

use embedded_storage::{ReadStorage, Storage};
use vnv_storage::{Device, Pieces, StorageFault};

use crate::tear_storage::{TearError, TearStorage};

/// A [`TearStorage`] behind a reference: clones are the same device. What it does is asked of the storage itself.
#[derive(Clone)]
pub struct SharedStorage(Rc<RefCell<TearStorage>>);

impl SharedStorage {
    /// Shares `storage`.
    #[must_use]
    pub fn new(storage: TearStorage) -> Self {
        Self(Rc::new(RefCell::new(storage)))
    }

    /// What is stored now.
    ///
    /// # Panics
    ///
    /// If the storage is [borrowed](Self::borrow_mut).
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.0.borrow().image().to_vec()
    }

    /// The storage itself.
    ///
    /// # Panics
    ///
    /// If it is [borrowed](Self::borrow_mut) to be changed.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, TearStorage> {
        self.0.borrow()
    }

    /// The storage itself, to be changed: to let its power fail, or come back.
    ///
    /// # Panics
    ///
    /// If it is borrowed already.
    #[must_use]
    pub fn borrow_mut(&self) -> RefMut<'_, TearStorage> {
        self.0.borrow_mut()
    }
}

impl ReadStorage for SharedStorage {
    type Error = TearError;
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), TearError> {
        self.borrow_mut().read(offset, bytes)
    }
    fn capacity(&self) -> usize {
        self.borrow().capacity()
    }
}

impl Storage for SharedStorage {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), TearError> {
        self.borrow_mut().write(offset, bytes)
    }
}

impl Device for SharedStorage {
    fn row_size(&self) -> u32 {
        self.borrow().row_size()
    }
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), TearError> {
        self.borrow_mut().write_gather(offset, slices)
    }
    fn write_abortable(
        &mut self,
        offset: u32,
        slices: &[&[u8]],
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<u32, TearError> {
        self.borrow_mut().write_abortable(offset, slices, stop)
    }
    fn write_stream(&mut self, offset: u32, length: u32, pieces: Pieces<'_>) -> Result<(), TearError> {
        self.borrow_mut().write_stream(offset, length, pieces)
    }
    fn read_abortable(
        &mut self,
        offset: u32,
        bytes: &mut [u8],
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<u32, TearError> {
        self.borrow_mut().read_abortable(offset, bytes, stop)
    }
    fn diagnose(&mut self) -> Result<Option<StorageFault>, TearError> {
        self.borrow_mut().diagnose()
    }
    fn sync(&mut self) -> Result<(), TearError> {
        self.borrow_mut().sync()
    }
}
