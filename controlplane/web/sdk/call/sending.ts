import { encodingsOf, kindOf, profileOf, type Profile } from './encodings';
import type { Source } from './protocol';

/** An m-line of the publisher's connection. */
interface Line {
  transceiver: RTCRtpTransceiver;
  profile: Profile;
  /** What it sends; nothing while it is free. */
  source: Source | undefined;
}

/**
 * The m-lines of one publisher's connection. A line that sends nothing any
 * more is kept and used again for something like it, so that the description
 * does not grow. It is never stopped: Chromium gives the m-line of a stopped
 * transceiver new ICE credentials when it uses it again.
 */
export class Lines {
  readonly #connection: RTCPeerConnection;
  readonly #lines: Line[] = [];
  /** One for all, so that receivers keep lips and voice together. */
  readonly #stream = new MediaStream();

  constructor(connection: RTCPeerConnection) {
    this.#connection = connection;
  }

  /** The m-line that sends a source; known once it was offered. */
  midOf(source: Source): string | undefined {
    return this.#of(source)?.transceiver.mid ?? undefined;
  }

  has(source: Source): boolean {
    return this.#of(source) !== undefined;
  }

  /** Sends a source with the next offer, over a free line where there is one. */
  async take(source: Source, track: MediaStreamTrack | null): Promise<void> {
    const profile = profileOf(source);
    const free = this.#lines.find((line) => line.source === undefined && line.profile === profile);
    if (free !== undefined) {
      free.source = source;
      free.transceiver.direction = 'sendonly';
      await free.transceiver.sender.replaceTrack(track);
      return;
    }
    const transceiver = this.#connection.addTransceiver(track ?? kindOf(source), {
      direction: 'sendonly',
      streams: [this.#stream],
      sendEncodings: encodingsOf(source, track),
    });
    this.#lines.push({ transceiver, profile, source });
  }

  /** Sends something else of the same source from now on, or nothing for now. */
  async replace(source: Source, track: MediaStreamTrack | null): Promise<void> {
    await this.#of(source)?.transceiver.sender.replaceTrack(track);
  }

  /** Frees the line of a source with the next offer. */
  async release(source: Source): Promise<void> {
    const line = this.#of(source);
    if (line === undefined) return;
    line.source = undefined;
    line.transceiver.direction = 'inactive';
    await line.transceiver.sender.replaceTrack(null);
  }

  #of(source: Source): Line | undefined {
    return this.#lines.find((line) => line.source === source);
  }
}
