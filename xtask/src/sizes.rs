//! Flash and static RAM of each application on each board, against budgets that fail the build.

use crate::firmware::{App, Board, build};
use crate::steps::Steps;
use crate::toolchain::{self, Need};
use anyhow::{Context, Result};
use object::{Object, ObjectSection, SectionFlags, SectionKind, elf};
use std::collections::BTreeMap;
use std::path::Path;

/// Where the budgets are.
const BUDGETS: &str = "firmware/budgets.toml";

/// What a program takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Code, constants and initial values, in bytes.
    pub flash: u64,
    /// Variables, in bytes; the stack is not counted.
    pub ram: u64,
}

/// Measures an ELF file by its sections.
pub fn measure(file: &Path) -> Result<Size> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let object = object::File::parse(&*bytes)?;
    let mut size = Size { flash: 0, ram: 0 };
    for section in object.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        let is_loaded = sh_flags & u64::from(elf::SHF_ALLOC) != 0;
        let name = section.name().unwrap_or_default();
        // Linker scripts make sections for the stack, and fill up address ranges.
        if !is_loaded || [".stack", "dummy", ".heap", "_dummy", "gap"].iter().any(|part| name.contains(part)) {
            continue;
        }
        let is_variable = sh_flags & u64::from(elf::SHF_WRITE) != 0;
        let is_stored = section.kind() != SectionKind::UninitializedData && section.file_range().is_some();
        size.flash += if is_stored { section.size() } else { 0 };
        size.ram += if is_variable { section.size() } else { 0 };
    }
    Ok(size)
}

fn budgets(root: &Path) -> Result<BTreeMap<String, BTreeMap<String, [u64; 2]>>> {
    let file = root.join(BUDGETS);
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    toml::from_str(&text).with_context(|| format!("{BUDGETS} is not as its first lines say"))
}

/// Builds everything, prints the table, and fails what is above its budget.
pub fn sizes(steps: &mut Steps) -> Result<()> {
    let budgets = budgets(steps.root())?;
    let budget = |group: &str, name: &str| budgets.get(group).and_then(|group| group.get(name)).copied();
    let mut rows = Vec::new();
    for board in Board::ALL {
        if build(steps, board, None)? {
            for app in App::ALL {
                rows.push((board.name(), app.name(), measure(&board.elf(steps, app))?));
            }
        }
    }
    if let Some(size) = footprint(steps)? {
        rows.push(("footprint", "heap", size));
    }
    println!("{:<10} {:<8} {:>8} {:>8} {:>8} {:>8}", "board", "app", "flash", "budget", "RAM", "budget");
    let mut over = Vec::new();
    for (group, name, size) in rows {
        let Some([flash, ram]) = budget(group, name) else {
            over.push(format!("{group} {name} has no budget in {BUDGETS}"));
            continue;
        };
        println!("{group:<10} {name:<8} {:>8} {flash:>8} {:>8} {ram:>8}", size.flash, size.ram);
        if size.flash > flash || size.ram > ram {
            over.push(format!("{group} {name} takes more than its budget"));
        }
    }
    println!(
        "footprint: what the heap adds to an application with three durable types (rv32imc, opt-level s, no logging)"
    );
    if over.is_empty() {
        steps.succeed("sizes")
    } else {
        steps.fail("sizes", &over.join("; "))
    }
    Ok(())
}

/// What the heap adds to the same application on a stub.
fn footprint(steps: &mut Steps) -> Result<Option<Size>> {
    let target = Board::SifiveU.target();
    if let Some(message) = toolchain::missing(steps, &[Need::Target(target)]) {
        steps.fail("footprint", &message);
        return Ok(None);
    }
    let directory = steps.target_directory().join("firmware/footprint");
    let at = directory.display().to_string();
    let arguments = ["build", "--quiet", "--release", "--locked", "--target-dir", &at];
    if !steps.run_in("build footprint", "firmware/footprint", "cargo", &arguments)? {
        return Ok(None);
    }
    let of = |name| measure(&directory.join(target).join("release").join(name));
    let (heap, stub) = (of("heap")?, of("stub")?);
    Ok(Some(Size { flash: heap.flash - stub.flash, ram: heap.ram - stub.ram }))
}
