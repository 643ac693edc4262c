//! Obtaining a reference, allocating, freeing, and bare transfers.

use super::cost::Traffic;
use super::counting::Counting;
use super::jobs::{Jobs, Scale};
use super::medium::{Medium, Meter};
use super::micro::{BUFFER, Operation, Small, enter_types, fill_small, largest_slice, measure, text, words};
use super::row::Row;
use anyhow::Result;
use vnv_persist::{Link, Options, Policy};
use vnv_storage::embedded_storage::{ReadStorage, Storage};

/// What is done with objects of a size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The object is resident and clean.
    GetMin,
    /// The object is resident, the rest of the arena is full of dirty bytes.
    GetMaxMin,
    /// The object is not resident, there is room.
    GetMinMax,
    /// The arena is full of one dirty object of 1,024 bytes; to change the object.
    GetMax,
    /// The arena is full of dirty objects of 4 bytes; to change the object.
    GetMaxOld,
    /// There is room everywhere.
    AllocateMin,
    /// The arena is full of dirty objects, the storage has more holes than its allocator can remember.
    AllocateMax,
    /// As `AllocateMin`.
    DeallocateMin,
    /// As `AllocateMax`.
    DeallocateMax,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::GetMin,
        Self::GetMaxMin,
        Self::GetMinMax,
        Self::GetMax,
        Self::GetMaxOld,
        Self::AllocateMin,
        Self::AllocateMax,
        Self::DeallocateMin,
        Self::DeallocateMax,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::GetMin => "get_min",
            Self::GetMaxMin => "get_max_min",
            Self::GetMinMax => "get_min_max",
            Self::GetMax => "get_max",
            Self::GetMaxOld => "get_max_old",
            Self::AllocateMin => "allocate_min",
            Self::AllocateMax => "allocate_max",
            Self::DeallocateMin => "deallocate_min",
            Self::DeallocateMax => "deallocate_max",
        }
    }

    const fn is_get(self) -> bool {
        matches!(self, Self::GetMin | Self::GetMaxMin | Self::GetMinMax | Self::GetMax | Self::GetMaxOld)
    }

    /// The sizes of the published figures.
    fn sizes(self) -> Vec<usize> {
        if self.is_get() {
            std::iter::once(8).chain((1..=64).map(|step| 16 * step)).collect()
        } else {
            vec![0, 32, 64, 128, 256, 512, 928]
        }
    }
}

/// One of them, with its size.
struct Single(Kind, usize);

/// Objects of 8 bytes of which every second one is freed: more holes than a list of 32 remembers.
const HOLES: usize = 96;

impl Operation for Single {
    fn words(&self) -> usize {
        words(BUFFER, true)
    }

    fn options(&self) -> Options {
        Options::new(4096).log_bytes(4096)
    }

    fn measure<M: Medium, P: Policy>(&self, heap: &Small<'_, M, P>, meter: &Meter) -> Result<Traffic> {
        let Self(kind, size) = *self;
        enter_types(heap, self.words())?;
        if matches!(kind, Kind::AllocateMax | Kind::DeallocateMax) {
            make_holes(heap)?;
        }
        let all = self.words();
        let mut target: Link<[u8]> = Link::NULL;
        let new = || heap.allocate_slice_with(size, |at| at as u8).map_err(text);
        if kind.is_get() {
            target = new()?.into_link();
            heap.commit().map_err(text)?;
        }
        if matches!(kind, Kind::GetMinMax | Kind::GetMax | Kind::GetMaxOld) {
            heap.evict(target).map_err(text)?;
        }
        let taken = match kind {
            Kind::GetMaxMin => all - words(size, true),
            Kind::GetMax | Kind::GetMaxOld | Kind::AllocateMax => all,
            Kind::DeallocateMax => all.saturating_sub(words(size, true)),
            _ => 0,
        };
        let freed = matches!(kind, Kind::DeallocateMin | Kind::DeallocateMax).then(new).transpose()?;
        if matches!(kind, Kind::GetMax | Kind::GetMaxMin) {
            if let Some(size) = largest_slice(taken) {
                let _ = heap.allocate_slice_with(size, |_| 1u8).map_err(text)?.into_link();
            }
        } else {
            fill_small(heap, taken)?;
        }
        let (traffic, ()) = meter.of(|| match kind {
            Kind::GetMin | Kind::GetMinMax | Kind::GetMaxMin => heap.get(target).map(drop).map_err(text),
            Kind::GetMax | Kind::GetMaxOld => heap.get_mut(target).map(drop).map_err(text),
            Kind::AllocateMin | Kind::AllocateMax => new().map(|object| _ = object.into_link()),
            Kind::DeallocateMin | Kind::DeallocateMax => {
                drop(freed);
                Ok(())
            }
        })?;
        Ok(traffic)
    }
}

/// Leaves holes of 16 bytes in the storage.
fn make_holes<M: Medium, P: Policy>(heap: &Small<'_, M, P>) -> Result<()> {
    let mut freed = Vec::new();
    for number in 0..HOLES {
        let link = heap.allocate(number as u32).map_err(text)?.into_link();
        if number % 2 == 0 {
            freed.push(link);
        }
    }
    heap.commit().map_err(text)?;
    for link in freed {
        heap.free(link).map_err(text)?;
    }
    heap.commit().map_err(text)?;
    Ok(())
}

fn add<P: Policy + Default + 'static>(system: &str, jobs: &mut Jobs, scale: Scale) {
    for kind in Kind::ALL {
        let system = system.to_owned();
        jobs.add(format!("{} {system}", kind.name()), move || {
            let sizes = kind.sizes().into_iter().step_by(scale.step);
            let row = |size| {
                let traffic = measure::<P>(&Single(kind, size))?;
                Ok(Row::once(kind.name(), &system, &format!("size={size}"), traffic))
            };
            sizes.map(row).collect()
        });
    }
}

/// State in one page, which is loaded and written as a whole: of the size of the arena with its metadata in the earlier figures.
fn one_page(kind: Kind) -> Result<Traffic> {
    const PAGE: [u8; 1044] = [0; 1044];
    let mut storage = Counting::new(8192);
    let meter = storage.meter();
    let (traffic, ()) = meter.of(|| {
        let mut page = PAGE;
        if kind == Kind::GetMax {
            storage.write(0, &page)?;
        }
        if matches!(kind, Kind::GetMax | Kind::GetMinMax) {
            storage.read(2048, &mut page)?;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(traffic)
}

/// References through a storage without a heap: each is a read, and a write if something is to be changed.
fn storage_only(kind: Kind, size: usize) -> Result<Traffic> {
    let mut storage = Counting::new(8192);
    let meter = storage.meter();
    let mut object = vec![0; size];
    let transfer = || {
        storage.read(0, &mut object)?;
        if kind == Kind::GetMax { storage.write(0, &object) } else { Ok(()) }
    };
    Ok(meter.of(transfer).map_err(text)?.0)
}

/// The rows of references, allocations and freeing.
pub fn jobs(jobs: &mut Jobs, scale: Scale) {
    crate::for_each_policy!(add(jobs, scale));
    jobs.add("get one-page, storage-only, ram-only".into(), move || {
        let mut rows = Vec::new();
        for kind in [Kind::GetMin, Kind::GetMaxMin, Kind::GetMinMax, Kind::GetMax] {
            for size in kind.sizes().into_iter().step_by(scale.step) {
                let parameters = format!("size={size}");
                rows.push(Row::once(kind.name(), "one-page", &parameters, one_page(kind)?));
                rows.push(Row::once(kind.name(), "storage-only", &parameters, storage_only(kind, size)?));
                rows.push(Row::once(kind.name(), "ram-only", &parameters, Traffic::default()));
            }
        }
        Ok(rows)
    });
}

/// The rows of bare transfers.
pub fn transfers(jobs: &mut Jobs, _: Scale) {
    jobs.add("storage_read, storage_write".into(), || {
        let mut rows = Vec::new();
        for size in [0, 32, 64, 128, 256, 512, 928, 8192] {
            let mut storage = Counting::new(8192);
            let meter = storage.meter();
            let mut bytes = vec![0; size];
            let read = meter.of(|| storage.read(0, &mut bytes)).map_err(text)?.0;
            let write = meter.of(|| storage.write(0, &bytes)).map_err(text)?.0;
            let parameters = format!("size={size}");
            rows.push(Row::once("storage_read", "storage-only", &parameters, read));
            rows.push(Row::once("storage_write", "storage-only", &parameters, write));
        }
        Ok(rows)
    });
}
