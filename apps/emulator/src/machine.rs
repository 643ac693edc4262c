//! An emulated board that runs, until its power is cut.

use crate::boards::{Board, FILE_BYTES, Time};
use crate::gdb::Gdb;
use crate::log::lines;
use crate::qmp::Qmp;
use anyhow::{Context, Result, ensure};
use fs4::fs_std::FileExt;
use serde_json::json;
use std::fs::File;
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
    /// Nobody else uses the memory file meanwhile.
    _locked: File,
}

/// Opens the memory file, for ourselves alone; makes it if it is not there.
fn memory_file(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let is_new = !path.exists();
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let is_ours = FileExt::try_lock_exclusive(&file).with_context(|| format!("cannot lock {}", path.display()))?;
    ensure!(is_ours, "{} is the memory of a board that runs already", path.display());
    if is_new {
        file.set_len(FILE_BYTES)?;
    }
    let found = file.metadata()?.len();
    ensure!(
        found == FILE_BYTES,
        "{} has {found} bytes; the memory file of an emulated board has {FILE_BYTES} (the part itself 16 KiB)",
        path.display()
    );
    Ok(file)
}

impl Machine {
    /// Powers a board on; it does not run yet.
    pub fn new(board: Board, elf: &Path, memory: &Path, time: Time, pace: u32) -> Result<Self> {
        let locked = memory_file(memory)?;
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
        #[cfg(target_os = "linux")]
        // SAFETY: one system call, which is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // However we die, the emulator does not outlive us.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
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
        Ok(Self { child, qmp, lines, sockets, board, _locked: locked })
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
