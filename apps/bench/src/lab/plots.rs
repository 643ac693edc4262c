//! The published figures, drawn with our rows.

use super::prior;
use super::row::Row;
use crate::access::Pattern;
use anyhow::{Result, anyhow};
use plotters::prelude::{
    BLACK, ChartBuilder, IntoDrawingArea, LineSeries, PathElement, RGBColor, Rectangle, SVGBackend,
    SeriesLabelPosition, WHITE,
};
use plotters::style::Color;
use std::path::Path;

const COLOURS: [RGBColor; 8] = [
    RGBColor(0x1F, 0x77, 0xB4),
    RGBColor(0xD6, 0x27, 0x28),
    RGBColor(0x2C, 0xA0, 0x2C),
    RGBColor(0xFF, 0x7F, 0x0E),
    RGBColor(0x94, 0x67, 0xBD),
    RGBColor(0x8C, 0x56, 0x4B),
    RGBColor(0x7F, 0x7F, 0x7F),
    RGBColor(0x17, 0xBE, 0xCF),
];

/// A line of a plot.
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

/// The rows of a workload and system over a parameter; `fixed` is what else their parameters hold.
fn series(rows: &[Row], (bench, system): (&str, &str), over: &str, fixed: &[&str], unit: f64) -> Option<Series> {
    let chosen = rows.iter().filter(|row| row.bench == bench && row.system == system);
    let mut points: Vec<(f64, f64)> = chosen
        .filter(|row| {
            let others: Vec<&str> = row.parameters.split(';').filter(|part| !part.starts_with(over)).collect();
            others == fixed
        })
        .filter_map(|row| Some((row.parameter(over)?.parse().ok()?, row.model_us / unit)))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    (!points.is_empty()).then(|| Series { name: format!("{bench} {system}"), points })
}

fn lines(file: &Path, (x, y): (&str, &str), series: &[Series]) -> Result<()> {
    let points = || series.iter().flat_map(|series| &series.points);
    let last = points().map(|point| point.0).fold(1.0, f64::max);
    let most = points().map(|point| point.1).fold(1.0, f64::max);
    let failed = |error| anyhow!("{}: {error}", file.display());
    let root = SVGBackend::new(file, (860, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last, 0.0..most * 1.1)?;
    chart.configure_mesh().x_desc(x).y_desc(y).draw()?;
    for (series, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(series.points.iter().copied(), colour.stroke_width(2)))?
            .label(series.name.clone())
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    root.present().map_err(|error| failed(error.to_string()))
}

/// Bars of the key-value store: for each pattern one of each system.
fn store(file: &Path, rows: &[Row]) -> Result<()> {
    let prior = prior::traffic();
    let earlier = prior.iter().filter(|row| row.system.starts_with("vnv-heap")).map(|row| (row, "earlier: "));
    let ours = rows.iter().filter(|row| row.system != "ram-only").map(|row| (row, ""));
    let bars: Vec<(String, &Row)> = ours
        .chain(earlier)
        .filter(|(row, _)| row.bench == "kvs" && !row.parameters.contains(';'))
        .map(|(row, prefix)| (format!("{prefix}{}", row.system), row))
        .collect();
    let mut systems: Vec<&str> = Vec::new();
    for (system, _) in &bars {
        if !systems.contains(&system.as_str()) {
            systems.push(system);
        }
    }
    let most = bars.iter().map(|(_, row)| row.model_us / 1e6).fold(0.1, f64::max);
    let root = SVGBackend::new(file, (960, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let patterns = Pattern::ALL;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..patterns.len() as f64 + 1.0, 0.0..most * 1.05)?;
    let label = |x: &f64| {
        let place = (x - 0.5).round();
        let at = patterns.get(place.max(0.0) as usize).filter(|_| (x - 0.5 - place).abs() < 0.01);
        at.map_or(String::new(), |pattern| pattern.name().to_owned())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(2 * patterns.len() + 3)
        .x_label_formatter(&label)
        .y_desc("10,000 updates, modelled s")
        .draw()?;
    let width = 0.86 / systems.len().max(1) as f64;
    for (number, system) in systems.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()].mix(if number < COLOURS.len() { 1.0 } else { 0.5 });
        let of = bars.iter().filter(|(name, _)| name == system).filter_map(|(_, row)| {
            let pattern = row.parameter("access")?;
            let at = patterns.iter().position(|other| other.name() == pattern)? as f64;
            let left = at + 0.07 + number as f64 * width;
            Some(Rectangle::new([(left, 0.0), (left + width * 0.9, row.model_us / 1e6)], colour.filled()))
        });
        chart
            .draw_series(of)?
            .label(*system)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    root.present().map_err(|error| anyhow!("{}: {error}", file.display()))
}

/// Draws what there are rows for; returns the names of the files.
///
/// # Errors
///
/// A file that cannot be written.
pub fn draw(directory: &Path, rows: &[Row]) -> Result<Vec<&'static str>> {
    let mut prior = prior::traffic();
    for row in &mut prior {
        row.system = format!("earlier: {}", row.system);
    }
    let ours = "vnv/adaptive";
    let mut drawn = Vec::new();
    let mut plot = |name, labels, all: Vec<Option<Series>>| {
        let series: Vec<Series> = all.into_iter().flatten().collect();
        // Without a row of ours there is nothing to compare.
        if series.iter().any(|series| !series.name.contains("earlier")) {
            lines(&directory.join(name), labels, &series)?;
            drawn.push(name);
        }
        anyhow::Ok(())
    };
    let references = ["get_min", "get_min_max", "get_max", "get_max_old"].into_iter();
    let both = |bench| {
        let earlier = series(&prior, (bench, "earlier: vnv-heap"), "size", &[], 1.0);
        [series(rows, (bench, ours), "size", &[], 1.0), earlier]
    };
    plot("reference.svg", ("bytes of the object", "modelled us"), references.flat_map(both).collect())?;
    let queue = |system| series(rows, ("queue", system), "length", &[], 1000.0);
    plot(
        "queue.svg",
        ("items in the queue", "100 iterations, modelled ms"),
        vec![
            queue("vnv/first-found"),
            queue(ours),
            queue("clairvoyant"),
            queue("storage-only"),
            queue("ram-only"),
            series(&prior, ("queue", "earlier: vnv-heap/clock"), "length", &[], 1000.0),
        ],
    )?;
    let persist = |name: &str, system, fixed: &[&str]| {
        let mut found = series(rows, ("persist_dirty", system), "dirty_limit", fixed, 1.0)?;
        found.name = name.into();
        Some(found)
    };
    let earlier = |fill: &str| {
        let points = prior::persist_points(fill).into_iter().map(|(limit, bytes)| (limit, prior::persist_us(bytes)));
        Some(Series { name: format!("earlier: {fill}"), points: points.collect() })
    };
    plot(
        "persist.svg",
        ("dirty limit, bytes", "modelled us"),
        vec![
            persist("bound, with the wait", "vnv/bound", &[]),
            persist("max_objects", ours, &["fill=max_objects"]),
            persist("max_dirty", ours, &["fill=max_dirty"]),
            persist("one of max_objects dirty", ours, &["fill=max_objects", "dirty=1"]),
            earlier("max_objects"),
            earlier("max_dirty"),
        ],
    )?;
    if rows.iter().any(|row| row.bench == "kvs") {
        store(&directory.join("kvs.svg"), rows)?;
        drawn.push("kvs.svg");
    }
    Ok(drawn)
}
