//! What `buffered` hands on: the same bytes in the same order, in few pieces, and no more once it is told to stop.

use core::ops::ControlFlow;
use proptest::prelude::*;
use vnv_storage::buffered;

const BUFFER: usize = 64;

proptest! {
    #[test]
    fn the_same_bytes_in_few_pieces(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..150), 0..40),
        stop in prop::option::of(0usize..20),
    ) {
        let mut taken: Vec<Vec<u8>> = Vec::new();
        let mut sink = |bytes: &[u8]| {
            if stop == Some(taken.len()) {
                return ControlFlow::Break(());
            }
            taken.push(bytes.to_vec());
            ControlFlow::Continue(())
        };
        let result = buffered(&mut sink, &mut |sink| pieces.iter().try_for_each(|piece| sink(piece)));
        let (whole, so_far) = (pieces.concat(), taken.concat());
        prop_assert!(whole.starts_with(&so_far));
        match result {
            ControlFlow::Continue(()) => prop_assert_eq!(&so_far, &whole),
            ControlFlow::Break(()) => prop_assert_eq!(stop, Some(taken.len())),
        }
        for piece in &taken {
            prop_assert!(!piece.is_empty());
            prop_assert!(piece.len() <= BUFFER || pieces.contains(piece), "{}", piece.len());
        }
        for pair in taken.windows(2) {
            prop_assert!(pair.concat().len() > BUFFER, "two pieces that fit together");
        }
    }

    #[test]
    fn a_write_that_is_given_up_ends(before in 0usize..200) {
        let mut taken = 0;
        let mut sink = |bytes: &[u8]| {
            taken += bytes.len();
            ControlFlow::Continue(())
        };
        let result = buffered(&mut sink, &mut |sink| {
            (0..before).try_for_each(|_| sink(&[1]))?;
            ControlFlow::Break(())
        });
        prop_assert_eq!(result, ControlFlow::Break(()));
        prop_assert_eq!(taken, before.saturating_sub(1) / BUFFER * BUFFER);
    }
}
