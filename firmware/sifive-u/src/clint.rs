//! The core-local interruptor: time in microseconds, and when the timer interrupt comes.

const TIME_COMPARE: *mut u32 = 0x0200_4000 as *mut u32;
const TIME: *const u32 = 0x0200_BFF8 as *const u32;

/// Microseconds since the machine was started.
pub fn now() -> u64 {
    loop {
        // SAFETY: the machine has this register.
        let (high, low, again) =
            unsafe { (TIME.add(1).read_volatile(), TIME.read_volatile(), TIME.add(1).read_volatile()) };
        if high == again {
            return u64::from(high) << 32 | u64::from(low);
        }
    }
}

/// Lets the timer interrupt come in so many microseconds.
pub fn alarm_in(microseconds: u64) {
    let at = now() + microseconds;
    // SAFETY: the machine has this register; in between the two halves the time of the interrupt is never in the past.
    unsafe {
        TIME_COMPARE.add(1).write_volatile(u32::MAX);
        TIME_COMPARE.write_volatile(at as u32);
        TIME_COMPARE.add(1).write_volatile((at >> 32) as u32);
    }
}
