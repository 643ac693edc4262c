//! `vnv`: looks into images of heaps.

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::Value;
use std::path::PathBuf;
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
    match run(Arguments::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("vnv: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<u8> {
    match command {
        Command::Stat { image, json } => {
            let numbers = stat(&Image::read(&image)?)?;
            if json {
                println!("{numbers:#}");
            } else if let Value::Object(numbers) = numbers {
                for (name, value) in numbers {
                    match value {
                        Value::Object(types) => {
                            for (name, value) in types {
                                println!("type {name}: {} objects, {} bytes", value["objects"], value["bytes"]);
                            }
                        }
                        value => println!("{name}: {value}"),
                    }
                }
            }
            Ok(0)
        }
        Command::Verify { image, map } => {
            let image = Image::read(&image)?;
            let verdict = match verify(&image) {
                Ok(verdict) => verdict,
                Err(error) => {
                    println!("damaged: {error:#}");
                    return Ok(1);
                }
            };
            if map {
                for region in &verdict.live {
                    println!("{:#06x} + {:5}: {:?}", region.offset, region.length, region.kind);
                }
            }
            verdict.notes.iter().for_each(|line| println!("note: {line}"));
            verdict.doubts.iter().for_each(|line| println!("doubt: {line}"));
            verdict.damage.iter().for_each(|line| println!("damaged: {line}"));
            if !verdict.damage.is_empty() {
                return Ok(1);
            }
            println!("{}", if verdict.doubts.is_empty() { "sound" } else { "sound, with a doubt" });
            Ok(if verdict.doubts.is_empty() { 0 } else { 3 })
        }
        Command::Dump { image, json, root } => {
            let mut contents = Contents::of(&Image::read(&image)?)?;
            if let Some(root) = root {
                let Some(target) = contents.roots.remove(&root) else {
                    anyhow::bail!("there is no root `{root}`; there are: {:?}", contents.roots.keys());
                };
                let object = contents.objects.remove(&target);
                contents.roots = [(root, target.clone())].into();
                contents.objects = object.into_iter().map(|object| (target.clone(), object)).collect();
            }
            if json {
                println!("{:#}", contents.json())
            } else {
                print!("{}", contents.text())
            }
            Ok(0)
        }
        Command::Diff { old, new } => {
            let lines = diff(&Contents::of(&Image::read(&old)?)?, &Contents::of(&Image::read(&new)?)?);
            lines.iter().for_each(|line| println!("{line}"));
            if lines.is_empty() {
                println!("no difference");
            }
            Ok(u8::from(!lines.is_empty()))
        }
    }
}
