//! The laboratory in its quick form.

#![allow(clippy::unwrap_used)] // the tests' helpers

use bench::access::Pattern;
use bench::lab::counting::Counting;
use bench::lab::jobs::{Jobs, Scale};
use bench::lab::row::Row;
use bench::lab::simulated::Simulated;
use bench::lab::table::{Form, table};
use bench::lab::{WORKLOADS, clairvoyant, kvs, plots, queue};
use vnv_persist::{Clock, FirstFound};

fn quick(workload: &str) -> Vec<Row> {
    let mut jobs = Jobs::default();
    for (name, add) in WORKLOADS {
        if name == workload {
            add(&mut jobs, Scale::QUICK);
        }
    }
    jobs.run().unwrap()
}

/// The rows of a system.
fn of<'r>(rows: &'r [Row], bench: &str, system: &str) -> Vec<&'r Row> {
    rows.iter().filter(|row| row.bench == bench && row.system == system).collect()
}

#[test]
fn every_workload_runs_and_every_line_is_an_object() {
    let mut all = Vec::new();
    for (name, _) in WORKLOADS {
        let rows = quick(name);
        assert!(!rows.is_empty(), "{name}");
        all.extend(rows);
    }
    for row in &all {
        let text = row.to_json().to_string();
        assert!(!text.contains('\n'));
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back.as_object().unwrap().len(), 10, "{text}");
    }
    let mut keys: Vec<_> = all.iter().map(|row| (&row.bench, &row.system, &row.parameters)).collect();
    let rows = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), rows, "no row is there twice");
    let shown = table(&all, Form::Markdown);
    assert_eq!(shown.lines().count(), rows + 2);
    let directory = std::env::temp_dir().join(format!("bench-plots-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    assert_eq!(plots::draw(&directory, &all).unwrap(), ["reference.svg", "queue.svg", "persist.svg", "kvs.svg"]);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_same_seed_gives_the_same_rows() {
    assert_eq!(quick("kvs"), quick("kvs"));
    assert_eq!(quick("queue"), quick("queue"));
}

#[test]
fn baselines_cost_what_they_must() {
    let rows = quick("queue");
    for row in of(&rows, "queue", "storage-only") {
        let traffic = (row.writes, row.bytes_written, row.reads, row.bytes_read);
        assert_eq!(traffic, (100.0, 25_600.0, 100.0, 25_600.0), "{}", row.parameters);
    }
    assert!(of(&rows, "queue", "ram-only").iter().all(|row| row.model_us == 0.0));
    let rows = quick("kvs");
    assert!(of(&rows, "kvs", "storage-only").iter().all(|row| row.writes == f64::from(Scale::QUICK.updates)));
    assert!(of(&rows, "kvs", "ram-only").iter().all(|row| row.model_us == 0.0));
}

#[test]
fn a_simulated_part_sees_what_is_counted() {
    for pattern in Pattern::ALL {
        let (access, length) = ((pattern, 3), (300, Some(100)));
        let counted = kvs::heap::<Counting, Clock>(access, length).unwrap();
        assert!(counted.writes > 0);
        assert_eq!(counted, kvs::heap::<Simulated, Clock>(access, length).unwrap());
    }
    let counted = queue::heap::<Counting, FirstFound>((20, 100, None)).unwrap();
    assert!(counted.reads > 0);
    assert_eq!(counted, queue::heap::<Simulated, FirstFound>((20, 100, None)).unwrap());
}

#[test]
fn nobody_beats_who_knows_the_future() {
    for pattern in Pattern::ALL {
        let best = clairvoyant::store(pattern, 1, 2000, kvs::DIRTY_LIMIT).model_us();
        let heap = kvs::heap::<Counting, Clock>((pattern, 1), (2000, None)).unwrap().model_us();
        let paged = kvs::paged::<Counting>(512, (pattern, 1), (2000, None)).unwrap().model_us();
        assert!(best <= heap && best <= paged, "{}: {best} {heap} {paged}", pattern.name());
    }
    for length in [0, 8, 16, 32] {
        let best = clairvoyant::queue(length, 1000).model_us();
        let heap = queue::heap::<Counting, Clock>((length, 1000, None)).unwrap().model_us();
        assert!(best <= heap, "length {length}: {best} {heap}");
    }
    assert_eq!(clairvoyant::queue(8, 1000).writes, 0);
}

#[test]
fn a_load_is_one_read_and_an_eviction_one_write() {
    let rows = quick("objects");
    for system in ["vnv/first-found", "vnv/clock"] {
        assert!(of(&rows, "get_min", system).iter().all(|row| row.model_us == 0.0));
        assert!(of(&rows, "get_min_max", system).iter().all(|row| (row.writes, row.reads) == (0.0, 1.0)));
        assert!(of(&rows, "get_max", system).iter().all(|row| (row.writes, row.reads) == (1.0, 1.0)));
        assert!(of(&rows, "allocate_min", system).iter().all(|row| row.model_us == 0.0));
        assert!(of(&rows, "deallocate_max", system).iter().all(|row| row.model_us == 0.0));
    }
}
