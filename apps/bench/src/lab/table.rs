//! Rows beside the earlier figures, for a terminal or for a document.

use super::prior;
use super::row::Row;
use std::fmt::Write;

/// How a table is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Columns of spaces.
    Plain,
    /// A table in Markdown.
    Markdown,
}

/// Modelled milliseconds, or microseconds where it is about single operations.
fn time(us: f64) -> String {
    if us >= 100_000.0 { format!("{:.0} ms", us / 1000.0) } else { format!("{us:.0} us") }
}

fn amount(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// Whether a row is shown where there is no room for each one.
#[must_use]
pub fn is_chosen(row: &Row) -> bool {
    let is = |name: &str, chosen: &[u32]| {
        row.parameter(name).is_none_or(|value| value.parse().is_ok_and(|value| chosen.contains(&value)))
    };
    is("length", &[0, 8, 11, 12, 13, 14, 16, 24, 32])
        && is("size", &[0, 8, 64, 128, 256, 512, 928, 1024])
        && is("dirty_limit", &[312, 568, 1080, 2060, 3128, 3916])
        && is("buffer", &[332, 844, 1868, 3916])
}

/// Every row with what the earlier systems needed, and the ratio of the two modelled times.
#[must_use]
pub fn table(rows: &[Row], form: Form) -> String {
    let prior = prior::traffic();
    let head =
        ["bench", "system", "parameters", "writes", "bytes", "reads", "bytes", "model", "wire", "earlier", "ratio"];
    let mut lines = vec![head.map(String::from)];
    for row in rows {
        let beside = prior::beside(&prior, row);
        let earlier =
            beside.as_ref().map_or(String::new(), |other| format!("{} ({})", time(other.model_us), other.system));
        let ratio = beside.map(|other| match (row.model_us > 0.0, other.model_us > 0.0) {
            (_, true) => format!("{:.2}", row.model_us / other.model_us),
            (true, false) => "worse".into(),
            (false, false) => "1.00".into(),
        });
        lines.push([
            row.bench.clone(),
            row.system.clone(),
            row.parameters.clone(),
            amount(row.writes),
            amount(row.bytes_written),
            amount(row.reads),
            amount(row.bytes_read),
            time(row.model_us),
            time(row.wire_us),
            earlier,
            ratio.unwrap_or_default(),
        ]);
    }
    write_lines(&lines, form, 3)
}

/// Writes lines of cells: the first `left` columns begin at the left, the others end at the right.
#[must_use]
pub fn write_lines<const N: usize>(lines: &[[String; N]], form: Form, left: usize) -> String {
    let mut text = String::new();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for (number, line) in lines.iter().enumerate() {
        if form == Form::Markdown {
            let _ = writeln!(text, "| {} |", line.join(" | "));
            if number == 0 {
                let rule: Vec<&str> = (0..N).map(|column| if column < left { "---" } else { "---:" }).collect();
                let _ = writeln!(text, "|{}|", rule.join("|"));
            }
            continue;
        }
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let _ = match column < left {
                true => write!(text, "{cell:<width$}  "),
                false => write!(text, "{cell:>width$}  "),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
