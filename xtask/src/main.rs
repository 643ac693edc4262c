//! Build and test driver: `cargo xtask` lists what there is.

mod budget;
mod firmware;
mod sizes;
mod steps;
mod toolchain;

use anyhow::{Result, bail};
use clap::{CommandFactory, Parser, Subcommand};
use firmware::{App, Board, Cut};
use std::process::ExitCode;
use steps::Steps;
use toolchain::{MSRV, Need, TARGETS, miri_toolchain};

/// Build, test and try out vnv.
///
/// Ends with 0 if everything passed, 1 if something failed, 2 if the arguments are wrong.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the heap at work: a program on a simulated 8 KiB FRAM is killed again and again, and goes on
    Demo {
        /// Passed on to the demo (`--help` lists what it takes)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Tests every layer, bottom up, then the programs
    Test {
        /// Sweeps every life at every byte (minutes instead of seconds)
        #[arg(long, conflicts_with = "quick")]
        full: bool,
        /// Few random cases, and no examples of the documentation
        #[arg(long)]
        quick: bool,
    },
    /// Cuts power at every bit of every life, and again during recovery; `--help` lists what it takes
    ///
    /// The quick set takes about two minutes on two cores, `--full` much longer. With `--mutants` it runs on deliberate
    /// faults, and each must be found.
    #[command(disable_help_flag = true)]
    Crash {
        /// Passed on to the laboratory
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Fuzzes images, operations with cuts, and the conversation with the part (cargo-fuzz on the nightly toolchain)
    Fuzz {
        /// Only this target: image, operations or conversation
        target: Option<String>,
        /// Seconds for each target
        #[arg(long, default_value_t = 600)]
        seconds: u32,
        /// Where the generator begins; 0: anywhere
        #[arg(long, default_value_t = 0)]
        seed: u32,
    },
    /// Changes the format, commit and recovery code line by line, and lists what no test notices (cargo-mutants; hours)
    ///
    /// `cargo xtask mutants --shard 0/10` runs a tenth of it.
    Mutants {
        /// Passed on to cargo-mutants
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Which capacitor a dirty limit needs, which dirty limit a capacitor pays for: a table, and a curve
    Budget(budget::Budget),
    /// Power-fail alarms at instruction boundaries of lives on emulated rv32imc: a tenth of them, or with --full all
    Alarms {
        /// Every instruction boundary (half an hour and more)
        #[arg(long)]
        full: bool,
    },
    /// Builds the applications for a board
    Build {
        /// The board
        board: Board,
        /// The application; all by default
        app: Option<App>,
    },
    /// Builds an application, flashes it to an ESP32-C3, and shows its log
    Flash(firmware::Flash),
    /// Runs an application on an emulated board, with its memory in a file; run it again, and it goes on
    Run(firmware::Run),
    /// Builds a whole flash image for an ESP32-C3; needs espflash, but no board
    Image {
        /// The board: esp32c3
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(["esp32c3"]))]
        board: String,
        /// The application; all by default
        app: Option<App>,
    },
    /// Flash and static RAM of each application on each board; fails above the budgets in firmware/budgets.toml
    Sizes,
    /// Instructions of heap operations on rv32imc, exactly; fails above apps/instructions/baseline.toml
    Instructions,
    /// Runs the workloads of earlier systems on the heap and on baselines, and counts traffic; `--help` lists what it takes
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on to the benchmark laboratory
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Cuts the power of an emulated board again and again, and checks what is left
    Cut(firmware::Cut),
    /// Everything for boards: lint, build, sizes, images, a short run, and cuts on the emulated ones
    Boards {
        /// Cuts on each emulated board
        #[arg(long, default_value_t = 200)]
        cuts: u32,
    },
    /// Runs the library crates' tests under Miri (toolchain: nightly, or what VNV_MIRI_TOOLCHAIN names)
    Miri,
    /// Builds every library crate for bare-metal targets, with and without default features
    Nostd,
    /// Checks the library crates with the oldest Rust that they promise (rust-version in Cargo.toml)
    Msrv,
    /// Formatting, clippy and documentation, warnings denied
    Lint,
    /// The library's documentation, in target/doc
    Doc {
        /// Shows it in a browser
        #[arg(long)]
        open: bool,
    },
    /// Everything that must pass before a change lands
    Ci {
        /// Tests with the long sweeps
        #[arg(long)]
        full: bool,
    },
    /// Installs what is missing: targets, components, the nightly toolchain for Miri
    Setup,
}

/// How much `test` tries.
#[derive(Clone, Copy, PartialEq)]
enum Extent {
    Quick,
    Usual,
    /// As usual, with the same random cases each time: a change must not fail by what it has nothing to do with.
    Repeatable,
    Full,
}

/// The random cases of property tests are the same each time.
const SEEDED: (&str, &str) = ("PROPTEST_RNG_SEED", "1");

const LIBRARIES: [&str; 5] = ["vnv-storage", "vnv-alloc", "vnv-core", "vnv-persist", "vnv-collections"];
/// The crates with tests, the lowest layer first; the programs in `apps` follow.
const LAYERS: [&str; 8] =
    ["vnv-alloc", "vnv-storage", "vnv-sim", "vnv-derive", "vnv-core", "vnv-persist", "vnv-collections", "vnv-lab"];

fn main() -> ExitCode {
    match run(Arguments::parse().command.as_ref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Option<&Command>) -> Result<bool> {
    let Some(command) = command else {
        Arguments::command().print_help()?;
        return Ok(true);
    };
    let mut steps = Steps::new()?;
    match command {
        Command::Demo { arguments } => {
            let mut all = vec!["run", "--quiet", "--release", "-p", "demo", "--"];
            all.extend(arguments.iter().map(String::as_str));
            return steps.run_quietly("cargo", &all);
        }
        Command::Doc { open } => {
            let mut all = vec!["doc", "--no-deps", "--all-features"];
            all.extend(LIBRARIES.iter().chain(&["vnv-derive", "vnv-sim"]).flat_map(|package| ["-p", package]));
            all.extend(open.then_some("--open"));
            return steps.run_quietly("cargo", &all);
        }
        Command::Test { full: true, .. } => test(&mut steps, Extent::Full)?,
        Command::Test { quick: true, .. } => test(&mut steps, Extent::Quick)?,
        Command::Test { .. } => test(&mut steps, Extent::Usual)?,
        Command::Crash { arguments } => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            return steps.run_quietly("cargo", &laboratory(&arguments));
        }
        Command::Fuzz { target, seconds, seed } => fuzz(&mut steps, target.as_deref(), *seconds, *seed)?,
        Command::Mutants { arguments } => {
            let message = toolchain::missing(&steps, &[Need::Program("cargo-mutants", "mutants")]);
            if let Some(message) = message {
                steps.fail("mutants", &format!("{message}, or `cargo install --locked cargo-mutants`"));
            } else {
                let mut all = vec!["mutants"];
                all.extend(arguments.iter().map(String::as_str));
                steps.run("mutants", "cargo", &all, &[])?;
            }
        }
        Command::Budget(budget) => {
            budget.run()?;
            return Ok(true);
        }
        Command::Alarms { full } => {
            let environment: &[(&str, &str)] = if *full { &[("VNV_FULL", "1")] } else { &[] };
            let arguments = ["test", "--profile", "lab", "-p", "instants", "--", "--nocapture"];
            steps.run("alarms", "cargo", &arguments, environment)?;
        }
        Command::Build { board, app } => {
            firmware::build(&mut steps, *board, *app)?;
        }
        Command::Flash(flash) => return flash.run(&mut steps),
        Command::Run(run) => return run.run(&mut steps),
        Command::Image { board: _, app } => {
            for app in app.map_or(App::ALL.to_vec(), |app| vec![app]) {
                firmware::image(&mut steps, app)?;
            }
        }
        Command::Sizes => sizes::sizes(&mut steps)?,
        Command::Instructions => {
            return steps.run_quietly("cargo", &["run", "--quiet", "--release", "-p", "instructions"]);
        }
        Command::Bench { arguments } => {
            let mut all = vec!["run", "--quiet", "--release", "-p", "bench", "--"];
            all.extend(arguments.iter().map(String::as_str));
            return steps.run_quietly("cargo", &all);
        }
        Command::Cut(cut) => cut.run(&mut steps)?,
        Command::Boards { cuts } => boards(&mut steps, *cuts)?,
        Command::Miri => miri(&mut steps)?,
        Command::Nostd => nostd(&mut steps)?,
        Command::Msrv => msrv(&mut steps)?,
        Command::Lint => lint(&mut steps)?,
        Command::Setup => toolchain::set_up(&mut steps)?,
        Command::Ci { full } => {
            lint(&mut steps)?;
            nostd(&mut steps)?;
            boards(&mut steps, if *full { 500 } else { 200 })?;
            msrv(&mut steps)?;
            miri(&mut steps)?;
            steps.run("demo", "cargo", &["run", "--quiet", "--release", "-p", "demo"], &[])?;
            steps.run("deliberate faults", "cargo", &laboratory(&["--mutants"]), &[])?;
            // What is new is looked for by the full run.
            let (seconds, seed, extent) = if *full { (600, 0, Extent::Full) } else { (30, 1, Extent::Repeatable) };
            fuzz(&mut steps, None, seconds, seed)?;
            // Last, so that the tests' closing lines end the output.
            test(&mut steps, extent)?;
        }
    }
    Ok(steps.summary())
}

/// Lints and builds the firmware, holds its sizes against the budgets, makes images, runs and cuts what is emulated.
fn boards(steps: &mut Steps, cuts: u32) -> Result<()> {
    firmware::lint(steps)?;
    sizes::sizes(steps)?;
    steps.run("instructions", "cargo", &["run", "--quiet", "--release", "-p", "instructions"], &[])?;
    for app in App::ALL {
        firmware::image(steps, app)?;
    }
    for board in Board::ALL.into_iter().filter(|board| board.emulator().is_some()) {
        firmware::tour(steps, board)?;
        Cut::new(board, cuts.div_ceil(2)).run(steps)?;
    }
    Ok(())
}

fn test(steps: &mut Steps, extent: Extent) -> Result<()> {
    let environment: &[(&str, &str)] = match extent {
        Extent::Quick => &[("PROPTEST_CASES", "16")],
        Extent::Usual => &[],
        Extent::Repeatable => &[SEEDED],
        Extent::Full => &[("VNV_FULL", "1")],
    };
    let mut packages: Vec<String> = LAYERS.map(String::from).into();
    packages.extend(steps.packages_below("apps")?);
    packages.push("xtask".into());
    // `portable` and `instants` run programs for rv32imc.
    let no_target = toolchain::missing(steps, &[Need::Target(TARGETS[0])]);
    for (position, package) in packages.iter().enumerate() {
        let package = package.as_str();
        let mut arguments = vec!["test", "-p", package];
        if matches!(package, "vnv-lab" | "instants") {
            // Sweeps: minutes without optimisation.
            arguments.extend(["--profile", "lab"]);
        }
        if matches!(package, "vnv-storage" | "vnv-core" | "vnv-persist") {
            arguments.push("--all-features");
        }
        if extent == Extent::Quick {
            arguments.push("--tests");
        }
        let name = format!("test {package}");
        println!("==> {} of {}", position + 1, packages.len());
        if let ("portable" | "instants", Some(message)) = (package, &no_target) {
            steps.fail(&name, message);
            continue;
        }
        steps.run_tests(&name, &arguments, environment)?;
    }
    let arguments: &[&str] = match extent {
        Extent::Quick => &["--depth", "1"],
        Extent::Usual | Extent::Repeatable => &[],
        Extent::Full => &["--full"],
    };
    steps.run("crash laboratory", "cargo", &laboratory(arguments), &[])?;
    Ok(())
}

/// The command that runs the crash laboratory: fast, with every assertion; with faults compiled in if they are asked for.
fn laboratory<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["run", "--quiet", "--profile", "lab", "-p", "vnv-lab"];
    if arguments.contains(&"--mutants") {
        all.extend(["--features", "mutants"]);
    }
    all.push("--");
    all.extend(arguments);
    all
}

/// Whether something is missing that a step needs: then it fails in CI, and is skipped elsewhere.
fn lacks(steps: &mut Steps, step: &str, needs: &[Need]) -> bool {
    let missing = toolchain::missing(steps, needs);
    match &missing {
        Some(message) if std::env::var_os("CI").is_some() => steps.fail(step, message),
        Some(message) => steps.skip(step, message),
        None => {}
    }
    missing.is_some()
}

/// Checks the library crates with the oldest Rust that they promise, in a directory of its own.
fn msrv(steps: &mut Steps) -> Result<()> {
    if lacks(steps, "msrv", &[Need::Toolchain(MSRV)]) {
        return Ok(());
    }
    let toolchain = format!("+{MSRV}");
    let mut arguments = vec![&*toolchain, "check", "--quiet", "--all-features", "--target-dir", "target/msrv"];
    arguments.extend(LIBRARIES.iter().chain(&["vnv-derive"]).flat_map(|package| ["-p", package]));
    steps.run(&format!("msrv {MSRV}"), "cargo", &arguments, &[])?;
    Ok(())
}

const FUZZED: [&str; 3] = ["image", "operations", "conversation"];

/// Fuzzes each target from its seeds; what is found stays in `target/fuzz`.
fn fuzz(steps: &mut Steps, only: Option<&str>, seconds: u32, seed: u32) -> Result<()> {
    if lacks(steps, "fuzz", &Need::fuzz()) {
        return Ok(());
    }
    if let Some(target) = only.filter(|target| !FUZZED.contains(target)) {
        bail!("there is no fuzz target `{target}`; there are: {}", FUZZED.join(", "));
    }
    let toolchain = format!("+{}", miri_toolchain());
    let build = [&toolchain, "fuzz", "build", "--fuzz-dir", "crates/vnv-lab/fuzz"];
    if !steps.run("fuzz build", "cargo", &build, &[])? {
        return Ok(());
    }
    let (time, seed) = (format!("-max_total_time={seconds}"), format!("-seed={seed}"));
    let mut runs = Vec::new();
    for target in FUZZED.into_iter().filter(|target| only.is_none_or(|only| only == *target)) {
        let corpus = format!("target/fuzz/corpus/{target}");
        std::fs::create_dir_all(steps.root().join(&corpus))?;
        let seeds = format!("crates/vnv-lab/fuzz/seeds/{target}");
        let before = [&toolchain, "fuzz", "run", "--fuzz-dir", "crates/vnv-lab/fuzz", target, &corpus, &seeds, "--"];
        let behind = [&time, &seed, "-len_control=0", "-verbosity=0", "-print_final_stats=1"];
        let arguments = before.into_iter().chain(behind).map(String::from).collect();
        runs.push((format!("fuzz {target}"), arguments));
    }
    steps.run_together(&runs, &[])
}

fn miri(steps: &mut Steps) -> Result<()> {
    let toolchain = miri_toolchain();
    if lacks(steps, "miri", &[Need::Miri(toolchain.clone())]) {
        return Ok(());
    }
    let toolchain = format!("+{toolchain}");
    let step = |name: String, package: &str, only: &[&str]| {
        let arguments = [&[toolchain.as_str(), "miri", "test", "-p", package], only].concat();
        (name, arguments.into_iter().map(String::from).collect::<Vec<String>>())
    };
    // The longest early, and in two halves.
    let files = steps.tests_of("vnv-persist")?;
    let mut halves = [vec!["--lib"], Vec::new()];
    for (file, half) in files.iter().zip([1, 0].into_iter().cycle()) {
        halves[half].extend(["--test", file]);
    }
    let mut tests: Vec<_> = halves
        .iter()
        .zip(1..)
        .map(|(half, at)| step(format!("miri vnv-persist {at} of 3"), "vnv-persist", half))
        .collect();
    tests.push(step("miri vnv-persist 3 of 3".into(), "vnv-persist", &["--doc"]));
    for package in LIBRARIES.into_iter().rev().filter(|package| *package != "vnv-persist") {
        let only: &[&str] = match package {
            "vnv-storage" => &["--lib"],
            // It has no unsafe code of its own; these two use all of what is below.
            "vnv-collections" => &["--test", "costs", "--test", "queue"],
            _ => &[],
        };
        tests.push(step(format!("miri {package}"), package, only));
    }
    let environment = [("MIRIFLAGS", "-Zmiri-disable-isolation"), ("PROPTEST_CASES", "4"), SEEDED];
    steps.run_together(&tests, &environment)?;
    Ok(())
}

fn nostd(steps: &mut Steps) -> Result<()> {
    if let Some(message) = toolchain::missing(steps, &Need::bare_metal()) {
        steps.fail("bare-metal builds", &message);
        return Ok(());
    }
    for target in TARGETS {
        for package in LIBRARIES {
            for features in [&[][..], &["--no-default-features"], &["--features", "defmt"]] {
                let mut arguments = vec!["build", "--quiet", "-p", package, "--target", target];
                arguments.extend(features);
                let name = format!("build {package} {target} {}", features.join(" "));
                steps.run(name.trim_end(), "cargo", &arguments, &[])?;
            }
        }
    }
    Ok(())
}

fn lint(steps: &mut Steps) -> Result<()> {
    if let Some(message) = toolchain::missing(steps, &Need::lint()) {
        steps.fail("lint", &message);
        return Ok(());
    }
    steps.run("format", "cargo", &["fmt", "--all", "--check"], &[])?;
    for features in [&[][..], &["--all-features"]] {
        let mut arguments = vec!["clippy", "--quiet", "--workspace", "--all-targets"];
        arguments.extend(features);
        arguments.extend(["--", "-D", "warnings"]);
        steps.run(format!("clippy {}", features.join(" ")).trim_end(), "cargo", &arguments, &[])?;
    }
    let arguments = ["doc", "--quiet", "--workspace", "--no-deps", "--all-features"];
    steps.run("doc", "cargo", &arguments, &[("RUSTDOCFLAGS", "-D warnings")])?;
    Ok(())
}
