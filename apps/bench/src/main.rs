//! The benchmark laboratory.

use anyhow::{Context, Result, ensure};
use bench::lab::jobs::{Jobs, Scale};
use bench::lab::table::{Form, table};
use bench::lab::{kvs, queue};
use clap::Parser;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Runs the workloads, and puts the figures of earlier systems beside them
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    /// Only this workload: kvs, queue
    workload: Option<String>,
    /// Few updates, few parameters: seconds, for a look
    #[arg(long)]
    quick: bool,
    /// Where results.jsonl and the plots go
    #[arg(long, default_value = "target/bench")]
    output: PathBuf,
}

type Workload = (&'static str, fn(&mut Jobs, Scale));

const WORKLOADS: [Workload; 2] = [("kvs", kvs::jobs), ("queue", queue::jobs)];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let scale = if arguments.quick { Scale::QUICK } else { Scale::FULL };
    let start = Instant::now();
    let mut jobs = Jobs::default();
    let mut known = false;
    for (name, add) in WORKLOADS {
        if arguments.workload.as_ref().is_none_or(|workload| workload == name) {
            add(&mut jobs, scale);
            known = true;
        }
    }
    ensure!(known, "there are the workloads {}", WORKLOADS.map(|(name, _)| name).join(", "));
    let rows = jobs.run()?;
    std::fs::create_dir_all(&arguments.output)?;
    let file = arguments.output.join("results.jsonl");
    let mut lines = std::io::BufWriter::new(std::fs::File::create(&file).context("cannot write the results")?);
    for row in &rows {
        writeln!(lines, "{}", row.to_json())?;
    }
    lines.flush()?;
    println!("{}", table(&rows, Form::Plain));
    println!("{} rows in {}, {:.1} s", rows.len(), file.display(), start.elapsed().as_secs_f64());
    Ok(())
}
