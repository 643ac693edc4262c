//! Obtaining a reference, allocating, freeing, and bare transfers.

use super::cost::Traffic;
use super::counting::Counting;
use super::jobs::{Jobs, Scale};
use super::medium::{Medium, Meter};
use super::micro::{Operation, Small, measure, text};
use super::row::Row;
use crate::objects::{self, BUFFER, Kind, words};
use anyhow::Result;
use vnv_persist::{Options, Policy};
use vnv_storage::embedded_storage::{ReadStorage, Storage};

/// The sizes of the published figures.
fn sizes(kind: Kind) -> Vec<usize> {
    if kind.is_get() {
        std::iter::once(8).chain((1..=64).map(|step| 16 * step)).collect()
    } else {
        vec![0, 32, 64, 128, 256, 512, 928]
    }
}

/// One of them, with its size.
struct Single(Kind, usize);

impl Operation for Single {
    fn words(&self) -> usize {
        words(BUFFER, true)
    }

    fn options(&self) -> Options {
        Options::new(4096).log_bytes(4096)
    }

    fn measure<M: Medium, P: Policy>(&self, heap: &Small<'_, M, P>, meter: &Meter) -> Result<Traffic> {
        let mut traffic = Traffic::default();
        let operation = objects::single(heap, (self.0, self.1), self.words(), &mut |work| {
            traffic = meter.of(work)?.0;
            Ok(())
        });
        operation.map_err(text)?;
        Ok(traffic)
    }
}

fn add<P: Policy + Default + 'static>(system: &str, jobs: &mut Jobs, scale: Scale) {
    for kind in Kind::ALL {
        let system = system.to_owned();
        jobs.add(format!("{} {system}", kind.name()), move || {
            let sizes = sizes(kind).into_iter().step_by(scale.step);
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
            for size in sizes(kind).into_iter().step_by(scale.step) {
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
