//! An emulated board that runs, until its power is cut.

use crate::boards::{Board, FILE_BYTES, Time};
use crate::gdb::Gdb;
use crate::log::lines;
use crate::qmp::Qmp;
use anyhow::{Context, Result};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use tempfile::TempDir;

/// A machine that runs. Dropping it kills the emulator, without care for its memory file.
pub struct Machine {
    child: Child,
    qmp: Qmp,
    /// What the firmware logs.
    pub lines: Receiver<String>,
    sockets: TempDir,
    board: Board,
}

/// Makes the memory file if it is not there.
pub fn memory_file(path: &Path) -> Result<()> {
    if !path.exists() {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = std::fs::File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        file.set_len(FILE_BYTES)?;
    }
    Ok(())
}

impl Machine {
    /// Powers a board on; it does not run yet.
    pub fn new(board: Board, elf: &Path, memory: &Path, time: Time, pace: u32) -> Result<Self> {
        memory_file(memory)?;
        let sockets = tempfile::tempdir()?;
        let (qmp, gdb) = (sockets.path().join("qmp"), sockets.path().join("gdb"));
        let mut command = Command::new(board.program());
        command
            .args(board.arguments(elf, memory, time, pace))
            .arg("-S")
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", qmp.display()))
            .arg("-gdb")
            .arg(format!("unix:{},server=on,wait=off", gdb.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for us.
            .process_group(0);
        let mut child = command.spawn().with_context(|| {
            format!("`{}` cannot be run; on Debian: apt-get install qemu-system-misc qemu-system-arm", board.program())
        })?;
        let output = child.stdout.take().context("it is piped")?;
        let errors = BufReader::new(child.stderr.take().context("it is piped")?);
        std::thread::spawn(move || {
            let told = errors.lines().map_while(Result::ok).filter(|line| !line.contains(": warning: "));
            told.for_each(|line| eprintln!("{line}"));
        });
        let lines = lines(output, elf)?;
        let mut qmp = Qmp::new(&qmp)?;
        if let Some((object, property, value)) = board.wiring() {
            qmp.execute("qom-set", json!({"path": object, "property": property, "value": value}))?;
        }
        Ok(Self { child, qmp, lines, sockets, board })
    }

    /// Lets it run.
    pub fn run(&mut self) -> Result<()> {
        self.qmp.execute("cont", json!({}))?;
        Ok(())
    }

    /// Lets it run until so many bytes went out to the memory.
    pub fn run_until_byte(&mut self, count: u32) -> Result<()> {
        let mut gdb = Gdb::new(&self.sockets.path().join("gdb"))?;
        gdb.watch_writes(self.board.transmit_register())?;
        for _ in 0..count {
            gdb.continue_until_stop()?;
        }
        Ok(())
    }

    /// Cuts power. What the part was given is in the memory file, a frame that is not over included. Returns whether there was
    /// one: whether chip select was low.
    pub fn cut(&mut self) -> Result<bool> {
        self.qmp.execute("stop", json!({}))?;
        let (register, low) = self.board.chip_select_register();
        let dump =
            self.qmp.execute("human-monitor-command", json!({"command-line": format!("xp/1wx {register:#x}")}))?;
        let is_selected = dump.as_str().is_some_and(|dump| dump.trim().ends_with(&format!("{low:#010x}")));
        // Lets the model of the part write out what it holds back.
        self.qmp.execute("xen-save-devices-state", json!({"filename": "/dev/null", "live": false}))?;
        self.qmp.execute("human-monitor-command", json!({"command-line": "qemu-io fr aio_flush"}))?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(is_selected)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
