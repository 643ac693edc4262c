//! Build and test driver: `cargo xtask` lists what there is.

mod steps;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use steps::Steps;

/// Build, test and try out vnv.
#[derive(Parser)]
#[command(name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the heap at work: a program on a simulated 8 KiB FRAM is killed again and again, and goes on
    Demo {
        /// Passed on to the demo (`--help` lists what it takes)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Tests every layer
    Test {
        /// Sweeps every life at every byte (minutes instead of seconds)
        #[arg(long)]
        full: bool,
    },
    /// Runs the library crates' tests under Miri (needs a nightly toolchain with miri)
    Miri,
    /// Builds every library crate for bare-metal targets, with and without default features
    Nostd,
    /// Formatting, clippy and documentation, warnings denied
    Lint,
    /// Everything that must pass before a change lands
    Ci,
    /// Installs what is missing: targets, components, the nightly toolchain for Miri
    Setup,
}

const LIBRARIES: [&str; 4] = ["vnv-storage", "vnv-alloc", "vnv-core", "vnv-persist"];
const TARGETS: [&str; 2] = ["riscv32imc-unknown-none-elf", "thumbv6m-none-eabi"];

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<bool> {
    let mut steps = Steps::new()?;
    match command {
        Command::Demo { arguments } => {
            let mut all = vec!["run", "--quiet", "--release", "-p", "demo", "--"];
            all.extend(arguments.iter().map(String::as_str));
            return steps.run_quietly("cargo", &all);
        }
        Command::Test { full } => test(&mut steps, *full)?,
        Command::Miri => miri(&mut steps)?,
        Command::Nostd => nostd(&mut steps)?,
        Command::Lint => lint(&mut steps)?,
        Command::Setup => setup(&mut steps)?,
        Command::Ci => {
            lint(&mut steps)?;
            nostd(&mut steps)?;
            miri(&mut steps)?;
            steps.run("demo", "cargo", &["run", "--quiet", "--release", "-p", "demo"], &[])?;
            test(&mut steps, false)?;
        }
    }
    Ok(steps.summary())
}

fn test(steps: &mut Steps, full: bool) -> Result<()> {
    let environment: &[(&str, &str)] = if full { &[("VNV_FULL", "1")] } else { &[] };
    for package in ["vnv-alloc", "vnv-storage", "vnv-sim", "vnv-derive", "vnv-core", "vnv-persist", "counter", "demo"] {
        let mut arguments = vec!["test", "-p", package];
        if package == "vnv-storage" {
            arguments.extend(["--features", "std"]);
        }
        steps.run(&format!("test {package}"), "cargo", &arguments, environment)?;
    }
    Ok(())
}

fn miri(steps: &mut Steps) -> Result<()> {
    if !steps.succeeds("cargo", &["+nightly", "miri", "--version"]) {
        let message = "Miri is not installed: `cargo xtask setup` installs it";
        if std::env::var_os("CI").is_some() {
            steps.fail("miri", message);
        } else {
            println!("SKIPPED miri: {message}");
        }
        return Ok(());
    }
    for package in LIBRARIES {
        let mut arguments = vec!["+nightly", "miri", "test", "-p", package];
        if package == "vnv-storage" {
            arguments.push("--lib");
        }
        steps.run(
            &format!("miri {package}"),
            "cargo",
            &arguments,
            &[("MIRIFLAGS", "-Zmiri-disable-isolation"), ("PROPTEST_CASES", "4")],
        )?;
    }
    Ok(())
}

fn nostd(steps: &mut Steps) -> Result<()> {
    for target in TARGETS {
        for package in LIBRARIES {
            for features in [&[][..], &["--no-default-features"], &["--features", "defmt"]] {
                let mut arguments = vec!["build", "--quiet", "-p", package, "--target", target];
                arguments.extend(features);
                steps.run(&format!("build {package} {target} {}", features.join(" ")), "cargo", &arguments, &[])?;
            }
        }
    }
    Ok(())
}

fn lint(steps: &mut Steps) -> Result<()> {
    steps.run("format", "cargo", &["fmt", "--all", "--check"], &[])?;
    steps.run(
        "clippy",
        "cargo",
        &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
        &[],
    )?;
    steps.run("doc", "cargo", &["doc", "--quiet", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])
}

fn setup(steps: &mut Steps) -> Result<()> {
    let mut targets = vec!["target", "add"];
    targets.extend(TARGETS);
    steps.run("bare-metal targets", "rustup", &targets, &[])?;
    if steps.succeeds("cargo", &["+nightly", "miri", "--version"]) {
        println!("nightly with miri is installed");
        return Ok(());
    }
    let nightly =
        ["toolchain", "install", "nightly", "--profile", "minimal", "--component", "miri", "--component", "rust-src"];
    steps.run("nightly with miri", "rustup", &nightly, &[])
}
