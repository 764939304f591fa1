//! How much guests may ask for, counted per network, and wrong PINs per room too, in fixed windows.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::limits;
use super::shares::network;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    /// A room.
    Room,
    /// A token.
    Token,
    /// A token with a wrong PIN, by the network that asks.
    WrongPin,
    /// A token with a wrong PIN, by the room: who holds many networks does not have as many guesses.
    WrongPinOfRoom,
}

impl Asked {
    const fn max(self) -> u32 {
        match self {
            Self::Room => limits::GUEST_ROOMS_MAX,
            Self::Token => limits::GUEST_TOKENS_MAX,
            Self::WrongPin => limits::GUEST_WRONG_PINS_MAX,
            Self::WrongPinOfRoom => limits::GUEST_WRONG_PINS_PER_ROOM_MAX,
        }
    }
}

/// For whom it is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// Everybody in a network.
    Network(IpAddr),
    /// Everybody who asks for a room.
    Room(String),
    /// All those who are not counted apart.
    Others,
}

impl From<IpAddr> for Holder {
    fn from(address: IpAddr) -> Self {
        Self::Network(network(address))
    }
}

/// The counts of the current window. At most [`limits::GUEST_ADDRESSES_MAX`] holders are counted apart; when a window
/// has seen more, those that come later share one count, so that memory stays bounded and nobody gets round the limit.
#[derive(Debug)]
pub(super) struct GuestCounts {
    window: Mutex<Window>,
    /// Whoever guesses a PIN holds one of these, chosen by its network, until its guess is counted.
    turns: [tokio::sync::Mutex<()>; limits::GUEST_PIN_TURNS],
    hasher: RandomState,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    counts: HashMap<(Asked, Holder), u32>,
}

impl GuestCounts {
    /// Starts to count.
    #[must_use]
    pub(super) fn new(now: Instant) -> Self {
        Self {
            window: Mutex::new(Window { began: now, counts: HashMap::new() }),
            turns: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
            hasher: RandomState::new(),
        }
    }

    /// Waits for the turn of a network to guess a PIN. Guesses of one network are judged one after the other: else all
    /// those that are asked at the same time would be judged before the first of them counts.
    pub(super) async fn turn(&self, address: IpAddr) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let number = self.hasher.hash_one(network(address)) % limits::GUEST_PIN_TURNS as u64;
        let turn = usize::try_from(number).ok().and_then(|number| self.turns.get(number))?;
        Some(turn.lock().await)
    }

    /// Counts one more, and tells how long to wait when that is too many.
    ///
    /// # Errors
    /// The rest of the window.
    pub(super) fn count(&self, now: Instant, asked: Asked, holder: impl Into<Holder>) -> Result<(), Duration> {
        self.with(now, asked, holder.into(), |count| {
            if *count >= asked.max() {
                return false;
            }
            *count += 1;
            true
        })
    }

    /// Tells whether one more would be too many, without counting it.
    ///
    /// # Errors
    /// The rest of the window.
    pub(super) fn check(&self, now: Instant, asked: Asked, holder: impl Into<Holder>) -> Result<(), Duration> {
        self.with(now, asked, holder.into(), |count| *count < asked.max())
    }

    fn with(
        &self,
        now: Instant,
        asked: Asked,
        holder: Holder,
        taken: impl FnOnce(&mut u32) -> bool,
    ) -> Result<(), Duration> {
        let mut window = self.window.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now.saturating_duration_since(window.began) >= limits::GUEST_WINDOW {
            *window = Window { began: now, counts: HashMap::new() };
        }
        let left = limits::GUEST_WINDOW.saturating_sub(now.saturating_duration_since(window.began));
        let mut key = (asked, holder);
        if window.counts.len() >= limits::GUEST_ADDRESSES_MAX && !window.counts.contains_key(&key) {
            key.1 = Holder::Others;
        }
        if taken(window.counts.entry(key).or_insert(0)) { Ok(()) } else { Err(left) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_count_and_each_window_a_new_one() {
        let start = Instant::now();
        let counts = GuestCounts::new(start);
        for _ in 0..limits::GUEST_ROOMS_MAX {
            assert_eq!(counts.count(start, Asked::Room, address("192.0.2.1")), Ok(()));
        }
        let later = start + Duration::from_secs(20);
        assert_eq!(counts.count(later, Asked::Room, address("192.0.2.1")), Err(Duration::from_secs(40)));
        assert_eq!(counts.check(later, Asked::Room, address("192.0.2.2")), Ok(()));
        assert_eq!(counts.count(later, Asked::Token, address("192.0.2.1")), Ok(()));
        let next = start + limits::GUEST_WINDOW;
        assert_eq!(counts.count(next, Asked::Room, address("192.0.2.1")), Ok(()));
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        let now = Instant::now();
        let counts = GuestCounts::new(now);
        for host in 0..u128::from(limits::GUEST_WRONG_PINS_MAX) {
            let own = Ipv6Addr::from_bits((0x2001_0db8 << 96) | host);
            assert_eq!(counts.count(now, Asked::WrongPin, IpAddr::from(own)), Ok(()));
        }
        assert!(counts.check(now, Asked::WrongPin, address("2001:db8::ffff")).is_err());
        assert!(counts.check(now, Asked::WrongPin, address("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn a_flood_of_addresses_stays_within_memory_and_within_one_count() {
        let now = Instant::now();
        let counts = GuestCounts::new(now);
        let mut taken = 0;
        for host in 0..200_000_u32 {
            taken += u32::from(counts.count(now, Asked::WrongPin, IpAddr::V4(host.into())).is_ok());
        }
        let apart = u32::try_from(limits::GUEST_ADDRESSES_MAX).unwrap();
        assert!(counts.window.lock().unwrap().counts.len() <= limits::GUEST_ADDRESSES_MAX + 3);
        assert_eq!(taken, apart + limits::GUEST_WRONG_PINS_MAX);
    }
}
