//! What the firmware logs: defmt frames from QEMU's standard output, decoded with the strings of its ELF file.

use anyhow::{Context, Result};
use defmt_decoder::{DecodeError, Table};
use std::io::Read;
use std::path::Path;
use std::process::ChildStdout;
use std::sync::mpsc::{Receiver, channel};

/// Decoded lines; the channel ends with the output.
pub fn lines(mut output: ChildStdout, elf: &Path) -> Result<Receiver<String>> {
    let file = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let table = Table::parse(&file)?.with_context(|| format!("{} logs nothing with defmt", elf.display()))?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut decoder = table.new_stream_decoder();
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut bytes) {
            decoder.received(bytes.get(..count).unwrap_or_default());
            loop {
                match decoder.decode() {
                    Ok(frame) => {
                        let level = frame.level().map_or("", |level| level.as_str());
                        let line = match level {
                            "error" => format!("ERROR {}", frame.display_message()),
                            _ => frame.display_message().to_string(),
                        };
                        if sender.send(line).is_err() {
                            return;
                        }
                    }
                    Err(DecodeError::UnexpectedEof) => break,
                    Err(DecodeError::Malformed) => {
                        if sender.send("ERROR a log frame is malformed".into()).is_err() {
                            return;
                        }
                    }
                }
            }
        }
    });
    Ok(receiver)
}
