import type { ClientRequest, ServerMessage } from './protocol';
import { parseMessage } from './protocol';

/** How a WebSocket ended. */
export interface Closed {
  code: number;
  reason: string;
  /** Whether it was ever open. */
  wasOpen: boolean;
}

/** What the server takes for leaving all rooms at once, and what it takes for a break. */
const CLOSE_LEAVING = 1000;
const CLOSE_TO_RESUME = 4000;

/** One WebSocket, from its handshake to its end. */
export class Wire {
  readonly #socket: WebSocket;
  #isOpen = false;
  #heardAt = Date.now();
  /** Settles when the handshake is over, one way or the other. */
  readonly opened: Promise<boolean>;
  /** Settles when it has ended; never fails. */
  readonly closed: Promise<Closed>;
  #end: (closed: Closed) => void = () => undefined;

  constructor(socket: WebSocket, onMessage: (message: ServerMessage) => void) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.opened = new Promise((resolve) => {
      socket.addEventListener('open', () => {
        this.#isOpen = true;
        this.#heardAt = Date.now();
        resolve(true);
      });
      void this.closed.then(() => resolve(false));
    });
    socket.addEventListener('message', ({ data }: MessageEvent) => {
      this.#heardAt = Date.now();
      const message = parseMessage(data);
      if (message !== undefined) onMessage(message);
    });
    socket.addEventListener('close', ({ code, reason }) => this.#end({ code, reason, wasOpen: this.#isOpen }));
  }

  /** When the server was last heard, in milliseconds. */
  get heardAt(): number {
    return this.#heardAt;
  }

  send(message: ClientRequest & { id?: number }): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /**
   * Ends it, to come back later or `leaving` for good. `closed` settles at
   * once, for a dead network would keep the browser waiting.
   */
  close(leaving = false): void {
    this.#socket.close(leaving ? CLOSE_LEAVING : CLOSE_TO_RESUME);
    this.#end({ code: 1006, reason: '', wasOpen: this.#isOpen });
  }
}
