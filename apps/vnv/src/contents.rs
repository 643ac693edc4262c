//! What an image holds: roots and objects.

use crate::image::Image;
use crate::value::{name, type_name, value};
use anyhow::{Result, anyhow};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// An object.
#[derive(Clone, PartialEq, Debug)]
pub struct Object {
    /// Its type: `Name`, `Name v2`, `[Name]`.
    pub type_name: String,
    /// Byte offset of its block.
    pub offset: u32,
    /// Its bytes.
    pub size: usize,
    /// Its fields by name.
    pub value: Value,
}

/// The state that the program would find.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Sequence number of the commit or snapshot.
    pub sequence: u64,
    /// Whether it comes from a snapshot.
    pub snapshot: bool,
    /// Names of the roots, and what they lead to.
    pub roots: BTreeMap<String, String>,
    /// Objects by slot and generation.
    pub objects: BTreeMap<String, Object>,
    /// Why not all objects are there, if one is damaged.
    pub damage: Option<String>,
}

impl Contents {
    /// Recovers an image in memory and reads all of it.
    ///
    /// # Errors
    ///
    /// What `open` finds. A damaged object is left out, and told in `damage`.
    pub fn of(image: &Image) -> Result<Self> {
        let mut tables = image.tables();
        let heap = image.open(&mut tables)?;
        let (mut roots, mut objects) = (BTreeMap::new(), BTreeMap::new());
        heap.each_root(&mut |root, id| {
            roots.insert(root.to_string(), name(id));
        })
        .map_err(|error| anyhow!("{error}"))?;
        let seen = heap.each_object(&mut |seen| {
            // It walks each value itself, and tells of those that do not fit.
            if let Ok(value) = value(&seen.schema, seen.bytes) {
                let type_name = type_name(&seen.schema, seen.bytes);
                let object = Object { type_name, offset: seen.offset, size: seen.bytes.len(), value };
                objects.insert(name(seen.id), object);
            }
        });
        let damage = seen.err().map(|error| error.to_string());
        let report = heap.report();
        Ok(Self { sequence: report.sequence, snapshot: report.snapshot, roots, objects, damage })
    }

    /// The object that a root leads to.
    #[must_use]
    pub fn root(&self, root: &str) -> Option<&Object> {
        self.objects.get(self.roots.get(root)?)
    }

    /// As JSON: `sequence`, `snapshot`, `roots` (name to object), `objects` (by slot and generation: `type`, `offset`, `size`, `value`).
    #[must_use]
    pub fn json(&self) -> Value {
        let objects: Map<String, Value> = self
            .objects
            .iter()
            .map(|(name, object)| {
                let Object { type_name, offset, size, value } = object;
                (name.clone(), json!({"type": type_name, "offset": offset, "size": size, "value": value}))
            })
            .collect();
        let Self { sequence, snapshot, roots, damage, .. } = self;
        json!({"sequence": sequence, "snapshot": snapshot, "damage": damage, "roots": roots, "objects": objects})
    }

    /// As text: a tree below each root, then what no root leads to.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let from = if self.snapshot { "a snapshot" } else { "a commit" };
        let _ = writeln!(out, "state {} (from {from}), {} objects", self.sequence, self.objects.len());
        let mut shown = BTreeSet::new();
        for (root, id) in &self.roots {
            let _ = write!(out, "root {root}: ");
            self.object(&mut out, id, 0, &mut shown);
        }
        for id in self.objects.keys() {
            if !shown.contains(id.as_str()) {
                let _ = write!(out, "below no root: ");
                self.object(&mut out, id, 0, &mut shown);
            }
        }
        if let Some(damage) = &self.damage {
            let _ = writeln!(out, "damaged: {damage}; `vnv verify` lists all that is");
        }
        out
    }

    /// An object and what it links to. A list is as deep as it is long: what is deep is not indented further.
    fn object<'s>(&'s self, out: &mut String, id: &'s str, depth: usize, shown: &mut BTreeSet<&'s str>) {
        let mut next = vec![(id, depth, String::new())];
        while let Some((id, depth, label)) = next.pop() {
            let indent = "  ".repeat(depth.min(12));
            if !label.is_empty() {
                let _ = write!(out, "{indent}{label}: ");
            }
            let Some(object) = self.objects.get(id) else {
                let _ = writeln!(out, "{id}, which was freed or is damaged");
                continue;
            };
            if !shown.insert(id) {
                let _ = writeln!(out, "{id} {}, shown above", object.type_name);
                continue;
            }
            let Object { type_name, offset, size, .. } = object;
            let _ = writeln!(out, "{id} {type_name}, {size} bytes at {offset:#06x}");
            let mut links = Vec::new();
            leaves(&object.value, &mut String::new(), &mut |path, value| {
                if let Some(Value::String(target)) = value.get("link") {
                    links.push((target.as_str(), depth + 1, path.to_string()));
                } else {
                    let equals = if path.is_empty() { "" } else { " = " };
                    let _ = writeln!(out, "{indent}  {path}{equals}{}", short(value));
                }
            });
            next.extend(links.into_iter().rev());
        }
    }
}

/// A value on a line; elements that are all the same as `[value; count]`.
fn short(value: &Value) -> String {
    match value {
        Value::Array(list) if list.len() > 4 && list.windows(2).all(|pair| pair.first() == pair.last()) => {
            format!("[{}; {}]", list.first().unwrap_or(&Value::Null), list.len())
        }
        _ => value.to_string(),
    }
}

/// Visits what has no parts; arrays of numbers count as one value.
pub fn leaves<'v>(value: &'v Value, path: &mut String, visit: &mut dyn FnMut(&str, &'v Value)) {
    let length = path.len();
    match value {
        Value::Object(map) if !map.contains_key("link") && !map.contains_key("weak") => {
            for (name, value) in map {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                leaves(value, path, visit);
                path.truncate(length);
            }
        }
        Value::Array(list) if list.iter().any(|value| value.is_object() || value.is_array()) => {
            for (at, value) in list.iter().enumerate() {
                let _ = write!(path, "[{at}]");
                leaves(value, path, visit);
                path.truncate(length);
            }
        }
        _ => visit(path, value),
    }
}
