//! The chapter's tables and plots.

use super::plots;
use super::row::Row;
use super::table::{Form, is_chosen, table};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// The workloads in the order of the chapter, and what they are.
const SECTIONS: [(&str, &[&str]); 5] = [
    ("Key-value store", &["kvs"]),
    ("Queue", &["queue"]),
    ("References", &["get_min", "get_max_min", "get_min_max", "get_max", "get_max_old"]),
    ("Allocating and freeing", &["allocate_min", "allocate_max", "deallocate_min", "deallocate_max"]),
    ("When power fails", &["persist_dirty", "persist_buffer", "locked"]),
];

/// Day, month and year of a number of days since 1970 (civil calendar, by years that begin in March).
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (day, month, year_of_era + era * 400 + next)
}

fn today() -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (day, month, year) = date((seconds / 86_400) as i64);
    format!("{day} {} {year}", MONTHS[(month - 1) as usize])
}

fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().ok();
    let name = output
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    name.map_or(String::new(), |name| format!(", on commit {name}"))
}

/// Writes `bench-table.md` and the plots in `bench/` into the directory of the book.
///
/// # Errors
///
/// A file that cannot be written.
pub fn write(book: &Path, rows: &[Row], seconds: f64) -> Result<()> {
    let plots = book.join("bench");
    std::fs::create_dir_all(&plots)?;
    plots::draw(&plots, rows)?;
    let mut text = format!(
        "# Every workload\n\n`cargo xtask bench --docs`, {}{}, {seconds:.0} s. Some lengths, sizes and limits of each list; every row is\nin `target/bench/results.jsonl`. \
         The columns are explained in [the workloads](bench.md).\n",
        today(),
        commit()
    );
    for (title, benches) in SECTIONS {
        let chosen = rows.iter().filter(|row| benches.contains(&row.bench.as_str()) && is_chosen(row));
        let chosen: Vec<Row> = chosen.cloned().collect();
        text.push_str(&format!("\n## {title}\n\n{}", table(&chosen, Form::Markdown)));
    }
    let file = book.join("bench-table.md");
    std::fs::write(&file, text).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date(0), (1, 1, 1970));
        assert_eq!(date(11_016), (29, 2, 2000));
        assert_eq!(date(20_778), (21, 11, 2026));
    }
}
