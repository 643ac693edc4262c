//! One line of results.

use super::cost::Traffic;
use serde_json::{Value, json};

/// Traffic of a workload on a system: means over several runs.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The workload.
    pub bench: String,
    /// The system.
    pub system: String,
    /// The parameters, `name=value` with `;` between them.
    pub parameters: String,
    /// Iterations that the figures are for.
    pub iterations: u32,
    /// Write transactions.
    pub writes: f64,
    /// Bytes written.
    pub bytes_written: f64,
    /// Read transactions.
    pub reads: f64,
    /// Bytes read.
    pub bytes_read: f64,
    /// Modelled storage time in microseconds.
    pub model_us: f64,
    /// Limit of the wire in microseconds.
    pub wire_us: f64,
}

impl Row {
    /// The mean of `traffic`, divided by `share`.
    #[must_use]
    pub fn new(bench: &str, system: &str, parameters: &str, iterations: u32, traffic: &[Traffic], share: f64) -> Self {
        let sum: Traffic = traffic.iter().copied().sum();
        let divisor = traffic.len().max(1) as f64 * share;
        let mean = |sum: f64| (sum / divisor * 100.0).round() / 100.0;
        Self {
            bench: bench.into(),
            system: system.into(),
            parameters: parameters.into(),
            iterations,
            writes: mean(sum.writes as f64),
            bytes_written: mean(sum.bytes_written as f64),
            reads: mean(sum.reads as f64),
            bytes_read: mean(sum.bytes_read as f64),
            model_us: mean(sum.model_us()),
            wire_us: mean(sum.wire_us()),
        }
    }

    /// A row of one operation.
    #[must_use]
    pub fn once(bench: &str, system: &str, parameters: &str, traffic: Traffic) -> Self {
        Self::new(bench, system, parameters, 1, &[traffic], 1.0)
    }

    /// As a JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "bench": self.bench, "system": self.system, "parameters": self.parameters, "iterations": self.iterations,
            "writes": self.writes, "bytes_written": self.bytes_written, "reads": self.reads,
            "bytes_read": self.bytes_read, "model_us": self.model_us, "wire_us": self.wire_us,
        })
    }

    /// The number behind `name=` in the parameters.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_an_object_with_these_keys() {
        let row = Row::new("queue", "vnv/clock", "length=3;commit=10", 100, &[Traffic::write(100, 2)], 2.0);
        let mut keys: Vec<String> = row.to_json().as_object().unwrap().keys().cloned().collect();
        // Sorted, or as they come: that is a feature of the library, which other packages of a build may turn on.
        keys.sort_unstable();
        let mut expected = [
            "bench",
            "system",
            "parameters",
            "iterations",
            "writes",
            "bytes_written",
            "reads",
            "bytes_read",
            "model_us",
            "wire_us",
        ];
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!((row.bytes_written, row.model_us, row.wire_us), (50.0, 71.9, 20.8));
        assert_eq!(
            (row.parameter("length"), row.parameter("commit"), row.parameter("x")),
            (Some("3"), Some("10"), None)
        );
    }
}
