/** Every bound and every waiting time of the SDK. Times are in milliseconds. */

/** How long one HTTP request may take before the server counts as unreachable. */
export const REQUEST_MS_MAX = 10_000;

/** How long ICE and DTLS may take after the answer came. */
export const CONNECT_MS_MAX = 8_000;

/**
 * How long a connection may stay `disconnected` before an ICE restart. Browsers
 * say so some seconds after the last answer, and many gaps heal by themselves.
 */
export const DISCONNECTED_GRACE_MS = 1_000;

/** Attempts before a session that was never live gives up. */
export const FIRST_ATTEMPTS_MAX = 3;

/** The same, when HTTP works and media does not: each of them takes `CONNECT_MS_MAX`. */
export const BLOCKED_ATTEMPTS_MAX = 2;

/** How long a session that was live keeps trying to come back. */
export const RECONNECT_MS_MAX = 10 * 60_000;

/**
 * How long a connection has to last before pauses start again from the
 * shortest. Two pages with one identity, which replace each other, would
 * otherwise do so without end and without a pause.
 */
export const STABLE_MS_MIN = 10_000;

/** First and largest pause between two attempts, before jitter. */
export const BACKOFF_MS_FIRST = 300;
export const BACKOFF_MS_MAX = 10_000;

/** The longest `Retry-After` that is followed. */
export const RETRY_AFTER_MS_MAX = 60_000;

/** Links with `rel="ice-server"` that are read from one answer. */
export const ICE_SERVERS_MAX = 16;

/** Time between two quality samples, and before the first media arrived. */
export const SAMPLE_INTERVAL_MS = 1_000;
export const SAMPLE_INTERVAL_WAITING_MS = 300;

/** How often a player looks whether media still arrives. */
export const FLOW_INTERVAL_MS = 500;

/**
 * How long a track may be silent before it counts as gone. A shared screen on
 * which nothing moves still brings about a frame per second.
 */
export const MEDIA_SILENT_MS_MAX = 3_000;

/**
 * The same for a track that brought at least so many frames or packets a
 * second until it stopped. A screen that comes to rest still brings one.
 */
export const MEDIA_STEADY_SILENT_MS_MAX = 1_500;
export const MEDIA_STEADY_PER_SECOND_MIN = 5;

/**
 * Streams of events that the pages of one browser hold at the same time. Over
 * HTTP/1.1 a browser opens six connections to a server; without this the
 * seventh page would not even load.
 */
export const EVENT_STREAMS_MAX = 3;

/** How long a page waits before it asks for the place of another one's stream. */
export const STREAM_PLACE_RETRY_MS = 15_000;

/** The longest pause before a stream of events is asked for again, unless the server asks for a longer one. */
export const EVENT_RETRY_MS_MAX = 3_000;

/** How long a stream of events may be silent; the server sends something every 15 seconds. */
export const EVENT_SILENT_MS_MAX = 40_000;

/** The longest event that is read, in characters. The server's own bound is lower. */
export const EVENT_CHARS_MAX = 256 * 1024;

/** Participants of a room that are kept, and pages of them that are read. */
export const ROSTER_MAX = 2_000;
export const ROSTER_PAGES_MAX = 10;

/** How long the server may take to open or to resume a session of a call. */
export const SIGNALLING_MS_MAX = 10_000;

/**
 * How often a session of a call sends something, and how long it may hear
 * nothing before its connection counts as lost. Together well below the time
 * for which the server waits for a lost connection.
 */
export const PING_INTERVAL_MS = 4_000;
export const SIGNALLING_SILENT_MS_MAX = 9_000;

/** The same after the network changed, when the old connection is probably dead. */
export const NETWORK_PROBE_MS_MAX = 2_000;

/** Requests of a call that wait for their answer; further ones fail with `busy`. */
export const REQUESTS_PENDING_MAX = 256;

/**
 * When a call renews the token of a stay: when so much of its time is left, at
 * most so many milliseconds (half as much again for some, so that not everybody
 * comes at once); and the shortest pause before it tries again.
 */
export const RENEWAL_LEAD_SHARE = 0.2;
export const RENEWAL_LEAD_MS_MAX = 10 * 60_000;
export const RENEWAL_RETRY_MS_MIN = 1_000;

/** The longest time that a timer of browsers can wait. */
export const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * How often in a row a call makes a new connection to send over, when what it
 * sends cannot be agreed on, before it gives up.
 */
export const PUBLISH_RENEWALS_MAX = 3;

/** How often a call measures each of its tracks, and how often it looks who speaks. */
export const TRACK_SAMPLE_INTERVAL_MS = 1_000;
export const SPEAKING_INTERVAL_MS = 150;

/** How loud somebody is who speaks (0 to 1, linear), and how long a pause still belongs to it. */
export const SPEAKING_LEVEL_MIN = 0.01;
export const SPEAKING_HOLD_MS = 700;

/** How long a tile keeps its size before the server is told. */
export const TILE_SETTLE_MS = 250;

/** The part of its width or height by which a tile changes before that is worth a message. */
export const TILE_CHANGE_MIN = 0.1;

/** Bits per second of the layers of a camera, smallest first, of a screen, and of a microphone. */
export const CAMERA_BITS_PER_SECOND = [150_000, 500_000, 1_700_000] as const;
export const SCREEN_BITS_PER_SECOND = 2_500_000;
export const SOUND_BITS_PER_SECOND = 48_000;
