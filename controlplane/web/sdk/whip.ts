import { endpointFor } from './endpoint';
import type { Environment } from './environment';
import { Emitter, type Listener } from './events';
import { SAMPLE_INTERVAL_MS } from './limits';
import type { QualitySample } from './quality';
import { Sampler } from './sampler';
import { Session, type SessionState, type TokenSource } from './session';

/** The two things that a publisher sends. */
export type Kind = 'audio' | 'video';

export interface PublisherOptions {
  /** Where the server is; the page's own origin when empty. */
  server?: string;
  roomId: string;
  token?: string | TokenSource;
  /** Upper bound of the picture's bitrate; the browser's own choice when left out. */
  videoBitsPerSecondMax?: number;
  /** Name of a codec to prefer, such as `H264`; ignored where the browser lacks it. */
  videoCodec?: string;
  environment?: Environment;
}

export interface PublisherEvents {
  state: SessionState;
  /** About one a second while live. */
  quality: QualitySample;
}

/**
 * Publishes one audio and one video track to a room by WHIP (RFC 9725).
 *
 * Both are negotiated at the start, whether there is a track or not, so that a
 * camera, a microphone or a shared screen can come, go and change later
 * without a new offer.
 */
export class WhipPublisher {
  readonly #events = new Emitter<PublisherEvents>();
  readonly #session: Session;
  readonly #options: PublisherOptions;
  readonly #tracks: Record<Kind, MediaStreamTrack | null> = { audio: null, video: null };
  #senders: Partial<Record<Kind, RTCRtpSender>> = {};
  #sampler: Sampler | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#session = new Session({
      endpoint: endpointFor('whip', options.server ?? '', options.roomId),
      token: options.token,
      environment: options.environment,
      prepare: (connection) => this.#prepare(connection),
    });
    this.#session.on('state', (state) => {
      this.#sample(state);
      this.#events.emit('state', state);
    });
  }

  on<Name extends keyof PublisherEvents>(
    name: Name,
    listener: Listener<PublisherEvents[Name]>,
  ): () => void {
    return this.#events.on(name, listener);
  }

  get state(): SessionState {
    return this.#session.state;
  }

  /** The connection in use, for statistics of one's own. */
  get connection(): RTCPeerConnection | undefined {
    return this.#session.connection;
  }

  /** Goes live with the tracks that were set. Reports by `state` events, never throws. */
  start(): void {
    this.#session.start();
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
  leave(): void {
    this.#session.close();
    this.#senders = {};
  }

  #prepare(connection: RTCPeerConnection): void {
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

  #sample(state: SessionState): void {
    this.#sampler?.stop();
    this.#sampler = undefined;
    const connection = this.#session.connection;
    if (state.name !== 'live' || connection === undefined) return;
    this.#sampler = new Sampler(connection, 'send', () => SAMPLE_INTERVAL_MS, (sample) =>
      this.#events.emit('quality', sample),
    );
  }
}
