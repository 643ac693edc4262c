//! Boards: building for them, running on emulated ones, flashing real ones.

use crate::steps::Steps;
use crate::toolchain::{self, Need};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

/// A board that the applications are built for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Board {
    /// ESP32-C3 with an MB85RS64V at SPI2
    Esp32c3,
    /// rv32imc, emulated by QEMU
    SifiveU,
    /// Cortex-M4, emulated by QEMU
    Ast1030,
}

/// An application.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum App {
    /// A count that outlives power
    Counter,
    /// A tour of the heap
    Sample,
    /// A workload with power-fail alarms
    Persist,
    /// The workloads of earlier systems, timed
    Bench,
}

impl App {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Counter, Self::Sample, Self::Persist, Self::Bench];

    /// Its name as a program.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Sample => "sample",
            Self::Persist => "persist",
            Self::Bench => "bench",
        }
    }
}

impl Board {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Esp32c3, Self::SifiveU, Self::Ast1030];

    /// Its name, and that of its directory in `firmware`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Esp32c3 => "esp32c3",
            Self::SifiveU => "sifive-u",
            Self::Ast1030 => "ast1030",
        }
    }

    /// What it is built for.
    pub const fn target(self) -> &'static str {
        match self {
            Self::Esp32c3 | Self::SifiveU => "riscv32imc-unknown-none-elf",
            Self::Ast1030 => "thumbv7em-none-eabihf",
        }
    }

    /// The QEMU that emulates it.
    pub const fn emulator(self) -> Option<&'static str> {
        match self {
            Self::Esp32c3 => None,
            Self::SifiveU => Some("qemu-system-riscv32"),
            Self::Ast1030 => Some("qemu-system-arm"),
        }
    }

    fn directory(self) -> String {
        format!("firmware/{}", self.name())
    }

    /// Where its programs are built.
    fn build_directory(self, steps: &Steps) -> PathBuf {
        steps.target_directory().join("firmware").join(self.name())
    }

    /// The program of an application, once it is built.
    pub fn elf(self, steps: &Steps, app: App) -> PathBuf {
        self.build_directory(steps).join(self.target()).join("release").join(app.name())
    }
}

/// Builds the applications for a board: one, or all.
pub fn build(steps: &mut Steps, board: Board, app: Option<App>) -> Result<bool> {
    if let Some(message) = toolchain::missing(steps, &[Need::Target(board.target())]) {
        steps.fail(&format!("build {}", board.name()), &message);
        return Ok(false);
    }
    let directory = board.build_directory(steps).display().to_string();
    let mut arguments = vec!["build", "--quiet", "--release", "--locked", "--target-dir", &directory];
    if let Some(app) = app {
        arguments.extend(["--bin", app.name()]);
    }
    let name = format!("build {} {}", board.name(), app.map_or("all", App::name));
    steps.run_in(&name, &board.directory(), "cargo", &arguments)
}

/// Formatting and clippy of the firmware, warnings denied.
pub fn lint(steps: &mut Steps) -> Result<()> {
    for directory in ["esp32c3", "sifive-u", "ast1030", "footprint", "instructions", "emulated"] {
        let at = format!("firmware/{directory}");
        steps.run_in(&format!("format {directory}"), &at, "cargo", &["fmt", "--check"])?;
    }
    for board in Board::ALL {
        let directory = board.build_directory(steps).display().to_string();
        let mut features = vec![&[][..]];
        if board == Board::Esp32c3 {
            features.push(&["--features", "dma"]);
        }
        for features in features {
            let mut arguments = vec!["clippy", "--quiet", "--release", "--locked", "--target-dir", &directory];
            arguments.extend(features);
            arguments.extend(["--", "-D", "warnings"]);
            let name = format!("clippy {} {}", board.name(), features.join(" "));
            steps.run_in(name.trim_end(), &board.directory(), "cargo", &arguments)?;
        }
    }
    for package in ["footprint", "instructions", "emulated"] {
        let directory = steps.target_directory().join("firmware").join(package).display().to_string();
        let mut arguments = vec!["clippy", "--quiet", "--release", "--locked", "--target-dir", &directory];
        if package == "emulated" {
            arguments.extend(["--target", Board::SifiveU.target()]);
        }
        arguments.extend(["--", "-D", "warnings"]);
        steps.run_in(&format!("clippy {package}"), &format!("firmware/{package}"), "cargo", &arguments)?;
    }
    Ok(())
}

/// What the emulator is missing, in words.
pub fn missing_emulator(steps: &Steps, board: Board) -> Option<String> {
    let program = board.emulator()?;
    steps.output(program, &["--version"]).is_none().then(|| {
        format!(
            "{program} is missing; on Debian: apt-get install --no-install-recommends qemu-system-misc qemu-system-arm"
        )
    })
}

/// Runs firmware on an emulated board.
#[derive(Args)]
pub struct Run {
    /// The board: sifive-u or ast1030
    board: Board,
    /// The application
    #[arg(default_value = "counter")]
    app: App,
    /// Seconds until power is cut; without it: Ctrl-C
    #[arg(long)]
    seconds: Option<f64>,
    /// Lines of its log until power is cut
    #[arg(long)]
    lines: Option<u32>,
    /// Power is cut at the first line that contains this
    #[arg(long, conflicts_with = "lines")]
    until: Option<String>,
    /// Milliseconds of each pause of the application
    #[arg(long, default_value_t = 250)]
    pace: u32,
    /// The memory file; by default one for each board and application in the target directory
    #[arg(long)]
    memory: Option<PathBuf>,
}

impl Run {
    /// Builds and runs.
    pub fn run(&self, steps: &mut Steps) -> Result<bool> {
        if self.board.emulator().is_none() {
            bail!("{} is not emulated: `cargo xtask flash {0}`", self.board.name());
        }
        if let Some(message) = missing_emulator(steps, self.board) {
            bail!(message);
        }
        if !build(steps, self.board, Some(self.app))? {
            return Ok(false);
        }
        let arguments = self.arguments(steps)?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        steps.run_quietly("cargo", &arguments)
    }

    /// The command that runs what is built.
    fn arguments(&self, steps: &Steps) -> Result<Vec<String>> {
        let elf = self.board.elf(steps, self.app).display().to_string();
        let memory = match &self.memory {
            // What is run for us runs in the workspace's root.
            Some(file) => std::path::absolute(file)?,
            None => {
                let name = format!("{}-{}.bin", self.board.name(), self.app.name());
                steps.target_directory().join("memory").join(name)
            }
        };
        let (memory, pace) = (memory.display().to_string(), self.pace.to_string());
        let mut arguments = emulator(&["run", self.board.name(), &elf, "--memory", &memory, "--pace", &pace]);
        let (seconds, lines) = (self.seconds.map(|s| s.to_string()), self.lines.map(|l| l.to_string()));
        if let Some(seconds) = &seconds {
            arguments.extend(["--seconds", seconds]);
        }
        if let Some(lines) = &lines {
            arguments.extend(["--lines", lines]);
        }
        if let Some(until) = &self.until {
            arguments.extend(["--until", until]);
        }
        Ok(arguments.into_iter().map(String::from).collect())
    }
}

/// The first lines of each application on the emulated boards, decoded, all of the benchmark; then power is cut, and it goes
/// on. Boards run beside each other, a board's lives one after the other.
pub fn tour(steps: &mut Steps) -> Result<()> {
    let memory = steps.target_directory().join("memory");
    let mut lives = [Vec::new(), Vec::new()];
    for board in Board::ALL.into_iter().filter(|board| board.emulator().is_some()) {
        let name = format!("run {}", board.name());
        if let Some(message) = missing_emulator(steps, board) {
            if std::env::var_os("CI").is_some() {
                steps.fail(&name, &message)
            } else {
                steps.skip(&name, &message)
            }
            continue;
        }
        if !build(steps, board, None)? {
            continue;
        }
        // The longest first.
        for app in App::ALL.into_iter().rev() {
            let file = memory.join(format!("tour-{}-{}.bin", board.name(), app.name()));
            let _ = std::fs::remove_file(&file);
            let seconds = Some(if app == App::Bench { 120.0 } else { 30.0 });
            let mut run = Run { board, app, seconds, lines: None, until: None, pace: 20, memory: Some(file) };
            for (life, number) in lives.iter_mut().zip(1..) {
                let whole = app == App::Bench && number == 1;
                run.lines = (!whole).then_some(8);
                run.until = whole.then(|| "[BENCH-END]".to_owned());
                life.push((format!("{name} {}, life {number}", app.name()), run.arguments(steps)?));
            }
        }
    }
    for life in lives {
        steps.run_together(&life, &[])?;
    }
    Ok(())
}

/// The command that runs the emulator's driver.
fn emulator<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["run", "--quiet", "-p", "emulator", "--"];
    all.extend(arguments);
    all
}

/// Cuts the power of an emulated board.
#[derive(Args)]
pub struct Cut {
    /// The board: sifive-u or ast1030
    board: Board,
    /// The application, counter or persist; both by default
    app: Option<App>,
    /// Cuts, of each application
    #[arg(long, default_value_t = 100)]
    cuts: u32,
    /// Seed of the instants
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Cut {
    /// So many cuts of both applications.
    pub const fn new(board: Board, cuts: u32) -> Self {
        Self { board, app: None, cuts, seed: 1 }
    }

    /// Builds, runs, cuts.
    pub fn run(&self, steps: &mut Steps) -> Result<()> {
        let name = format!("cut {}", self.board.name());
        if self.board.emulator().is_none() {
            bail!("{} is not emulated", self.board.name());
        }
        if let Some(message) = missing_emulator(steps, self.board) {
            if std::env::var_os("CI").is_some() {
                steps.fail(&name, &message)
            } else {
                steps.skip(&name, &message)
            }
            return Ok(());
        }
        let apps = self.app.map_or(vec![App::Counter, App::Persist], |app| vec![app]);
        let mut runs = Vec::new();
        for app in apps {
            if build(steps, self.board, Some(app))? {
                let elf = self.board.elf(steps, app).display().to_string();
                let (cuts, seed) = (self.cuts.to_string(), self.seed.to_string());
                let arguments = emulator(&["cut", self.board.name(), &elf, "--cuts", &cuts, "--seed", &seed]);
                let arguments = arguments.into_iter().map(String::from).collect();
                runs.push((format!("{name} {}", app.name()), arguments));
            }
        }
        steps.run_together(&runs, &[])
    }
}

const ESPFLASH: Need = Need::Tool("espflash");

/// Builds an image for the flash of an ESP32-C3, which needs no board.
pub fn image(steps: &mut Steps, app: App) -> Result<bool> {
    let name = format!("image esp32c3 {}", app.name());
    if let Some(message) = toolchain::missing(steps, &[ESPFLASH]) {
        steps.fail(&name, &message);
        return Ok(false);
    }
    if !build(steps, Board::Esp32c3, Some(app))? {
        return Ok(false);
    }
    let elf = Board::Esp32c3.elf(steps, app);
    let file = elf.with_extension("bin");
    let (elf, to) = (elf.display().to_string(), file.display().to_string());
    let _ = std::fs::remove_file(&file);
    let arguments = ["save-image", "--chip", "esp32c3", "--merge", &elf, &to];
    if !steps.run(&name, "espflash", &arguments, &[])? {
        return Ok(false);
    }
    let bytes = std::fs::read(&file).with_context(|| format!("espflash wrote no {to}"))?;
    // A merged image begins with the bootloader, whose first byte is the magic of Espressif's images.
    if bytes.first() != Some(&0xE9) {
        steps.fail(&name, "what espflash wrote does not begin with an image's magic byte");
        return Ok(false);
    }
    println!("{to}: {} bytes", bytes.len());
    Ok(true)
}

/// Builds, flashes and monitors.
#[derive(Args)]
pub struct Flash {
    /// The board: esp32c3
    board: Board,
    /// The application
    #[arg(default_value = "counter")]
    app: App,
    /// The serial port; needed if there are several
    #[arg(long)]
    port: Option<String>,
    /// Builds, and prints what would be run
    #[arg(long)]
    dry_run: bool,
}

impl Flash {
    /// Builds, finds the board, hands over to espflash.
    pub fn run(&self, steps: &mut Steps) -> Result<bool> {
        if self.board != Board::Esp32c3 {
            bail!("{} is emulated: `cargo xtask run {0}`", self.board.name());
        }
        if !build(steps, self.board, Some(self.app))? {
            return Ok(false);
        }
        let elf = self.board.elf(steps, self.app).display().to_string();
        let ports = serial_ports();
        let port = choose_port(&ports, self.port.as_deref());
        if self.dry_run {
            let port = port.unwrap_or_else(|_| "<port>".into());
            println!("would run: espflash {}", flash_arguments(&port, &elf).join(" "));
            return Ok(true);
        }
        if let Some(message) = toolchain::missing(steps, &[ESPFLASH]) {
            bail!(message);
        }
        let port = port?;
        check_permission(Path::new(&port))?;
        println!("flashing {} to {port}; Ctrl-C ends the monitor", self.app.name());
        steps.run_quietly("espflash", &flash_arguments(&port, &elf))
    }
}

fn flash_arguments<'a>(port: &'a str, elf: &'a str) -> Vec<&'a str> {
    vec!["flash", "--chip", "esp32c3", "--port", port, "--monitor", "--log-format", "defmt", elf]
}

/// The serial ports of this machine that a board may be at.
fn serial_ports() -> Vec<String> {
    let mut ports: Vec<String> = std::fs::read_dir("/dev")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| ["ttyACM", "ttyUSB", "cu.usbmodem", "cu.usbserial"].iter().any(|kind| name.starts_with(kind)))
        .map(|name| format!("/dev/{name}"))
        .collect();
    ports.sort();
    ports
}

fn choose_port(ports: &[String], wanted: Option<&str>) -> Result<String> {
    match (wanted, ports) {
        (Some(port), _) => Ok(port.to_string()),
        (None, [port]) => Ok(port.clone()),
        (None, []) => bail!(
            "there is no board: no serial port was found. Connect the ESP32-C3 by USB (a cable with data lines); if it does not \
             show up, hold BOOT while you press RESET. On Windows, or for an unusual port: --port"
        ),
        (None, several) => bail!("there are several serial ports; choose one with --port: {}", several.join(", ")),
    }
}

fn check_permission(port: &Path) -> Result<()> {
    match OpenOptions::new().read(true).write(true).open(port) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => bail!(
            "no permission to use {}; on Linux: `sudo usermod -aG dialout $USER`, then log in again",
            port.display()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no port {}; without --port, the one that is there is taken", port.display())
        }
        // What else may be wrong, espflash says better.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_chosen_or_the_message_says_what_to_do() {
        let ports = ["/dev/ttyACM0".to_string(), "/dev/ttyUSB1".to_string()];
        assert_eq!(choose_port(&ports[..1], None).unwrap(), "/dev/ttyACM0");
        assert_eq!(choose_port(&ports, Some("/dev/ttyUSB1")).unwrap(), "/dev/ttyUSB1");
        assert!(choose_port(&ports, None).unwrap_err().to_string().contains("--port: /dev/ttyACM0, /dev/ttyUSB1"));
        assert!(choose_port(&[], None).unwrap_err().to_string().contains("there is no board"));
    }

    #[test]
    fn a_port_that_is_not_there_is_named() {
        let error = check_permission(Path::new("/dev/no-such-port")).unwrap_err();
        assert!(error.to_string().contains("/dev/no-such-port"), "{error}");
    }
}
