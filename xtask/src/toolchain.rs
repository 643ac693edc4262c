//! What the steps need from the Rust installation: seeing it without asking the network, and installing it.

use crate::steps::Steps;
use anyhow::Result;
use std::path::Path;

/// The bare-metal targets that every library crate is built for.
pub const TARGETS: [&str; 3] = ["riscv32imc-unknown-none-elf", "thumbv6m-none-eabi", "thumbv7em-none-eabihf"];

/// The toolchain that runs Miri: `VNV_MIRI_TOOLCHAIN`, or `nightly`.
pub fn miri_toolchain() -> String {
    std::env::var("VNV_MIRI_TOOLCHAIN").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "nightly".into())
}

/// The oldest Rust that the library crates promise to work with.
pub const MSRV: &str = env!("CARGO_PKG_RUST_VERSION");

/// What `cargo install` brings is used for minutes, and builds in half the time without optimisation.
const UNOPTIMISED: [(&str, &str); 2] = [("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"), ("CARGO_PROFILE_RELEASE_LTO", "off")];

/// Something that a step cannot do without.
pub enum Need {
    /// The precompiled `core` of a target.
    Target(&'static str),
    /// A component of the workspace's toolchain that brings a cargo command: component, command.
    Component(&'static str, &'static str),
    /// A toolchain.
    Toolchain(&'static str),
    /// A toolchain with `miri` and `rust-src`.
    Miri(String),
    /// A program that `cargo install` brings: package, cargo command.
    Program(&'static str, &'static str),
    /// A program of its own that `cargo install` brings.
    Tool(&'static str),
}

impl Need {
    /// All that a step of `cargo xtask` may need.
    pub fn all() -> Vec<Need> {
        let mut needs = Self::lint();
        needs.extend(Self::bare_metal());
        needs.extend(Self::fuzz());
        needs.extend([Need::Toolchain(MSRV), Need::Tool("espflash")]);
        needs
    }

    /// What `fuzz` needs: a nightly toolchain for the sanitizers, and the driver of libFuzzer.
    pub fn fuzz() -> Vec<Need> {
        vec![Need::Miri(miri_toolchain()), Need::Program("cargo-fuzz", "fuzz")]
    }

    /// What `lint` needs.
    pub fn lint() -> Vec<Need> {
        vec![Need::Component("rustfmt", "fmt"), Need::Component("clippy", "clippy")]
    }

    /// What building for bare-metal targets needs.
    pub fn bare_metal() -> Vec<Need> {
        TARGETS.into_iter().map(Need::Target).collect()
    }

    /// Its name in messages.
    pub fn name(&self) -> String {
        match self {
            Need::Target(target) => format!("target {target}"),
            Need::Component(component, _) => format!("component {component}"),
            Need::Toolchain(toolchain) => format!("toolchain {toolchain}"),
            Need::Miri(toolchain) => format!("toolchain {toolchain} with miri and rust-src"),
            Need::Program(package, _) | Need::Tool(package) => package.to_string(),
        }
    }

    /// Whether it is installed. Looks at this machine only, and installs nothing.
    pub fn is_present(&self, steps: &Steps) -> bool {
        match self {
            Need::Target(target) => steps
                .output("rustc", &["--print", "target-libdir", "--target", target])
                .is_some_and(|directory| Path::new(directory.trim()).is_dir()),
            Need::Component(_, command) | Need::Program(_, command) => {
                steps.output("cargo", &[command, "--version"]).is_some()
            }
            Need::Tool(program) => steps.output(program, &["--version"]).is_some(),
            Need::Toolchain(toolchain) => steps.output("cargo", &[&format!("+{toolchain}"), "--version"]).is_some(),
            Need::Miri(toolchain) => {
                let toolchain = format!("+{toolchain}");
                steps.output("cargo", &[&toolchain, "miri", "--version"]).is_some()
                    && steps.output("rustc", &[&toolchain, "--print", "sysroot"]).is_some_and(|sysroot| {
                        Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/Cargo.toml").is_file()
                    })
            }
        }
    }

    /// The program that installs it.
    fn installer(&self) -> &'static str {
        if matches!(self, Need::Program(..) | Need::Tool(_)) { "cargo" } else { "rustup" }
    }

    /// The installer's arguments.
    fn installation(&self) -> Vec<&str> {
        match self {
            Need::Program(package, _) | Need::Tool(package) => vec!["install", "--locked", package],
            Need::Target(target) => vec!["target", "add", target],
            Need::Component(component, _) => vec!["component", "add", component],
            Need::Toolchain(toolchain) => vec!["toolchain", "install", toolchain, "--profile", "minimal"],
            Need::Miri(toolchain) => {
                let mut arguments = vec!["toolchain", "install", toolchain.as_str(), "--profile", "minimal"];
                arguments.extend(["--component", "miri", "--component", "rust-src"]);
                arguments
            }
        }
    }
}

/// What is missing of `needs`, with the way to install it; nothing if all is there.
pub fn missing(steps: &Steps, needs: &[Need]) -> Option<String> {
    let names: Vec<String> = needs.iter().filter(|need| !need.is_present(steps)).map(Need::name).collect();
    if names.is_empty() {
        return None;
    }
    Some(format!("missing: {}; `cargo xtask setup` installs what is missing", names.join(", ")))
}

/// Installs what is missing. Uses the network only if something is.
pub fn set_up(steps: &mut Steps) -> Result<()> {
    for need in Need::all() {
        if need.is_present(steps) {
            println!("present: {}", need.name());
            continue;
        }
        let installer = need.installer();
        if steps.output(installer, &["--version"]).is_none() {
            let message = format!(
                "{installer} is not on this machine; install it, or this part of Rust by the system's packages"
            );
            steps.fail(&need.name(), &message);
            continue;
        }
        if !steps.run(&format!("install {}", need.name()), installer, &need.installation(), &UNOPTIMISED)? {
            println!(
                "{installer} could not install {}: it needs the network, and a toolchain that rustup manages",
                need.name()
            );
        } else if !need.is_present(steps) {
            steps.fail(&need.name(), "the installer reports success, but the active toolchain does not have it");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_target_is_missing_and_the_message_says_what_to_do() {
        let steps = Steps::new().unwrap();
        let message = missing(&steps, &[Need::Target("no-such-target")]).unwrap();
        assert!(message.contains("no-such-target") && message.contains("cargo xtask setup"), "{message}");
        assert!(missing(&steps, &[]).is_none());
    }

    #[test]
    fn an_unknown_toolchain_is_missing_and_not_installed() {
        let steps = Steps::new().unwrap();
        assert!(!Need::Miri("nightly-1999-01-01".into()).is_present(&steps));
    }
}
