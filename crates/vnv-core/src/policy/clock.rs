use super::{Advice, Policy, Residents};

/// Second chance: a hand goes round the table and takes the first object not used since it last came by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    hand: u16,
}

impl Policy for Clock {
    fn loaded(&mut self) -> u16 {
        1
    }
    fn hit(&mut self, _: u16) -> u16 {
        1
    }
    fn advised(&mut self, _: u16, advice: Advice) -> u16 {
        u16::from(advice == Advice::WillNeed)
    }
    fn victim(&mut self, residents: &mut dyn Residents) -> Option<u16> {
        // The first round finds one, or leaves all without their second chance.
        for _ in 0..=u32::from(residents.slots()) {
            self.hand = residents.next(self.hand)?;
            if residents.hint(self.hand) == 0 {
                break;
            }
            residents.set_hint(self.hand, 0);
        }
        Some(self.hand)
    }
}
