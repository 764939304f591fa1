import { endpointFor } from './endpoint';
import { FLOW_INTERVAL_MS, SAMPLE_INTERVAL_WAITING_MS } from './limits';
import { MediaFlow, type Flowing } from './media-flow';
import { RoomSession, type RoomSessionEvents, type RoomSessionOptions } from './room-session';
import { Sampler } from './sampler';
import type { EndReason } from './session';

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

  readonly #options: PlayerOptions;
  #participantId: string | undefined;

  constructor(options: PlayerOptions) {
    super(options);
    this.#options = options;
    this.#participantId = options.participantId;
  }

  /** What arrives now. */
  get flowing(): Flowing {
    return this.#flowing;
  }

  /** Stops and tells the server. Safe while the page goes away. */
  close(because: EndReason = 'closed'): void {
    this.end(because);
  }

  /** Whom it plays, by id or identity; nothing for whoever has published longest. */
  get participantId(): string | undefined {
    return this.#participantId;
  }

  /** Plays somebody else from now on, by a fresh session where one runs. */
  watch(participantId: string | undefined): void {
    if (this.#participantId === participantId) return;
    this.#participantId = participantId;
    this.renew();
  }

  protected endpoint(): string {
    const { server = '', roomId } = this.#options;
    return endpointFor('whep', server, roomId, this.#participantId);
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
    const interval = (): number => (this.#flowing.video ? FLOW_INTERVAL_MS : SAMPLE_INTERVAL_WAITING_MS);
    return new Sampler(connection, 'receive', interval, {
      onReport: (report, now) => this.#setFlowing(flow.update(report, now)),
      onSample: (sample) => this.emit('quality', sample),
    });
  }

  #setFlowing(flowing: Flowing): void {
    const { audio, video } = this.#flowing;
    if (flowing.audio === audio && flowing.video === video) return;
    this.#flowing = flowing;
    this.emit('media', flowing);
  }
}
