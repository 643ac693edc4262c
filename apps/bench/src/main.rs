//! The benchmark laboratory.

use anyhow::{Context, Result, ensure};
use bench::lab::jobs::{Jobs, Scale};
use bench::lab::row::Row;
use bench::lab::table::{Form, is_chosen, table};
use bench::lab::{WORKLOADS, docs, plots, record};
use clap::Parser;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Runs the workloads, and puts the figures of earlier systems beside them
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    /// Only these workloads: storage, objects (get, allocate, deallocate), persist, locked, queue or kvs
    workload: Option<String>,
    /// Few updates, few parameters: for a look
    #[arg(long)]
    quick: bool,
    /// Prints every row, not only some lengths, sizes and limits
    #[arg(long)]
    all: bool,
    /// Where results.jsonl and the plots go
    #[arg(long, default_value = "target/bench")]
    output: PathBuf,
    /// Writes the tables and plots of the book too
    #[arg(long, conflicts_with_all = ["quick", "workload"])]
    docs: bool,
    /// Instead: collects what a board prints from a file, a serial port, or - for standard input, into recorded.jsonl
    #[arg(long, value_name = "SOURCE")]
    record: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.output)?;
    if let Some(source) = &arguments.record {
        return collect(source, &arguments.output.join("recorded.jsonl"));
    }
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
    let seconds = start.elapsed().as_secs_f64();
    let file = arguments.output.join("results.jsonl");
    let mut lines = BufWriter::new(File::create(&file).context("cannot write the results")?);
    for row in &rows {
        writeln!(lines, "{}", row.to_json())?;
    }
    lines.flush()?;
    let shown: Vec<Row> = rows.iter().filter(|row| arguments.all || is_chosen(row)).cloned().collect();
    println!("{}", table(&shown, Form::Plain));
    for name in plots::draw(&arguments.output, &rows)? {
        println!("{}", arguments.output.join(name).display());
    }
    if arguments.docs {
        docs::write(Path::new("docs/src"), &rows, seconds)?;
    }
    println!("{} rows in {}, {seconds:.1} s", rows.len(), file.display());
    Ok(())
}

/// Appends the results that a board prints.
fn collect(source: &Path, file: &Path) -> Result<()> {
    let output = OpenOptions::new().create(true).append(true).open(file)?;
    let number = if source == Path::new("-") {
        record::record(std::io::stdin().lock(), output)?
    } else {
        let input = File::open(source).with_context(|| source.display().to_string())?;
        if !input.metadata()?.is_file() {
            // A serial port: bytes as they come. What is no terminal needs no settings.
            let _ = Command::new("stty").arg("-F").arg(source).args(["115200", "raw", "-echo"]).status();
        }
        record::record(BufReader::new(input), output)?
    };
    println!("{number} results in {}", file.display());
    ensure!(number > 0, "nothing was recorded");
    Ok(())
}
