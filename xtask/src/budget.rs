//! Which capacitor for which dirty limit, and back.

use anyhow::{Context, Result, bail};
use clap::Args;
use plotters::prelude::{
    BLACK, BLUE, ChartBuilder, IntoDrawingArea, IntoLogRange, LineSeries, RED, SVGBackend, SeriesLabelPosition, WHITE,
};
use std::path::PathBuf;
use vnv_persist::{Bound, BusCost, EnergyBudget, Layout, Memory, Options, SupplyLimits};
use vnv_storage::Part;

/// Slots, types and roots that the table is made for: 48, 6 and 4.
type Tables = Memory<48, 24, 6, 4, 0>;

#[derive(Args)]
pub struct Budget {
    /// The part: MB85RS64V, MB85RS2MT, MB85RS2MTA or MB85RS4MT
    #[arg(long, default_value = "MB85RS64V")]
    part: String,
    /// Clock in MHz, for the limit of the wire
    #[arg(long, default_value_t = 20)]
    clock: u32,
    /// Bytes between two looks for an alarm
    #[arg(long, default_value_t = 64)]
    chunk: u32,
    /// Capacitor in microfarads: which dirty limit does it pay for?
    #[arg(long)]
    capacitor: Option<u64>,
    /// Dirty limit in bytes: which capacitor does it need?
    #[arg(long)]
    dirty_limit: Option<u32>,
    /// Voltage when the alarm comes, in millivolts
    #[arg(long, default_value_t = 3300)]
    alarm: u32,
    /// Lowest voltage of the part, in millivolts
    #[arg(long, default_value_t = 3000)]
    minimum: u32,
    /// Worst current in microamperes
    #[arg(long, default_value_t = 40_000)]
    current: u32,
    /// Efficiency of the regulator in percent
    #[arg(long, default_value_t = 100)]
    efficiency: u32,
    /// Writes the curve of capacitor over dirty limit to this file
    #[arg(long)]
    svg: Option<PathBuf>,
}

impl Budget {
    fn part(&self) -> Result<Part> {
        let known = Part::ALL.into_iter().find(|part| part.name.eq_ignore_ascii_case(&self.part));
        known.with_context(|| format!("there is no part {}: {}", self.part, Part::ALL.map(|part| part.name).join(", ")))
    }

    fn layout(part: &Part, dirty_limit: u32) -> Option<Layout> {
        Layout::new(part.capacity, part.row_size, (48, 6, 4), Options::new(dirty_limit)).ok()
    }

    fn energy(&self, capacitance_nf: u64) -> EnergyBudget {
        let limits = SupplyLimits { minimum_mv: self.minimum, ..SupplyLimits::MB85RS64V };
        EnergyBudget {
            capacitance_nf,
            alarm_mv: self.alarm,
            efficiency_percent: self.efficiency,
            load_mv: self.alarm,
            worst_current_ua: self.current,
            limits,
        }
    }

    /// The smallest capacitor, in nanofarads, that pays for `bound`.
    fn capacitor(&self, bound: &Bound) -> Option<u64> {
        let pays = |nf: u64| self.energy(nf).check(bound).is_ok();
        let mut most = 1u64;
        while !pays(most) {
            most = most.checked_mul(2).filter(|most| *most < 1 << 40)?;
        }
        let mut least = most / 2;
        while most - least > 1 {
            let middle = (most + least) / 2;
            if pays(middle) { most = middle } else { least = middle }
        }
        Some(most)
    }

    fn limits(part: &Part) -> impl Iterator<Item = u32> {
        let part = *part;
        (0..).map(|step| 128u32 << step).take_while(move |limit| Self::layout(&part, *limit).is_some())
    }

    /// The largest dirty limit that a capacitor pays for.
    fn dirty_limit(&self, part: &Part, cost: &BusCost, capacitance_nf: u64) -> Option<u32> {
        (1..=part.capacity / 8).rev().map(|words| 8 * words).find(|limit| {
            Self::layout(part, *limit)
                .is_some_and(|layout| self.energy(capacitance_nf).check(&Bound::new(&layout, cost, self.chunk)).is_ok())
        })
    }

    pub fn run(&self) -> Result<()> {
        let part = self.part()?;
        if self.alarm <= self.minimum {
            bail!("the alarm has to come above the part's lowest voltage");
        }
        let wire = BusCost::wire(&part, self.clock.saturating_mul(1_000_000).max(1));
        let model = BusCost::ESP32C3_20MHZ;
        println!("{}, {} bytes, rows of {}", part.name, part.capacity, part.row_size);
        println!(
            "alarm at {} mV, used down to {} mV, at most {} uA, efficiency {} %",
            self.alarm, self.minimum, self.current, self.efficiency
        );
        println!(
            "RAM of the tables (48 slots, 24 pending places, 6 types, 4 roots): {} bytes here, less where pointers have 4; besides the arena\n",
            size_of::<Tables>()
        );
        println!("wire: the limit at {} MHz; model: 74.8 us + 0.69 us a byte, as measured on an ESP32-C3", self.clock);
        println!(
            "| dirty limit | usable bytes | snapshot, wire us | model us | longest wait, wire us | model us | energy nJ | capacitor uF |"
        );
        println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
        let limits: Vec<u32> = match self.dirty_limit {
            Some(limit) => vec![limit],
            None => Self::limits(&part).collect(),
        };
        let mut curve = Vec::new();
        for limit in limits {
            let layout = Self::layout(&part, limit)
                .with_context(|| format!("a dirty limit of {limit} bytes does not fit the part"))?;
            let (on_wire, modelled) = (Bound::new(&layout, &wire, self.chunk), Bound::new(&layout, &model, self.chunk));
            let capacitor = self.capacitor(&modelled).context("no capacitor pays for that")?;
            let us = |ns: u64| ns as f64 / 1000.0;
            println!(
                "| {limit} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {} | {:.1} |",
                layout.usable_bytes(),
                us(on_wire.snapshot_ns),
                us(modelled.snapshot_ns),
                us(on_wire.wait_ns),
                us(modelled.wait_ns),
                self.energy(capacitor).needed_nj(modelled.total_ns()),
                capacitor as f64 / 1000.0
            );
            curve.push((
                f64::from(limit),
                capacitor as f64 / 1000.0,
                self.capacitor(&on_wire).unwrap_or(0) as f64 / 1000.0,
            ));
        }
        println!(
            "\nlongest section without a safe point, transfer of a chunk included: {} instructions of rv32imc, in lives of 40 slots\n\
             (checked by `cargo xtask alarms`; what grows with the table: the book, \"When power fails\")",
            instants::LONGEST_WAIT_INSTRUCTIONS
        );
        if let Some(capacitor) = self.capacitor {
            match self.dirty_limit(&part, &model, capacitor * 1000) {
                Some(limit) => println!("{capacitor} uF pay for a dirty limit of {limit} bytes"),
                None => bail!("{capacitor} uF pay for no dirty limit"),
            }
        }
        if let Some(file) = &self.svg {
            draw(file, &curve)?;
            println!("{}", file.display());
        }
        Ok(())
    }
}

/// Capacitor over dirty limit.
fn draw(file: &std::path::Path, curve: &[(f64, f64, f64)]) -> Result<()> {
    let (Some(first), Some(last)) = (curve.first(), curve.last()) else { bail!("there is nothing to draw") };
    let least = curve.iter().map(|point| point.1.min(point.2)).fold(f64::MAX, f64::min);
    let most = curve.iter().map(|point| point.1.max(point.2)).fold(0.0, f64::max);
    let root = SVGBackend::new(file, (720, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d((first.0..last.0 * 1.01).log_scale(), (least * 0.9..most * 1.1).log_scale())?;
    chart.configure_mesh().x_desc("dirty limit, bytes").y_desc("capacitor, uF").draw()?;
    chart
        .draw_series(LineSeries::new(curve.iter().map(|point| (point.0, point.1)), &BLUE))?
        .label("ESP32-C3")
        .legend(|(x, y)| plotters::prelude::PathElement::new(vec![(x, y), (x + 16, y)], BLUE));
    chart
        .draw_series(LineSeries::new(curve.iter().map(|point| (point.0, point.2)), &RED))?
        .label("limit of the wire")
        .legend(|(x, y)| plotters::prelude::PathElement::new(vec![(x, y), (x + 16, y)], RED));
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}
