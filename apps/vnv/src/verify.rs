//! Whether an image is sound.

use crate::contents::Contents;
use crate::image::{Image, told};
use anyhow::Result;
use vnv_persist::{Examined, Finding, Region, examine};

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What is damaged, a line each.
    pub damage: Vec<String>,
    /// What may be damage, or a cut in the last byte that differed.
    pub doubts: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// Where everything lies that the state depends on.
    pub live: Vec<Region>,
}

impl Verdict {
    fn add(&mut self, examined: Examined) {
        match examined {
            Examined::Live(region) => self.live.push(region),
            Examined::Wrong(Finding::Superblock) => {
                self.damage.push("one of the two superblocks is damaged; `open` repairs it".into());
            }
            Examined::Wrong(Finding::Object { index, offset }) => {
                self.damage.push(format!("object {index} at {offset:#06x} is damaged"));
            }
            Examined::Wrong(Finding::Overlap) => self.damage.push("two objects share storage".into()),
            Examined::Doubtful(offset) => self.doubts.push(format!(
                "the record at {offset:#06x} would be the newest one, if not for a single bit: it is damaged, or power was cut in \
                 its last byte"
            )),
            _ => {}
        }
    }
}

/// Checks an image as it is, then what recovery makes of it. Nothing is written.
///
/// # Errors
///
/// There is no state to be had: what `open` says.
pub fn verify(image: &Image) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let (mut tables, options) = (image.tables(), image.layout.options());
    let found =
        examine(image.storage(), &mut tables, options, false, &mut |examined| verdict.add(examined)).map_err(told)?;
    let heap = image.open(&mut tables)?;
    let report = *heap.report();
    let recovered = heap.into_device();
    let mut again = Verdict::default();
    let mut tables = image.tables();
    let after = examine(recovered, &mut tables, options, true, &mut |examined| again.add(examined)).map_err(told)?;
    for damage in again.damage {
        if !verdict.damage.contains(&damage) {
            verdict.damage.push(format!("after recovery: {damage}"));
        }
    }
    if found.snapshot {
        verdict.notes.push("a snapshot waits to be emptied by recovery".into());
    }
    if report.reclaimed != 0 {
        verdict.notes.push(format!("{} objects that nothing leads to: recovery frees them", report.reclaimed));
    }
    if after.stale_links != 0 {
        verdict.notes.push(format!("{} links or roots whose object was freed", after.stale_links));
    }
    let unread = Contents::of(image).map_or_else(|error| Some(error.to_string()), |contents| contents.damage);
    if let (Some(error), true) = (unread, verdict.damage.is_empty()) {
        verdict.damage.push(format!("the contents cannot be read: {error}"));
    }
    verdict.notes.push(format!("state {}, {} objects", report.sequence, report.objects));
    Ok(verdict)
}
