//! Every maximum of the control core, and what relates them.

use std::time::Duration;

use sluice_protocol::limits::{CODECS_MAX, COOKIE_BYTES_MAX};
use sluice_protocol::table::ROWS_PER_SHARD;

/// Bytes of one session description or fragment; a longer one is refused unread. Browsers' largest offers are 12 kB.
pub const SDP_BYTES_MAX: usize = 64 * 1024;
/// Lines of one session description.
pub const SDP_LINES_MAX: usize = 4096;
/// Characters of one line; the longest in the field are parameter sets of H264, under 1 kB.
pub const SDP_LINE_BYTES_MAX: usize = 4096;
/// Sections (m-lines) of one session description.
pub const SECTIONS_MAX: usize = 32;
/// Sections (m-lines) of an offer of ours: tracks that one session is subscribed to at the same time. Further ones wait.
pub const SUBSCRIBED_SECTIONS_MAX: usize = 48;
/// How long the first track that waits for an offer of ours waits for more, so that those that come together make one offer.
pub const GATHER: Duration = Duration::from_millis(20);
/// How far offers of ours that add tracks to a connection are apart at least: of many that join one after the other.
pub const OFFERS_APART: Duration = Duration::from_millis(200);
/// How long an m-line whose track has ended waits for a track to be offered with: nothing is sent there any more.
pub const ENDED_GATHER: Duration = Duration::from_secs(1);
/// Bytes of an answer to an offer of ours. Browsers take about 2 kB for a section.
pub const ANSWER_BYTES_MAX: usize = SUBSCRIBED_SECTIONS_MAX * 4096;
/// Characters of the number of a description's connection that are kept.
pub const ORIGIN_BYTES_MAX: usize = 32;
/// Formats of one section, repairs included; a payload type has seven bits.
pub const FORMATS_MAX: usize = 128;
/// Header extensions of one section.
pub const EXTENSIONS_MAX: usize = 64;
/// SSRCs that one section may announce.
pub const SSRCS_MAX: usize = 32;
/// Encodings (rids) that one section may announce.
pub const RIDS_MAX: usize = 8;
/// Candidates of one fragment.
pub const CANDIDATES_MAX: usize = 128;
/// Characters of a peer's user fragment (RFC 8839 section 5.4).
pub const UFRAG_BYTES_MAX: usize = 256;
/// Characters of a peer's password (RFC 8839 section 5.4).
pub const PASSWORD_BYTES_MAX: usize = 256;
/// Fingerprints that are kept of one description.
pub const FINGERPRINTS_MAX: usize = 4;
/// Bytes of a DTLS state that a session parks for a successor.
pub const DTLS_STATE_BYTES_MAX: usize = 4096;
/// Bytes of a certificate with its private key that a session parks for a successor.
pub const CERTIFICATE_BYTES_MAX: usize = 8192;

/// Characters of ids of rooms and identities that a caller chooses.
pub const ID_BYTES_MAX: usize = 64;
/// Bytes of a displayed name.
pub const NAME_BYTES_MAX: usize = 256;
/// Bytes of metadata of a room or participant.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// Bytes of metadata of all participants of a room: whoever enters is told all of it.
pub const METADATA_OF_ROOM_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The same, for participants who change theirs; the rest is for those who come.
pub const METADATA_CHANGED_OF_ROOM_BYTES_MAX: usize = METADATA_OF_ROOM_BYTES_MAX / 2;
/// Bytes of a PIN.
pub const PIN_BYTES_MAX: usize = 64;
/// Rooms of one node.
pub const ROOMS_MAX: usize = 100_000;
/// Participants of one room, whatever its own limit says.
pub const PARTICIPANTS_MAX: u32 = 100_000;
/// Tracks of one participant, whatever the room's own limit says.
pub const TRACKS_PER_PARTICIPANT_MAX: u32 = 32;
/// Rooms that one session may be in at the same time.
pub const ROOMS_PER_SESSION_MAX: usize = 8;
/// Tracks that one participant may name in what it wants to receive.
pub const WISHED_TRACKS_MAX: usize = 128;
/// Sources that one token may name.
pub const SOURCES_MAX: usize = 8;
/// Identities whose tokens a room remembers as revoked; the oldest is forgotten.
pub const REVOKED_MAX: usize = 256;
/// Rows of a shard's table that sessions are planned for; the rest is for what peers send beyond what they announced.
pub const PLANNED_ROWS_MAX: usize = ROWS_PER_SHARD / 8 * 7;
/// Rows of a shard for sessions that have not connected yet: a flood of offers leaves the rest to those who have.
pub const JOINING_ROWS_MAX: usize = ROWS_PER_SHARD / 2;
/// The same of one room: 3,000 viewers of audio and video who come at once.
pub const JOINING_ROWS_PER_ROOM_MAX: usize = ROWS_PER_SHARD / 4;
/// The same of one identity in a room: 800 viewers who come at once by one link.
pub const JOINING_ROWS_PER_IDENTITY_MAX: usize = ROWS_PER_SHARD / 16;
/// Rooms that one token may name.
pub const ROOMS_PER_TOKEN_MAX: usize = 64;

/// A data plane that served for less counts as failing; one that dies of what is replayed to it dies within milliseconds.
pub const SHORT_LIFE: Duration = Duration::from_secs(2);
/// Short lives in a row from which on the next start waits.
pub const SHORT_LIVES_MAX: u32 = 2;
/// The longest wait between starts of a data plane.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// Replacements of the data plane within [`REPLACED_LATELY`] from which on it counts as unstable, whatever it says itself.
pub const REPLACED_LATELY_MAX: usize = 3;
/// How long a replacement is held against it.
pub const REPLACED_LATELY: Duration = Duration::from_secs(60);
/// Connections in a row that a living data plane may break before it was ready; then it is replaced.
pub const BROKEN_CONNECTIONS_MAX: u32 = 3;

const _: () = assert!(
    METADATA_BYTES_MAX + DTLS_STATE_BYTES_MAX + CERTIFICATE_BYTES_MAX < COOKIE_BYTES_MAX / 2,
    "half of a session's cookie is left for its m-lines"
);
const _: () =
    assert!(REVOKED_MAX * (ID_BYTES_MAX + 24) + METADATA_BYTES_MAX < COOKIE_BYTES_MAX, "a room's cookie fits");
const _: () = assert!(CODECS_MAX <= FORMATS_MAX, "a section may offer more than a track takes");
const _: () = assert!(
    JOINING_ROWS_PER_IDENTITY_MAX < JOINING_ROWS_PER_ROOM_MAX
        && JOINING_ROWS_PER_ROOM_MAX < JOINING_ROWS_MAX
        && JOINING_ROWS_MAX < PLANNED_ROWS_MAX,
    "nobody takes everybody's rows"
);
const _: () = assert!(
    GATHER.as_millis() < OFFERS_APART.as_millis() && OFFERS_APART.as_millis() < ENDED_GATHER.as_millis(),
    "what has ended goes with what comes"
);
