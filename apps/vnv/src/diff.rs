//! What differs between the states of two images.

use crate::contents::{Contents, leaves};
use std::collections::{BTreeMap, BTreeSet};

fn flat(value: &serde_json::Value) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    leaves(value, &mut String::new(), &mut |path, value| {
        all.insert(path.to_string(), value.to_string());
    });
    all
}

/// The differences, a line each; none if program and heap could not tell the states apart. Sequence numbers and places do not count.
#[must_use]
pub fn diff(old: &Contents, new: &Contents) -> Vec<String> {
    let mut lines = Vec::new();
    let roots: BTreeSet<&String> = old.roots.keys().chain(new.roots.keys()).collect();
    for root in roots {
        match (old.roots.get(root), new.roots.get(root)) {
            (Some(was), None) => lines.push(format!("- root {root}: {was}")),
            (None, Some(is)) => lines.push(format!("+ root {root}: {is}")),
            (Some(was), Some(is)) if was != is => lines.push(format!("~ root {root}: {was} -> {is}")),
            _ => {}
        }
    }
    let ids: BTreeSet<&String> = old.objects.keys().chain(new.objects.keys()).collect();
    for id in ids {
        match (old.objects.get(id), new.objects.get(id)) {
            (Some(was), None) => lines.push(format!("- object {id} {}: {}", was.type_name, was.value)),
            (None, Some(is)) => lines.push(format!("+ object {id} {}: {}", is.type_name, is.value)),
            (Some(was), Some(is)) => {
                if was.type_name != is.type_name {
                    lines.push(format!("~ object {id}: {} -> {}", was.type_name, is.type_name));
                }
                let (was, is_now) = (flat(&was.value), flat(&is.value));
                let none = "nothing".to_string();
                for path in was.keys().chain(is_now.keys()).collect::<BTreeSet<_>>() {
                    let (a, b) = (was.get(path).unwrap_or(&none), is_now.get(path).unwrap_or(&none));
                    if a != b {
                        lines.push(format!("~ object {id} {}: {path}: {a} -> {b}", is.type_name));
                    }
                }
            }
            (None, None) => {}
        }
    }
    lines
}
