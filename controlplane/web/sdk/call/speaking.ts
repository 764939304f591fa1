import { SPEAKING_HOLD_MS, SPEAKING_INTERVAL_MS, SPEAKING_LEVEL_MIN } from '../limits';

/** Sound of somebody that can be asked how loud it is. */
export interface Voice {
  trackId: string;
  /** 0 to 1, linear; nothing where it is not known. */
  level: () => number | undefined;
}

/** How loud the sound of a receiver is, as its last packets said (RFC 6464) or as it was decoded. */
export function levelOfReceiver(receiver: RTCRtpReceiver): number | undefined {
  const recent = receiver.getSynchronizationSources().filter(({ timestamp }) => performance.now() - timestamp < 1_000);
  const levels = recent.map(({ audioLevel }) => audioLevel).filter((level) => level !== undefined);
  return levels.length === 0 ? undefined : Math.max(...levels);
}

/** Looks again and again who speaks; a short pause between words changes nothing. */
export class Speaking {
  readonly #voices: () => Voice[];
  readonly #onChange: (speaking: ReadonlySet<string>) => void;
  readonly #heardAt = new Map<string, number>();
  readonly #timer: ReturnType<typeof setInterval>;
  #speaking: ReadonlySet<string> = new Set();

  constructor(voices: () => Voice[], onChange: (speaking: ReadonlySet<string>) => void) {
    this.#voices = voices;
    this.#onChange = onChange;
    this.#timer = setInterval(() => this.#look(Date.now()), SPEAKING_INTERVAL_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(now: number): void {
    const voices = this.#voices();
    for (const { trackId, level } of voices) {
      if ((level() ?? 0) >= SPEAKING_LEVEL_MIN) this.#heardAt.set(trackId, now);
    }
    const present = new Set(voices.map(({ trackId }) => trackId));
    for (const [trackId, at] of this.#heardAt) {
      if (!present.has(trackId) || now - at > SPEAKING_HOLD_MS) this.#heardAt.delete(trackId);
    }
    const speaking = new Set(this.#heardAt.keys());
    const isSame = speaking.size === this.#speaking.size && [...speaking].every((id) => this.#speaking.has(id));
    if (isSame) return;
    this.#speaking = speaking;
    this.#onChange(speaking);
  }
}
