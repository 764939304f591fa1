/**
 * Why something did not work, as one word that a program can act on. The page
 * turns each into a sentence that says what to do.
 */
export type FailureReason =
  /** No token, or one that has expired or is forged (401). */
  | 'unauthorized'
  /** The token is good, but does not allow this (403). */
  | 'forbidden'
  /** No such room (404, 410). */
  | 'not_found'
  /** The name is taken, or somebody else holds the place (409). */
  | 'conflict'
  /** The server cannot serve this offer or request (406, 413, 415, 422, other 4xx). */
  | 'rejected'
  /** Too many requests or too much load; worth another try later (429, 503). */
  | 'busy'
  /** The server failed (other 5xx), or answered what cannot be understood. */
  | 'server_error'
  /** No answer over HTTP at all. */
  | 'unreachable'
  /** HTTP works, but no media gets through: UDP is blocked, or the address is wrong. */
  | 'media_blocked'
  /** This browser has no WebRTC. */
  | 'unsupported';

const NO_USE_IN_TRYING_AGAIN: ReadonlySet<FailureReason> = new Set<FailureReason>([
  'unauthorized',
  'forbidden',
  'not_found',
  'conflict',
  'rejected',
  'unsupported',
]);

/** What a {@link SluiceError} is made of. */
export interface FailureDetails {
  reason: FailureReason;
  /** A sentence for people, in the server's words where it gave one. */
  message: string;
  /** HTTP status, when there was an answer. */
  status?: number | undefined;
  /** Problem code of the server, such as `room_not_found`. */
  code?: string | undefined;
  /** How long the server asked to be left alone, in milliseconds (`Retry-After`). */
  retryAfterMs?: number | undefined;
}

/** Every error that the SDK throws or reports. */
export class SluiceError extends Error {
  readonly reason: FailureReason;
  readonly status: number | undefined;
  readonly code: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(details: FailureDetails) {
    super(details.message);
    this.name = 'SluiceError';
    this.reason = details.reason;
    this.status = details.status;
    this.code = details.code;
    this.retryAfterMs = details.retryAfterMs;
  }

  /** Whether the same request would only fail again. */
  get isFinal(): boolean {
    return NO_USE_IN_TRYING_AGAIN.has(this.reason);
  }
}

/** Turns whatever was thrown into a {@link SluiceError}. */
export function toSluiceError(thrown: unknown): SluiceError {
  if (thrown instanceof SluiceError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new SluiceError({ reason: 'server_error', message });
}
