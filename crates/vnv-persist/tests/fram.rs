//! The whole stack: typed objects over the SPI driver on the bit-exact model of each part, power cut at SPI bits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use embedded_hal::delay::DelayNs;
use vnv_persist::{Durable, Heap, Memory, Options};
use vnv_sim::{Fram, Garbage, Tear};
use vnv_storage::{OwnedSpiFram, Part};

type Ram = Memory<24, 8, 4, 2, 80>;
const OPTIONS: Options = Options::new(256).log_bytes(256);

struct NoDelay;

impl DelayNs for NoDelay {
    fn delay_ns(&mut self, _: u32) {}
}

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Pair {
    count: u32,
    check: u32,
}

/// Opens the heap on the part and counts until power fails; returns the last count that was acknowledged.
fn live(fram: &Fram, part: Part, acknowledged: &mut u32) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Debug| format!("{error:?}");
    let driver = OwnedSpiFram::new(fram.bus(), fram.chip_select(), part, &mut NoDelay).map_err(|error| text(&error))?;
    let mut memory = Ram::new();
    let heap: Heap<'_, _, Ram> = Heap::open(driver, &mut memory, OPTIONS).map_err(|error| text(&error))?;
    let link = heap.root::<Pair>("pair").map_err(|error| text(&error))?.ok_or("the root is lost")?;
    let pair = *heap.get(link).map_err(|error| text(&error))?;
    assert_eq!(pair.check, !pair.count, "a mixture of two states");
    assert!(pair.count == *acknowledged || pair.count == *acknowledged + 1, "{} after {acknowledged}", pair.count);
    *acknowledged = pair.count;
    loop {
        let count = *acknowledged + 1;
        *heap.get_mut(link).map_err(|error| text(&error))? = Pair { count, check: !count };
        heap.commit().map_err(|error| text(&error))?;
        *acknowledged = count;
    }
}

fn outlives(part: Part, cuts: u64) {
    let fram = Fram::new(part);
    // Of an EEPROM: short, that cuts hit all that happens, the cycle included.
    fram.set_write_cycle_clocks(160);
    {
        let driver = OwnedSpiFram::new(fram.bus(), fram.chip_select(), part, &mut NoDelay).unwrap();
        let mut memory = Ram::new();
        let heap: Heap<'_, _, Ram> = Heap::format(driver, &mut memory, OPTIONS).unwrap();
        let pair = heap.allocate(Pair { count: 0, check: !0 }).unwrap().into_link();
        heap.set_root("pair", Some(pair)).unwrap();
        heap.commit().unwrap();
    }
    let mut acknowledged = 0;
    let tears = [Tear::T0, Tear::T1(Garbage::Inverted), Tear::T2(Garbage::Ones), Tear::T3(Garbage::Seeded(3))];
    for (cut, tear) in (0..cuts).zip(tears.iter().cycle()) {
        fram.set_tear(*tear);
        // Recovery alone reads a few thousand bits; the bit at which power fails wanders through it and what follows.
        fram.cut_after_bits(97 * cut + 13 * (cut % 7));
        live(&fram, part, &mut acknowledged).unwrap_err();
        fram.power_on();
    }
    assert!(acknowledged > 0 && fram.violations().is_empty(), "{:?}", fram.violations());
    println!("{part:?}: {acknowledged} commits survived {cuts} power cuts");
}

#[test]
#[cfg_attr(miri, ignore = "too many bits")]
fn the_heap_outlives_power_on_every_part() {
    let cuts = 400;
    for part in Part::ALL {
        outlives(part, cuts);
    }
}
