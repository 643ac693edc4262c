//! What a snapshot and a sync cost on the wire of a part with a bus of its own.

// Bit-exact parts are slow under Miri, and nothing here is about memory.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use embedded_hal::delay::DelayNs;
use vnv_persist::{Durable, Heap, Memory, Options, Outcome, PowerFail};
use vnv_sim::{BusCounters, Fram};
use vnv_storage::{OwnedSpiFram, Part};

type Ram = Memory<64, 40, 4, 4, 1024>;

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Value<const N: usize>([u8; N]);

struct NoDelay;

impl DelayNs for NoDelay {
    fn delay_ns(&mut self, _: u32) {}
}

/// What a snapshot of `count` objects of `N` bytes costs.
fn snapshot<const N: usize>(count: usize) -> BusCounters {
    let fram = Fram::new(Part::MB85RS2MT);
    let driver = OwnedSpiFram::new(fram.bus(), fram.chip_select(), Part::MB85RS2MT, &mut NoDelay).unwrap();
    let mut memory = Ram::new();
    let power_fail: PowerFail = PowerFail::new();
    let heap: Heap<'_, _, Ram> = Heap::format(driver, &mut memory, Options::new(8000)).unwrap();
    let mut owned: Vec<_> = (0..count).map(|at| heap.allocate(Value([at as u8; N])).unwrap()).collect();
    heap.commit().unwrap();
    owned.iter_mut().for_each(|owned| heap.get_mut(owned).unwrap().0.fill(7));
    fram.reset_counters();
    power_fail
        .protect(&heap, || {
            // SAFETY: the heap's own thread.
            assert_eq!(unsafe { power_fail.enter() }, Outcome::Saved);
        })
        .unwrap();
    fram.counters()
}

#[test]
fn a_snapshot_is_one_write_whatever_the_number_of_objects() {
    for count in 1..=38 {
        assert_eq!(snapshot::<4>(count).frames_by_opcode[2], 1, "{count} objects");
        assert_eq!(snapshot::<100>(count).frames_by_opcode[2], 1, "{count} objects");
    }
}

#[test]
fn nine_tenths_of_the_bytes_on_the_wire_are_objects() {
    for count in 8..=38 {
        let bytes = snapshot::<128>(count).bits / 8;
        let share = count as f64 * 128.0 / bytes as f64;
        assert!(share >= 0.9, "{count} objects of 128 bytes: {:.1} % of {} bytes", share * 100.0, bytes);
    }
}

#[test]
fn looking_for_alarms_costs_no_frames() {
    let frames = |chunk| {
        let fram = Fram::new(Part::MB85RS64V);
        let driver = OwnedSpiFram::new(fram.bus(), fram.chip_select(), Part::MB85RS64V, &mut NoDelay).unwrap();
        let mut memory = Ram::new();
        let heap: Heap<'_, _, Ram> =
            Heap::format(driver.with_chunk_size(chunk), &mut memory, Options::new(1000)).unwrap();
        let mut owned: Vec<_> = (0..8).map(|at| heap.allocate(Value([at; 128])).unwrap()).collect();
        heap.commit().unwrap();
        fram.reset_counters();
        for owned in &mut owned {
            heap.get_mut(&mut *owned).unwrap().0.fill(9);
            heap.evict(&*owned).unwrap();
            heap.get(&*owned).unwrap();
        }
        heap.commit().unwrap();
        fram.counters()
    };
    assert_eq!(frames(64), frames(1 << 20));
}
