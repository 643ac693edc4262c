//! Paged state: memory in pages, of which only so many may be dirty.

use crate::values::{KEYS, SIZES, TOTAL, offsets};
use crate::workload::Values;
use std::fmt::Debug;
use vnv_storage::Device;

/// The sizes of pages in the published figures.
pub const PAGES: [usize; 5] = [32, 64, 128, 256, 512];

/// Bytes that a page takes of the dirty limit in any case: the earlier implementation keeps its state in them.
const PAGE_METADATA: usize = 1;

/// Memory of values that lie one after the other, backed by a storage. Before a clean page is changed while as many are dirty as the
/// limit allows, one goes out: a hand passes over the pages, and takes the first dirty one that was not used since it was there last.
#[derive(Debug)]
pub struct Paged<D> {
    device: D,
    page: usize,
    memory: Vec<u8>,
    offsets: [usize; KEYS],
    sizes: [usize; KEYS],
    dirty: Vec<bool>,
    used: Vec<bool>,
    dirty_pages: usize,
    limit: usize,
    hand: usize,
}

impl<D: Device<Error: Debug>> Paged<D> {
    /// Clean pages of `page` bytes; `dirty_limit` counts dirty pages and the metadata of all pages.
    pub fn new(device: D, page: usize, dirty_limit: usize) -> Self {
        Self::with_sizes(device, page, dirty_limit, SIZES)
    }

    /// With values of other sizes.
    pub fn with_sizes(device: D, page: usize, dirty_limit: usize, sizes: [usize; KEYS]) -> Self {
        let pages = TOTAL.div_ceil(page);
        Self {
            device,
            page,
            memory: vec![0; pages * page],
            offsets: offsets(&sizes),
            sizes,
            dirty: vec![false; pages],
            used: vec![false; pages],
            dirty_pages: 0,
            limit: (dirty_limit.saturating_sub(PAGE_METADATA * pages) / page).max(1),
            hand: 0,
        }
    }

    fn write_page(&mut self, page: usize) -> Result<(), D::Error> {
        let at = page * self.page;
        self.device.write(at as u32, &self.memory[at..at + self.page])?;
        self.dirty[page] = false;
        self.dirty_pages -= 1;
        Ok(())
    }

    fn make_dirty(&mut self, page: usize) -> Result<(), D::Error> {
        self.used[page] = true;
        if self.dirty[page] {
            return Ok(());
        }
        while self.dirty_pages >= self.limit {
            let at = self.hand;
            self.hand = (at + 1) % self.dirty.len();
            if self.dirty[at] && !std::mem::take(&mut self.used[at]) {
                self.write_page(at)?;
            }
        }
        self.dirty[page] = true;
        self.dirty_pages += 1;
        Ok(())
    }
}

impl<D: Device<Error: Debug>> Values for Paged<D> {
    type Error = D::Error;

    /// Page by page: a value may be larger than all that may be dirty.
    fn update(&mut self, key: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), D::Error> {
        let (mut at, end) = (self.offsets[key], self.offsets[key] + self.sizes[key]);
        while at < end {
            let page = at / self.page;
            self.make_dirty(page)?;
            let to = end.min((page + 1) * self.page);
            fill(&mut self.memory[at..to]);
            at = to;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), D::Error> {
        for page in 0..self.dirty.len() {
            if self.dirty[page] {
                self.write_page(page)?;
            }
        }
        self.device.sync()
    }
}
