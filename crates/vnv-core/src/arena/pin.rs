//! Pins: how many guards are open on a resident copy, and what follows when the last of them is dropped.

use super::{COUNTED, MUTABLE, Resident};
use crate::attention::Attention;

impl Resident {
    /// Pins the copy for reading, where pinned objects are not counted; `false`: a mutable guard is open, or too many others.
    #[inline]
    pub fn pin_quickly(self) -> bool {
        let pins = self.pins();
        if pins >= COUNTED {
            return false;
        }
        self.set_pins(pins + 1);
        true
    }

    /// Pins the copy for reading; `false`: a mutable guard is open, or too many others.
    pub fn pin(self, attention: &Attention) -> bool {
        if !attention.counts_pins() {
            return self.pin_quickly();
        }
        let pins = self.pins();
        if pins >= MUTABLE - 1 {
            return false;
        }
        if pins == 0 {
            attention.pinned();
        }
        self.set_pins((pins + 1) | COUNTED);
        true
    }

    /// Takes back a quick pin for reading.
    #[inline]
    pub fn unpin_quickly(self) {
        self.set_pins(self.pins().wrapping_sub(1));
    }

    /// Takes back a quick pin for changing it.
    #[inline]
    pub fn unpin_mutable_quickly(self) {
        self.set_pins(0);
    }

    /// Pins the copy for changing it, where pinned objects are not counted; `false`: a guard is open.
    #[inline]
    pub fn pin_mutable_quickly(self) -> bool {
        let free = self.pins() == 0;
        if free {
            self.set_pins(MUTABLE);
        }
        free
    }

    /// Pins the copy for changing it; `false`: a guard is open.
    pub fn pin_mutable(self, attention: &Attention) -> bool {
        let pinned = self.pin_mutable_quickly();
        if pinned && attention.counts_pins() {
            attention.pinned();
        }
        pinned
    }

    /// Gives up a pin for changing the copy.
    #[inline(never)]
    fn release(self, attention: &&Attention) {
        // In this order: the pin goes before the guard counts as closed.
        self.set_pins(0);
        let attention = *attention;
        if attention.closed() {
            self.settle(attention);
        }
    }

    #[cold]
    #[inline(never)]
    fn settle(self, attention: &Attention) {
        if attention.counts_pins() {
            attention.unpinned();
        }
        attention.settle();
    }

    /// Takes back a pin for reading of the last kinds: see [`Pin`].
    #[cold]
    fn unpin_carefully(self, attention: &Attention) {
        let pins = self.pins();
        if pins == COUNTED + 1 {
            self.set_pins(0);
            attention.unpinned();
        } else {
            self.set_pins(pins.saturating_sub(1));
        }
    }
}

/// A pin that guards for reading drop: the resident header is valid while the pin is held.
pub(crate) struct Pin<'h> {
    resident: Resident,
    attention: &'h &'h Attention,
}

impl<'h> Pin<'h> {
    #[inline]
    pub const fn resident(&self) -> Resident {
        self.resident
    }

    /// Of a copy that was pinned for reading, for this pin.
    #[inline]
    pub fn new(resident: Resident, attention: &'h &'h Attention) -> Self {
        Self { resident, attention }
    }
}

impl Drop for Pin<'_> {
    #[inline]
    fn drop(&mut self) {
        let pins = self.resident.pins();
        // 1 to 127, in a signed comparison.
        if pins as i8 > 0 {
            self.resident.set_pins(pins - 1);
        } else {
            self.resident.unpin_carefully(self.attention);
        }
    }
}

/// A pin that guards for changing drop: it counts as an open mutable guard until then, and an alarm that waited for it is
/// served.
pub(crate) struct PinMut<'h> {
    resident: Resident,
    attention: &'h &'h Attention,
}

impl<'h> PinMut<'h> {
    #[inline]
    pub const fn resident(&self) -> Resident {
        self.resident
    }

    /// Of a copy that was pinned for changing it, for this pin, which was counted inside the same operation, so that no alarm
    /// sees the one without the other.
    #[inline]
    pub fn new(resident: Resident, attention: &'h &'h Attention) -> Self {
        Self { resident, attention }
    }
}

impl Drop for PinMut<'_> {
    #[inline]
    fn drop(&mut self) {
        self.resident.release(self.attention);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Arena, ResidentHeader};
    use super::*;
    use core::mem::MaybeUninit;

    #[test]
    fn pins_are_limited_counted_where_they_have_to_be_and_given_back() {
        for counted in [false, true] {
            let attention = Attention::new();
            attention.reset(counted);
            let attention = &attention;
            let mut memory = [MaybeUninit::new(0); 4];
            let arena = Arena::new(&mut memory);
            // SAFETY: the header is written before anything else looks at it.
            let resident = unsafe { arena.at(0) };
            resident.set_header(ResidentHeader { generation: 7, word: 0, pins: 0, state: 0, hint: 0 });
            let pins: Vec<_> =
                core::iter::from_fn(|| resident.pin(attention).then(|| Pin::new(resident, &attention))).collect();
            assert_eq!((pins.len(), attention.pins()), if counted { (126, 1) } else { (128, 0) });
            assert!(!resident.pin_mutable(attention));
            drop(pins);
            assert_eq!((resident.pins(), attention.pins()), (0, 0));
            assert!(resident.pin_mutable(attention) && !resident.pin(attention) && !resident.pin_mutable(attention));
            attention.opened();
            drop(PinMut::new(resident, &attention));
            assert_eq!((resident.pins(), attention.pins(), attention.open_guards()), (0, 0, 0));
        }
    }
}
