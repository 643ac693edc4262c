//! `cargo xtask test`: one build of all tests, then those of each package, the lowest layer first; then the crash laboratory.

use crate::steps::{Program, Steps};
use crate::toolchain::{self, Need, TARGETS};
use anyhow::Result;

/// The crates with tests, the lowest layer first; the programs in `apps` follow.
const LAYERS: [&str; 8] =
    ["vnv-alloc", "vnv-storage", "vnv-sim", "vnv-derive", "vnv-core", "vnv-persist", "vnv-collections", "vnv-lab"];

/// What all packages are built with, so that each is built once: the union of what their tests need.
const FEATURES: &str = "vnv-core/std,vnv-persist/std,vnv-storage/std";

/// The random cases of property tests are the same each time.
pub const SEEDED: (&str, &str) = ("PROPTEST_RNG_SEED", "1");

/// The suites of deliberate faults.
const SUITES: [&str; 1] = ["heap"];

/// How much `test` tries.
#[derive(Clone, Copy, PartialEq)]
pub enum Extent {
    /// Minutes, for who wants to know whether something is broken.
    Quick,
    /// What must pass before a change lands. The same random cases each time: a change must not fail by what it has nothing
    /// to do with.
    Ci,
    /// Every sweep at every point.
    Full,
}

impl Extent {
    const fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Quick => &[],
            Self::Ci => &[SEEDED, ("VNV_EVERY", "20")],
            Self::Full => &[("VNV_FULL", "1")],
        }
    }
}

/// Tests every layer, bottom up, then the programs.
pub fn test(steps: &mut Steps, extent: Extent) -> Result<()> {
    let mut packages: Vec<String> = LAYERS.map(String::from).into();
    packages.extend(steps.packages_below("apps")?);
    packages.push("xtask".into());
    let count = packages.len() + if extent == Extent::Quick { 1 } else { 2 };
    let begin = steps.seconds();

    println!("==> first everything is built; then {count} steps");
    // Also the programs that tests run, but not this one, which is running.
    let build = ["build", "--workspace", "--tests", "--keep-going", "--features", FEATURES];
    let programs = steps.build_programs("build the tests", &build)?;

    let so_far = |steps: &Steps, position: usize, name: &str| {
        println!("\n==> {position} of {count}: {name} ({} s so far)", steps.seconds() - begin);
    };
    // `portable` and `instants` run programs for rv32imc.
    let no_target = toolchain::missing(steps, &[Need::Target(TARGETS[0])]);
    for (package, position) in packages.iter().zip(1..) {
        let name = format!("test {package}");
        so_far(steps, position, &name);
        if let ("portable" | "instants", Some(message)) = (&**package, &no_target) {
            steps.fail(&name, message);
            continue;
        }
        let chosen: Vec<&Program> = programs
            .iter()
            .filter(|program| program.tests && program.package_name() == *package)
            // Programs that must not compile: each is compiled by itself.
            .filter(|program| extent != Extent::Quick || program.name != "ui")
            .collect();
        if package == "instants" && extent != Extent::Quick {
            // So many instants are worth a build with all optimisation.
            steps.run_tests(&name, &["test", "--profile", "lab", "-p", package], extent.environment())?;
        } else if chosen.is_empty() {
            steps.fail(&name, "its tests were not built");
        } else {
            steps.run_programs(&name, &chosen, extent.environment())?;
        }
    }
    if extent != Extent::Quick {
        let name = "examples of the documentation";
        so_far(steps, count - 1, name);
        steps.run_tests(name, &["test", "--workspace", "--doc", "--features", FEATURES], extent.environment())?;
    }
    let name = "crash laboratory";
    so_far(steps, count, name);
    let built = programs.iter().find(|program| program.kind == "bin" && program.name == "vnv-lab" && !program.tests);
    match (extent, built) {
        // What is built is fast enough for it.
        (Extent::Quick, Some(built)) => {
            steps.run(name, &built.file.display().to_string(), &["--depth", "1"], &[])?;
        }
        (Extent::Quick, None) => steps.fail(name, "it was not built"),
        (Extent::Ci, _) => {
            steps.run(name, "cargo", &laboratory(&["--sparse", "3"]), &[])?;
        }
        (Extent::Full, _) => {
            steps.run(name, "cargo", &laboratory(&["--full"]), &[])?;
        }
    }
    if extent == Extent::Quick {
        println!(
            "\nLeft out: second cuts in the crash laboratory, most points of the longest sweeps, the examples of the \
             documentation, and programs that must not compile. `cargo xtask test --full` runs them all; it takes hours."
        );
    }
    Ok(())
}

/// The command that runs the crash laboratory: fast, with every assertion.
pub fn laboratory<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--quiet", "--profile", "lab", "-p", "vnv-lab", "--"], arguments].concat()
}

/// Runs the deliberate faults of a suite, or of all: each must be found. What follows the name of a suite is passed on to it.
pub fn faults(steps: &mut Steps, arguments: &[&str]) -> Result<()> {
    let (suites, arguments) = match arguments.split_first() {
        Some((name, rest)) if !name.starts_with('-') => (vec![*name], rest),
        _ => (SUITES.to_vec(), arguments),
    };
    for suite in suites {
        let heap = ["run", "--quiet", "--profile", "lab", "-p", "vnv-lab", "--features", "mutants", "--", "--mutants"];
        let command = match suite {
            "heap" => [&heap, arguments].concat(),
            // The arguments were looked at before.
            _ => continue,
        };
        steps.run(&format!("faults {suite}"), "cargo", &command, &[])?;
    }
    Ok(())
}

/// What is wrong with the first of the arguments of `faults`, if something is.
pub fn unknown_suite(arguments: &[&str]) -> Option<String> {
    let name = arguments.first().filter(|name| !name.starts_with('-') && !SUITES.contains(name))?;
    Some(format!("there is no suite of faults `{name}`; there are: {}", SUITES.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_suite_of_faults_is_told_what_there_is() {
        assert_eq!(unknown_suite(&["stack"]).unwrap(), "there is no suite of faults `stack`; there are: heap");
        assert!(unknown_suite(&["heap", "--fault", "X"]).is_none());
        assert!(unknown_suite(&["--fault", "X"]).is_none() && unknown_suite(&[]).is_none());
    }
}
