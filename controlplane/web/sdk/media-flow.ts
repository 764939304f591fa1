import { MEDIA_SILENT_MS_MAX } from './limits';
import type { Report } from './quality';

/** Which kinds of media arrive. */
export interface Flowing {
  audio: boolean;
  video: boolean;
}

const PROGRESS: Record<keyof Flowing, string> = {
  audio: 'packetsReceived',
  // Frames, not packets: a picture that cannot be decoded is no picture.
  video: 'framesDecoded',
};

/**
 * Tells from reports whether media arrives. Browsers do not say by themselves
 * that a track has fallen silent.
 */
export class MediaFlow {
  readonly #seen: Record<keyof Flowing, { count: number; grewAt: number | undefined }> = {
    audio: { count: 0, grewAt: undefined },
    video: { count: 0, grewAt: undefined },
  };

  /** Takes a report made at `now`, in milliseconds. */
  update(report: Report, now: number): Flowing {
    return { audio: this.#isFlowing('audio', report, now), video: this.#isFlowing('video', report, now) };
  }

  #isFlowing(kind: keyof Flowing, report: Report, now: number): boolean {
    const seen = this.#seen[kind];
    const count = countOf(report, kind);
    if (count > seen.count) seen.grewAt = now;
    seen.count = count;
    return seen.grewAt !== undefined && now - seen.grewAt < MEDIA_SILENT_MS_MAX;
  }
}

function countOf(report: Report, kind: keyof Flowing): number {
  let count = 0;
  for (const stats of report.values()) {
    const value = stats[PROGRESS[kind]];
    if (stats['type'] === 'inbound-rtp' && stats['kind'] === kind && typeof value === 'number') {
      count += value;
    }
  }
  return count;
}
