//! What a run counted: a table, and JSON.

use crate::check::Violation;
use crate::damaged::DamageCounts;
use crate::splice::SpliceReport;
use crate::start::StartKind;
use core::fmt::{self, Write as _};
use serde::Serialize;

/// Counts of one rung of the tear ladder.
#[derive(Clone, Copy, Default, Debug, Serialize)]
pub struct Counts {
    /// Cuts.
    pub cuts: u64,
    /// Different bytes left, together with what was legal.
    pub images: u64,
    /// Instances opened on them.
    pub recoveries: u64,
    /// Second and third cuts among the cuts.
    pub nested: u64,
    /// Found: the last acknowledged commit.
    pub acknowledged: u64,
    /// Found: a commit that was running.
    pub running: u64,
    /// Ended in a typed error (T4 and T5 only).
    pub noticed: u64,
    /// Found: a whole older state, where the last record was destroyed (T4 and T5 only).
    pub older: u64,
}

impl Counts {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.images += other.images;
        self.recoveries += other.recoveries;
        self.nested += other.nested;
        self.acknowledged += other.acknowledged;
        self.running += other.running;
        self.noticed += other.noticed;
        self.older += other.older;
    }
}

/// What came out for one life.
#[derive(Clone, Default, Debug, Serialize)]
pub struct LifeReport {
    /// The life.
    pub name: String,
    /// What kind of storage it begins on.
    pub start: StartKind,
    /// Operations.
    pub operations: usize,
    /// Commits and snapshots.
    pub commits: usize,
    /// Operations that a full heap refused.
    pub refusals: usize,
    /// Most bytes of objects at a time.
    pub bytes: usize,
    /// Frames on the bus.
    pub frames: usize,
    /// Bits on the bus.
    pub bits: u64,
    /// Counts, T0 to T5.
    pub rungs: [Counts; 6],
    /// Several damages at a time.
    pub damaged: DamageCounts,
    /// What was wrong.
    pub violations: Vec<Violation>,
    /// How long it took.
    pub seconds: f64,
}

impl LifeReport {
    /// All rungs together.
    #[must_use]
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.rungs.iter().for_each(|rung| total.add(rung));
        total
    }
}

/// What came out of a run.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Report {
    /// The command that made it.
    pub command: String,
    /// The lives.
    pub lives: Vec<LifeReport>,
    /// Images put together of valid ones.
    pub splices: SpliceReport,
}

/// On what kind of storage cuts begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Starts {
    /// All cuts.
    pub all: u64,
    /// Those of lives that begin on storage that is not blank.
    pub used: u64,
    /// Those of lives that begin on an image of another layout.
    pub other: u64,
}

impl Starts {
    /// Whether at least a third of the cuts begin on used storage, and at least half of those on another layout.
    #[must_use]
    pub const fn is_enough(&self) -> bool {
        3 * self.used >= self.all && 2 * self.other >= self.used
    }
}

impl fmt::Display for Starts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { all, used, other } = *self;
        let percent = |part: u64, whole: u64| 100 * part / whole.max(1);
        writeln!(
            f,
            "begun on used storage: {used} cuts ({} %), {other} of those ({} %) on images of another layout",
            percent(used, all),
            percent(other, used)
        )
    }
}

fn damaged(lives: &[LifeReport]) -> String {
    let mut counts = DamageCounts::default();
    lives.iter().for_each(|life| counts.add(&life.damaged));
    let DamageCounts { pairs, triples, noticed, last, older } = counts;
    if counts.images() == 0 {
        return String::new();
    }
    format!(
        "images with several damages: {pairs} pairs, {triples} triples; noticed {noticed}, last state {last}, state before {older}\n"
    )
}

fn spliced(report: &SpliceReport) -> String {
    let SpliceReport { images, opened, noticed, .. } = report;
    if *images == 0 {
        return String::new();
    }
    format!("spliced images: {images}; opened {opened}, noticed {noticed}\n")
}

impl Report {
    /// A table for people, and for the book.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::from(
            "| life | begins on | tear | cuts | of them second, third | distinct images | recoveries | last commit | running one | noticed | older |\n\
             |---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        );
        let mut line = |name: &str, start: &str, tear: &str, c: &Counts| {
            let Counts { cuts, images, recoveries, nested, acknowledged, running, noticed, older } = c;
            let _ = writeln!(
                out,
                "| {name} | {start} | {tear} | {cuts} | {nested} | {images} | {recoveries} | {acknowledged} | {running} | {noticed} | {older} |"
            );
        };
        for life in &self.lives {
            for (rung, counts) in life.rungs.iter().enumerate().filter(|(_, counts)| counts.cuts != 0) {
                line(&life.name, &life.start.to_string(), &format!("T{rung}"), counts);
            }
        }
        let mut all = Counts::default();
        for rung in 0..6 {
            let mut total = Counts::default();
            self.lives.iter().for_each(|life| total.add(&life.rungs[rung]));
            all.add(&total);
            if total.cuts != 0 {
                line("all", "", &format!("T{rung}"), &total);
            }
        }
        line("**all**", "", "all", &all);
        out
    }

    /// Number of violations.
    #[must_use]
    pub fn violations(&self) -> usize {
        self.lives.iter().map(|life| life.violations.len()).sum::<usize>() + self.splices.violations.len()
    }

    /// On what kind of storage the cuts begin.
    #[must_use]
    pub fn starts(&self) -> Starts {
        let cuts = |wanted: fn(StartKind) -> bool| {
            self.lives.iter().filter(|life| wanted(life.start)).map(|life| life.total().cuts).sum()
        };
        Starts {
            all: cuts(|_| true),
            used: cuts(|kind| kind != StartKind::Blank),
            other: cuts(|kind| kind == StartKind::OtherLayout),
        }
    }

    /// The last lines: totals, and the number of violations.
    #[must_use]
    pub fn totals(&self) -> String {
        let mut all = Counts::default();
        self.lives.iter().for_each(|life| all.add(&life.total()));
        let seconds: f64 = self.lives.iter().map(|life| life.seconds).sum();
        format!(
            "{} lives, {} cuts ({} of them second or third), {} distinct images, {} recoveries, {seconds:.0} s\n{}{}{}violations: {}",
            self.lives.len(),
            all.cuts,
            all.nested,
            all.images,
            all.recoveries,
            self.starts(),
            damaged(&self.lives),
            spliced(&self.splices),
            self.violations()
        )
    }
}
