//! `vnv`: looks into images of heaps.

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use vnv::{Contents, Image, diff, stat, verify};

/// Looks into images of vnv heaps: dumps of a part, memory files of an emulator
///
/// A file may be longer than what the heap was formatted for. No file is ever written.
///
/// Ends with 0 if all is well, 1 if something is damaged (or differs, for diff), 2 if there is no image to be read or the arguments
/// are wrong, 3 if `verify` has doubts only.
#[derive(Parser)]
#[command(name = "vnv", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Layout, fill, objects and bytes by type
    Stat {
        /// The image
        image: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Checks every checksum and every invariant, before and after recovery
    Verify {
        /// The image
        image: PathBuf,
        /// Also lists the byte ranges that the state depends on
        #[arg(long)]
        map: bool,
    },
    /// The objects below each root, with the names of their types and fields
    Dump {
        /// The image
        image: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Only the object that this root leads to
        #[arg(long)]
        root: Option<String>,
    },
    /// What differs between the states of two images
    Diff {
        /// The older image
        old: PathBuf,
        /// The newer image
        new: PathBuf,
    },
}

fn main() -> ExitCode {
    let mut out = String::new();
    let code = match run(Arguments::parse().command, &mut out) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vnv: {error:#}");
            2
        }
    };
    // Names come from the image: they are not let loose on a terminal.
    let mut told = String::with_capacity(out.len());
    for character in out.chars() {
        if character.is_control() && character != '\n' {
            told.extend(character.escape_debug());
        } else {
            told.push(character);
        }
    }
    match std::io::stdout().write_all(told.as_bytes()).and_then(|()| std::io::stdout().flush()) {
        // Whoever reads it may have seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("vnv: cannot write the output: {error}");
            ExitCode::from(2)
        }
        _ => ExitCode::from(code),
    }
}

/// What `read` makes of an image; that it is damaged is told on `out`.
fn read_or_tell<T>(path: &Path, out: &mut String, read: impl FnOnce(&Image) -> Result<T>) -> Result<Option<T>> {
    match read(&Image::read(path)?) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            writeln!(out, "damaged: {error:#}")?;
            Ok(None)
        }
    }
}

fn run(command: Command, out: &mut String) -> Result<u8> {
    match command {
        Command::Stat { image, json } => {
            let Some(numbers) = read_or_tell(&image, out, stat)? else { return Ok(1) };
            let damaged = numbers["damage"].as_array().is_some_and(|lines| !lines.is_empty());
            if json {
                writeln!(out, "{numbers:#}")?;
            } else if let Value::Object(numbers) = numbers {
                for (name, value) in numbers {
                    match value {
                        Value::Object(types) => {
                            for (name, value) in types {
                                writeln!(out, "type {name}: {} objects, {} bytes", value["objects"], value["bytes"])?;
                            }
                        }
                        Value::Array(damage) => {
                            for line in damage.iter().filter_map(Value::as_str) {
                                writeln!(out, "damaged: {line}")?;
                            }
                        }
                        value => writeln!(out, "{name}: {value}")?,
                    }
                }
            }
            Ok(damaged.into())
        }
        Command::Verify { image, map } => {
            let Some(verdict) = read_or_tell(&image, out, verify)? else { return Ok(1) };
            if map {
                for region in &verdict.live {
                    writeln!(out, "{:#06x} + {:5}: {:?}", region.offset, region.length, region.kind)?;
                }
            }
            for (kind, lines) in [("note", &verdict.notes), ("doubt", &verdict.doubts), ("damaged", &verdict.damage)] {
                for line in lines {
                    writeln!(out, "{kind}: {line}")?;
                }
            }
            if !verdict.damage.is_empty() {
                return Ok(1);
            }
            writeln!(out, "{}", if verdict.doubts.is_empty() { "sound" } else { "sound, with a doubt" })?;
            Ok(if verdict.doubts.is_empty() { 0 } else { 3 })
        }
        Command::Dump { image, json, root } => {
            let Some(mut contents) = read_or_tell(&image, out, Contents::of)? else { return Ok(1) };
            if let Some(root) = root {
                let Some(target) = contents.roots.remove(&root) else {
                    anyhow::bail!("there is no root `{root}`; there are: {:?}", contents.roots.keys());
                };
                let object = contents.objects.remove(&target);
                contents.roots = [(root, target.clone())].into();
                contents.objects = object.into_iter().map(|object| (target.clone(), object)).collect();
            }
            if json {
                writeln!(out, "{:#}", contents.json())?
            } else {
                out.push_str(&contents.text())
            }
            // What is not among the objects may be damaged too.
            let verdict = verify(&Image::read(&image)?)?;
            for line in verdict.damage.iter().filter(|line| Some(*line) != contents.damage.as_ref()) {
                eprintln!("vnv: damaged: {line}");
            }
            Ok(u8::from(!verdict.damage.is_empty() || contents.damage.is_some()))
        }
        Command::Diff { old, new } => {
            let (old, new) = (read_or_tell(&old, out, Contents::of)?, read_or_tell(&new, out, Contents::of)?);
            let (Some(old), Some(new)) = (old, new) else { return Ok(1) };
            let lines = diff(&old, &new);
            for line in &lines {
                writeln!(out, "{line}")?;
            }
            for damage in old.damage.iter().chain(&new.damage) {
                writeln!(out, "damaged: {damage}")?;
            }
            if lines.is_empty() {
                writeln!(out, "no difference")?;
            }
            Ok(u8::from(!lines.is_empty() || old.damage.is_some() || new.damage.is_some()))
        }
    }
}
