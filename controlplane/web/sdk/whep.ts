import { endpointFor } from './endpoint';
import type { Environment } from './environment';
import { Emitter, type Listener } from './events';
import { SAMPLE_INTERVAL_MS, SAMPLE_INTERVAL_WAITING_MS } from './limits';
import { MediaFlow, type Flowing } from './media-flow';
import type { QualitySample } from './quality';
import { Sampler } from './sampler';
import { Session, type SessionState, type TokenSource } from './session';

export interface PlayerOptions {
  /** Where the server is; the page's own origin when empty. */
  server?: string;
  roomId: string;
  /** Whom to watch; left out, whoever has published longest. */
  participantId?: string;
  token?: string | TokenSource;
  environment?: Environment;
}

export interface PlayerEvents {
  state: SessionState;
  /** What arrives now. A session may be live while nobody publishes. */
  media: Flowing;
  /** What to give to a `<video>`; another one after a fresh session. */
  stream: MediaStream;
  /** About one a second while live. */
  quality: QualitySample;
}

/**
 * Plays a room by WHEP (draft-ietf-wish-whep).
 *
 * The server names the tracks up front, so the session can begin before
 * anybody is live, and go on when publishers change.
 */
export class WhepPlayer {
  readonly #events = new Emitter<PlayerEvents>();
  readonly #session: Session;
  #flow = new MediaFlow();
  #flowing: Flowing = { audio: false, video: false };
  #sampler: Sampler | undefined;

  constructor(options: PlayerOptions) {
    this.#session = new Session({
      endpoint: endpointFor('whep', options.server ?? '', options.roomId, options.participantId),
      token: options.token,
      environment: options.environment,
      prepare: (connection) => this.#prepare(connection),
    });
    this.#session.on('state', (state) => {
      this.#sample(state);
      this.#events.emit('state', state);
    });
  }

  on<Name extends keyof PlayerEvents>(
    name: Name,
    listener: Listener<PlayerEvents[Name]>,
  ): () => void {
    return this.#events.on(name, listener);
  }

  get state(): SessionState {
    return this.#session.state;
  }

  /** What arrives now. */
  get flowing(): Flowing {
    return this.#flowing;
  }

  /** The connection in use, for statistics of one's own. */
  get connection(): RTCPeerConnection | undefined {
    return this.#session.connection;
  }

  /** Starts to play. Reports by `state` events, never throws. */
  start(): void {
    this.#session.start();
  }

  /** Stops and tells the server. Safe while the page goes away. */
  close(): void {
    this.#session.close();
  }

  #prepare(connection: RTCPeerConnection): void {
    const stream = new MediaStream();
    for (const kind of ['audio', 'video'] as const) {
      const transceiver = connection.addTransceiver(kind, { direction: 'recvonly' });
      stream.addTrack(transceiver.receiver.track);
    }
    this.#events.emit('stream', stream);
  }

  #sample(state: SessionState): void {
    this.#sampler?.stop();
    this.#sampler = undefined;
    const connection = this.#session.connection;
    if (state.name !== 'live' || connection === undefined) {
      this.#setFlowing({ audio: false, video: false });
      return;
    }
    this.#flow = new MediaFlow();
    const interval = (): number =>
      this.#flowing.video ? SAMPLE_INTERVAL_MS : SAMPLE_INTERVAL_WAITING_MS;
    this.#sampler = new Sampler(connection, 'receive', interval, (sample, report) => {
      this.#setFlowing(this.#flow.update(report, sample.at));
      this.#events.emit('quality', sample);
    });
  }

  #setFlowing(flowing: Flowing): void {
    const { audio, video } = this.#flowing;
    if (flowing.audio === audio && flowing.video === video) return;
    this.#flowing = flowing;
    this.#events.emit('media', flowing);
  }
}
