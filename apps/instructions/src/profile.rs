//! Where the instructions of an operation go, by function.

use std::collections::BTreeMap;

/// The functions of a program, in order of address.
pub struct Functions(Vec<Function>);

struct Function {
    start: u32,
    end: u32,
    name: String,
}

impl Functions {
    /// From the symbol table of an ELF file of 32 bits, little-endian.
    pub fn of(program: &[u8]) -> Self {
        const SYMBOLS: usize = 2;
        const FUNCTION: usize = 2;
        let bytes = |at: usize, len: usize| {
            let bytes = program.get(at..at + len).unwrap_or_default();
            bytes.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
        };
        let (sections, section_size, number) = (bytes(32, 4), bytes(46, 2), bytes(48, 2));
        let section = |at: usize, field: usize| bytes(sections + at * section_size + field, 4);
        let mut functions = Vec::new();
        for table in (0..number).filter(|at| section(*at, 4) == SYMBOLS) {
            let (offset, size, names) = (section(table, 16), section(table, 20), section(section(table, 24), 16));
            for symbol in (offset..offset + size).step_by(16) {
                let (name, start, len) = (bytes(symbol, 4), bytes(symbol + 4, 4) as u32, bytes(symbol + 8, 4) as u32);
                if bytes(symbol + 12, 1) & 15 == FUNCTION && len != 0 {
                    let name = program.get(names + name..).unwrap_or_default().split(|byte| *byte == 0).next();
                    let name = readable(&String::from_utf8_lossy(name.unwrap_or_default()));
                    functions.push(Function { start, end: start + len, name });
                }
            }
        }
        functions.sort_by_key(|function| function.start);
        Self(functions)
    }

    /// The function that an address belongs to.
    pub fn at(&self, address: u32) -> Option<usize> {
        let at = self.0.partition_point(|function| function.start <= address).checked_sub(1)?;
        self.0.get(at).filter(|function| address < function.end).map(|_| at)
    }

    /// Prints the instructions that were counted for each function, the most first.
    pub fn print(&self, counts: &BTreeMap<Option<usize>, u64>) {
        let mut counts: Vec<_> = counts.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (function, count) in counts {
            let name = function.and_then(|at| self.0.get(at)).map_or("?", |function| function.name.as_str());
            println!("{count:>14}  {name}");
        }
    }
}

/// The path in a mangled name of the legacy scheme, without the hash; another name as it is.
fn readable(mangled: &str) -> String {
    let Some(mut rest) = mangled.strip_prefix("_ZN") else { return mangled.into() };
    let mut parts = Vec::new();
    while let Some(end) = rest.find(|c: char| !c.is_ascii_digit()) {
        let Some((part, after)) =
            rest.get(..end).and_then(|len| len.parse().ok()).and_then(|len| rest.get(end..)?.split_at_checked(len))
        else {
            break;
        };
        parts.push(part.replace("$LT$", "<").replace("$GT$", ">").replace("$u20$", " ").replace("$C$", ","));
        rest = after;
    }
    parts.pop_if(|last| last.len() == 17 && last.starts_with('h'));
    parts.join("::")
}
