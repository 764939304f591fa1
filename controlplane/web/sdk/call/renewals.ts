import { SluiceError, toSluiceError } from '../failure';
import { RENEWAL_LEAD_MS_MAX, RENEWAL_LEAD_SHARE, RENEWAL_RETRY_MS_MIN, TIMER_MS_MAX } from '../limits';
import { TOKEN_EXPIRED } from '../token';
import { SESSION_OVER } from './requests';

/** A stay that ends soon, and whose token could not be renewed so far. */
export interface Expiring {
  roomId: string;
  /** How long it lasts, in ms. */
  leftMs: number;
  failure: SluiceError;
}

export interface RenewalsOptions {
  /** Numbers from 0 up to, not including, 1. */
  random: () => number;
  /** Gets a newer token for a room and shows it to the server. */
  renew: (roomId: string) => Promise<void>;
  /** A stay ends soon, and no newer token could be had; told once until one can. */
  onExpiring: (expiring: Expiring) => void;
}

interface Term {
  /** By this device's clock, counted from when the server said how long is left. */
  endsAt: number;
  timer: ReturnType<typeof setTimeout>;
}

/**
 * Has the token of each stay renewed before it ends: when a fifth of its time
 * is left, or a few minutes, a little earlier or later than others do; and
 * again and again where that fails, until it has ended.
 */
export class Renewals {
  readonly #options: RenewalsOptions;
  readonly #terms = new Map<string, Term>();
  readonly #told = new Set<string>();

  constructor(options: RenewalsOptions) {
    this.#options = options;
  }

  /** A stay lasts so many seconds from now on; for ever without a number. */
  expect(roomId: string, expiresIn: number | null | undefined): void {
    this.forget(roomId);
    if (expiresIn == null) return;
    const leftMs = expiresIn * 1000;
    const leadMs = Math.min(leftMs * RENEWAL_LEAD_SHARE, RENEWAL_LEAD_MS_MAX) * (1 + this.#options.random() / 2);
    this.#wait(roomId, Date.now() + leftMs, Date.now() + leftMs - leadMs);
  }

  /** A stay is over. */
  forget(roomId: string): void {
    clearTimeout(this.#terms.get(roomId)?.timer);
    this.#terms.delete(roomId);
    this.#told.delete(roomId);
  }

  /** All of them are. */
  clear(): void {
    for (const roomId of [...this.#terms.keys()]) this.forget(roomId);
  }

  #wait(roomId: string, endsAt: number, dueAt: number): void {
    // A timer that is longer than it may be fires at once.
    const ms = Math.min(Math.max(0, dueAt - Date.now()), TIMER_MS_MAX);
    const timer = setTimeout(() => {
      if (Date.now() < dueAt) this.#wait(roomId, endsAt, dueAt);
      else void this.#renew(roomId, term);
    }, ms);
    const term: Term = { endsAt, timer };
    this.#terms.set(roomId, term);
  }

  async #renew(roomId: string, term: Term): Promise<void> {
    let failure: SluiceError;
    try {
      await this.#options.renew(roomId);
      failure = new SluiceError({ reason: 'unauthorized', code: TOKEN_EXPIRED, message: 'The newer token is good no longer.' });
    } catch (thrown) {
      failure = toSluiceError(thrown);
    }
    // What the server answered has begun another term, or there is no stay any more.
    if (this.#terms.get(roomId) !== term || failure.code === SESSION_OVER) return;
    const leftMs = term.endsAt - Date.now();
    if (leftMs <= 0) return;
    if (!this.#told.has(roomId)) {
      this.#told.add(roomId);
      this.#options.onExpiring({ roomId, leftMs, failure });
    }
    const pauseMs = Math.max(RENEWAL_RETRY_MS_MIN, failure.retryAfterMs ?? 0, leftMs / 8) * (0.75 + this.#options.random() / 2);
    if (pauseMs < leftMs) this.#wait(roomId, term.endsAt, Date.now() + pauseMs);
  }
}
