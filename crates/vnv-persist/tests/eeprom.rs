//! The heap on an EEPROM, with write cycles of 5 ms on the bit-exact model: it works, and this is what it costs.

// Bit-exact parts are slow under Miri, and nothing here is about memory.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use embedded_hal_bus::spi::ExclusiveDevice;
use vnv_persist::{Bound, BusCost, Durable, Heap, Layout, Memory, Options};
use vnv_sim::{BusCounters, Fram};
use vnv_storage::{Device, OwnedSpiFram, Part, SpiFram};

type Ram = Memory<24, 16, 4, 2, 1024>;
const OPTIONS: Options = Options::new(768).log_bytes(512);
const EEPROMS: [Part; 3] = [Part::AT25128A, Part::MICROCHIP_25LC256, Part::AT25256];

#[derive(Durable, Clone, Copy, PartialEq, Debug)]
#[repr(C)]
struct Value([u8; 24]);

/// Page writes since the last call, and whether WREN and WRITE came in pairs.
fn pages(fram: &Fram) -> u32 {
    let counters: BusCounters = fram.counters();
    let pages = counters.row_writes.iter().sum();
    assert_eq!(counters.frames_by_opcode[0x02], u64::from(pages), "a WRITE is a page");
    assert_eq!(counters.frames_by_opcode[0x06], u64::from(pages), "a WREN for each");
    fram.reset_counters();
    pages
}

/// Formats, allocates, commits, changes and snapshots; returns the page writes of a commit of one object and of a
/// snapshot of nine.
fn live<D: Device<Error: std::fmt::Debug>>(fram: &Fram, device: D) -> (u32, u32) {
    let mut memory = Ram::new();
    let heap: Heap<'_, _, Ram> = Heap::format(device, &mut memory, OPTIONS).unwrap();
    let mut owned: Vec<_> = (0..8).map(|at| heap.allocate(Value([at; 24])).unwrap()).collect();
    let first = heap.allocate(Value([99; 24])).unwrap().into_link();
    heap.set_root("first", Some(first)).unwrap();
    heap.commit().unwrap();
    fram.reset_counters();
    heap.get_mut(first).unwrap().0[5] = 1;
    assert_eq!(pages(fram), 0);
    heap.commit().unwrap();
    let commit = pages(fram);
    heap.get_mut(first).unwrap().0[5] = 2;
    owned.iter_mut().for_each(|owned| heap.get_mut(owned).unwrap().0.fill(7));
    // What went beyond the dirty limit has been written already.
    pages(fram);
    let before = fram.counters().bits;
    heap.snapshot().unwrap();
    // The time of the model is the clocks of the bus: 10 x 5 ms and what is sent, and within the bound.
    let part = fram.part();
    let nanoseconds = (fram.counters().bits - before) * 1_000_000_000 / u64::from(part.max_clock_hz);
    let layout = Layout::new(part.capacity, 64, (24, 4, 2), OPTIONS).unwrap();
    let bound = Bound::new(&layout, &BusCost::wire(&part, part.max_clock_hz), 64);
    assert!((50_000_000..52_000_000).contains(&nanoseconds), "{nanoseconds}");
    assert!(nanoseconds <= bound.snapshot_ns && bound.snapshot_ns < 4 * nanoseconds, "{}", bound.snapshot_ns);
    (commit, pages(fram))
}

/// What the next life finds.
fn check<D: Device<Error: std::fmt::Debug>>(device: D) {
    let mut memory = Ram::new();
    let heap: Heap<'_, _, Ram> = Heap::open(device, &mut memory, OPTIONS).unwrap();
    let first = heap.root::<Value>("first").unwrap().unwrap();
    let mut wanted = [99; 24];
    wanted[5] = 2;
    assert_eq!(*heap.get(first).unwrap(), Value(wanted), "from the snapshot");
    heap.get_mut(first).unwrap().0[0] = 3;
    heap.commit().unwrap();
}

#[test]
fn a_heap_lives_on_every_eeprom() {
    for part in EEPROMS {
        let fram = Fram::new(part);
        let owned = || OwnedSpiFram::new(fram.bus(), fram.chip_select(), part, &mut fram.delay()).unwrap();
        assert_eq!(owned().row_size(), 64);
        let (commit, snapshot) = live(&fram, owned());
        check(owned());
        assert_eq!(fram.violations(), [], "{}", part.name);
        // A page for the object and one for the record. The snapshot: header, entries, and nine objects of 56 bytes each,
        // because a place is a whole number of rows.
        assert_eq!((commit, snapshot), (2, 10));

        let fram = Fram::new(part);
        let shared = || {
            let spi = ExclusiveDevice::new_no_delay(fram.bus(), fram.chip_select()).unwrap();
            SpiFram::new(spi, part, &mut fram.delay()).unwrap()
        };
        assert_eq!(live(&fram, shared()), (commit, snapshot), "as many on a shared bus");
        check(shared());
        assert_eq!(fram.violations(), []);
    }
}
