import type { Environment } from './environment';
import { Emitter, type Listener } from './events';
import type { QualitySample } from './quality';
import type { Sampler } from './sampler';
import { Session, type EndReason, type SessionState, type TokenSource } from './session';

export interface RoomSessionOptions {
  /** Where the server is; the page's own origin when empty. */
  server?: string;
  roomId: string;
  token?: string | TokenSource;
  environment?: Environment;
}

export interface RoomSessionEvents {
  state: SessionState;
  /** About one a second while live. */
  quality: QualitySample;
}

/** One session with a room, which is measured while it is live: what publishing and playing have in common. */
export abstract class RoomSession<Events extends RoomSessionEvents> {
  readonly #events = new Emitter<Events>();
  readonly #session: Session;
  #sampler: Sampler | undefined;

  constructor(options: RoomSessionOptions, mayReturn?: () => Promise<boolean>) {
    this.#session = new Session({
      endpoint: () => this.endpoint(),
      mayReturn,
      token: options.token,
      environment: options.environment,
      prepare: (connection) => this.prepare(connection),
    });
    this.#session.on('state', (state) => {
      this.#sampler?.stop();
      this.#sampler = this.measure(state.name === 'live' ? this.connection : undefined);
      this.emit('state', state);
    });
  }

  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): () => void {
    return this.#events.on(name, listener);
  }

  get state(): SessionState {
    return this.#session.state;
  }

  /** The connection in use, for statistics of one's own. */
  get connection(): RTCPeerConnection | undefined {
    return this.#session.connection;
  }

  /** Whether it is about to enter the room, or to enter it again. */
  get isJoining(): boolean {
    return this.#session.isJoining;
  }

  /** Connects, and stays connected. Reports by `state` events, never throws. */
  start(): void {
    this.#session.start();
  }

  protected emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    this.#events.emit(name, event);
  }

  /** Ends the session and tells the server. Safe while the page goes away. */
  protected end(because: EndReason): void {
    this.#session.close(because);
  }

  /** Begins a fresh session in the place of one that runs. */
  protected renew(): void {
    this.#session.renew();
  }

  /** The address of the WHIP or WHEP endpoint, for the next session. */
  protected abstract endpoint(): string;

  /** Adds what is sent or received to a new connection, before the offer. */
  protected abstract prepare(connection: RTCPeerConnection): void;

  /** Begins to measure a connection that went live; without one there is nothing to measure any more. */
  protected abstract measure(connection: RTCPeerConnection | undefined): Sampler | undefined;
}
