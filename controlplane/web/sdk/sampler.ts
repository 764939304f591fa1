import { SAMPLE_INTERVAL_MS } from './limits';
import { computeQuality, type Direction, type QualitySample, type Report } from './quality';

export interface SamplerListeners {
  /** A measure over about `SAMPLE_INTERVAL_MS`, or longer. */
  onSample: (sample: QualitySample) => void;
  /** Each report, made at `now` in milliseconds. */
  onReport?: (report: Report, now: number) => void;
}

/**
 * Measures a connection again and again until it is stopped. A report that
 * takes longer than the interval delays the next one, so they never pile up.
 */
export class Sampler {
  readonly #connection: RTCPeerConnection;
  readonly #direction: Direction;
  readonly #listeners: SamplerListeners;
  readonly #intervalMs: () => number;
  #before: Report | undefined;
  #sampledAt: number | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isStopped = false;

  constructor(
    connection: RTCPeerConnection,
    direction: Direction,
    intervalMs: () => number,
    listeners: SamplerListeners,
  ) {
    this.#connection = connection;
    this.#direction = direction;
    this.#intervalMs = intervalMs;
    this.#listeners = listeners;
    this.#schedule();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#isStopped) return;
    this.#timer = setTimeout(() => void this.#sample(), this.#intervalMs());
  }

  async #sample(): Promise<void> {
    try {
      const report = toReport(await this.#connection.getStats());
      if (this.#isStopped) return;
      const now = Date.now();
      this.#listeners.onReport?.(report, now);
      // A timer may be a little early.
      if (now - (this.#sampledAt ?? 0) < SAMPLE_INTERVAL_MS * 0.9) return;
      this.#sampledAt = now;
      this.#listeners.onSample(computeQuality(this.#direction, this.#before, report, now));
      this.#before = report;
    } catch {
      // A connection that was just closed has no statistics.
    } finally {
      this.#schedule();
    }
  }
}

/** Statistics as a plain map. */
export function toReport(stats: RTCStatsReport): Report {
  const report = new Map<string, Record<string, unknown>>();
  stats.forEach((value: Record<string, unknown>, id) => report.set(id, value));
  return report;
}
