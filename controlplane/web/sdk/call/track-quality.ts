import { TRACK_SAMPLE_INTERVAL_MS } from '../limits';
import { computeQuality, type Direction, type QualitySample, type Report } from '../quality';
import { toReport } from '../sampler';

/** A connection whose tracks are measured, with the m-line of each. */
export interface Measured {
  direction: Direction;
  connection: RTCPeerConnection;
  /** The m-line of each track, by the track's id. */
  mids: ReadonlyMap<string, string>;
}

/** What one m-line of a report is about: its streams, and what belongs to the whole connection. */
export function reportOf(mid: string, report: Report): Report {
  const own = [...report.values()].filter((stats) => 'mid' in stats && stats['mid'] === mid);
  const ids = new Set(own.map((stats) => stats['id']));
  const isStream = (stats: Readonly<Record<string, unknown>>): boolean => String(stats['type']).endsWith('-rtp');
  // What the far end reports of a stream names the stream, not the m-line.
  const isOurs = (stats: Readonly<Record<string, unknown>>): boolean =>
    !isStream(stats) || own.includes(stats) || ids.has(stats['localId']);
  return new Map([...report].filter(([, stats]) => isOurs(stats)));
}

/** Measures every track of a call, again and again until it is stopped. */
export class TrackQuality {
  readonly #measured: () => Measured[];
  readonly #onSamples: (samples: ReadonlyMap<string, QualitySample>) => void;
  #before = new Map<RTCPeerConnection, Report>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isStopped = false;

  constructor(measured: () => Measured[], onSamples: (samples: ReadonlyMap<string, QualitySample>) => void) {
    this.#measured = measured;
    this.#onSamples = onSamples;
    this.#schedule();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (!this.#isStopped) this.#timer = setTimeout(() => void this.#sample(), TRACK_SAMPLE_INTERVAL_MS);
  }

  async #sample(): Promise<void> {
    const samples = new Map<string, QualitySample>();
    const now = new Map<RTCPeerConnection, Report>();
    for (const { direction, connection, mids } of this.#measured()) {
      try {
        const report = toReport(await connection.getStats());
        now.set(connection, report);
        const before = this.#before.get(connection);
        for (const [trackId, mid] of mids) {
          const earlier = before && reportOf(mid, before);
          samples.set(trackId, computeQuality(direction, earlier, reportOf(mid, report), Date.now()));
        }
      } catch {
        // A connection that was just closed has no statistics.
      }
    }
    this.#before = now;
    if (this.#isStopped) return;
    this.#onSamples(samples);
    this.#schedule();
  }
}
