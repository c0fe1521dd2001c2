//! The SHA-256 of request bodies, two of them side by side.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

#[cfg(target_arch = "x86_64")]
use super::sha256_pair::{self, Schedule};
use super::{Block, Digest};

/// A body below this size does not wait for another; it is hashed within 10 µs.
const MIN_BYTES: usize = 16 << 10;

/// How many turns of the event loop a body waits for another. In the second one, the next chunk's first body comes.
const MOST_TURNS: usize = 2;

/// Hashes the bodies of one client.
pub(crate) struct Digests {
    in_pairs: bool,
    /// A body that another one may be hashed with.
    waiting: RefCell<Weak<Waiting>>,
}

struct Waiting {
    body: Bytes,
    digest: Cell<Option<Digest>>,
}

impl Digests {
    /// Pairs bodies where that takes less time than one after the other: with instructions for SHA-256, and AVX-512
    /// or a processor of AMD.
    pub(crate) fn new() -> Digests {
        #[cfg(target_arch = "x86_64")]
        let in_pairs = is_x86_feature_detected!("sha")
            && (fearless_simd::Level::new().as_avx512().is_some() || sha256_pair::is_amd());
        #[cfg(not(target_arch = "x86_64"))]
        let in_pairs = false;
        Digests { in_pairs, waiting: RefCell::default() }
    }

    /// Returns the SHA-256 of `body`. It waits up to [`MOST_TURNS`] for another body to hash beside it.
    ///
    /// A body is not paired with one of less than half its length: most of it would be hashed alone after all.
    pub(crate) async fn sha256(&self, body: &Bytes) -> Digest {
        if body.len() < MIN_BYTES || !self.in_pairs {
            return alone(body);
        }
        if let Some(other) = self.waiting.take().upgrade() {
            if other.body.len() / 2 > body.len() {
                self.waiting.replace(Rc::downgrade(&other));
                return alone(body);
            }
            if other.body.len() >= body.len() / 2 {
                let [own, others] = pair(body, &other.body);
                other.digest.set(Some(others));
                return own;
            }
        }
        let own = Rc::new(Waiting { body: body.clone(), digest: Cell::new(None) });
        self.waiting.replace(Rc::downgrade(&own));
        for _ in 0..MOST_TURNS {
            tokio::task::yield_now().await;
            if let Some(digest) = own.digest.get() {
                return digest;
            }
        }
        alone(body)
    }
}

/// Returns the SHA-256 of `bytes`.
pub(crate) fn alone(bytes: &[u8]) -> Digest {
    let mut sha256 = Digest::default();
    sha256.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sha256
}

/// The digests of both.
fn pair(one: &[u8], other: &[u8]) -> [Digest; 2] {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = fearless_simd::Level::new().as_avx512() {
        return sha256_pair::digests(simd, Schedule::quicker(), one, other);
    }
    in_turns(one, other)
}

/// Alternates between the blocks of both, near enough for the processor to work on two at a time.
fn in_turns(one: &[u8], other: &[u8]) -> [Digest; 2] {
    let (mut first, mut second) = (Sha256::new(), Sha256::new());
    let shared = one.len().min(other.len());
    let ((one, rest_of_one), (other, rest_of_other)) = (one.split_at(shared), other.split_at(shared));
    for (one, other) in one.chunks(size_of::<Block>()).zip(other.chunks(size_of::<Block>())) {
        first.update(one);
        second.update(other);
    }
    first.update(rest_of_one);
    second.update(rest_of_other);
    [first.finalize().into(), second.finalize().into()]
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use proptest::prelude::*;
    use tokio::runtime::Builder;

    use super::*;

    fn body(seed: u8, size: usize) -> Bytes {
        (0..size).map(|index| (index as u8).wrapping_mul(seed).wrapping_add(seed)).collect()
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn pairing() -> Digests {
        Digests { in_pairs: true, ..Digests::new() }
    }

    /// Both digests, by each way that this processor has.
    fn pair_by_all(one: &[u8], other: &[u8]) -> Vec<[Digest; 2]> {
        let ways = [in_turns(one, other), pair(one, other)].into_iter();
        #[cfg(target_arch = "x86_64")]
        let ways = ways.chain(fearless_simd::Level::new().as_avx512().into_iter().flat_map(|simd| {
            let schedules = [Schedule::ByInstructions, Schedule::InVectors];
            schedules.map(|schedule| sha256_pair::digests(simd, schedule, one, other))
        }));
        ways.collect()
    }

    proptest! {
        #[test]
        fn two_bodies_together_have_the_digests_of_each_alone(
            one in proptest::collection::vec(any::<u8>(), 0..400),
            other in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            for digests in pair_by_all(&one, &other) {
                prop_assert_eq!(digests, [alone(&one), alone(&other)]);
            }
        }
    }

    #[test]
    fn every_length_of_padding_is_right_beside_every_other() {
        let bytes = body(3, 200);
        for (one, other) in (0..=130).flat_map(|one| (0..=130).map(move |other| (one, other))) {
            let (one, other) = (&bytes[..one], &bytes[60..60 + other]);
            let expected = [alone(one), alone(other)];
            assert!(
                pair_by_all(one, other).iter().all(|found| *found == expected),
                "{} and {}",
                one.len(),
                other.len()
            );
        }
    }

    #[test]
    fn requests_of_the_same_turn_get_their_own_digests() {
        let bodies: Vec<_> = [0, 100, MIN_BYTES, 50_000, 16_385, 70_000, 20_000]
            .into_iter()
            .zip(1..)
            .map(|(size, seed)| body(seed, size))
            .collect();
        let digests = pairing();
        let found = run(futures_util::future::join_all(bodies.iter().map(|body| digests.sha256(body))));
        assert_eq!(found, bodies.iter().map(|body| alone(body)).collect::<Vec<_>>());
    }

    #[test]
    fn bodies_of_like_length_are_hashed_together_whatever_comes_between() {
        let digests = pairing();
        let [long, short, like_long] = [body(3, 100_000), body(5, 20_000), body(7, 90_000)];
        run(async {
            for (first, second) in [(&long, &short), (&short, &long)] {
                let mut first_digest = pin!(digests.sha256(first));
                assert!(first_digest.as_mut().now_or_never().is_none());
                let mut second_digest = pin!(digests.sha256(second));
                let is_done = second_digest.as_mut().now_or_never();
                assert_eq!(is_done, (first == &long).then(|| alone(&short)), "the shorter one is hashed alone");
                assert_eq!(digests.sha256(&like_long).now_or_never(), Some(alone(&like_long)));
                assert_eq!(first_digest.await, alone(first));
                if is_done.is_none() {
                    assert_eq!(second_digest.await, alone(second));
                }
            }
        });
    }

    /// Each poll is a turn. Bodies waited for one only, too short for the last of a chunk to meet the next one's first.
    #[test]
    fn a_body_waits_for_another_two_turns_at_most() {
        let digests = pairing();
        let [first, second] = [body(7, 50_000), body(9, 60_000)];
        run(async {
            for another_comes in [true, false] {
                let mut digest = pin!(digests.sha256(&first));
                for _ in 0..2 {
                    assert_eq!(digest.as_mut().now_or_never(), None);
                }
                if another_comes {
                    assert_eq!(digests.sha256(&second).now_or_never(), Some(alone(&second)), "both are hashed at once");
                }
                assert_eq!(digest.as_mut().now_or_never(), Some(alone(&first)));
            }
        });
        assert!(digests.waiting.borrow().upgrade().is_none());
    }

    #[test]
    fn a_request_that_was_given_up_keeps_no_body() {
        let digests = pairing();
        let (given_up, next) = (body(7, 50_000), body(9, 50_000));
        run(async {
            tokio::select! {
                biased;
                _ = digests.sha256(&given_up) => panic!("it waits for a turn"),
                () = std::future::ready(()) => {}
            }
        });
        assert!(given_up.is_unique());
        assert_eq!(run(digests.sha256(&next)), alone(&next));
    }
}
