//! Every maximum of the HTTP front, and what relates them.

use std::time::Duration;

use crate::dataplane::WAITING_MAX;

/// Connections at the same time; further ones are closed at once.
pub const CONNECTIONS_MAX: usize = 8192;
/// Connections of one network (an IPv4 address, a /64 of IPv6): an office behind one address, or a proxy on another host.
pub const CONNECTIONS_PER_NETWORK_MAX: usize = 1024;
/// Connections that strangers leave to this host (its proxies, health checks), and this host to strangers.
pub const CONNECTIONS_KEPT: usize = 256;
/// Requests that are worked on at the same time; further ones are answered 503.
pub const REQUESTS_MAX: usize = 2048;
/// Bodies that are waited for at the same time; they are no requests that are worked on, and further ones are answered 503.
pub const BODIES_MAX: usize = 4096;
/// The same of one network (an IPv4 address, a /64 of IPv6).
pub const BODIES_PER_NETWORK_MAX: usize = 256;
/// Event streams at the same time; further ones are answered 503.
pub const EVENT_STREAMS_MAX: usize = 512;
/// Event streams of participants; the others are kept for API keys and admins.
pub const EVENT_STREAMS_OF_PARTICIPANTS_MAX: usize = EVENT_STREAMS_MAX / 8 * 7;
/// Event streams of one identity in a room.
pub const EVENT_STREAMS_PER_IDENTITY_MAX: usize = 32;
/// How often the holder of an event stream is asked for its right to it again.
pub const EVENT_RIGHTS_INTERVAL: Duration = Duration::from_secs(15);
/// How long the head of a request may take to arrive.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may read nothing of what is written to it.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an answer may take beyond the time that the request may take to arrive.
pub const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// How long requests may go on when the server stops.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of the head of an HTTP/1 request: a token of 32 KiB, and the rest.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Characters of a request id that a caller chose.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Lines about refused joins within a second, and about requests that were not served or failed: whoever asks decides how
/// many there would be.
pub const LINES_PER_SECOND: u32 = 10;
/// Characters of a detail in the log: some name what was sent.
pub const LOGGED_DETAIL_MAX: usize = 200;

/// Entries of one page of a list.
pub const PAGE_MAX: usize = 200;
/// Entries of one page unless the caller says.
pub const PAGE_DEFAULT: usize = 50;
/// Tracks that one request mutes.
pub const MUTES_MAX: usize = 32;

/// How long a token is good unless the caller says.
pub const TOKEN_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// How long a token is good at most.
pub const TOKEN_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a room of a guest stays without participants.
pub const GUEST_ROOM_EMPTY_TIMEOUT: Duration = Duration::from_secs(3600);
/// The longest empty timeout.
pub const EMPTY_TIMEOUT_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The window in which what guests ask for is counted.
pub const GUEST_WINDOW: Duration = Duration::from_secs(60);
/// Rooms that guests of one address create in a window.
pub const GUEST_ROOMS_MAX: u32 = 60;
/// Tokens that guests of one address get in a window: an office behind one address joins at once.
pub const GUEST_TOKENS_MAX: u32 = 1200;
/// Wrong PINs of one address in a window.
pub const GUEST_WRONG_PINS_MAX: u32 = 10;
/// Wrong PINs for one room in a window, from everywhere: a PIN of six digits holds for days against many addresses. Whoever
/// uses them up keeps guests out of that room for the rest of the window, but nobody with a token.
pub const GUEST_WRONG_PINS_PER_ROOM_MAX: u32 = 100;
/// Guesses at PINs that are judged at the same time.
pub const GUEST_PIN_TURNS: usize = 64;
/// Addresses that are counted apart; when there are more, those that are not yet counted share one count.
pub const GUEST_ADDRESSES_MAX: usize = 16 * 1024;

/// How often an idle event stream shows that it lives.
pub const EVENT_KEEP_ALIVE: Duration = Duration::from_secs(15);

const _: () = assert!(
    GUEST_PIN_TURNS <= GUEST_WRONG_PINS_PER_ROOM_MAX as usize,
    "what is judged at the same time exceeds a room's limit by less than the limit"
);
const _: () = assert!(PAGE_DEFAULT <= PAGE_MAX, "the default page is a page");
const _: () = assert!(
    CONNECTIONS_PER_NETWORK_MAX + CONNECTIONS_KEPT <= CONNECTIONS_MAX / 4,
    "a few networks leave connections for everybody else"
);
const _: () = assert!(
    WRITE_TIMEOUT.as_secs() > EVENT_KEEP_ALIVE.as_secs(),
    "an event stream whose peer reads slowly has more than one sign of life"
);
const _: () = assert!(
    BODIES_PER_NETWORK_MAX * 4 <= BODIES_MAX && BODIES_MAX <= CONNECTIONS_MAX / 2,
    "slow bodies of a few networks, and of all, leave room for others"
);
const _: () = assert!(EVENT_STREAMS_MAX < CONNECTIONS_MAX, "event streams leave connections for everybody else");
const _: () = assert!(TOKEN_DEFAULT.as_secs() <= TOKEN_MAX.as_secs(), "the default is allowed");
const _: () = assert!(REQUESTS_MAX < WAITING_MAX, "each request that is worked on may wait for the data plane");
