//! The crash laboratory: `cargo xtask crash`.

use anyhow::{Context, Result, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::process::ExitCode;
use vnv_lab::check::Extent;
use vnv_lab::life::Life;
use vnv_lab::point::Point;
use vnv_lab::report::Report;
use vnv_lab::sweep::sweep;

/// Cuts power at every bit of every life, again during recovery, and compares what comes back with a model.
///
/// Ends with 0 if nothing was violated, 1 if something was, 2 if the arguments are wrong.
#[derive(Parser)]
#[command(name = "cargo xtask crash")]
struct Arguments {
    /// Only lives whose name contains this; may be given more than once
    #[arg(long, value_name = "NAME")]
    life: Vec<String>,
    /// A life of one's own, as text: settings and operations, separated by semicolons
    #[arg(long, value_name = "TEXT", conflicts_with = "life")]
    ops: Option<String>,
    /// Most cuts one after the other; third ones are samples, in lives that ask for them
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    depth: u8,
    /// Only this rung of the tear ladder, T0 to T5
    #[arg(long, value_name = "T", value_parser = rung_of)]
    tear: Option<usize>,
    /// All second cuts, some third cuts (tens of minutes)
    #[arg(long)]
    full: bool,
    /// Of the recoveries that are cut again every N-th one
    #[arg(long, value_name = "N", default_value = "1")]
    sparse: std::num::NonZeroUsize,
    /// Only these cuts, one after the other, as a violation prints them
    #[arg(long, value_name = "CUTS", value_delimiter = ',')]
    replay: Vec<Point>,
    /// Images put together of valid ones: so many (10000, with --full 100000, without if only some lives are asked for)
    #[arg(long, value_name = "N")]
    splices: Option<u64>,
    /// Only the spliced image with this number, as a violation prints it
    #[arg(long, value_name = "NUMBER")]
    splice: Option<u64>,
    /// Where the report goes, as JSON
    #[arg(long, value_name = "FILE", default_value = "target/crash/report.json")]
    report: PathBuf,
    /// Lists the lives
    #[arg(long)]
    list: bool,
    /// Runs the lives on each deliberate fault, and asks for each to be found
    #[cfg(feature = "mutants")]
    #[arg(long)]
    mutants: bool,
    /// Only faults whose name contains this
    #[cfg(feature = "mutants")]
    #[arg(long, value_name = "NAME", requires = "mutants")]
    fault: Option<String>,
}

fn rung_of(text: &str) -> Result<usize, String> {
    let number = text.strip_prefix('T').or(text.strip_prefix('t')).unwrap_or(text).parse().ok();
    number.filter(|rung| *rung <= 5).ok_or_else(|| "the rungs are T0 to T5".to_string())
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("crash: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn chosen(arguments: &Arguments) -> Result<Vec<Life>> {
    if let Some(ops) = &arguments.ops {
        return Ok(vec![Life::parse("given", ops)?]);
    }
    let lives = Life::written()?;
    let names: Vec<String> = lives.iter().map(|life| life.name.clone()).collect();
    let wanted = |life: &Life| arguments.life.is_empty() || arguments.life.iter().any(|name| life.name.contains(name));
    let lives: Vec<Life> = lives.into_iter().filter(wanted).collect();
    if lives.is_empty() {
        bail!("no life has such a name; there are: {}", names.join(", "));
    }
    Ok(lives)
}

fn run(arguments: &Arguments) -> Result<bool> {
    let lives = chosen(arguments)?;
    if arguments.list {
        for life in &lives {
            println!("{}: {life}", life.name);
        }
        return Ok(true);
    }
    if let Some(number) = arguments.splice {
        let outcome = vnv_lab::splice::splice(number);
        println!("spliced image {number}: {outcome:?}");
        return Ok(outcome.is_ok());
    }
    let replay = (!arguments.replay.is_empty()).then(|| arguments.replay.clone());
    let extent = Extent {
        depth: usize::from(if arguments.full { 3 } else { arguments.depth }).max(arguments.replay.len()),
        rung: arguments.tear,
        full: arguments.full,
        coarse: false,
        sparse: arguments.sparse.get(),
        only: replay,
    };
    if extent.only.is_none() {
        // Panics of the library are violations, and reported as such.
        std::panic::set_hook(Box::new(|_| {}));
    }
    #[cfg(feature = "mutants")]
    if arguments.mutants {
        return vnv_lab::mutants::run(&lives, arguments.fault.as_deref(), arguments.tear);
    }
    let command = format!("cargo xtask crash {}", std::env::args().skip(1).collect::<Vec<_>>().join(" "));
    let mut report = Report { command: command.trim_end().to_string(), ..Report::default() };
    for (number, life) in lives.iter().enumerate() {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{prefix:>28} {bar:40} frame {pos} of {len}, {elapsed}")?;
        bar.set_style(style);
        bar.set_prefix(format!("{} of {}: {}", number + 1, lives.len(), life.name));
        let life_report = sweep(life, &extent, false, &|done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        });
        bar.finish_and_clear();
        let total = life_report.total();
        println!(
            "{:>20}: on {}, {} operations, {} commits, {} bits; {} cuts, {} images, {} recoveries, {:.1} s; violations: {}",
            life.name,
            life_report.start,
            life_report.operations,
            life_report.commits,
            life_report.bits,
            total.cuts,
            total.images,
            total.recoveries,
            life_report.seconds,
            life_report.violations.len()
        );
        for violation in &life_report.violations {
            println!("{:>20}  {}: {}", "", violation.path, violation.what);
            let which =
                if arguments.ops.is_some() { format!("--ops '{life}'") } else { format!("--life {}", life.name) };
            let replay =
                if violation.path.is_empty() { String::new() } else { format!(" --replay {}", violation.path) };
            println!("{:>20}  replay: cargo xtask crash {which}{replay}", "");
        }
        report.lives.push(life_report);
    }
    let is_whole = arguments.life.is_empty() && arguments.ops.is_none() && extent.only.is_none();
    let spliced = match arguments.splices {
        None if is_whole && extent.rung.is_none() => {
            if arguments.full {
                100_000
            } else {
                10_000
            }
        }
        spliced => spliced.unwrap_or(0),
    };
    report.splices = vnv_lab::splice::splices(spliced).map_err(anyhow::Error::msg)?;
    for (number, what) in report.splices.violations.iter().take(5) {
        println!("{:>20}  spliced image {number}: {what}\n{:>20}  replay: cargo xtask crash --splice {number}", "", "");
    }
    if let Some(directory) = arguments.report.parent() {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    std::fs::write(&arguments.report, serde_json::to_string_pretty(&report)?)
        .with_context(|| format!("cannot write {}", arguments.report.display()))?;
    println!("\n{}\nreport: {}", report.table(), arguments.report.display());
    println!("{}", report.totals());
    let is_short = is_whole && !report.starts().is_enough();
    if is_short {
        println!("SHORT: at least a third of the cuts are to begin on used storage, half of those on another layout");
    }
    Ok(report.violations() == 0 && !is_short)
}
