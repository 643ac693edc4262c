//! Collecting what boards print.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::io::{BufRead, Write};

/// What a line of results begins with; a time or a level may stand before it.
pub const MARK: &str = "[BENCH-INFO]";
/// The last line.
pub const END: &str = "[BENCH-END]";
/// The keys of a result.
pub const KEYS: [&str; 7] =
    ["bench_name", "bench_options", "machine_name", "cold_start", "repetitions", "ticks_per_ms", "data"];

/// Copies the results among the lines of `input` to `output`, one JSON object a line, up to the last one; returns their number.
///
/// # Errors
///
/// A line that is no result in spite of its mark; a failing input or output.
pub fn record(mut input: impl BufRead, mut output: impl Write) -> Result<usize> {
    let (mut line, mut number) = (Vec::new(), 0);
    while input.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line).into_owned();
        line.clear();
        if text.contains(END) {
            break;
        }
        let Some((_, result)) = text.split_once(MARK) else { continue };
        let result: Value = serde_json::from_str(result.trim()).with_context(|| format!("no result: {text}"))?;
        for key in KEYS {
            ensure!(result.get(key).is_some(), "a result without `{key}`: {text}");
        }
        writeln!(output, "{result}")?;
        output.flush()?;
        number += 1;
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"bench_name":"kvs","bench_options":"access=random","machine_name":"x","cold_start":false,"repetitions":1,"ticks_per_ms":1000,"data":[5]}"#;

    #[test]
    fn results_are_found_among_other_lines() {
        let log = format!("boot\n0.1 [INFO] [BENCH-INFO] {LINE}\nnoise \u{1}\n[BENCH-END]\n[BENCH-INFO] {LINE}\n");
        let mut output = Vec::new();
        assert_eq!(record(log.as_bytes(), &mut output).unwrap(), 1);
        let value: Value = serde_json::from_slice(&output).unwrap();
        assert_eq!(value["data"][0], 5);
    }

    #[test]
    fn a_torn_line_is_an_error() {
        assert!(record(&b"[BENCH-INFO] {\"bench_name\":"[..], Vec::new()).is_err());
        assert!(record(&b"[BENCH-INFO] {\"bench_name\":1}"[..], Vec::new()).is_err());
    }
}
