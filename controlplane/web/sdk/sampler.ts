import { computeQuality, type Direction, type QualitySample, type Report } from './quality';

/**
 * Measures a connection again and again until it is stopped. A report that
 * takes longer than the interval delays the next one, so they never pile up.
 */
export class Sampler {
  readonly #connection: RTCPeerConnection;
  readonly #direction: Direction;
  readonly #onSample: (sample: QualitySample, report: Report) => void;
  readonly #intervalMs: () => number;
  #before: Report | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isStopped = false;

  constructor(
    connection: RTCPeerConnection,
    direction: Direction,
    intervalMs: () => number,
    onSample: (sample: QualitySample, report: Report) => void,
  ) {
    this.#connection = connection;
    this.#direction = direction;
    this.#intervalMs = intervalMs;
    this.#onSample = onSample;
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
      this.#onSample(computeQuality(this.#direction, this.#before, report, Date.now()), report);
      this.#before = report;
    } catch {
      // A connection that was just closed has no statistics.
    }
    this.#schedule();
  }
}

function toReport(stats: RTCStatsReport): Report {
  const report = new Map<string, Record<string, unknown>>();
  stats.forEach((value: Record<string, unknown>, id) => report.set(id, value));
  return report;
}
