//! The emulated boards: how QEMU is started, and where a byte goes out to the memory.

use clap::ValueEnum;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// An emulated board.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Board {
    /// rv32imc, hart 0 of QEMU's `sifive_u`
    SifiveU,
    /// Cortex-M4, QEMU's `ast1030-evb`
    Ast1030,
}

/// What a run is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Time {
    /// The emulated clock follows ours.
    Real,
    /// As fast as it goes; the same instructions at the same emulated times, where the board can do it.
    Fast,
}

/// Size of the file that QEMU wants for its `at25128a-nonjedec`, which has 16 KiB.
pub const FILE_BYTES: u64 = 131_072;

impl Board {
    /// The QEMU that has it.
    pub const fn program(self) -> &'static str {
        match self {
            Self::SifiveU => "qemu-system-riscv32",
            Self::Ast1030 => "qemu-system-arm",
        }
    }

    /// Its name in commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SifiveU => "sifive-u",
            Self::Ast1030 => "ast1030",
        }
    }

    /// The transmit register of its SPI controller: address and bytes.
    pub const fn transmit_register(self) -> (u32, u32) {
        match self {
            Self::SifiveU => (0x1005_0048, 4),
            Self::Ast1030 => (0x9000_0000, 1),
        }
    }

    /// The register that holds chip select, and its value while it is low.
    pub const fn chip_select_register(self) -> (u32, u32) {
        match self {
            Self::SifiveU => (0x1005_0018, 2),
            Self::Ast1030 => (0x7E63_0010, 3),
        }
    }

    /// QEMU's arguments; `pace`: milliseconds of each pause of the application.
    pub fn arguments(self, elf: &Path, memory: &Path, time: Time, pace: u32) -> Vec<String> {
        // A comma ends a value, unless it is doubled.
        let option = |path: &Path| path.display().to_string().replace(',', ",,");
        let (elf, memory) = (option(elf), option(memory));
        let console = format!("enable=on,target=native,chardev=console,arg=firmware,arg={pace}");
        let own = match self {
            Self::SifiveU => vec![
                "-M".into(),
                "sifive_u".into(),
                "-bios".into(),
                "none".into(),
                "-drive".into(),
                format!("if=none,index=1,id=fr,format=raw,file={memory}"),
                "-device".into(),
                format!(
                    "at25128a-nonjedec,id=fram,bus=main-system-bus/sifive.spi/spi,drive=fr{}",
                    self.chip_select_index()
                ),
                "-device".into(),
                format!("loader,file={elf},cpu-num=0"),
            ],
            Self::Ast1030 => vec![
                "-M".into(),
                "ast1030-evb,spi-model=at25128a-nonjedec".into(),
                "-drive".into(),
                format!("if=mtd,index=2,id=fr,format=raw,file={memory}"),
                "-kernel".into(),
                elf,
            ],
        };
        let mut all: Vec<String> =
            ["-display", "none", "-serial", "none", "-monitor", "none", "-chardev", "stdio,id=console,signal=off"]
                .map(String::from)
                .into();
        all.push("-semihosting-config".into());
        all.push(console);
        all.extend(own);
        if let (Self::SifiveU, Time::Fast) = (self, time) {
            all.extend(["-icount", "shift=0,sleep=off"].map(String::from));
        }
        all
    }

    /// Newer versions of QEMU want a number that the SD card at the same bus does not have; older ones do not know it.
    fn chip_select_index(self) -> &'static str {
        static ANSWER: OnceLock<bool> = OnceLock::new();
        let is_known = ANSWER.get_or_init(|| {
            let help = Command::new(self.program()).args(["-M", "none", "-device", "at25128a-nonjedec,help"]).output();
            help.is_ok_and(|help| {
                String::from_utf8_lossy(&help.stdout).lines().any(|line| line.trim().starts_with("cs="))
            })
        });
        if *is_known { ",cs=1" } else { "" }
    }

    /// What has to be wired before the machine runs: object, property, value.
    pub const fn wiring(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            // The chip select of the memory.
            Self::SifiveU => Some(("/machine/soc/spi2", "sysbus-irq[1]", "/machine/peripheral/fram/ssi-gpio-cs[0]")),
            Self::Ast1030 => None,
        }
    }
}
