//! Interleavings that once lost or mixed data, found by reviewers: each with the least that shows it.

use std::sync::mpsc;
use vnv_alloc::Buddy;
use vnv_persist::*;
use vnv_sim::TearStorage;
use vnv_storage::RamStorage;

#[derive(Durable, Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Value([u8; 120]);

type Ram = Memory<40, 30, 6, 4, 200>;
const OPT: Options = Options::new(1500).log_bytes(512);

fn val(n: u8) -> Value {
    Value([n; 120])
}

/// A commit whose record reached the storage although the bus said no; then places are free for reuse, in which one of its objects stands.
fn reused_after_a_failed_commit(by_another: bool) {
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::format(TearStorage::new(8192, 8), &mut memory, OPT).unwrap();
    let x = heap.allocate(val(1)).unwrap().into_link();
    let y = heap.allocate(val(1)).unwrap().into_link();
    heap.set_root("x", Some(x)).unwrap();
    heap.set_root("y", Some(y)).unwrap();
    heap.commit().unwrap();
    *heap.get_mut(x).unwrap() = val(2);
    *heap.get_mut(y).unwrap() = val(2);
    // Blocks go out (1 write), the record goes out, whole, and the driver reports an error.
    heap.with_device(|d| d.fail_write_at(1, usize::MAX)).unwrap();
    assert!(heap.commit().is_err());
    let sequence = heap.sequence();
    if by_another {
        *heap.get_mut(x).unwrap() = val(3);
        heap.evict(x).unwrap();
    }
    let changed = if by_another { y } else { x };
    for n in 3..200u8 {
        *heap.get_mut(changed).unwrap() = val(n);
        heap.evict(changed).unwrap();
        if heap.sequence() != sequence {
            // The heap has committed by itself.
            break;
        }
        let image = heap.with_device(|d| d.image().to_vec()).unwrap();
        let mut memory = Ram::new();
        let opened = Heap::<_, Ram>::open(TearStorage::from_image(image, 8), &mut memory, OPT).unwrap();
        assert_eq!(opened.report().damaged, None);
        let (ox, oy) = (opened.root::<Value>("x").unwrap().unwrap(), opened.root::<Value>("y").unwrap().unwrap());
        let (ox, oy) = (opened.get(ox).map(|v| v.0[0]), opened.get(oy).map(|v| v.0[0]));
        assert!(ox == Ok(1) && oy == Ok(1) || ox == Ok(2) && oy == Ok(2), "n {n}: x {ox:?}, y {oy:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of commits, with nothing in them that others do not have")]
fn places_that_a_failed_commit_may_name_are_not_reused() {
    reused_after_a_failed_commit(false);
    reused_after_a_failed_commit(true);
}

fn kept(_: *mut u8, _: usize) -> Arena {
    Arena::Kept
}
fn lost(base: *mut u8, size: usize) -> Arena {
    // SAFETY: the arena is the heap's, which loads it again.
    unsafe { base.write_bytes(0xA5, size) };
    Arena::Lost
}
fn alarm(power: &PowerFail) -> Outcome {
    // SAFETY: in the context of the heap, between two of its operations.
    unsafe { power.enter() }
}
fn failed(error: ResumeError) -> ! {
    panic!("resume failed: {error:?}")
}

/// two resume records behind a live snapshot.
#[test]
fn a_resume_record_leaves_the_live_snapshot_alone() {
    let mut memory = Ram::new();
    let opt = OPT.guards(4);
    let heap = Heap::<_, Ram>::format(TearStorage::new(16384, 8), &mut memory, opt).unwrap();
    let x = heap.allocate(val(1)).unwrap().into_link();
    let y = heap.allocate(val(1)).unwrap().into_link();
    heap.set_root("x", Some(x)).unwrap();
    heap.set_root("y", Some(y)).unwrap();
    heap.commit().unwrap();
    let power: PowerFail = PowerFail::new().with_resume(Resume { persisted: kept, failed });
    power
        .protect(&heap, || {
            *heap.get_mut(x).unwrap() = val(2);
            let before = heap.sequence();
            assert_eq!(alarm(&power), Outcome::Saved);
            assert_eq!(heap.sequence(), before + 1, "the snapshot counts as a commit");
            for round in 0..3 {
                {
                    let mut guard = heap.get_mut(y).unwrap();
                    guard.0[0] = 10 + round;
                    assert_eq!(alarm(&power), Outcome::Saved);
                }
                let image = heap.with_device(|d| d.image().to_vec()).unwrap();
                let mut memory = Ram::new();
                let opened = Heap::<_, Ram>::open(TearStorage::from_image(image, 8), &mut memory, opt).unwrap();
                let ox = opened.root::<Value>("x").unwrap().unwrap();
                let got = opened.get(ox).unwrap().0[0];
                assert_eq!(got, 2, "round {round}: the last snapshot is lost");
            }
        })
        .unwrap();
}

/// resume with a guard open on an object that was freed meanwhile.
#[test]
fn a_program_is_resumed_with_a_guard_on_an_object_that_was_collected() {
    let mut memory = Ram::new();
    let opt = OPT.guards(4);
    let heap = Heap::<_, Ram>::format(TearStorage::new(16384, 8), &mut memory, opt).unwrap();
    let x = heap.allocate(val(7)).unwrap().into_link();
    heap.commit().unwrap();
    let power: PowerFail = PowerFail::new().with_resume(Resume { persisted: lost, failed });
    power
        .protect(&heap, || {
            let guard = heap.get(x).unwrap();
            assert_eq!(heap.collect().unwrap(), 0); // nothing leads to x but a guard
            assert_eq!(guard.0[0], 7);
            assert_eq!(alarm(&power), Outcome::Saved);
            assert_eq!(*guard, val(7));
        })
        .unwrap();
}

/// tags wrap inside one log half.
#[test]
#[cfg_attr(miri, ignore = "hundreds of commits, with nothing in them that others do not have")]
fn tags_do_not_come_again_within_a_half_of_the_log() {
    type Big = Memory<40, 30, 6, 4, 400>;
    let mut memory = Big::new();
    let opt = Options::new(1500).log_bytes(100_000);
    let heap = Heap::<_, Big>::format(TearStorage::new(512 * 1024, 8), &mut memory, opt).unwrap();
    let x = heap.allocate_slice_with(128, |_| 0u32).unwrap().into_link();
    let c = heap.allocate(0u32).unwrap().into_link();
    heap.set_root("x", Some(x)).unwrap();
    heap.set_root("c", Some(c)).unwrap();
    heap.commit().unwrap();
    let compactions = heap.compactions();
    *heap.get_element_mut(x, 0).unwrap() = 1;
    heap.commit().unwrap(); // a delta with tag T
    heap.evict(x).unwrap(); // applied
    *heap.get_element_mut(x, 0).unwrap() = 2;
    heap.commit().unwrap(); // a delta with tag T + 1
    heap.evict(x).unwrap();
    for _ in 0..509 {
        *heap.get_mut(c).unwrap() += 1;
        heap.commit().unwrap();
    }
    *heap.get_element_mut(x, 100).unwrap() = 3;
    heap.commit().unwrap(); // a delta with tag T again
    // A compaction came first.
    assert_eq!(heap.compactions(), compactions + 1);
    let image = heap.with_device(|d| d.image().to_vec()).unwrap();
    let mut memory = Big::new();
    let opened = Heap::<_, Big>::open(TearStorage::from_image(image, 8), &mut memory, opt).unwrap();
    let ox = opened.root::<[u32]>("x").unwrap().unwrap();
    let got = opened.get(ox).map(|x| (x[0], x[100]));
    assert_eq!(got, Ok((2, 3)));
}

/// a delta is committed, its object is freed, the program is resumed.
#[test]
fn a_program_is_resumed_after_the_delta_of_an_object_that_was_freed() {
    for first in [0usize, 8, 14] {
        let mut memory = Ram::new();
        let opt = OPT.guards(4);
        let heap = Heap::<_, Ram>::format(TearStorage::new(16384, 8), &mut memory, opt).unwrap();
        let x = heap.allocate_slice_with(64, |_| 1u32).unwrap().into_link();
        heap.set_root("x", Some(x)).unwrap();
        let y = heap.allocate(7u32).unwrap().into_link();
        heap.set_root("y", Some(y)).unwrap();
        heap.commit().unwrap();
        *heap.get_element_mut(x, 2 * first).unwrap() = 0xDEAD_BEEF;
        heap.commit().unwrap(); // as a delta
        heap.set_root::<[u32]>("x", None).unwrap();
        heap.free(x).unwrap();
        let power: PowerFail = PowerFail::new().with_resume(Resume { persisted: lost, failed });
        power.protect(&heap, || assert_eq!(alarm(&power), Outcome::Saved)).unwrap();
        heap.commit().unwrap();
        let image = heap.with_device(|d| d.image().to_vec()).unwrap();
        let mut memory = Ram::new();
        let opened = Heap::<_, Ram>::open(TearStorage::from_image(image, 8), &mut memory, opt);
        let opened = opened.unwrap_or_else(|error| panic!("first {first}: {error}"));
        println!("{first}: {:?}", opened.report());
        assert!(!opened.report().repaired, "first {first}: a superblock was destroyed");
        let y = opened.root::<u32>("y").unwrap().unwrap();
        assert_eq!(*opened.get(y).unwrap(), 7);
    }
}

type Small = Memory<24, 16, 4, 2, 64>;

/// A window behind a pinned copy holds nothing that could leave: `ram_allocate` turns for ever. (Random sizes, one guard open.)
#[test]
#[cfg_attr(miri, ignore = "it measures time")]
fn reading_with_a_buddy_and_one_guard_ends() {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut r = 12345u64;
        let mut next = |below: u64| {
            r ^= r << 13;
            r ^= r >> 7;
            r ^= r << 17;
            (r >> 33) % below
        };
        for round in 0..300 {
            let mut memory = Small::new();
            let heap = Heap::<_, Small, FirstFound, Buddy<32>>::format(
                RamStorage::<8192>::new(),
                &mut memory,
                Options::new(700),
            )
            .unwrap();
            let all: Vec<_> = [8usize, 24, 60, 120, 180, 40, 16, 200]
                .iter()
                .map(|len| heap.allocate_slice_with(*len, |_| 1u8))
                .collect();
            for _ in 0..20 {
                let (a, b) = (next(8) as usize, next(8) as usize);
                let (Ok(a), Ok(b)) = (&all[a], &all[b]) else { continue };
                let _ = send.send((round, a.id().index, b.id().index, false));
                let Ok(_guard) = heap.get(a) else { continue };
                let _ = heap.get(b).map(|g| g[0]);
            }
        }
        let _ = send.send((0, 0, 0, true));
    });
    let mut last = (0, 0, 0, false);
    loop {
        match receive.recv_timeout(std::time::Duration::from_secs(10)) {
            Ok((_, _, _, true)) => return,
            Ok(now) => last = now,
            Err(error) => {
                panic!("{error}: hangs: a guard on slot {}, `get` of slot {} (round {})", last.1, last.2, last.0)
            }
        }
    }
}

/// A shared borrow lives across a commit that syncs the object.
#[test]
fn a_shared_guard_outlives_a_commit() {
    let mut memory = Small::new();
    let heap = Heap::<_, Small>::format(RamStorage::<8192>::new(), &mut memory, Options::new(512)).unwrap();
    let x = heap.allocate([7u32; 4]).unwrap();
    let guard = heap.get(&x).unwrap();
    let value: &[u32; 4] = &guard;
    heap.commit().unwrap();
    assert_eq!(value[1], 7);
}

#[derive(Default)]
struct Evil(bool);
impl Policy for Evil {
    fn loaded(&mut self) -> u16 {
        0
    }
    fn hit(&mut self, hint: u16) -> u16 {
        hint
    }
    fn advised(&mut self, hint: u16, _: Advice) -> u16 {
        hint
    }
    /// Once: a slot that is no candidate. Then what there is.
    fn victim(&mut self, residents: &mut dyn Residents) -> Option<u16> {
        if core::mem::replace(&mut self.0, true) { residents.next(u16::MAX) } else { Some(5) }
    }
}

/// Safe code: a policy that names a slot that is no candidate, while a mutable guard is open on it.
#[test]
fn a_policy_may_name_what_is_being_changed() {
    let mut memory = Small::new();
    let heap = Heap::<_, Small, Evil>::format(RamStorage::<8192>::new(), &mut memory, Options::new(200)).unwrap();
    let mut x = heap.allocate([7u32; 4]).unwrap();
    let mut guard = heap.get_mut(&mut x).unwrap();
    let value: &mut [u32; 4] = &mut guard;
    let _others: Vec<_> = (0..3).map(|_| heap.allocate([1u32; 8])).collect();
    value[1] = 8;
    assert_eq!(value[1], 8);
}
