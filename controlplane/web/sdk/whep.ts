import { endpointFor } from './endpoint';
import { SAMPLE_INTERVAL_MS, SAMPLE_INTERVAL_WAITING_MS } from './limits';
import { MediaFlow, type Flowing } from './media-flow';
import { RoomSession, type RoomSessionEvents, type RoomSessionOptions } from './room-session';
import { Sampler } from './sampler';

export interface PlayerOptions extends RoomSessionOptions {
  /** Whom to watch; left out, whoever has published longest. */
  participantId?: string;
}

export interface PlayerEvents extends RoomSessionEvents {
  /** What arrives now. A session may be live while nobody publishes. */
  media: Flowing;
  /** What to give to a `<video>`; another one after a fresh session. */
  stream: MediaStream;
}

/**
 * Plays a room by WHEP (draft-ietf-wish-whep).
 *
 * The server names the tracks up front, so the session can begin before
 * anybody is live, and go on when publishers change.
 */
export class WhepPlayer extends RoomSession<PlayerEvents> {
  #flowing: Flowing = { audio: false, video: false };

  constructor(options: PlayerOptions) {
    super(endpointFor('whep', options.server ?? '', options.roomId, options.participantId), options);
  }

  /** What arrives now. */
  get flowing(): Flowing {
    return this.#flowing;
  }

  /** Stops and tells the server. Safe while the page goes away. */
  close(): void {
    this.end();
  }

  protected prepare(connection: RTCPeerConnection): void {
    const stream = new MediaStream();
    for (const kind of ['audio', 'video'] as const) {
      const transceiver = connection.addTransceiver(kind, { direction: 'recvonly' });
      stream.addTrack(transceiver.receiver.track);
    }
    this.emit('stream', stream);
  }

  protected measure(connection: RTCPeerConnection | undefined): Sampler | undefined {
    if (connection === undefined) {
      this.#setFlowing({ audio: false, video: false });
      return undefined;
    }
    const flow = new MediaFlow();
    const interval = (): number => (this.#flowing.video ? SAMPLE_INTERVAL_MS : SAMPLE_INTERVAL_WAITING_MS);
    return new Sampler(connection, 'receive', interval, (sample, report) => {
      this.#setFlowing(flow.update(report, sample.at));
      this.emit('quality', sample);
    });
  }

  #setFlowing(flowing: Flowing): void {
    const { audio, video } = this.#flowing;
    if (flowing.audio === audio && flowing.video === video) return;
    this.#flowing = flowing;
    this.emit('media', flowing);
  }
}
