//! Steps: run a program, print the time, collect failures.

use anyhow::{Context, Result};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The steps so far.
pub struct Steps {
    root: std::path::PathBuf,
    done: Vec<(String, f64, bool)>,
}

impl Steps {
    /// Steps run in the workspace's root.
    pub fn new() -> Result<Self> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
        Ok(Self { root: root.to_path_buf(), done: Vec::new() })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.root);
        if arguments.first().is_some_and(|first| first.starts_with('+')) {
            // A toolchain is named: the one that runs this program must not shine through.
            command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC");
        }
        command
    }

    /// Runs a step; a failure is noted, and the next steps run all the same.
    pub fn run(&mut self, name: &str, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
        println!("==> {name}: {program} {}", arguments.join(" "));
        let start = Instant::now();
        let mut command = self.command(program, arguments);
        command.envs(environment.iter().copied());
        let status = command.status().with_context(|| format!("`{program}` cannot be run; is it installed?"))?;
        let seconds = start.elapsed().as_secs_f64();
        println!("==> {name}: {} in {seconds:.1} s", if status.success() { "ok" } else { "FAILED" });
        self.done.push((name.to_string(), seconds, status.success()));
        Ok(())
    }

    /// Runs a program with its output as it is.
    pub fn run_quietly(&self, program: &str, arguments: &[&str]) -> Result<bool> {
        let status = self.command(program, arguments).status();
        Ok(status.with_context(|| format!("`{program}` cannot be run; is it installed?"))?.success())
    }

    /// Whether a program succeeds, silently.
    pub fn succeeds(&self, program: &str, arguments: &[&str]) -> bool {
        let mut command = self.command(program, arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Notes a failure.
    pub fn fail(&mut self, name: &str, message: &str) {
        println!("==> {name}: FAILED: {message}");
        self.done.push((name.to_string(), 0.0, false));
    }

    /// Prints what ran and whether all of it succeeded.
    pub fn summary(&self) -> bool {
        println!("\n{:<64} {:>8}", "step", "seconds");
        for (name, seconds, ok) in &self.done {
            println!("{name:<64} {seconds:>8.1} {}", if *ok { "ok" } else { "FAILED" });
        }
        let failed = self.done.iter().filter(|(_, _, ok)| !ok).count();
        println!("{} steps, {failed} failed", self.done.len());
        failed == 0
    }
}
