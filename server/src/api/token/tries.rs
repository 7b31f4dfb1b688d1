//! How often an address may be wrong. The memory is the same however many addresses try.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::api::connections::network;

/// Wrong tries that an address has at once.
const AT_ONCE: u32 = 5;
/// It gets one back in this time.
const EACH: Duration = Duration::from_secs(12);
/// Addresses share this many places, by a hash that nobody outside can foresee.
const PLACES: usize = 1024;

/// When each place will have all its tries again.
#[derive(Debug)]
pub(super) struct Tries {
    places: Mutex<Box<[Option<Instant>]>>,
    hasher: RandomState,
}

impl Default for Tries {
    fn default() -> Self {
        let places = Mutex::new(vec![None; PLACES].into_boxed_slice());
        Self { places, hasher: RandomState::new() }
    }
}

impl Tries {
    /// Counts a wrong try.
    ///
    /// # Errors
    /// There is none left: it is so long until there is one.
    pub(super) fn take(&self, peer: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut places[self.place(peer)];
        let full = place.map_or(now, |full| full.max(now)) + EACH;
        let wait = full.saturating_duration_since(now + EACH * AT_ONCE);
        if !wait.is_zero() {
            return Err(wait);
        }
        *place = Some(full);
        Ok(())
    }

    fn place(&self, peer: IpAddr) -> usize {
        let key = network(peer);
        (self.hasher.hash_one(key) % PLACES as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_at_once_then_one_in_twelve_seconds() {
        let (tries, peer, start) = (Tries::default(), IpAddr::from([10, 0, 0, 1]), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..AT_ONCE {
            assert_eq!(tries.take(peer, start), Ok(()));
        }
        assert_eq!(tries.take(peer, start), Err(EACH));
        assert_eq!(tries.take(peer, at(7)), Err(Duration::from_secs(5)));
        assert_eq!(tries.take(peer, at(12)), Ok(()));
        assert_eq!(tries.take(peer, at(13)), Err(Duration::from_secs(11)));
        for _ in 0..AT_ONCE {
            assert_eq!(tries.take(peer, at(600)), Ok(()));
        }
        assert!(tries.take(peer, at(600)).is_err());
    }

    #[test]
    fn addresses_of_one_network_share_and_others_do_not() {
        let tries = Tries::default();
        let place = |text: &str| tries.place(text.parse().expect("an address"));
        assert_eq!(place("2001:db8::1"), place("2001:db8::ffff:1"));
        assert_eq!(place("::ffff:10.0.0.1"), place("10.0.0.1"));
        let others = (0..=255u8)
            .filter(|&last| tries.place(IpAddr::from([10, 0, 0, last])) != place("10.0.0.1"));
        assert!(others.count() > 240);
    }
}
