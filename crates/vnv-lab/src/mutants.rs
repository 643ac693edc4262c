//! The laboratory on deliberate faults: it must find every one.

use crate::check::Extent;
use crate::life::Life;
use crate::sweep::sweep;
use anyhow::{Result, bail};
use std::time::Instant;
use vnv_storage::fault::{Fault, choose};

/// No tear is on this rung of the ladder.
const NO_RUNG: usize = usize::MAX;

/// Runs the lives on every fault whose name contains `name` until one of them shows it, on one rung of the ladder only
/// if `rung` names it.
///
/// # Errors
///
/// If no fault has such a name, or the report cannot be written.
pub fn run(lives: &[Life], name: Option<&str>, rung: Option<usize>) -> Result<bool> {
    let is_wanted = |fault: &Fault| name.is_none_or(|name| format!("{fault:?}").contains(name));
    if let Some(name) = name.filter(|_| !Fault::ALL.iter().any(|(fault, _)| is_wanted(fault))) {
        let names: Vec<String> = Fault::ALL.iter().map(|(fault, _)| format!("{fault:?}")).collect();
        bail!("no fault's name contains `{name}`; there are: {}", names.join(", "));
    }
    // Ever more thorough, until it is found: first without any cut, which most faults do not survive.
    let no_rung = Some(NO_RUNG);
    let extents = [(no_rung, 1, true, 1), (rung, 1, true, 1), (rung, 2, true, 12), (rung, 2, false, 1)]
        .map(|(rung, depth, coarse, sparse)| Extent { depth, rung, full: false, coarse, sparse, only: None });
    let (mut killed, mut survivors) = (Vec::new(), Vec::new());
    println!("| deliberate fault | the rule that it breaks | found by the life | at the cuts |\n|---|---|---|---|");
    for (fault, rule) in Fault::ALL {
        if !is_wanted(fault) {
            continue;
        }
        let start = Instant::now();
        choose(Some(*fault));
        let mut runs = extents.iter().flat_map(|extent| lives.iter().map(move |life| (life, extent)));
        let violation =
            runs.find_map(|(life, extent)| sweep(life, extent, true, &|_, _| {}).violations.into_iter().next());
        choose(None);
        let seconds = start.elapsed().as_secs_f64();
        if let Some(violation) = violation {
            let cuts = if violation.path.is_empty() { "none: it fails without a cut" } else { &violation.path };
            println!("| {fault:?} | {rule} | {} | {cuts} |", violation.life);
            eprintln!("{fault:?}, {seconds:.1} s: {}", violation.what.chars().take(300).collect::<String>());
            killed.push(serde_json::json!({ "fault": format!("{fault:?}"), "rule": rule, "violation": violation }));
        } else {
            println!("| {fault:?} | {rule} | **survives** | |");
            eprintln!("{fault:?} survives, {seconds:.1} s");
            survivors.push(format!("{fault:?}"));
        }
    }
    std::fs::create_dir_all("target/crash")?;
    let report = serde_json::json!({ "killed": killed, "survivors": survivors });
    std::fs::write("target/crash/mutants.json", serde_json::to_string_pretty(&report)?)?;
    println!("\ndeliberate faults: {}, found: {}", killed.len() + survivors.len(), killed.len());
    println!("survivors: {}", survivors.len());
    Ok(survivors.is_empty())
}
