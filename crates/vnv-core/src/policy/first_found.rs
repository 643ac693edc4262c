use super::{Advice, Policy, Residents};

/// Takes the first object that may leave. No state, no memory; good when objects are used in allocation order.
#[derive(Clone, Copy, Debug, Default)]
pub struct FirstFound;

impl Policy for FirstFound {
    fn loaded(&mut self) -> u16 {
        0
    }
    fn hit(&mut self, hint: u16) -> u16 {
        hint
    }
    fn advised(&mut self, _: u16, advice: Advice) -> u16 {
        u16::from(advice == Advice::WontNeed)
    }
    fn victim(&mut self, residents: &mut dyn Residents) -> Option<u16> {
        let first = residents.next(u16::MAX)?;
        let mut at = first;
        loop {
            if residents.hint(at) == 1 {
                return Some(at);
            }
            match residents.next(at) {
                Some(next) if next > at => at = next,
                _ => return Some(first),
            }
        }
    }
}
