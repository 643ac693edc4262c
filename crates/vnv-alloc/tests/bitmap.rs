//! Long random histories against a bitmap.

#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use fastrand::Rng;
use vnv_alloc::{LinkedList, OffsetAllocator, SortedArray};

fn run<A: OffsetAllocator + Clone>(mut space: A, seed: u64, capacity: u16, steps: u32) {
    let mut r = Rng::with_seed(seed);
    let kind = core::any::type_name::<A>();
    space.reset(capacity);
    // used: by somebody.
    let mut used = vec![false; capacity as usize];
    let mut live: Vec<(u16, u16)> = vec![];
    let mut cursor = 0u16;
    let most = 1 + r.u32(..u32::from(capacity) / 4 + 1);
    for step in 0..steps {
        let complete = space.is_complete();
        match r.u32(..10) {
            0..=4 => {
                let len = 1 + r.u32(..most) as u16;
                let from = match r.u32(..4) {
                    0 => 0,
                    1 => r.u32(..u32::from(capacity) + 3) as u16,
                    _ => cursor,
                };
                let align = if r.u32(..8) == 0 { 1 << r.u32(..4) } else { 1 };
                let fits = |s: usize| {
                    s % align as usize == 0
                        && s + len as usize <= capacity as usize
                        && used[s..s + len as usize].iter().all(|u| !u)
                };
                let expected = (from as usize..capacity as usize)
                    .find(|s| fits(*s))
                    .or_else(|| (0..capacity as usize).find(|s| fits(*s)));
                let found = space.allocate_from(from, len, align);
                if complete {
                    assert_eq!(found.map(usize::from), expected, "seed {seed} step {step} {kind}");
                }
                if let Some(s) = found {
                    assert!(fits(s as usize), "seed {seed} step {step}: handed out twice");
                    used[s as usize..(s + len) as usize].fill(true);
                    live.push((s, len));
                    cursor = s + len;
                }
            }
            5..=7 => {
                if !live.is_empty() {
                    let (s, l) = live.swap_remove(r.u32(..live.len() as u32) as usize);
                    // sometimes in two halves
                    if l > 1 && r.u32(..4) == 0 {
                        let m = 1 + r.u32(..u32::from(l) - 1) as u16;
                        if r.u32(..2) == 0 {
                            space.free(s, m).unwrap();
                            space.free(s + m, l - m).unwrap();
                        } else {
                            space.free(s + m, l - m).unwrap();
                            space.free(s, m).unwrap();
                        }
                    } else {
                        space.free(s, l).unwrap();
                    }
                    used[s as usize..(s + l) as usize].fill(false);
                }
            }
            8 => {
                let s = r.u32(..u32::from(capacity)) as u16;
                let l = 1 + r.u32(..most) as u16;
                if u32::from(s) + u32::from(l) <= u32::from(capacity) {
                    let free = used[s as usize..(s + l) as usize].iter().all(|u| !u);
                    let res = space.reserve(s, l);
                    if complete {
                        assert_eq!(res.is_ok(), free, "seed {seed} step {step} {kind}");
                    }
                    if res.is_ok() {
                        assert!(free);
                        used[s as usize..(s + l) as usize].fill(true);
                        live.push((s, l));
                    }
                }
            }
            _ => {
                if !space.is_complete() || r.u32(..50) == 0 {
                    live.sort_unstable();
                    space.rebuild(capacity, &mut live.iter().copied()).unwrap();
                }
            }
        }
        let free = used.iter().filter(|u| !**u).count() as u16;
        let largest = used.split(|u| *u).map(<[bool]>::len).max().unwrap_or(0) as u16;
        if space.is_complete() {
            assert_eq!((space.free_units(), space.largest_free()), (free, largest), "seed {seed} step {step} {kind}");
        } else {
            assert!(space.free_units() <= free && space.largest_free() <= largest);
        }
        // Known free units can be taken one by one, as many as announced, each free.
        if step % 7 == 0 {
            let mut c = space.clone();
            for at in 0..capacity {
                if c.reserve(at, 1).is_ok() {
                    assert!(!used[at as usize]);
                }
            }
            let mut c = space.clone();
            let mut n = 0;
            while let Some(at) = c.allocate_from(0, 1, 1) {
                assert!(!used[at as usize]);
                n += 1;
            }
            assert_eq!(n, space.free_units());
        }
    }
    for (s, l) in live {
        space.free(s, l).unwrap();
    }
}

#[test]
fn histories() {
    for seed in 1..2000u64 {
        let capacity = (seed % 120 + 2) as u16;
        run(SortedArray::<2>::new(), seed, capacity, 300);
        run(SortedArray::<3>::new(), seed, capacity, 300);
        run(SortedArray::<5>::new(), seed, capacity, 300);
        run(SortedArray::<64>::new(), seed, capacity, 300);
        run(LinkedList::<2>::new(), seed, capacity, 300);
        run(LinkedList::<5>::new(), seed, capacity, 300);
        run(LinkedList::<64>::new(), seed, capacity, 300);
    }
    run(SortedArray::<24>::new(), 9, u16::MAX, 200);
    run(LinkedList::<24>::new(), 9, u16::MAX, 200);
}
