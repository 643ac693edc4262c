//! Build and test driver: `cargo xtask` lists what there is.

mod budget;
mod checks;
mod firmware;
mod sizes;
mod steps;
mod testing;
mod toolchain;

use anyhow::Result;
use checks::{LIBRARIES, fuzz, lint, miri, msrv, nostd};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use firmware::{App, Board, Cut};
use std::process::ExitCode;
use steps::Steps;
use testing::{Extent, laboratory, test};
use toolchain::Need;

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
    /// Tests every layer, bottom up, then the programs; says at its end what it left out
    Test {
        /// Leaves nothing out, and sweeps every life at every byte (hours instead of minutes)
        #[arg(long)]
        full: bool,
    },
    /// Cuts power at every bit of every life, and again during recovery; `--help` lists what it takes
    ///
    /// The quick set takes about four minutes on two cores, `--full` much longer.
    #[command(disable_help_flag = true)]
    Crash {
        /// Passed on to the laboratory
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs suites of tests on deliberate faults, each of which must be found
    Faults {
        /// The suite (heap: the crash laboratory), all by default; then what is passed on to it, for instance `--fault NAME`
        #[arg(value_name = "SUITE] [ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
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
        Command::Test { full } => test(&mut steps, if *full { Extent::Full } else { Extent::Quick })?,
        Command::Crash { arguments } => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            return steps.run_quietly("cargo", &laboratory(&arguments));
        }
        Command::Faults { arguments } => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            if let Some(message) = testing::unknown_suite(&arguments) {
                Arguments::command().error(ErrorKind::InvalidValue, message).exit();
            }
            testing::faults(&mut steps, &arguments)?;
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
            let environment: &[(&str, &str)] = if *full { &[("VNV_FULL", "1")] } else { &[("VNV_EVERY", "10")] };
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
            return steps.run_quietly("cargo", &["run", "--quiet", "-p", "instructions"]);
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
            boards(&mut steps, if *full { 500 } else { 80 })?;
            msrv(&mut steps)?;
            miri(&mut steps)?;
            steps.run("demo", "cargo", &["run", "--quiet", "--release", "-p", "demo"], &[])?;
            testing::faults(&mut steps, &[])?;
            // What is new is looked for by the full run.
            let (seconds, seed, extent) = if *full { (600, 0, Extent::Full) } else { (30, 1, Extent::Ci) };
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
    steps.run("instructions", "cargo", &["run", "--quiet", "-p", "instructions"], &[])?;
    for app in App::ALL {
        firmware::image(steps, app)?;
    }
    firmware::tour(steps)?;
    for board in Board::ALL.into_iter().filter(|board| board.emulator().is_some()) {
        Cut::new(board, cuts.div_ceil(2)).run(steps)?;
    }
    Ok(())
}
