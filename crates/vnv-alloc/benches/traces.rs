//! The same traces on our offset allocators and on three well-known heaps. The others manage real memory; ours do not touch it.
#![allow(missing_docs, clippy::unwrap_used)]

use buddy_system_allocator::Heap as BuddyHeap;
use criterion::{Criterion, criterion_group, criterion_main};
use linked_list_allocator::Heap as ListHeap;
use std::alloc::Layout;
use std::hint::black_box;
use talc::{ErrOnOom, Span, Talc};
use vnv_alloc::{Buddy, LinkedList, OffsetAllocator, SortedArray};

const UNITS: u16 = 1024;

/// A trace: `Ok(units)` allocates, `Err(number)` frees the live range with this number.
fn trace(kind: &str) -> Vec<Result<u16, usize>> {
    let mut random = 12345u32;
    let mut next = move |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % below
    };
    let mut live = 0usize;
    (0..400)
        .map(|_| {
            let full = live >= 24;
            if live > 0 && (full || next(2) == 0) {
                live -= 1;
                Err(match kind {
                    "fifo" => 0,
                    "lifo" => live,
                    _ => next(live as u32 + 1) as usize,
                })
            } else {
                live += 1;
                Ok(if kind == "same size" { 8 } else { 1 + next(30) as u16 })
            }
        })
        .collect()
}

fn offsets(allocator: &mut dyn OffsetAllocator, trace: &[Result<u16, usize>]) {
    allocator.reset(UNITS);
    let mut live = Vec::with_capacity(32);
    for step in trace {
        match step {
            Ok(len) => live.push((allocator.allocate(*len, 1).unwrap(), *len)),
            Err(at) => {
                let (start, len) = live.remove(*at);
                allocator.free(start, len).unwrap();
            }
        }
    }
    black_box(live);
}

fn benches(criterion: &mut Criterion) {
    for kind in ["random", "fifo", "lifo", "same size"] {
        let trace = trace(kind);
        let mut group = criterion.benchmark_group(kind);
        group.bench_function("vnv sorted array", |bencher| {
            let mut allocator = SortedArray::<32>::new();
            bencher.iter(|| offsets(&mut allocator, &trace));
        });
        group.bench_function("vnv linked list", |bencher| {
            let mut allocator = LinkedList::<32>::new();
            bencher.iter(|| offsets(&mut allocator, &trace));
        });
        group.bench_function("vnv buddy", |bencher| {
            let mut allocator = Buddy::<32>::new();
            bencher.iter(|| offsets(&mut allocator, &trace));
        });
        let layout = |len: u16| Layout::from_size_align(usize::from(len) * 8, 8).unwrap();
        group.bench_function("linked_list_allocator", |bencher| {
            let mut memory = vec![0u64; UNITS.into()];
            bencher.iter(|| {
                let mut heap = ListHeap::empty();
                // SAFETY: the memory outlives the heap, and nobody else uses it.
                unsafe { heap.init(memory.as_mut_ptr().cast(), usize::from(UNITS) * 8) };
                let mut live = Vec::with_capacity(32);
                for step in &trace {
                    match step {
                        Ok(len) => live.push((heap.allocate_first_fit(layout(*len)).unwrap(), *len)),
                        Err(at) => {
                            let (start, len) = live.remove(*at);
                            // SAFETY: it was allocated with this layout and is freed once.
                            unsafe { heap.deallocate(start, layout(len)) };
                        }
                    }
                }
                black_box(live.len())
            });
        });
        group.bench_function("buddy_system_allocator", |bencher| {
            let mut memory = vec![0u64; UNITS.into()];
            bencher.iter(|| {
                let mut heap = BuddyHeap::<16>::empty();
                // SAFETY: the memory outlives the heap, and nobody else uses it.
                unsafe { heap.init(memory.as_mut_ptr() as usize, usize::from(UNITS) * 8) };
                let mut live = Vec::with_capacity(32);
                for step in &trace {
                    match step {
                        Ok(len) => live.push((heap.alloc(layout(*len)).unwrap(), *len)),
                        Err(at) => {
                            let (start, len) = live.remove(*at);
                            // SAFETY: it was allocated with this layout and is freed once.
                            unsafe { heap.dealloc(start, layout(len)) };
                        }
                    }
                }
                black_box(live.len())
            });
        });
        group.bench_function("talc", |bencher| {
            let mut memory = vec![0u64; usize::from(UNITS) * 2];
            bencher.iter(|| {
                let mut heap = Talc::new(ErrOnOom);
                let span = Span::from_base_size(memory.as_mut_ptr().cast(), usize::from(UNITS) * 16);
                // SAFETY: the memory outlives the heap, and nobody else uses it.
                unsafe { heap.claim(span) }.unwrap();
                let mut live = Vec::with_capacity(32);
                for step in &trace {
                    match step {
                        // SAFETY: the layout is not empty.
                        Ok(len) => live.push((unsafe { heap.malloc(layout(*len)) }.unwrap(), *len)),
                        Err(at) => {
                            let (start, len) = live.remove(*at);
                            // SAFETY: it was allocated with this layout and is freed once.
                            unsafe { heap.free(start, layout(len)) };
                        }
                    }
                }
                black_box(live.len())
            });
        });
        group.finish();
    }
}

criterion_group!(all, benches);
criterion_main!(all);
