//! Durable types: schemas, validity, padding, links found without knowing the type.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use std::mem::MaybeUninit;
use vnv_core::schema::{Event, Primitive, Schema, SchemaWriter, kind};
use vnv_core::{Durable, DurableObject, Link, Maybe, Weak};

#[derive(Durable, Clone, Copy, PartialEq, Debug)]
#[repr(C)]
struct Node {
    tag: u8,
    value: u32,
    next: Link<Node>,
    other: Weak<[u8]>,
}

#[derive(Durable, Clone, Copy, PartialEq, Debug)]
#[repr(u8)]
#[durable(name = "shape", version = 3)]
enum Shape {
    Empty = 4,
    Circle(f32),
    Linked { small: u8, to: Link<Node> } = 9,
}

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Pair<A, B>
where
    A: Copy,
    B: Copy,
{
    first: A,
    second: B,
}

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Deep {
    shapes: [Shape; 2],
    maybe: Maybe<Link<Node>>,
}

#[test]
fn the_schema_is_as_the_format_says() {
    let expected = SchemaWriter::new()
        .byte(kind::STRUCT)
        .name("Node")
        .u16(1)
        .u32(16)
        .byte(4)
        .byte(4)
        .name("tag")
        .u32(0)
        .byte(kind::U8)
        .name("value")
        .u32(4)
        .byte(kind::U32)
        .name("next")
        .u32(8)
        .byte(kind::LINK)
        .name("Node")
        .name("other")
        .u32(12)
        .byte(kind::WEAK)
        .name("u8");
    assert_eq!(<Node as Durable>::SCHEMA, expected.as_slice());
    const { assert!(<Node as Durable>::HAS_LINKS && <Node as Durable>::HAS_PADDING) };
    const { assert!(!<u32 as Durable>::HAS_PADDING && !<[u16; 4] as Durable>::HAS_PADDING) };
}

#[test]
fn fingerprints_tell_types_apart() {
    let mut all = vec![
        <Node as DurableObject>::FINGERPRINT,
        <[Node] as DurableObject>::FINGERPRINT,
        <[Node; 2] as DurableObject>::FINGERPRINT,
        <[Node; 3] as DurableObject>::FINGERPRINT,
        <Shape as DurableObject>::FINGERPRINT,
        <Pair<u32, f32> as DurableObject>::FINGERPRINT,
        <Pair<f32, u32> as DurableObject>::FINGERPRINT,
        <u32 as DurableObject>::FINGERPRINT,
        <i32 as DurableObject>::FINGERPRINT,
        <Link<Node> as DurableObject>::FINGERPRINT,
        <Weak<Node> as DurableObject>::FINGERPRINT,
        <Link<Shape> as DurableObject>::FINGERPRINT,
        <Maybe<u32> as DurableObject>::FINGERPRINT,
    ];
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
}

/// The bytes of a value whose memory was never initialised before, padding included.
fn bytes_of<T: Durable + Copy>(value: T) -> Vec<u8> {
    let mut memory = MaybeUninit::<T>::uninit();
    memory.write(value);
    // SAFETY: the memory holds a valid value; afterwards all its bytes are initialised.
    unsafe {
        T::initialise_padding(memory.as_mut_ptr());
        std::slice::from_raw_parts(memory.as_ptr().cast::<u8>(), size_of::<T>()).to_vec()
    }
}

#[test]
fn padding_is_zero_and_initialised() {
    let link = Link::from_raw_parts(3, 7);
    let node = bytes_of(Node { tag: 1, value: 2, next: link, other: Weak::NULL });
    assert_eq!(node, [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 7, 0, 0, 0, 0, 0]);
    assert_eq!(bytes_of(Shape::Empty), [4, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes_of(Shape::Linked { small: 5, to: link }), [9, 5, 3, 0, 7, 0, 0, 0]);
    assert_eq!(bytes_of(Maybe::<u32>::NONE), [0; 8]);
    assert_eq!(bytes_of(Maybe::some(0x0102_0304_u32)), [1, 0, 0, 0, 4, 3, 2, 1]);
    assert_eq!(bytes_of(Pair { first: 1u8, second: 2u16 }), [1, 0, 2, 0]);
}

#[test]
fn invalid_bytes_are_refused() {
    assert!(<bool as Durable>::is_valid(&[1]) && !<bool as Durable>::is_valid(&[2]));
    assert!(!<char as Durable>::is_valid(&0xD800_u32.to_ne_bytes()));
    assert!(<Shape as Durable>::is_valid(&[5, 0, 0, 0, 0, 0, 0, 0]));
    assert!(!<Shape as Durable>::is_valid(&[6, 0, 0, 0, 0, 0, 0, 0]));
    assert!(!<Maybe<bool> as Durable>::is_valid(&[1, 2]) && <Maybe<bool> as Durable>::is_valid(&[0, 2]));
    assert!(!<[bool] as DurableObject>::is_valid(&[0, 1, 3]));
    assert!(!<[u32] as DurableObject>::is_valid(&[0; 6]));
    assert!(!<u32 as DurableObject>::is_valid(&[0; 3]));
}

fn links<T: DurableObject + ?Sized>(bytes: &[u8]) -> Vec<(u32, u16)> {
    let mut found = Vec::new();
    let schema = Schema::parse(T::SCHEMA).unwrap();
    assert_eq!(schema.fingerprint(), T::FINGERPRINT);
    assert_eq!(schema.has_links(), T::HAS_LINKS);
    schema.links(bytes, &mut |site| found.push((site.offset, site.index))).unwrap();
    found
}

#[test]
fn links_are_found_in_active_variants_only() {
    let to = Link::from_raw_parts(8, 1);
    let deep = Deep { shapes: [Shape::Circle(1.0), Shape::Linked { small: 1, to }], maybe: Maybe::some(to) };
    assert_eq!(links::<Deep>(&bytes_of(deep)), [(10, 8), (18, 8)]);
    let deep = Deep { shapes: [Shape::Empty; 2], maybe: Maybe::NONE };
    assert_eq!(links::<Deep>(&bytes_of(deep)), []);
    let nodes = [Node { tag: 0, value: 0, next: to, other: Weak::NULL }; 3];
    assert_eq!(links::<[Node]>(&bytes_of(nodes)), [(8, 8), (24, 8), (40, 8)]);
    assert!(
        Schema::parse(<Deep as Durable>::SCHEMA).unwrap().links(&[0; 20], &mut |_| {}).is_err(),
        "tag 0 is unknown"
    );
}

#[test]
fn a_walk_names_what_it_meets() {
    let bytes = bytes_of(Shape::Linked { small: 5, to: Link::NULL });
    let mut events = Vec::new();
    Schema::parse(<Shape as Durable>::SCHEMA).unwrap().walk(&bytes, &mut |event| events.push(event)).unwrap();
    assert_eq!(events[0], Event::Variant("shape", 3, "Linked"));
    assert_eq!(events[1..3], [Event::Field("small"), Event::Value(Primitive::Unsigned(5))]);
    assert_eq!(events.last(), Some(&Event::End));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 20_000 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_no_trouble(mut schema in proptest::collection::vec(0u8..0x40, 0..80), value in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(schema) = Schema::parse(&schema) {
            let _ = schema.walk(&value, &mut |_| {});
        }
        // A valid schema with some bytes changed.
        let mut valid = <Deep as Durable>::SCHEMA.to_vec();
        for pair in schema.chunks_mut(2) {
            if let [at, byte] = pair {
                let at = usize::from(*at) * 5 % valid.len();
                valid[at] = *byte;
            }
        }
        if let Ok(schema) = Schema::parse(&valid) {
            let _ = schema.walk(&value, &mut |_| {});
        }
    }
}

#[test]
fn bytes_of_a_value_are_those_of_storage() {
    use vnv_core::durable::bytes_of;
    assert_eq!(bytes_of(&0x0403_0201_u32), Some(&[1, 2, 3, 4][..]));
    assert_eq!(bytes_of(&[[1u8, 2], [3, 4]]), Some(&[1, 2, 3, 4][..]));
    assert_eq!(bytes_of(&Link::<Node>::from_raw_parts(1, 2)), Some(&[1, 0, 2, 0][..]));
    // Padding.
    assert_eq!(bytes_of(&Node { tag: 1, value: 2, next: Link::NULL, other: Weak::NULL }), None);
    assert_eq!(bytes_of(&Maybe::some(1u8)), None);
}

/// A link in a slice that a link leads to has the name of its own target.
#[test]
fn links_lead_to_slices_of_links() {
    use vnv_core::Named;
    assert_eq!(<[Link<Node>] as Named>::NAME, "Node");
    assert_ne!(<Link<[Link<Node>]> as DurableObject>::FINGERPRINT, <Link<[Link<Shape>]> as DurableObject>::FINGERPRINT);
}
