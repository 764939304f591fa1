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

/**
 * How long a track may be silent before it counts as gone. A shared screen on
 * which nothing moves still brings about a frame per second.
 */
export const MEDIA_SILENT_MS_MAX = 3_000;
