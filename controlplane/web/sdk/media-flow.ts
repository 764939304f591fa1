import { MEDIA_SILENT_MS_MAX, MEDIA_STEADY_PER_SECOND_MIN, MEDIA_STEADY_SILENT_MS_MAX } from './limits';
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

/** A number that only grows, and when it last did. */
class Counter {
  #count = 0;
  #at: number | undefined;
  #grewAt: number | undefined;
  /** Whether it grew quickly when it last did. */
  isSteady = false;

  update(count: number, now: number): void {
    if (count > this.#count) {
      const seconds = (now - (this.#at ?? now)) / 1000;
      this.isSteady = seconds > 0 && (count - this.#count) / seconds >= MEDIA_STEADY_PER_SECOND_MIN;
      this.#grewAt = now;
    }
    this.#count = count;
    this.#at = now;
  }

  hasGrownWithin(ms: number, now: number): boolean {
    return this.#grewAt !== undefined && now - this.#grewAt < ms;
  }
}

/**
 * Tells from reports whether media arrives. Browsers do not say by themselves
 * that a track has fallen silent.
 */
export class MediaFlow {
  readonly #seen = { audio: new Counter(), video: new Counter() };
  readonly #packets = { audio: new Counter(), video: new Counter() };

  /** Takes a report made at `now`, in milliseconds. */
  update(report: Report, now: number): Flowing {
    return { audio: this.#isFlowing('audio', report, now), video: this.#isFlowing('video', report, now) };
  }

  #isFlowing(kind: keyof Flowing, report: Report, now: number): boolean {
    const seen = this.#seen[kind];
    const packets = this.#packets[kind];
    seen.update(countOf(report, kind, PROGRESS[kind]), now);
    packets.update(countOf(report, kind, 'packetsReceived'), now);
    // A steady stream that stops, down to its packets, was turned off. One that
    // still brings packets is in trouble, and may come round.
    const isOff = seen.isSteady && !packets.hasGrownWithin(MEDIA_STEADY_SILENT_MS_MAX, now);
    return seen.hasGrownWithin(isOff ? MEDIA_STEADY_SILENT_MS_MAX : MEDIA_SILENT_MS_MAX, now);
  }
}

function countOf(report: Report, kind: keyof Flowing, progress: string): number {
  let count = 0;
  for (const stats of report.values()) {
    const value = stats[progress];
    if (stats['type'] === 'inbound-rtp' && stats['kind'] === kind && typeof value === 'number') {
      count += value;
    }
  }
  return count;
}
