//! Values by the names of their types and fields.

use serde_json::{Map, Number, Value};
use vnv_persist::ObjectId;
use vnv_persist::schema::{Event, LinkSite, Primitive, Schema, SchemaError, kind};

/// How an object is called: slot and generation.
pub fn name(id: ObjectId) -> String {
    format!("{}.{}", id.index, id.generation)
}

/// The type as a Rust reader would write it.
pub fn type_name(schema: &Schema<'_>, bytes: &[u8]) -> String {
    let version = std::cell::Cell::new(0);
    let _ = schema.walk(bytes, &mut |event| {
        if let Event::Struct(_, number) | Event::Variant(_, number, _) = event
            && version.get() == 0
        {
            version.set(number);
        }
    });
    let element = match (schema.name(), schema.as_bytes()) {
        ("", [kind::SLICE, rest @ ..]) => primitive_name(rest.get(4).copied()).to_string(),
        ("", [kind::ARRAY, rest @ ..]) => primitive_name(rest.get(8).copied()).to_string(),
        ("", [first, ..]) => primitive_name(Some(*first)).to_string(),
        (name, _) if version.get() > 1 => format!("{name} v{}", version.get()),
        (name, _) => name.to_string(),
    };
    match schema.as_bytes().first() {
        Some(&(kind::SLICE | kind::ARRAY)) => format!("[{element}]"),
        _ => element,
    }
}

fn primitive_name(first: Option<u8>) -> &'static str {
    match first.unwrap_or_default() {
        kind::U8 => "u8",
        kind::U16 => "u16",
        kind::U32 => "u32",
        kind::U64 => "u64",
        kind::I8 => "i8",
        kind::I16 => "i16",
        kind::I32 => "i32",
        kind::I64 => "i64",
        kind::F32 => "f32",
        kind::F64 => "f64",
        kind::BOOL => "bool",
        kind::CHAR => "char",
        kind::LINK => "Link",
        kind::WEAK => "Weak",
        _ => "array",
    }
}

/// A container that is not closed yet.
enum Open {
    Object(Map<String, Value>),
    Variant(String, Map<String, Value>),
    Array(Vec<Value>),
}

/// An object's bytes as a JSON value. Links are `{"link": "slot.generation"}`, null links `null`; enums with fields are
/// `{"Variant": {...}}`, without `"Variant"`.
pub fn value(schema: &Schema<'_>, bytes: &[u8]) -> Result<Value, SchemaError> {
    let mut open: Vec<(Open, Option<String>)> = Vec::new();
    let mut field: Option<String> = None;
    let mut result = Value::Null;
    let mut put = |open: &mut Vec<(Open, Option<String>)>, field: Option<String>, value: Value| match open.last_mut() {
        Some((Open::Object(map) | Open::Variant(_, map), _)) => {
            map.insert(field.unwrap_or_default(), value);
        }
        Some((Open::Array(list), _)) => list.push(value),
        None => result = value,
    };
    schema.walk(bytes, &mut |event| match event {
        Event::Struct(..) => open.push((Open::Object(Map::new()), field.take())),
        Event::Variant(_, _, variant) => open.push((Open::Variant(variant.to_string(), Map::new()), field.take())),
        Event::Array(_) => open.push((Open::Array(Vec::new()), field.take())),
        Event::Field(name) => field = Some(name.to_string()),
        Event::Value(primitive) => put(&mut open, field.take(), plain(primitive)),
        Event::End => {
            if let Some((closed, field)) = open.pop() {
                let value = match closed {
                    Open::Object(map) => Value::Object(map),
                    Open::Array(list) => Value::Array(list),
                    Open::Variant(name, map) if map.is_empty() => Value::String(name),
                    Open::Variant(name, map) => Value::Object(Map::from_iter([(name, Value::Object(map))])),
                };
                put(&mut open, field, value);
            }
        }
        _ => {}
    })?;
    Ok(result)
}

fn plain(primitive: Primitive<'_>) -> Value {
    match primitive {
        Primitive::Unsigned(number) => number.into(),
        Primitive::Signed(number) => number.into(),
        Primitive::Float(number) => {
            Number::from_f64(number).map_or_else(|| Value::String(number.to_string()), Value::Number)
        }
        Primitive::Bool(flag) => flag.into(),
        Primitive::Char(letter) => letter.to_string().into(),
        Primitive::Link(site) => handle("link", &site),
        Primitive::Weak(site) => handle("weak", &site),
        _ => Value::Null,
    }
}

fn handle(kind: &str, site: &LinkSite<'_>) -> Value {
    if site.index == 0 {
        return Value::Null;
    }
    let id = ObjectId { index: site.index, generation: site.generation };
    Value::Object(Map::from_iter([(kind.to_string(), Value::String(name(id)))]))
}
