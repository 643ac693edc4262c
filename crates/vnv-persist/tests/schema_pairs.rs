//! Every object names its layout (G8): for some hundred durable types, each pair tried, an object that was stored as
//! one is never read, changed or freed as another, directly below a root or below an unchanged root; and an image whose
//! schemas were tampered with opens with a typed error, or names another type.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use vnv_alloc::SortedArray;
use vnv_core::block::{BlockHeader, HEADER, Identity, block_crc, seed};
use vnv_core::engine::{Engine, Geometry, TypeKey};
use vnv_core::entry::{Entry, SCHEMA_TYPE};
use vnv_persist::schema::{self, Schema, SchemaWriter};
use vnv_persist::{
    Advice, Clock, Damage, Durable, DurableObject, Error, Heap, Link, Maybe, Memory, Named, ObjectId, OpenError,
    Options, Report, Verified, Weak, Workspace, verify,
};
use vnv_storage::{RamError, RamStorage};

const CAPACITY: usize = 2048;
const OPTIONS: Options = Options::new(256).log_bytes(256);
type Ram = Memory<14, 12, 4, 2, 128>;
type Device = RamStorage<CAPACITY>;
type TestHeap<'m> = Heap<'m, Device, Ram>;
type Outcome<T = bool> = Result<T, Error<RamError>>;

/// A type that the tests keep in a heap: a value to store, and to recognise.
trait Sample: Durable + Copy + PartialEq {
    fn sample(seed: u16) -> Self;
}

macro_rules! number {
    ($($type:ident)+) => {$(
        impl Sample for $type {
            fn sample(seed: u16) -> Self {
                seed as $type
            }
        }
    )+};
}
number!(u8 u16 u32 u64 i8 i16 i32 i64 f32 f64);

impl Sample for bool {
    fn sample(seed: u16) -> Self {
        seed != 0
    }
}

impl Sample for char {
    fn sample(seed: u16) -> Self {
        char::from(seed as u8)
    }
}

// Links to nothing: slot 1 holds a schema, and its generation is another.
impl<T: ?Sized + Named + 'static> Sample for Link<T> {
    fn sample(seed: u16) -> Self {
        Self::from_raw_parts(1, 0x100 + seed)
    }
}

impl<T: ?Sized + Named + 'static> Sample for Weak<T> {
    fn sample(seed: u16) -> Self {
        Self::from_raw_parts(1, 0x100 + seed)
    }
}

impl<T: Sample> Sample for Maybe<T> {
    fn sample(seed: u16) -> Self {
        Self::some(T::sample(seed))
    }
}

impl<T: Sample, const N: usize> Sample for [T; N] {
    fn sample(seed: u16) -> Self {
        [T::sample(seed); N]
    }
}

/// What can be an object here: a value, or a slice of three.
trait Object: DurableObject {
    fn store(heap: &TestHeap<'_>) -> Link<Self>;
    fn is_sample(&self) -> bool;
    fn change_elements(heap: &TestHeap<'_>, link: Link<Self>) -> [Outcome<()>; 4];
}

impl<T: Sample> Object for T {
    fn store(heap: &TestHeap<'_>) -> Link<T> {
        heap.allocate(T::sample(1)).unwrap().into_link()
    }
    fn is_sample(&self) -> bool {
        *self == T::sample(1)
    }
    fn change_elements(_: &TestHeap<'_>, _: Link<T>) -> [Outcome<()>; 4] {
        [Err(Error::TypeMismatch); 4]
    }
}

impl<T: Sample> Object for [T] {
    fn store(heap: &TestHeap<'_>) -> Link<[T]> {
        heap.allocate_slice_with(3, |at| T::sample(at as u16)).unwrap().into_link()
    }
    fn is_sample(&self) -> bool {
        self.len() == 3 && self.iter().enumerate().all(|(at, element)| *element == T::sample(at as u16))
    }
    fn change_elements(heap: &TestHeap<'_>, link: Link<[T]>) -> [Outcome<()>; 4] {
        let outside = [heap.get_element_mut(link, 0).map(|_| ()), heap.get_range_mut(link, 0..1).map(|_| ())];
        let transaction = heap.transaction().unwrap();
        let inside = [
            transaction.get_element_mut(link, 0).map(|_| ()),
            // Out of bounds of everything: the type comes first.
            transaction.get_range_mut(link, 7..1000).map(|_| ()),
        ];
        [outside[0], outside[1], inside[0], inside[1]]
    }
}

/// A root type that never changes; only what its links lead to does.
#[derive(Durable)]
#[repr(C)]
#[durable(name = "Top")]
struct Top<T: ?Sized + Named + 'static> {
    count: u8,
    first: Link<T>,
    pair: [Link<T>; 2],
    last: Maybe<Link<T>>,
    aside: Weak<T>,
}

/// What most types here are called.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
#[durable(name = "Record")]
struct Record {
    any: u8,
}

/// What the tests do with a type, without knowing it.
#[derive(Clone, Copy)]
struct Kind {
    text: &'static str,
    schema: &'static [u8],
    fingerprint: u64,
    size: usize,
    store: fn(&TestHeap<'_>) -> ObjectId,
    set_root: fn(&TestHeap<'_>, ObjectId),
    /// Reads the object as this type; whether it is the one stored.
    read: fn(&TestHeap<'_>, ObjectId) -> [Outcome; 2],
    /// Does everything else that takes a typed handle; only of some types, for the sake of the compiler.
    rest: Option<Rest>,
    /// Reads the links below the root of type [`Top`], if it can have links to this type without being changed.
    links_below: Option<LinksBelow>,
}

type Rest = fn(&TestHeap<'_>, ObjectId) -> [Outcome<()>; 17];
type LinksBelow = fn(&TestHeap<'_>) -> Outcome<[ObjectId; 5]>;

fn id<T: ?Sized>(link: Link<T>) -> ObjectId {
    ObjectId { index: link.index(), generation: link.generation() }
}

fn read<T: Object + ?Sized>(heap: &TestHeap<'_>, id: ObjectId) -> [Outcome; 2] {
    let link = Link::<T>::from_id(id);
    let root = heap.root::<T>("object");
    let found = heap.get(link).map(|object| object.is_sample());
    // Without a root of this name the object is below another one.
    [root.map_or_else(Err, |root| root.map_or(found, |root| Ok(root == link))), found]
}

fn rest<T: Object + ?Sized>(heap: &TestHeap<'_>, id: ObjectId) -> [Outcome<()>; 17] {
    let link = Link::<T>::from_id(id);
    let [a, b, c, d] = T::change_elements(heap, link);
    let [e, f, g, h, i, j, k, l] = [
        heap.get_mut(link).map(|_| ()),
        heap.free(link),
        heap.get(link.downgrade()).map(|_| ()),
        heap.get_mut(link.downgrade()).map(|_| ()),
        heap.free(link.downgrade()),
        heap.evict(link),
        heap.advise(link, Advice::WontNeed),
        heap.set_root("other", Some(link)),
    ];
    let transaction = heap.transaction().unwrap();
    let [m, n, o, p] = [
        transaction.get(link).map(|_| ()),
        transaction.get_mut(link).map(|_| ()),
        transaction.free(link),
        transaction.set_root("object", Some(link)),
    ];
    let root = match transaction.root::<T>("object") {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Error::TypeMismatch),
        Err(error) => Err(error),
    };
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, root]
}

fn links_below<T: Named + 'static>(heap: &TestHeap<'_>) -> Outcome<[ObjectId; 5]> {
    let top = heap.get(heap.root::<Top<T>>("top")?.unwrap())?;
    assert_eq!(top.count, 3);
    let last = top.last.get().copied().unwrap_or(Link::NULL);
    let [a, b, c, d] = [top.first, top.pair[0], top.pair[1], last].map(id);
    Ok([a, b, c, d, ObjectId { index: top.aside.index(), generation: top.aside.generation() }])
}

impl Kind {
    fn without_name<T: Object + ?Sized>(text: &'static str, size: usize) -> Self {
        Self {
            text,
            schema: T::SCHEMA,
            fingerprint: T::FINGERPRINT,
            size,
            store: |heap| id(T::store(heap)),
            set_root: |heap, id| heap.set_root("object", Some(Link::<T>::from_id(id))).unwrap(),
            read: read::<T>,
            rest: None,
            links_below: None,
        }
    }

    fn of<T: Object + Named + ?Sized>(text: &'static str, size: usize) -> Self {
        // A root type is unchanged if its links lead to a type of the same name.
        let unchanged = <Top<T> as Durable>::SCHEMA == <Top<Record> as Durable>::SCHEMA;
        assert_eq!(unchanged, T::NAME == Record::NAME);
        assert_eq!(unchanged, <Top<T> as DurableObject>::FINGERPRINT == <Top<Record> as DurableObject>::FINGERPRINT);
        // Reads as the one type are reads as the other, then; one of them is less to compile.
        let links_below: Option<LinksBelow> = if unchanged { Some(links_below::<Record>) } else { None };
        Self { links_below, ..Self::without_name::<T>(text, size) }
    }

    fn with_top<T: Object + Named>(self) -> Self {
        Self { links_below: self.links_below.and(Some(links_below::<T>)), ..self }
    }

    fn with_rest<T: Object + ?Sized>(self) -> Self {
        Self { rest: Some(rest::<T>), ..self }
    }
}

#[derive(Durable, Clone, Copy, PartialEq)]
#[repr(C)]
struct A {
    a: u32,
}

#[derive(Durable, Clone, Copy, PartialEq)]
#[repr(C)]
struct B {
    b: u32,
}

impl Sample for A {
    fn sample(seed: u16) -> Self {
        Self { a: u32::from(seed) + 1 }
    }
}

/// A struct, as `name { field: type, .. }`.
macro_rules! record {
    ($name:literal $version:literal ($($repr:tt)*) { $($field:ident: $type:ty),* $(,)? }) => {{
        #[derive(Durable, Clone, Copy, PartialEq)]
        #[repr($($repr)*)]
        #[durable(name = $name, version = $version)]
        struct Fields {
            $($field: $type),*
        }
        impl Sample for Fields {
            fn sample(seed: u16) -> Self {
                let mut seed = seed;
                $(
                    seed += 1;
                    let $field = <$type>::sample(seed);
                )*
                Self { $($field),* }
            }
        }
        let text = concat!($name, " ", $version, " ", stringify!($($repr)* { $($field: $type),* }));
        Kind::of::<Fields>(text, size_of::<Fields>())
    }};
    ($name:literal $version:literal $fields:tt) => { record!($name $version (C) $fields) };
    ($name:literal $fields:tt) => { record!($name 1 (C) $fields) };
}

/// A struct without names for its fields.
macro_rules! tuple {
    ($name:literal ($($repr:tt)*) ($($type:ty),*)) => {{
        #[derive(Durable, Clone, Copy, PartialEq)]
        #[repr($($repr)*)]
        #[durable(name = $name)]
        struct Fields($($type),*);
        impl Sample for Fields {
            fn sample(seed: u16) -> Self {
                let mut seed = seed;
                Self($({ seed += 1; <$type>::sample(seed) }),*)
            }
        }
        Kind::of::<Fields>(concat!($name, " ", stringify!($($repr)* ($($type),*))), size_of::<Fields>())
    }};
}

/// An enum; the sample is the variant behind `=>`.
macro_rules! choice {
    ($name:literal $version:literal ($repr:ident) { $($variants:tt)* } => $sample:expr) => {{
        #[allow(dead_code)]
        #[derive(Durable, Clone, Copy, PartialEq)]
        #[repr($repr)]
        #[durable(name = $name, version = $version)]
        enum Choice {
            $($variants)*
        }
        impl Sample for Choice {
            fn sample(_: u16) -> Self {
                $sample
            }
        }
        let text = concat!($name, " ", $version, " ", stringify!($repr { $($variants)* }));
        Kind::of::<Choice>(text, size_of::<Choice>()).with_top::<Choice>()
    }};
}

/// Structs of any three types, in every order.
macro_rules! cube {
    ($kinds:ident: $($all:ty),*) => { $(cube!(@second $kinds: $all; u32, i32, f32, Link<A>, Link<B>);)* };
    (@second $kinds:ident: $a:ty; $($b:ty),*) => { $(cube!(@third $kinds: $a; $b; u32, i32, f32, Link<A>, Link<B>);)* };
    (@third $kinds:ident: $a:ty; $b:ty; $($c:ty),*) => { $($kinds.push(record!("Record" { a: $a, b: $b, c: $c }));)* };
}

/// Structs of any three different types, in this order.
macro_rules! choose {
    (@second $kinds:ident: $a:ty;) => {};
    (@second $kinds:ident: $a:ty; $b:ty $(, $rest:ty)*) => {
        $($kinds.push(record!("Record" { a: $a, b: $b, c: $rest }));)*
        choose!(@second $kinds: $a; $($rest),*);
    };
    ($kinds:ident:) => {};
    ($kinds:ident: $a:ty $(, $rest:ty)*) => {
        choose!(@second $kinds: $a; $($rest),*);
        choose!($kinds: $($rest),*);
    };
}

macro_rules! plain {
    ($kinds:ident: $of:ident: $($type:ty),* $(,)?) => {
        $($kinds.push(Kind::$of::<$type>(stringify!($type), size_of::<$type>()).with_rest::<$type>());)*
    };
}

macro_rules! slices {
    ($kinds:ident: $of:ident: $($type:ty),* $(,)?) => {
        $($kinds.push(Kind::$of::<[$type]>(stringify!([$type]), 3 * size_of::<$type>()).with_rest::<[$type]>());)*
    };
}

/// A struct to be a field; the macro's argument tells what differs.
macro_rules! nested {
    ($name:literal $version:literal { $field:ident: $type:ty }) => {{
        #[derive(Durable, Clone, Copy, PartialEq)]
        #[repr(C)]
        #[durable(name = $name, version = $version)]
        struct Inner {
            $field: $type,
        }
        impl Sample for Inner {
            fn sample(seed: u16) -> Self {
                Self { $field: <$type>::sample(seed + 1) }
            }
        }
        record!("Record" { a: Inner, b: u32 })
    }};
}

/// Structs of four-byte fields only: all have the same size, alignment, offsets and names.
fn same_sizes(kinds: &mut Vec<Kind>) {
    cube!(kinds: u32, i32, f32, Link<A>, Link<B>);
}

/// Structs of fields of many sizes.
fn mixed_sizes(kinds: &mut Vec<Kind>) {
    choose!(kinds: u8, u16, f64, bool, [u8; 3], Link<A>, Weak<A>, Maybe<u16>);
}

/// Types of which each differs from another in one respect only.
fn one_difference(kinds: &mut Vec<Kind>) {
    kinds.extend([
        // Name, a field's name, order, version.
        record!("Record" { a: u32, b: i32 }),
        record!("Recore" { a: u32, b: i32 }),
        record!("Record2" { a: u32, b: i32 }),
        record!("record" { a: u32, b: i32 }),
        record!("Record" { a: u32, c: i32 }),
        record!("Record" { b: u32, a: i32 }),
        record!("Record" { a: i32, b: u32 }),
        record!("Record" { b: i32, a: u32 }),
        record!("Record" 0 { a: u32, b: i32 }),
        record!("Record" 2 { a: u32, b: i32 }),
        record!("Record" 256 { a: u32, b: i32 }),
        record!("Record" 258 { a: u32, b: i32 }),
        // What is between and behind the fields.
        record!("Record" { a: u8, b: u32 }),
        record!("Record" { a: u8, pad: [u8; 3], b: u32 }),
        record!("Record" { a: [u8; 4], b: u32 }),
        record!("Record" { a: u8, nothing: [u8; 0], b: u32 }),
        record!("Record" { a: u32, b: u8 }),
        record!("Record" { a: u32, b: u8, pad: [u8; 3] }),
        record!("Record" { a: u32, b: u32, c: u32, d: u32 }),
        record!("Record" 1 (C, align(8)) { a: u32, b: u32, c: u32, d: u32 }),
        record!("Record" { a: u64, b: u64 }),
        // Arrays.
        record!("Record" { a: [u8; 8] }),
        record!("Record" { a: [u8; 7], b: u8 }),
        record!("Record" { a: [i8; 8] }),
        record!("Record" { a: [[u8; 2]; 4] }),
        record!("Record" { a: [[u8; 4]; 2] }),
        record!("Record" { a: [[u8; 8]; 1] }),
        record!("Record" { a: [[[u8; 2]; 2]; 2] }),
        record!("Record" { a: [bool; 8] }),
        record!("Record" { a: [u16; 4] }),
        record!("Record" { a: [u16; 5] }),
        record!("Record" { a: [Link<A>; 2] }),
        record!("Record" { a: [Weak<A>; 2] }),
        // Handles: the kind, and the name of the target.
        record!("Record" { a: Link<A>, b: u32 }),
        record!("Record" { a: Link<B>, b: u32 }),
        record!("Record" { a: Weak<A>, b: u32 }),
        record!("Record" { a: Link<u32>, b: u32 }),
        record!("Record" { a: Link<u16>, b: u32 }),
        record!("Record" { a: Maybe<Link<A>> }),
        record!("Record" { a: Maybe<Weak<A>> }),
        record!("Record" { a: Maybe<u32> }),
        record!("Record" { a: Maybe<u16> }),
        record!("Record" { a: Maybe<Maybe<u16>> }),
        // A struct in a struct.
        nested!("Inner" 1 { x: u32 }),
        nested!("Inner" 1 { y: u32 }),
        nested!("Inner" 1 { x: i32 }),
        nested!("Inner" 2 { x: u32 }),
        nested!("Outer" 1 { x: u32 }),
        nested!("Inner" 1 { x: [u32; 1] }),
        record!("Record" { a: A, b: u32 }),
        // Fields without names, one field, nothing around the field.
        tuple!("Record"(C)(u32, i32)),
        tuple!("Record"(C)(u32)),
        tuple!("Record"(transparent)([u32; 1])),
        record!("Record" { a: u32 }),
        record!("0" { a: u32 }),
        // Enums: tags, order, names, payloads, the tag's type, the version, and one more variant.
        choice!("Record" 1 (u8) { Off = 0, On = 1 } => Choice::On),
        choice!("Record" 1 (i8) { Off = -1, On = 1 } => Choice::On),
        choice!("Record" 1 (u8) { Off = 255, On = 1 } => Choice::On),
        choice!("Record" 1 (u8) { Off = 1, On = 0 } => Choice::On),
        choice!("Record" 1 (u8) { Off = 0, On = 2 } => Choice::On),
        choice!("Record" 1 (u8) { On = 1, Off = 0 } => Choice::On),
        choice!("Record" 1 (u8) { No = 0, On = 1 } => Choice::On),
        choice!("Record" 1 (u8) { Off = 0, On = 1, Maybe = 2 } => Choice::On),
        choice!("Record" 2 (u8) { Off = 0, On = 1 } => Choice::On),
        choice!("Recore" 1 (u8) { Off = 0, On = 1 } => Choice::On),
        choice!("Record" 1 (u16) { Off = 0, On = 1 } => Choice::On),
        choice!("Record" 1 (u8) { Off = 0, On(u16) = 1 } => Choice::On(1)),
        choice!("Record" 1 (u16) { Off = 0, On(u16) = 1 } => Choice::On(1)),
        choice!("Record" 1 (u16) { Off(u16) = 0, On = 1 } => Choice::On),
        choice!("Record" 1 (u8) { Off = 0, On(i16) = 1 } => Choice::On(1)),
        choice!("Record" 1 (u8) { Off = 0, On { x: u16 } = 1 } => Choice::On { x: 1 }),
        choice!("Record" 1 (u8) { Off = 0, On { y: u16 } = 1 } => Choice::On { y: 1 }),
        choice!("Record" 1 (u8) { Off = 0, On(u8, u8) = 1 } => Choice::On(1, 1)),
        choice!("Record" 1 (u8) { Off(u16) = 0, On(u16) = 1 } => Choice::On(1)),
        choice!("Record" 1 (u8) { Off = 0, On(Link<A>) = 1 } => Choice::On(Link::NULL)),
        choice!("Record" 1 (u8) { Off = 0, On(Link<B>) = 1 } => Choice::On(Link::NULL)),
        choice!("Record" 1 (u8) { Off = 0, On(Weak<A>) = 1 } => Choice::On(Weak::NULL)),
    ]);
    plain!(
        kinds: of: u8, u16, u32, u64, i8, i16, i32, i64, f32, f64, bool, char, A, Maybe<u32>, Maybe<u8>, [u8; 1],
        [u8; 3], [u8; 4], [u32; 1], [[u8; 3]; 1], [A; 1], [A; 3], [Maybe<u8>; 2]
    );
    plain!(kinds: without_name: Link<A>, Link<B>, Weak<A>, [Link<A>; 3]);
    slices!(kinds: of: u8, i8, bool, u32, f32, A, [u8; 3], [A; 1], Maybe<u8>, Maybe<u32>);
    slices!(kinds: without_name: Link<A>, Link<B>, Weak<A>);
}

/// Other Rust types with the schemas of some of the types above: those may be read as each other.
fn same_schemas(kinds: &mut Vec<Kind>) {
    kinds.extend([
        record!("Record" { a: u32, b: i32, c: f32 }),
        record!("Record" { a: u32, b: i32 }),
        nested!("A" 1 { a: u32 }),
        choice!("Maybe" 1 (u8) { None = 0, Some(u32) = 1 } => Choice::Some(1)),
        record!("A" { a: u32 }),
    ]);
}

fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    same_sizes(&mut kinds);
    assert_eq!(kinds.len(), 125);
    mixed_sizes(&mut kinds);
    one_difference(&mut kinds);
    same_schemas(&mut kinds);
    if cfg!(miri) {
        kinds = kinds.into_iter().step_by(98).collect();
    }
    kinds
}

fn write_image(fill: impl FnOnce(&TestHeap<'_>)) -> [u8; CAPACITY] {
    let mut memory = Ram::new();
    let heap: TestHeap<'_> = Heap::format(Device::new(), &mut memory, OPTIONS).unwrap();
    fill(&heap);
    heap.commit().unwrap();
    heap.into_device().into_bytes()
}

/// The object below a root, and its id below another root.
fn image_of_root(kind: &Kind) -> [u8; CAPACITY] {
    write_image(|heap| {
        let id = (kind.store)(heap);
        (kind.set_root)(heap, id);
        let raw = heap.allocate([id.index, id.generation]).unwrap().into_link();
        heap.set_root("raw", Some(raw)).unwrap();
    })
}

/// Three objects below a root of type [`Top`].
fn image_below_root(kind: &Kind) -> [u8; CAPACITY] {
    write_image(|heap| {
        let [first, second, third]: [Link<Record>; 3] = std::array::from_fn(|_| Link::from_id((kind.store)(heap)));
        let aside = first.downgrade();
        let top = Top { count: 3, first, pair: [first, second], last: Maybe::some(third), aside };
        let top = heap.allocate(top).unwrap().into_link();
        heap.set_root("top", Some(top)).unwrap();
    })
}

fn raw_id(heap: &TestHeap<'_>) -> ObjectId {
    let [index, generation] = *heap.get(heap.root::<[u16; 2]>("raw").unwrap().unwrap()).unwrap();
    ObjectId { index, generation }
}

/// Reads and changes the object of type `a` as `b`; it stays what it is.
fn exchange(heap: &TestHeap<'_>, id: ObjectId, a: &Kind, b: &Kind) {
    let expected = if a.schema == b.schema { Ok(true) } else { Err(Error::TypeMismatch) };
    let as_b = |when: &str| {
        let found = (b.read)(heap, id);
        assert_eq!(found, [expected; 2], "{when}\nstored {}\nread   {}", a.text, b.text);
    };
    let as_a = |when: &str| {
        let found = (a.read)(heap, id);
        assert_eq!(found, [Ok(true); 2], "{when}\nstored {}\ntried  {}", a.text, b.text);
    };
    as_b("before it was loaded");
    as_a("after the first try");
    as_b("after it was loaded");
    if let Some(rest) = b.rest.filter(|_| a.schema != b.schema) {
        let found = rest(heap, id);
        assert_eq!(found, [Err(Error::TypeMismatch); 17], "stored {}\nused as {}", a.text, b.text);
    }
    as_a("after all");
}

fn reopen<T>(image: &[u8; CAPACITY], visit: impl FnOnce(&TestHeap<'_>) -> T) -> (T, [u8; CAPACITY]) {
    let mut memory = Ram::new();
    let heap: TestHeap<'_> = Heap::open(Device::from_bytes(*image), &mut memory, OPTIONS).unwrap();
    let result = visit(&heap);
    (result, heap.into_device().into_bytes())
}

#[test]
fn the_layouts_are_many_and_told_apart_by_fingerprint() {
    let kinds = kinds();
    let schemas: HashSet<_> = kinds.iter().map(|kind| kind.schema).collect();
    let fingerprints: HashMap<_, _> = kinds.iter().map(|kind| (kind.fingerprint, kind.schema)).collect();
    println!("{} types, {} schemas", kinds.len(), schemas.len());
    assert_eq!(fingerprints.len(), schemas.len());
    for kind in &kinds {
        let schema = Schema::parse(kind.schema).unwrap_or_else(|error| panic!("{}: {error}", kind.text));
        assert_eq!(schema.fingerprint(), kind.fingerprint);
        assert_eq!(fingerprints[&kind.fingerprint], kind.schema, "{}", kind.text);
        assert!(schema.is_slice() || schema.size() as usize == kind.size, "{}", kind.text);
    }
    if !cfg!(miri) {
        // Whatever a type differs in is in its schema; the types with equal schemas are those that are meant to be.
        assert_eq!((kinds.len(), schemas.len()), (303, 298));
    }
}

#[test]
fn every_type_below_a_root_is_refused_as_every_other() {
    let kinds = kinds();
    let (mut pairs, mut equal) = (0, 0);
    for a in &kinds {
        let image = image_of_root(a);
        for b in &kinds {
            let ((), after) = reopen(&image, |heap| {
                exchange(heap, raw_id(heap), a, b);
                assert_eq!(heap.dirty_bytes(), Ok(0));
                assert_eq!((heap.collect(), heap.sequence()), (Ok(0), heap.commit().unwrap()));
            });
            assert!(after == image, "the image changed\nstored {}\ntried  {}", a.text, b.text);
            pairs += 1;
            equal += u32::from(a.schema == b.schema);
        }
    }
    println!("{} types: {pairs} pairs, {equal} of equal schemas", kinds.len());
    assert_eq!(pairs, kinds.len() * kinds.len());
    assert!(equal as usize >= kinds.len());
}

#[test]
fn links_to_what_is_no_object_are_refused() {
    for kind in kinds() {
        let ((), after) = reopen(&image_of_root(&kind), |heap| {
            let own = raw_id(heap);
            // Slot 0, the schemas, the object in its other lives, another object, slots never used and far away.
            for index in (0..20).chain([0x7FFF, 0xFFFF]).step_by(if cfg!(miri) { 3 } else { 1 }) {
                for generation in [0, 1, 0xFFF, 0xFFFF] {
                    let id = ObjectId { index, generation };
                    if id == own {
                        continue;
                    }
                    let [_, found] = (kind.read)(heap, id);
                    assert!(matches!(found, Err(Error::Stale | Error::TypeMismatch)), "{} {id:?}", kind.text);
                    // A root may be set to the null link; what the root itself leads to is not asked here.
                    let rest = kind.rest.filter(|_| index != 0).map(|rest| rest(heap, id));
                    for found in rest.into_iter().flatten().take(16) {
                        assert!(matches!(found, Err(Error::Stale | Error::TypeMismatch)), "{} {id:?}", kind.text);
                    }
                }
            }
            assert_eq!((kind.read)(heap, own), [Ok(true); 2], "{}", kind.text);
        });
        assert!(after == image_of_root(&kind), "{}", kind.text);
    }
}

#[test]
fn every_type_below_an_unchanged_root_is_refused_as_every_other() {
    let kinds: Vec<_> = kinds().into_iter().filter_map(|kind| Some((kind, kind.links_below?))).collect();
    let mut pairs = 0u32;
    for (a, links_as_a) in &kinds {
        let image = image_below_root(a);
        for (b, links_as_b) in &kinds {
            let ((), after) = reopen(&image, |heap| {
                let links = links_as_b(heap);
                assert_eq!(links, links_as_a(heap), "stored {}\nread   {}", a.text, b.text);
                let [first, same, second, third, aside] = links.unwrap();
                assert_eq!((same, aside), (first, first));
                [second, third].into_iter().for_each(|id| exchange(heap, id, a, b));
                assert_eq!((heap.dirty_bytes(), heap.collect()), (Ok(0), Ok(0)));
            });
            assert!(after == image, "the image changed\nstored {}\ntried  {}", a.text, b.text);
            pairs += u32::from(a.schema != b.schema);
        }
    }
    println!("{} types: {pairs} pairs of different schemas below an unchanged root", kinds.len());
    assert!(cfg!(miri) || pairs > 40_000);
}

/// A schema as a program's types might have it.
#[derive(Clone, Debug)]
enum Tree {
    Plain(u8),
    Handle(u8, String),
    Array(u8, Box<Tree>),
    Struct(String, u16, Vec<(String, Tree)>),
    /// Its tag has one byte.
    Enum(String, u16, Vec<(String, Vec<(String, Tree)>)>),
}

impl Tree {
    fn fields(fields: &[(String, Self)]) -> usize {
        fields.iter().map(|(_, field)| field.size()).sum()
    }

    fn size(&self) -> usize {
        match self {
            Self::Plain(schema::kind::U8 | schema::kind::I8 | schema::kind::BOOL) => 1,
            Self::Plain(schema::kind::U16 | schema::kind::I16) => 2,
            Self::Plain(schema::kind::U64 | schema::kind::I64 | schema::kind::F64) => 8,
            Self::Plain(_) | Self::Handle(..) => 4,
            Self::Array(count, element) => usize::from(*count) * element.size(),
            Self::Struct(_, _, fields) => Self::fields(fields),
            Self::Enum(_, _, variants) => {
                1 + variants.iter().map(|(_, fields)| Self::fields(fields)).max().unwrap_or(0)
            }
        }
    }

    fn write(&self, writer: SchemaWriter) -> SchemaWriter {
        let write_fields = |mut writer: SchemaWriter, mut at: usize, fields: &[(String, Self)]| {
            for (name, field) in fields {
                writer = field.write(writer.name(name).u32(at));
                at += field.size();
            }
            writer
        };
        match self {
            Self::Plain(kind) => writer.byte(*kind),
            Self::Handle(kind, target) => writer.byte(*kind).name(target),
            Self::Array(count, element) => {
                element.write(writer.byte(schema::kind::ARRAY).u32((*count).into()).u32(element.size()))
            }
            Self::Struct(name, version, fields) => {
                let writer = writer.byte(schema::kind::STRUCT).name(name).u16(*version).u32(self.size());
                write_fields(writer.byte(1).byte(fields.len() as u8), 0, fields)
            }
            Self::Enum(name, version, variants) => {
                let writer = writer.byte(schema::kind::ENUM).name(name).u16(*version).u32(self.size());
                let writer = writer.byte(1).byte(1).byte(variants.len() as u8);
                variants.iter().zip(0..).fold(writer, |writer, ((name, fields), tag)| {
                    write_fields(writer.name(name).i64(tag).byte(fields.len() as u8), 1, fields)
                })
            }
        }
    }

    fn schema(&self) -> Vec<u8> {
        self.write(SchemaWriter::new()).as_slice().to_vec()
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    use schema::kind::{BOOL, CHAR, F32, F64, I8, I16, I32, I64, LINK, U8, U16, U32, U64, WEAK};
    let leaf = prop_oneof![
        select(vec![U8, U16, U32, U64, I8, I16, I32, I64, F32, F64, BOOL, CHAR]).prop_map(Tree::Plain),
        (select(vec![LINK, LINK, WEAK]), "[ab]{0,2}").prop_map(|(kind, target)| Tree::Handle(kind, target)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let fields = vec(("[ab]{0,2}", inner.clone()), 0..3);
        prop_oneof![
            (0u8..4, inner).prop_map(|(count, element)| Tree::Array(count, element.into())),
            ("[ab]{0,2}", 0u16..3, fields.clone())
                .prop_map(|(name, version, fields)| Tree::Struct(name, version, fields)),
            ("[ab]{0,2}", 0u16..3, vec(("[ab]{0,2}", fields), 1..3))
                .prop_map(|(name, version, variants)| Tree::Enum(name, version, variants)),
        ]
    })
}

/// Keeps a schema for the length of the test run, and fails if another one with its fingerprint was seen before.
fn seen(schema: &[u8]) -> &'static [u8] {
    static SEEN: Mutex<BTreeMap<u64, &'static [u8]>> = Mutex::new(BTreeMap::new());
    let mut seen = SEEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let known = *seen.entry(schema::fingerprint(schema)).or_insert_with(|| schema.to_vec().leak());
    assert_eq!(known, schema, "two schemas have one fingerprint");
    known
}

/// Changes bytes; `None` if they are the same afterwards.
fn changed(bytes: &[u8], changes: &[(Index, u8)]) -> Option<Vec<u8>> {
    let mut after = bytes.to_vec();
    changes.iter().for_each(|(at, byte)| *at.get_mut(&mut after) ^= byte);
    (after != bytes).then_some(after)
}

fn changes() -> impl Strategy<Value = Vec<(Index, u8)>> {
    // Small numbers make schemas that are well-formed more often.
    vec((any::<Index>(), prop_oneof![1u8..8, 1u8..]), 1..6)
}

fn cases(full: u32) -> ProptestConfig {
    let cases = if cfg!(miri) { 3 } else { full };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn different_schemas_have_different_fingerprints(
        tree in trees(),
        changes in changes(),
        more in vec(any::<u8>(), 1..9),
    ) {
        let schema = tree.schema();
        let parsed = Schema::parse(&schema).unwrap_or_else(|error| panic!("{tree:?}: {error}"));
        prop_assert_eq!(parsed.size() as usize, tree.size());
        prop_assert_eq!(parsed.fingerprint(), schema::fingerprint(seen(&schema)));
        if let Some(changed) = changed(&schema, &changes) {
            prop_assert_ne!(schema::fingerprint(seen(&changed)), parsed.fingerprint());
        }
        // Longer and shorter ones too, zeros included.
        for longer in [[&schema[..], &more].concat(), [&schema[..], &vec![0; more.len()]].concat()] {
            prop_assert_ne!(schema::fingerprint(seen(&longer)), parsed.fingerprint());
            prop_assert!(Schema::parse(&longer).is_err(), "what follows a schema is none of it");
        }
        let shorter = seen(&schema[..schema.len() - more.len().min(schema.len())]);
        prop_assert_ne!(schema::fingerprint(shorter), parsed.fingerprint());
    }

    #[test]
    fn an_engine_tells_types_apart_by_their_schemas(trees in vec(trees(), 1..4), changes in changes()) {
        let mut schemas: Vec<&'static [u8]> = trees.iter().map(|tree| seen(&tree.schema())).collect();
        // Each once more, and each a little changed.
        for tree in &trees {
            schemas.push(seen(&tree.schema()));
            let changed = changed(&tree.schema(), &changes).filter(|changed| Schema::parse(changed).is_ok());
            schemas.extend(changed.map(|changed| seen(&changed)));
        }
        let mut memory = Memory::<32, 16, 10, 1, 512>::new();
        let parts = memory.parts();
        let geometry =
            Geometry { seed: 0, unit: 8, row: 8, data_start: 8, data_units: 1000, dirty_limit: 8192, deltas: true, guards: 0 };
        let mut engine: Engine<'_, RamStorage<8192>, Clock, SortedArray<24>, SortedArray<32>> = Engine::new(
            RamStorage::new(),
            geometry,
            (parts.entries, parts.items, parts.types),
            (parts.arena, parts.attention),
            (SortedArray::new(), SortedArray::new(), Clock::default()),
        );
        let mut rows = Vec::new();
        for &schema in &schemas {
            let fingerprint = schema::fingerprint(schema);
            let row = engine.type_of(key_of(schema)).unwrap();
            prop_assert!(engine.type_info(row).unwrap().has_fingerprint(fingerprint));
            prop_assert_eq!(engine.object_bytes(row.into()).unwrap(), schema);
            rows.push(row);
        }
        let distinct: HashSet<_> = schemas.iter().collect();
        prop_assert_eq!((1..=10).filter(|row| engine.type_info(*row).is_some()).count(), distinct.len());
        for (at, (row, schema)) in (20..).zip(rows.into_iter().zip(&schemas)) {
            let id = ObjectId { index: at, generation: 7 };
            prop_assert!(engine.restore_slot(at, Entry::new(900 + at, 7, 1, row, 0)));
            for other in &schemas {
                let expected = if schema == other { Ok(at) } else { Err(Error::TypeMismatch) };
                prop_assert_eq!(engine.resolve(id, schema::fingerprint(other)), expected);
            }
        }
    }
}

/// The block of a schema in an image.
#[derive(Clone, Copy)]
struct SchemaBlock {
    at: usize,
    len: usize,
    row: u16,
    tag: u16,
}

impl SchemaBlock {
    fn crc(&self, schema: &[u8]) -> u32 {
        let place = (self.at / 8) as u16;
        let identity = Identity { index: self.row, generation: 0, type_index: SCHEMA_TYPE, place };
        block_crc(seed(1), identity, self.tag, schema)
    }

    /// Finds the only block that holds `schema`.
    fn find(image: &[u8], schema: &[u8]) -> Self {
        let mut found = Vec::new();
        for at in (0..image.len() - HEADER - schema.len()).step_by(8) {
            let header = BlockHeader::from_bytes(&image[at..]);
            for row in 1..=4 {
                let block = Self { at, len: schema.len(), row, tag: header.tag };
                if image[at + HEADER..].starts_with(schema) && header.crc == block.crc(schema) {
                    found.push(block);
                }
            }
        }
        assert_eq!(found.len(), 1, "the format has changed");
        found[0]
    }

    /// Whether another schema takes as many units.
    fn takes(&self, schema: &[u8]) -> bool {
        (HEADER + schema.len()).div_ceil(8) == (HEADER + self.len).div_ceil(8)
    }

    /// An image with another schema in the block's place, its checksum included.
    fn forge(&self, image: &[u8; CAPACITY], schema: &[u8]) -> [u8; CAPACITY] {
        assert!(self.takes(schema));
        let mut image = *image;
        let header = BlockHeader { crc: self.crc(schema), size: schema.len() as u16, tag: self.tag };
        image[self.at..self.at + HEADER].copy_from_slice(&header.to_bytes());
        image[self.at + HEADER..self.at + (HEADER + self.len).next_multiple_of(8)].fill(0);
        image[self.at + HEADER..self.at + HEADER + schema.len()].copy_from_slice(schema);
        image
    }
}

/// Opens and checks an image.
fn opened<T>(
    image: &[u8; CAPACITY],
    visit: impl FnOnce(&TestHeap<'_>, &Report) -> T,
) -> (Result<T, OpenError<RamError>>, Result<Verified, OpenError<RamError>>) {
    let mut memory = Ram::new();
    let verified = verify(Device::from_bytes(*image), &mut memory, OPTIONS, &mut |_| {});
    let heap: Result<TestHeap<'_>, _> = Heap::open(Device::from_bytes(*image), &mut memory, OPTIONS);
    (heap.map(|heap| visit(&heap, heap.report())), verified)
}

const DAMAGED: OpenError<RamError> = OpenError::Damaged(Damage::Schema);

#[test]
fn every_changed_bit_of_a_stored_schema_is_noticed() {
    let mut images = 0;
    for kind in kinds().iter().step_by(if cfg!(miri) { 3 } else { 11 }) {
        let image = image_of_root(kind);
        let block = SchemaBlock::find(&image, kind.schema);
        let bits = 8 * (HEADER + block.len);
        for bit in (0..bits).step_by(if cfg!(miri) { 149 } else { 1 }) {
            let mut image = image;
            image[block.at + bit / 8] ^= 1 << (bit % 8);
            let (open, verified) = opened(&image, |_, _| ());
            assert_eq!((open, verified.map(|_| ())), (Err(DAMAGED), Err(DAMAGED)), "{} bit {bit}", kind.text);
            images += 1;
        }
    }
    println!("{images} images with one bit changed");
}

#[test]
fn every_schema_in_place_of_another_names_another_type() {
    let kinds = kinds();
    let (mut pairs, mut readable) = (0, 0);
    for a in &kinds {
        let image = image_of_root(a);
        let block = SchemaBlock::find(&image, a.schema);
        for b in kinds.iter().filter(|b| b.schema != a.schema && block.takes(b.schema)) {
            let (open, _) = opened(&block.forge(&image, b.schema), |heap, _| {
                let id = raw_id(heap);
                let text = format!("stored {}\nnamed  {}", a.text, b.text);
                assert_eq!((a.read)(heap, id), [Err(Error::TypeMismatch); 2], "{text}");
                // What names a type and does not fit it is damaged; what fits it cannot be told from it.
                let [root, found] = (b.read)(heap, id);
                assert_eq!(root, Ok(true), "{text}");
                match found {
                    Ok(_) => readable += 1,
                    Err(error) => assert_eq!(error, Error::Damaged { index: id.index }, "{text}"),
                }
                let is_slice = Schema::parse(b.schema).unwrap().is_slice();
                assert!(found.is_err() || is_slice || a.size == b.size, "{text}");
            });
            open.unwrap();
            pairs += 1;
        }
    }
    println!("{pairs} images with one schema in place of another, {readable} readable");
    assert!(cfg!(miri) || (readable > 0 && readable < pairs));
}

#[test]
fn a_changed_schema_is_no_schema_or_names_another_type() {
    let kinds = kinds();
    let images: Vec<_> = kinds.iter().map(image_of_root).collect();
    let mut runner = proptest::test_runner::TestRunner::new(cases(20_000));
    let counts = std::cell::Cell::new((0u32, 0u32));
    runner
        .run(&(0..kinds.len(), changes()), |(at, changes)| {
            let (kind, image) = (&kinds[at], &images[at]);
            let Some(changed) = changed(kind.schema, &changes) else { return Ok(()) };
            let block = SchemaBlock::find(image, kind.schema);
            let forged = block.forge(image, &changed);
            let (open, verified) = opened(&forged, |heap, _| {
                let id = raw_id(heap);
                let found = (kind.read)(heap, id);
                assert_eq!(found, [Err(Error::TypeMismatch); 2], "{}: {changed:x?}", kind.text);
                if let Some(rest) = kind.rest {
                    assert_eq!(rest(heap, id), [Err(Error::TypeMismatch); 17], "{}: {changed:x?}", kind.text);
                }
            });
            let (sound, broken) = counts.get();
            if Schema::parse(&changed).is_ok() {
                prop_assert_eq!((open, verified.is_ok()), (Ok(()), true), "{}: {:x?}", kind.text, changed);
                counts.set((sound + 1, broken));
            } else {
                prop_assert_eq!((open, verified.map(|_| ())), (Err(DAMAGED), Err(DAMAGED)));
                counts.set((sound, broken + 1));
            }
            Ok(())
        })
        .unwrap();
    let (sound, broken) = counts.get();
    println!("{sound} changed schemas name other types, {broken} are none");
    assert!(cfg!(miri) || (sound > 1000 && broken > 1000));
}

#[derive(Durable, Clone, Copy, PartialEq, Debug)]
#[repr(C)]
#[durable(
    name = "a name of two hundred and forty bytes, so that the schemas of many other types fit into its place:  \
                  0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\
                  0123456789012345678901234567890123456789"
)]
struct Blob {
    bytes: [u8; 64],
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn any_schema_in_place_of_another_names_another_type(
        tree in trees(),
        at in any::<Index>(),
        bytes in vec(0u8..4, 64),
    ) {
        // A struct of the same size whose only field has any type, with a name that fills the block.
        let own = <Blob as Durable>::SCHEMA;
        let inner = tree.schema();
        prop_assume!(tree.size() <= 64 && inner.len() + 16 <= own.len());
        let name = "n".repeat(own.len() - inner.len() - 16);
        let writer = SchemaWriter::new().byte(schema::kind::STRUCT).name(&name).u16(1).u32(64).byte(1).byte(1);
        let other = tree.write(writer.name("x").u32(at.index(65 - tree.size()))).as_slice().to_vec();
        prop_assert_eq!(other.len(), own.len());
        let parsed = Schema::parse(&other).unwrap();

        let blob = Blob { bytes: bytes.clone().try_into().unwrap() };
        let image = write_image(|heap| {
            let blob = heap.allocate(blob).unwrap().into_link();
            heap.set_root("blob", Some(blob)).unwrap();
        });
        let block = SchemaBlock::find(&image, own);
        let (open, verified) = opened(&block.forge(&image, &other), |heap, report| {
            // The collector follows the links that the schema tells of.
            let broken = parsed.has_links() && parsed.links(&bytes, &mut |_| {}).is_err();
            assert_eq!(report.damaged.is_some(), broken);
            assert_eq!(report.objects, 1);
            assert_eq!(heap.root::<Blob>("blob"), Err(Error::TypeMismatch));
            let link = Link::<Blob>::from_raw_parts(5, 0);
            assert_eq!(heap.get(link).map(|blob| *blob), Err(Error::TypeMismatch));
            assert_eq!(heap.free(link), Err(Error::TypeMismatch));
            broken
        });
        prop_assert_eq!(verified.unwrap().findings > 0, open.unwrap());
        // With its own schema it is there.
        let (open, _) = opened(&image, |heap, _| {
            *heap.get(heap.root::<Blob>("blob").unwrap().unwrap()).unwrap()
        });
        prop_assert_eq!(open, Ok(blob));
    }
}

/// A key that stays: the static leads to it, so that it does not count as leaked.
fn key_of(schema: &'static [u8]) -> &'static TypeKey {
    static KEYS: std::sync::Mutex<Vec<&'static TypeKey>> = std::sync::Mutex::new(Vec::new());
    let key: &'static TypeKey = Box::leak(Box::new(TypeKey::of_schema(schema)));
    KEYS.lock().unwrap().push(key);
    key
}
