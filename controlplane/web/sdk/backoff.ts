import { BACKOFF_MS_FIRST, BACKOFF_MS_MAX } from './limits';

/**
 * Pauses between attempts: each twice as long as the one before, up to a
 * largest one, and each shortened by chance by up to a half, so that a
 * thousand viewers who lost the server together do not come back together.
 */
export class Backoff {
  #nextMs = BACKOFF_MS_FIRST;
  readonly #random: () => number;

  /** `random` gives numbers from 0 up to, not including, 1. */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** The next pause in milliseconds. */
  next(): number {
    const pause = this.#nextMs;
    this.#nextMs = Math.min(pause * 2, BACKOFF_MS_MAX);
    return Math.round(pause * (1 - this.#random() / 2));
  }

  /** Starts again from the shortest pause, after a success. */
  reset(): void {
    this.#nextMs = BACKOFF_MS_FIRST;
  }
}
