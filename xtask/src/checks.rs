//! Checks other than tests: formatting, clippy, documentation, other targets and toolchains, Miri, fuzzing.

use crate::steps::Steps;
use crate::testing::SEEDED;
use crate::toolchain::{self, MSRV, Need, TARGETS, miri_toolchain};
use anyhow::{Result, bail};

/// The libraries for small targets.
pub const LIBRARIES: [&str; 5] = ["vnv-storage", "vnv-alloc", "vnv-core", "vnv-persist", "vnv-collections"];

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
pub fn msrv(steps: &mut Steps) -> Result<()> {
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
pub fn fuzz(steps: &mut Steps, only: Option<&str>, seconds: u32, seed: u32) -> Result<()> {
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

pub fn miri(steps: &mut Steps) -> Result<()> {
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

pub fn nostd(steps: &mut Steps) -> Result<()> {
    if let Some(message) = toolchain::missing(steps, &Need::bare_metal()) {
        steps.fail("bare-metal builds", &message);
        return Ok(());
    }
    for target in TARGETS {
        let mut build = |name: &str, packages: &[&str], features: &[&str]| {
            let packages = packages.iter().flat_map(|package| ["-p", package]);
            let arguments =
                ["build", "--quiet", "--target", target].into_iter().chain(packages).chain(features.iter().copied());
            steps.run(&format!("build {target}, {name}"), "cargo", &arguments.collect::<Vec<_>>(), &[])
        };
        build("default features", &LIBRARIES, &[])?;
        // The others have none.
        build("no default features", &["vnv-core", "vnv-persist"], &["--no-default-features"])?;
        build("defmt", &LIBRARIES, &["--features", "defmt"])?;
        if target == TARGETS[0] {
            // What the feature of one asks of another shows only when it is built by itself.
            for package in LIBRARIES {
                build(&format!("defmt of {package}"), &[package], &["--features", "defmt"])?;
            }
        }
    }
    Ok(())
}

pub fn lint(steps: &mut Steps) -> Result<()> {
    if let Some(message) = toolchain::missing(steps, &Need::lint()) {
        steps.fail("lint", &message);
        return Ok(());
    }
    steps.run("format", "cargo", &["fmt", "--all", "--check"], &[])?;
    for targets in [&["--all-targets", "--all-features"][..], &["--lib", "--bins"]] {
        let arguments = [&["clippy", "--quiet", "--workspace"], targets, &["--", "-D", "warnings"]].concat();
        steps.run(&format!("clippy {}", targets.join(" ")), "cargo", &arguments, &[])?;
    }
    let arguments = ["doc", "--quiet", "--workspace", "--no-deps", "--all-features"];
    steps.run("doc", "cargo", &arguments, &[("RUSTDOCFLAGS", "-D warnings")])?;
    Ok(())
}
