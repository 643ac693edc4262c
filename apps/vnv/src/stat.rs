//! An image in numbers.

use crate::contents::Contents;
use crate::image::Image;
use crate::verify::verify;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vnv_persist::RegionKind;

/// Layout, fill and types of an image, and what is damaged in it, as JSON.
///
/// # Errors
///
/// As opening it.
pub fn stat(image: &Image) -> Result<Value> {
    let contents = Contents::of(image)?;
    let verdict = verify(image)?;
    let layout = &image.layout;
    let ((objects, types, roots), (log_half, reserve)) = (layout.sizes(), layout.region_bytes());
    let unit = layout.unit();
    let used: u32 = verdict
        .live
        .iter()
        .filter(|region| matches!(region.kind, RegionKind::Object(_)))
        .map(|region| region.length.div_ceil(unit) * unit)
        .sum();
    let log: u32 = verdict
        .live
        .iter()
        .filter(|region| matches!(region.kind, RegionKind::Base(_) | RegionKind::Commit(_)))
        .map(|region| region.length.div_ceil(unit) * unit)
        .sum();
    let mut by_type: BTreeMap<&str, (u32, usize)> = BTreeMap::new();
    for object in contents.objects.values() {
        let row = by_type.entry(&object.type_name).or_default();
        *row = (row.0 + 1, row.1 + object.size);
    }
    let by_type: serde_json::Map<String, Value> = by_type
        .into_iter()
        .map(|(name, (count, bytes))| (name.to_string(), json!({"objects": count, "bytes": bytes})))
        .collect();
    let options = layout.options();
    let mut damage = verdict.damage;
    damage.extend(contents.damage.filter(|line| !damage.contains(line)));
    Ok(json!({
        "file_bytes": image.file_bytes,
        "capacity": layout.capacity(),
        "unit": unit,
        "row": layout.row(),
        "dirty_limit": options.dirty_limit,
        "log_bytes": options.log_bytes,
        "slots": objects,
        "type_rows": types,
        "root_rows": roots,
        "sequence": contents.sequence,
        "from_snapshot": contents.snapshot,
        "objects": contents.objects.len(),
        "data_bytes": layout.usable_bytes(),
        "data_bytes_used": used,
        "log_half_bytes": log_half,
        "log_bytes_used": log,
        "reserve_bytes": reserve,
        "types": by_type,
        "damage": damage,
    }))
}
