//! Long random histories against a bitmap.

#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use vnv_alloc::{FirstFit, OffsetAllocator};

struct Rng(u64);
impl Rng {
    fn next(&mut self, below: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) as u32) % below
    }
}

fn run<const N: usize>(seed: u64, capacity: u16, steps: u32) {
    let mut r = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(77));
    let mut space = FirstFit::<N>::new();
    space.reset(capacity);
    // used: by somebody.
    let mut used = vec![false; capacity as usize];
    let mut live: Vec<(u16, u16)> = vec![];
    let mut cursor = 0u16;
    let most = 1 + r.next(u32::from(capacity) / 4 + 1);
    for step in 0..steps {
        let complete = space.is_complete();
        match r.next(10) {
            0..=4 => {
                let len = 1 + r.next(most) as u16;
                let from = match r.next(4) {
                    0 => 0,
                    1 => r.next(u32::from(capacity) + 3) as u16,
                    _ => cursor,
                };
                let align = if r.next(8) == 0 { 1 << r.next(4) } else { 1 };
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
                    assert_eq!(found.map(usize::from), expected, "seed {seed} step {step} N {N}");
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
                    let (s, l) = live.swap_remove(r.next(live.len() as u32) as usize);
                    // sometimes in two halves
                    if l > 1 && r.next(4) == 0 {
                        let m = 1 + r.next(u32::from(l) - 1) as u16;
                        if r.next(2) == 0 {
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
                let s = r.next(u32::from(capacity)) as u16;
                let l = 1 + r.next(most) as u16;
                if u32::from(s) + u32::from(l) <= u32::from(capacity) {
                    let free = used[s as usize..(s + l) as usize].iter().all(|u| !u);
                    let res = space.reserve(s, l);
                    if complete {
                        assert_eq!(res.is_ok(), free, "seed {seed} step {step} N {N}");
                    }
                    if res.is_ok() {
                        assert!(free);
                        used[s as usize..(s + l) as usize].fill(true);
                        live.push((s, l));
                    }
                }
            }
            _ => {
                if !space.is_complete() || r.next(50) == 0 {
                    live.sort_unstable();
                    space.rebuild(capacity, &mut live.iter().copied()).unwrap();
                }
            }
        }
        let free = used.iter().filter(|u| !**u).count() as u16;
        let largest = used.split(|u| *u).map(<[bool]>::len).max().unwrap_or(0) as u16;
        if space.is_complete() {
            assert_eq!((space.free_units(), space.largest_free()), (free, largest), "seed {seed} step {step} N {N}");
        } else {
            assert!(space.free_units() <= free && space.largest_free() <= largest);
        }
        // Known free units can be taken one by one, as many as announced, each free.
        if step % 7 == 0 {
            let mut c = space.clone();
            let mut n = 0;
            for at in 0..capacity {
                if c.reserve(at, 1).is_ok() {
                    n += 1;
                    assert!(!used[at as usize]);
                }
            }
            let _ = n;
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
    for seed in 1..3000u64 {
        let cap = (seed % 120 + 2) as u16;
        run::<2>(seed, cap, 300);
        run::<3>(seed, cap, 300);
        run::<5>(seed, cap, 300);
        run::<64>(seed, cap, 300);
    }
    run::<24>(9, u16::MAX, 200);
}
