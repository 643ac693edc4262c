//! The figures of earlier systems: a bachelor thesis of 2024 and a paper at LCTES 2025. `data/prior_traffic.csv` was counted on a
//! counting storage, `data/prior_latency_us.csv` was measured on an ESP32-C3.

use super::row::Row;

const TRAFFIC: &str = include_str!("../../data/prior_traffic.csv");
const LATENCY: &str = include_str!("../../data/prior_latency_us.csv");

/// Traffic of an earlier system.
#[must_use]
pub fn traffic() -> Vec<Row> {
    TRAFFIC.lines().skip(1).filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let fields: Vec<&str> = line.split(',').collect();
    let [bench, system, parameters, iterations, writes, bytes_written, reads, bytes_read, model_us] = fields[..] else {
        return None;
    };
    Some(Row {
        bench: bench.into(),
        system: system.into(),
        parameters: parameters.into(),
        iterations: iterations.parse().ok()?,
        writes: writes.parse().ok()?,
        bytes_written: bytes_written.parse().ok()?,
        reads: reads.parse().ok()?,
        bytes_read: bytes_read.parse().ok()?,
        model_us: model_us.parse().ok()?,
        wire_us: 0.0,
    })
}

/// A measured latency.
#[derive(Clone, PartialEq, Debug)]
pub struct Latency {
    /// Where and when.
    pub measurement: String,
    /// The workload.
    pub bench: String,
    /// Its parameters.
    pub parameters: String,
    /// Mean in microseconds.
    pub mean_us: f64,
}

/// Latencies of the earlier heap.
#[must_use]
pub fn latencies() -> Vec<Latency> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let [measurement, bench, parameters, mean, ..] = fields[..] else { return None };
        Some(Latency {
            measurement: measurement.into(),
            bench: bench.into(),
            parameters: parameters.into(),
            mean_us: mean.parse().ok()?,
        })
    };
    LATENCY.lines().skip(1).filter_map(parse).collect()
}

/// What a row is held against: the best of the earlier systems with the same parameters; a baseline is held against its like.
#[must_use]
pub fn beside<'p>(prior: &'p [Row], row: &Row) -> Option<&'p Row> {
    // Commits that earlier systems do not know, and what a reference may do, are held against the plain workload.
    let parameters: Vec<&str> = row.parameters.split(';').filter(|part| !part.starts_with("commit=")).collect();
    let parameters = parameters.join(";");
    let same = |other: &&Row| other.bench == row.bench && other.parameters == parameters;
    let like = prior.iter().filter(same).find(|other| other.system == row.system);
    like.or_else(|| {
        let heaps = prior.iter().filter(same).filter(|other| other.system.starts_with("vnv-heap"));
        heaps.min_by(|a, b| a.model_us.total_cmp(&b.model_us))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_understood() {
        assert_eq!(traffic().len(), TRAFFIC.lines().count() - 1);
        assert_eq!(latencies().len(), LATENCY.lines().count() - 1);
    }

    #[test]
    fn rows_join() {
        let prior = traffic();
        let row = |system: &str, parameters: &str| Row::new("kvs", system, parameters, 10_000, &[], 1.0);
        let beside = |row: &Row| beside(&prior, row).map(|row| (row.system.clone(), row.writes));
        assert_eq!(beside(&row("vnv/clock", "access=random;commit=100")), Some(("vnv-heap/default".into(), 7864.0)));
        assert_eq!(beside(&row("paged-64", "access=random")), Some(("paged-64".into(), 31_926.0)));
        assert_eq!(beside(&row("vnv/clock", "access=other")), None);
    }
}
