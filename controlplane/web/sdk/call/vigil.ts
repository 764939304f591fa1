import { dtlsIsDead } from '../connection';
import { CONNECT_MS_MAX, DISCONNECTED_GRACE_MS } from '../limits';

/** How a peer connection fares. */
export type Health = 'connecting' | 'connected' | 'lost';

/**
 * Watches one peer connection: says when media gets through, when it does not
 * any more, and again each `CONNECT_MS_MAX` for as long as that lasts.
 */
export class Vigil {
  readonly #connection: RTCPeerConnection;
  readonly #onHealth: (health: Health) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #health: Health = 'connecting';
  /** How often in a row it was lost, while it was not up in between. */
  #losses = 0;

  constructor(connection: RTCPeerConnection, onHealth: (health: Health) => void) {
    this.#connection = connection;
    this.#onHealth = onHealth;
    connection.addEventListener('connectionstatechange', this.#onChange);
    this.#wait(CONNECT_MS_MAX);
  }

  get health(): Health {
    return this.#health;
  }

  /**
   * Whether a connection that is lost is to be replaced: its DTLS association
   * is over, or it has failed again after an ICE restart.
   */
  get isBeyondRepair(): boolean {
    return dtlsIsDead(this.#connection) || (this.#losses > 1 && this.#connection.connectionState === 'failed');
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#connection.removeEventListener('connectionstatechange', this.#onChange);
  }

  readonly #onChange = (): void => {
    switch (this.#connection.connectionState) {
      case 'connected':
        clearTimeout(this.#timer);
        this.#set('connected');
        break;
      case 'disconnected':
        this.#wait(DISCONNECTED_GRACE_MS);
        break;
      case 'failed':
        this.#wait(0);
        break;
      default:
        break;
    }
  };

  /** Counts the connection as lost unless it is up by then, and looks again later. */
  #wait(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#set('lost');
      this.#wait(CONNECT_MS_MAX);
    }, ms);
  }

  #set(health: Health): void {
    this.#health = health;
    this.#losses = health === 'lost' ? this.#losses + 1 : 0;
    this.#onHealth(health);
  }
}
