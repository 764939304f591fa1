import { SluiceError } from '../failure';
import { REQUESTS_PENDING_MAX } from '../limits';
import { isRefusal, type ClientRequest, type ServerMessage } from './protocol';
import { refusalOf } from './refusal';

interface Pending {
  message: ClientRequest & { id: number };
  resolve: (answer: ServerMessage) => void;
  reject: (error: SluiceError) => void;
}

/** What was asked and not answered yet. It outlives connections: a resumed session asks again. */
export class Requests {
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;

  /**
   * Notes a request; `send` gets it with its number. Fails with what the server
   * answers when it refuses, and when `signal` says that nobody waits any more.
   */
  ask(
    request: ClientRequest,
    send: (message: ClientRequest & { id: number }) => void,
    signal?: AbortSignal,
  ): Promise<ServerMessage> {
    if (this.#pending.size >= REQUESTS_PENDING_MAX) {
      return Promise.reject(new SluiceError({ reason: 'busy', message: 'Too many requests wait for their answer.' }));
    }
    this.#lastId += 1;
    const message = { ...request, id: this.#lastId };
    return new Promise((resolve, reject) => {
      this.#pending.set(message.id, { message, resolve, reject });
      signal?.addEventListener('abort', () => {
        if (this.#pending.delete(message.id)) reject(sessionOver());
      });
      send(message);
    });
  }

  /** Takes an answer; false when nobody waits for it. */
  answer(message: ServerMessage): boolean {
    const pending = typeof message.id === 'number' ? this.#pending.get(message.id) : undefined;
    if (pending === undefined) return false;
    this.#pending.delete(pending.message.id);
    if (isRefusal(message)) pending.reject(refusalOf(message));
    else pending.resolve(message);
    return true;
  }

  /** What is not answered yet, in the order in which it was asked. */
  get unanswered(): (ClientRequest & { id: number })[] {
    return [...this.#pending.values()].map(({ message }) => message);
  }

  /** Nobody will answer any more. */
  drop(error: SluiceError): void {
    const all = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of all) reject(error);
  }
}

/** What requests fail with that nobody will answer; who asked may ask the next session. */
export function sessionOver(): SluiceError {
  return new SluiceError({ reason: 'unreachable', code: SESSION_OVER, message: 'The session is over.' });
}

export const SESSION_OVER = 'session_over';
