//! Steps: run a program, print the time, collect failures.

use anyhow::{Context, Result};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What the test harness's closing lines begin with.
const CLOSING: &str = "test result:";

/// How a step ended.
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Ok,
    Failed,
    Skipped,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "SKIPPED",
        }
    }
}

/// A line of the summary.
struct Done {
    name: String,
    seconds: f64,
    outcome: Outcome,
    counts: Counts,
    note: String,
}

/// How many of the longest steps the summary names.
const LONGEST: usize = 10;

/// A program that cargo built.
pub struct Program {
    /// The directory of its package.
    pub package: PathBuf,
    /// The name of the library, test or program.
    pub name: String,
    /// `lib`, `proc-macro`, `bin` or `test`.
    pub kind: String,
    /// Whether it runs tests.
    pub tests: bool,
    /// Where it is.
    pub file: PathBuf,
}

impl Program {
    /// What a line of `--message-format=json` says about a program; nothing if it says something else.
    fn parse(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        let file = PathBuf::from(line.get("executable")?.as_str()?);
        let target = line.get("target")?;
        Some(Self {
            package: Path::new(line.get("manifest_path")?.as_str()?).parent()?.to_path_buf(),
            name: target.get("name")?.as_str()?.to_string(),
            kind: target.get("kind")?.get(0)?.as_str()?.to_string(),
            tests: line.get("profile")?.get("test")?.as_bool()?,
            file,
        })
    }

    /// The directory's name, which is the package's.
    pub fn package_name(&self) -> String {
        self.package.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// The steps so far.
pub struct Steps {
    root: PathBuf,
    begin: Instant,
    done: Vec<Done>,
}

impl Steps {
    /// Steps run in the workspace's root.
    pub fn new() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
        Ok(Self { root: root.to_path_buf(), begin: Instant::now(), done: Vec::new() })
    }

    /// Seconds since the begin.
    pub fn seconds(&self) -> u64 {
        self.begin.elapsed().as_secs()
    }

    /// The packages in a directory of the workspace, sorted; a package is named as its directory.
    pub fn packages_below(&self, directory: &str) -> Result<Vec<String>> {
        let directory = self.root.join(directory);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))? {
            let entry = entry?;
            if entry.path().join("Cargo.toml").is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The names of a library's integration tests, sorted.
    pub fn tests_of(&self, library: &str) -> Result<Vec<String>> {
        let directory = self.root.join("crates").join(library).join("tests");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file() {
                names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
            }
        }
        names.sort();
        Ok(names)
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

    /// Runs a step and tells whether it succeeded; a failure is noted, and the next steps run all the same.
    pub fn run(&mut self, name: &str, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<bool> {
        println!("==> {name}: {program} {}", arguments.join(" "));
        let start = Instant::now();
        let mut command = self.command(program, arguments);
        command.envs(environment.iter().copied());
        let status = command.status().with_context(|| cannot_run(program))?;
        self.note(name, start.elapsed(), status.success(), Counts::default());
        Ok(status.success())
    }

    /// The workspace's root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo puts what it builds.
    pub fn target_directory(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| self.root.join("target"), |directory| self.root.join(directory))
    }

    /// Runs a step in a directory of the workspace.
    pub fn run_in(&mut self, name: &str, directory: &str, program: &str, arguments: &[&str]) -> Result<bool> {
        println!("==> {name}: {program} {}", arguments.join(" "));
        let start = Instant::now();
        let mut command = self.command(program, arguments);
        let status = command.current_dir(self.root.join(directory)).status().with_context(|| cannot_run(program))?;
        self.note(name, start.elapsed(), status.success(), Counts::default());
        Ok(status.success())
    }

    /// Runs tests as a step: passes their output on, and keeps the counts of the closing lines for the summary.
    pub fn run_tests(&mut self, name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
        println!("==> {name}: cargo {}", arguments.join(" "));
        let start = Instant::now();
        let mut counts = Counts::default();
        let mut command = self.command("cargo", arguments);
        command.envs(environment.iter().copied());
        let success = each_line(&mut command, |line| {
            std::io::stdout().write_all(line)?;
            counts.add(&String::from_utf8_lossy(line));
            Ok(())
        })?;
        self.note(name, start.elapsed(), success, counts);
        Ok(())
    }

    /// Builds with cargo as a step, and tells which programs there are now; all that can be built, if something cannot.
    pub fn build_programs(&mut self, name: &str, arguments: &[&str]) -> Result<Vec<Program>> {
        println!("==> {name}: cargo {}", arguments.join(" "));
        let start = Instant::now();
        let mut programs = Vec::new();
        let mut command = self.command("cargo", arguments);
        command.arg("--message-format=json-render-diagnostics");
        let success = each_line(&mut command, |line| {
            programs.extend(Program::parse(&String::from_utf8_lossy(line)));
            Ok(())
        })?;
        self.note(name, start.elapsed(), success, Counts::default());
        Ok(programs)
    }

    /// Runs programs with tests as one step, as cargo would run them, as many at a time as there are processors. The output
    /// of each is shown when it has ended.
    pub fn run_programs(&mut self, name: &str, programs: &[&Program], environment: &[(&str, &str)]) -> Result<()> {
        let start = Instant::now();
        let jobs = programs
            .iter()
            .map(|program| {
                let mut command = Command::new(&program.file);
                command.current_dir(&program.package).envs(environment.iter().copied());
                command.env("CARGO_MANIFEST_DIR", &program.package).env("CARGO_PKG_NAME", program.package_name());
                (format!("{} {}", program.kind, program.name), command)
            })
            .collect();
        let (mut counts, mut success) = (Counts::default(), true);
        for (_, _, output) in together(jobs)? {
            success &= output.status.success();
            String::from_utf8_lossy(&output.stdout).lines().for_each(|line| counts.add(line));
        }
        self.note(name, start.elapsed(), success, counts);
        Ok(())
    }

    /// Runs commands of cargo as steps, as many at a time as there are processors. The output of each is shown when it has
    /// ended, that of a single one as it comes.
    pub fn run_together(&mut self, commands: &[(String, Vec<String>)], environment: &[(&str, &str)]) -> Result<()> {
        if let [(name, arguments)] = commands {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            return self.run(name, "cargo", &arguments, environment).map(|_| ());
        }
        let jobs = commands
            .iter()
            .map(|(name, arguments)| {
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let mut command = self.command("cargo", &arguments);
                command.envs(environment.iter().copied());
                (format!("{name}: cargo {}", arguments.join(" ")), command)
            })
            .collect();
        for (at, taken, output) in together(jobs)? {
            let mut counts = Counts::default();
            String::from_utf8_lossy(&output.stdout).lines().for_each(|line| counts.add(line));
            let name = commands.get(at).map_or("", |(name, _)| name);
            self.note(name, taken, output.status.success(), counts);
        }
        Ok(())
    }

    /// Runs a program with its output as it is.
    pub fn run_quietly(&self, program: &str, arguments: &[&str]) -> Result<bool> {
        let status = self.command(program, arguments).status();
        Ok(status.with_context(|| cannot_run(program))?.success())
    }

    /// What a program prints, if it succeeds. A probe: rustup must not install anything for its sake.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let mut command = self.command(program, arguments);
        let output = command.env("RUSTUP_AUTO_INSTALL", "0").stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Notes a success.
    pub fn succeed(&mut self, name: &str) {
        self.remark(name, Outcome::Ok, "");
    }

    /// Notes a failure.
    pub fn fail(&mut self, name: &str, message: &str) {
        self.remark(name, Outcome::Failed, message);
    }

    /// Notes, aloud, that a step did not run.
    pub fn skip(&mut self, name: &str, message: &str) {
        self.remark(name, Outcome::Skipped, message);
    }

    fn remark(&mut self, name: &str, outcome: Outcome, message: &str) {
        println!("==> {name}: {}{}{message}", outcome.word(), if message.is_empty() { "" } else { ": " });
        let (name, note) = (name.to_string(), message.to_string());
        self.done.push(Done { name, seconds: 0.0, outcome, counts: Counts::default(), note });
    }

    fn note(&mut self, name: &str, taken: Duration, success: bool, counts: Counts) {
        let seconds = taken.as_secs_f64();
        let outcome = if success { Outcome::Ok } else { Outcome::Failed };
        println!("==> {name}: {} in {seconds:.1} s", outcome.word());
        self.done.push(Done { name: name.to_string(), seconds, outcome, note: counts.to_string(), counts });
    }

    /// Prints what ran, what took longest, and whether nothing failed.
    pub fn summary(&self) -> bool {
        if self.done.is_empty() {
            return true;
        }
        println!("\n{:<64} {:>8}", "step", "seconds");
        for done in &self.done {
            println!("{:<64} {:>8.1} {:<7} {}", done.name, done.seconds, done.outcome.word(), done.note);
        }
        if self.done.len() > LONGEST {
            println!("\nthe {LONGEST} longest steps");
            let mut longest: Vec<&Done> = self.done.iter().collect();
            longest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
            for done in longest.iter().take(LONGEST) {
                println!("{:<64} {:>8.1}", done.name, done.seconds);
            }
        }
        let count = |outcome| self.done.iter().filter(|done| done.outcome == outcome).count();
        let (failed, skipped) = (count(Outcome::Failed), count(Outcome::Skipped));
        println!("\n{} steps, {failed} failed, {skipped} skipped, {} s in all", self.done.len(), self.seconds());
        let counts = self.done.iter().fold(Counts::default(), |sum, done| sum.plus(&done.counts));
        if counts != Counts::default() {
            println!("{counts}");
        }
        failed == 0
    }
}

fn cannot_run(program: &str) -> String {
    format!("`{program}` cannot be run; is it installed?")
}

/// Runs cargo, hands over each line of its standard output, and tells whether it succeeded.
fn each_line(command: &mut Command, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<bool> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| cannot_run("cargo"))?;
    if let Some(output) = child.stdout.take() {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line)? > 0 {
            take(&line)?;
            line.clear();
        }
    }
    Ok(child.wait()?.success())
}

/// Runs commands, as many at a time as there are processors, and shows the output of each when it has ended. Returns their
/// positions, times and outputs in the order in which they ended.
fn together(jobs: Vec<(String, Command)>) -> Result<Vec<(usize, Duration, Output)>> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.min(jobs.len());
    let (waiting, ended) = (Mutex::new(jobs.into_iter().enumerate()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().ok().and_then(|mut waiting| waiting.next());
                    let Some((at, (title, mut command))) = next else { break };
                    println!("==> {title}");
                    let start = Instant::now();
                    let output = command.output().with_context(|| cannot_run(&title));
                    let taken = start.elapsed();
                    let Ok(mut ended) = ended.lock() else { break };
                    if let Ok(output) = &output {
                        println!("==> output of {title}:");
                        let (mut stdout, mut stderr) = (std::io::stdout(), std::io::stderr());
                        let _ = stderr.write_all(&output.stderr).and_then(|()| stdout.write_all(&output.stdout));
                    }
                    ended.push(output.map(|output| (at, taken, output)));
                }
            });
        }
    });
    ended.into_inner().unwrap_or_default().into_iter().collect()
}

/// Tests counted over the closing lines of a step; nothing to say if there were none.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.passed + self.failed == 0 {
            return Ok(());
        }
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

impl Counts {
    fn plus(self, other: &Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }

    /// Adds a line of output, if it is a closing line: `test result: ok. 3 passed; 0 failed; ...`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.trim().strip_prefix(CLOSING) else { return };
        let words: Vec<&str> = result.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let [number, kind] = pair else { continue };
            match (number.parse::<u64>(), *kind) {
                (Ok(number), "passed") => self.passed += number,
                (Ok(number), "failed") => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted_and_others_are_not() {
        let mut counts = Counts::default();
        counts.add("test result: ok. 14 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n");
        counts.add("test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n");
        counts.add("99 passed; a line of a test\n");
        assert_eq!(counts, Counts { passed: 16, failed: 1 });
    }

    #[test]
    fn programs_are_found_among_the_messages_of_cargo() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/w/crates/vnv-alloc/Cargo.toml","target":{"kind":["test"],"name":"model"},"profile":{"test":true},"executable":"/w/target/debug/deps/model-0a"}"#;
        let program = Program::parse(line).unwrap();
        assert_eq!((&*program.name, &*program.kind, program.tests), ("model", "test", true));
        assert_eq!(
            (program.package_name(), program.file),
            ("vnv-alloc".into(), "/w/target/debug/deps/model-0a".into())
        );
        assert!(Program::parse(&line.replace(r#""/w/target/debug/deps/model-0a""#, "null")).is_none());
        assert!(Program::parse(r#"{"reason":"build-finished","success":true}"#).is_none());
    }

    #[test]
    fn skipping_is_no_failure() {
        let mut steps = Steps::new().unwrap();
        steps.skip("a", "not here");
        assert!(steps.summary());
        steps.fail("b", "broken");
        assert!(!steps.summary());
    }
}
