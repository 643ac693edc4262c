//! The little of the GDB remote protocol that a watchpoint needs.

use crate::qmp::connect;
use anyhow::{Result, bail};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection.
pub struct Gdb(UnixStream);

impl Gdb {
    /// Connects; the machine is stopped from here on.
    pub fn new(path: &Path) -> Result<Self> {
        Ok(Self(connect(path)?))
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn send(&mut self, packet: &str) -> Result<()> {
        let sum = packet.bytes().fold(0u8, u8::wrapping_add);
        Ok(self.0.write_all(format!("${packet}#{sum:02x}").as_bytes())?)
    }

    fn receive(&mut self) -> Result<String> {
        while self.byte()? != b'$' {}
        let mut packet = String::new();
        loop {
            match self.byte()? {
                b'#' => break,
                byte => packet.push(byte.into()),
            }
        }
        let _sum = (self.byte()?, self.byte()?);
        self.0.write_all(b"+")?;
        Ok(packet)
    }

    /// Stops the machine at each write to these bytes.
    pub fn watch_writes(&mut self, (address, bytes): (u32, u32)) -> Result<()> {
        self.send(&format!("Z2,{address:x},{bytes}"))?;
        loop {
            match self.receive()?.as_str() {
                "OK" => return Ok(()),
                // That the machine was stopped when we came.
                stop if stop.starts_with('T') => {}
                answer => bail!("QEMU sets no watchpoint: `{answer}`"),
            }
        }
    }

    /// Lets the machine run until the next stop.
    pub fn continue_until_stop(&mut self) -> Result<()> {
        self.send("c")?;
        match self.receive()? {
            stop if stop.starts_with('T') || stop.starts_with('S') => Ok(()),
            answer => bail!("the machine did not stop at the watchpoint: `{answer}`"),
        }
    }
}
