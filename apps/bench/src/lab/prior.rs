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

/// Dirty limits and the bytes that the earlier heap saved at them: from its published latencies on a bus with slices of 4 bytes,
/// 417 us + 19.5 us a byte.
#[must_use]
pub fn persist_points(fill: &str) -> Vec<(f64, f64)> {
    let bench = format!("{fill}_persist_latency_dirty_size");
    let point = |latency: &Latency| {
        let limit = latency.parameters.split(' ').find_map(|part| part.strip_prefix("dirty_limit=")?.parse().ok())?;
        Some((limit, ((latency.mean_us - 417.0) / 19.5).max(0.0)))
    };
    latencies().iter().filter(|latency| latency.bench == bench).filter_map(point).collect()
}

/// What saving so many bytes takes the earlier heap without slices: 459 us + 0.69 us a byte.
#[must_use]
pub fn persist_us(bytes: f64) -> f64 {
    459.0 + 0.69 * bytes
}

/// Of the earlier heap at a dirty limit, between the published points.
fn persist(fill: &str, limit: f64) -> Option<Row> {
    let points = persist_points(fill);
    let (before, after) = points.iter().zip(points.iter().skip(1)).find(|(_, after)| after.0 >= limit)?;
    let bytes = before.1 + (after.1 - before.1) * (limit - before.0) / (after.0 - before.0);
    Some(Row {
        bench: "persist_dirty".into(),
        system: "vnv-heap".into(),
        parameters: format!("dirty_limit={limit};fill={fill}"),
        iterations: 1,
        writes: 0.0,
        bytes_written: bytes.round(),
        reads: 0.0,
        bytes_read: 0.0,
        model_us: persist_us(bytes).round(),
        wire_us: 0.0,
    })
}

/// What a row is held against: the best of the earlier heaps with the same parameters; a baseline is held against its like.
#[must_use]
pub fn beside(prior: &[Row], row: &Row) -> Option<Row> {
    if row.bench == "persist_dirty" {
        // What holds whatever the arena is full of is held against the worst of it.
        return persist(row.parameter("fill").unwrap_or("max_dirty"), row.parameter("dirty_limit")?.parse().ok()?);
    }
    // Commits are held against the plain workload: the earlier systems know none.
    let parameters: Vec<&str> = row.parameters.split(';').filter(|part| !part.starts_with("commit=")).collect();
    let parameters = parameters.join(";");
    let same =
        |other: &&Row| other.bench == row.bench && other.parameters == parameters && other.iterations == row.iterations;
    let like = prior.iter().filter(same).find(|other| other.system == row.system);
    let best = || {
        let heaps = prior.iter().filter(same).filter(|other| other.system.starts_with("vnv-heap"));
        heaps.min_by(|a, b| a.model_us.total_cmp(&b.model_us))
    };
    like.or_else(best).cloned()
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
        let quick = Row::new("kvs", "paged-64", "access=random", 400, &[], 1.0);
        assert_eq!(beside(&quick), None, "fewer updates are held against nothing");
        let snapshot = Row::new("persist_dirty", "vnv/clock", "dirty_limit=2060;fill=max_objects", 1, &[], 1.0);
        let earlier = super::beside(&prior, &snapshot).unwrap();
        assert!((earlier.bytes_written - 2000.0).abs() < 20.0, "116 objects with 17 bytes each, and more");
    }
}
