import { endpointFor } from './endpoint';
import { SAMPLE_INTERVAL_MS } from './limits';
import { RoomSession, type RoomSessionEvents, type RoomSessionOptions } from './room-session';
import { Sampler } from './sampler';
import type { EndReason } from './session';

/** The two things that a publisher sends. */
export type Kind = 'audio' | 'video';

export interface PublisherOptions extends RoomSessionOptions {
  /** Upper bound of the picture's bitrate; the browser's own choice when left out. */
  videoBitsPerSecondMax?: number;
  /** Name of a codec to prefer, such as `H264`; ignored where the browser lacks it. */
  videoCodec?: string;
  /** See `SessionOptions.mayReturn`. */
  mayReturn?: () => Promise<boolean>;
}

export type PublisherEvents = RoomSessionEvents;

/**
 * Publishes one audio and one video track to a room by WHIP (RFC 9725).
 *
 * Both are negotiated at the start, whether there is a track or not, so that a
 * camera, a microphone or a shared screen can come, go and change later
 * without a new offer.
 */
export class WhipPublisher extends RoomSession<PublisherEvents> {
  readonly #options: PublisherOptions;
  readonly #tracks: Record<Kind, MediaStreamTrack | null> = { audio: null, video: null };
  #senders: Partial<Record<Kind, RTCRtpSender>> = {};

  constructor(options: PublisherOptions) {
    super(options, options.mayReturn);
    this.#options = options;
  }

  /**
   * Sends another track from now on, or none. The publisher does not stop the
   * one before: it belongs to whoever captured it.
   */
  async setTrack(kind: Kind, track: MediaStreamTrack | null): Promise<void> {
    this.#tracks[kind] = track;
    await this.#senders[kind]?.replaceTrack(track);
  }

  /** Leaves and tells the server. Safe while the page goes away. */
  leave(because: EndReason = 'closed'): void {
    this.end(because);
    this.#senders = {};
  }

  protected endpoint(): string {
    return endpointFor('whip', this.#options.server ?? '', this.#options.roomId);
  }

  protected prepare(connection: RTCPeerConnection): void {
    const stream = new MediaStream();
    this.#senders = {};
    for (const kind of ['audio', 'video'] as const) {
      const transceiver = connection.addTransceiver(this.#tracks[kind] ?? kind, {
        direction: 'sendonly',
        // One stream for both, so that receivers keep lips and voice together.
        streams: [stream],
        ...(kind === 'video' && { sendEncodings: this.#videoEncodings() }),
      });
      this.#senders[kind] = transceiver.sender;
      if (kind === 'video') this.#preferCodec(transceiver);
    }
  }

  protected measure(connection: RTCPeerConnection | undefined): Sampler | undefined {
    if (connection === undefined) return undefined;
    return new Sampler(connection, 'send', () => SAMPLE_INTERVAL_MS, {
      onSample: (sample) => this.emit('quality', sample),
    });
  }

  /** One layer; further ones join this list. */
  #videoEncodings(): RTCRtpEncodingParameters[] {
    const maxBitrate = this.#options.videoBitsPerSecondMax;
    return [maxBitrate === undefined ? {} : { maxBitrate }];
  }

  #preferCodec(transceiver: RTCRtpTransceiver): void {
    const wanted = this.#options.videoCodec?.toLowerCase();
    if (wanted === undefined) return;
    const codecs = RTCRtpSender.getCapabilities('video')?.codecs ?? [];
    const isWanted = (codec: RTCRtpCodec): boolean => codec.mimeType.toLowerCase() === `video/${wanted}`;
    if (!codecs.some(isWanted)) return;
    transceiver.setCodecPreferences([
      ...codecs.filter(isWanted),
      ...codecs.filter((codec) => !isWanted(codec)),
    ]);
  }
}
