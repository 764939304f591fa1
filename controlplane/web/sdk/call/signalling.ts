import { SluiceApi } from '../api';
import { Backoff } from '../backoff';
import type { Environment } from '../environment';
import { Emitter, type Listener } from '../events';
import { SluiceError, toSluiceError } from '../failure';
import {
  FIRST_ATTEMPTS_MAX,
  NETWORK_PROBE_MS_MAX,
  PING_INTERVAL_MS,
  RECONNECT_MS_MAX,
  SIGNALLING_MS_MAX,
  SIGNALLING_SILENT_MS_MAX,
  STABLE_MS_MIN,
} from '../limits';
import { insteadOf, TOKEN_EXPIRED, type TokenRequest } from '../token';
import { pause } from '../waiting';
import { isRefusal, type ClientRequest, type Refused, type ServerMessage, type Welcome } from './protocol';
import { CLOSE_REPLACED, refusalOf, refusalOfClose } from './refusal';
import { Requests, sessionOver } from './requests';
import type { CallState } from './state';
import { Wire, type Closed } from './wire';

/**
 * Gives a token for a room, or none where none is to be had; with `renew`,
 * another one than before. Asked some time before the one in use ends, too
 * (`cause` is `expiring`): whoever has no other token then throws.
 */
export type CallTokenSource = (request: TokenRequest & { roomId: string }) => Promise<string | undefined>;

/** The room that a session is opened with. */
export interface FirstRoom {
  roomId: string;
  autoSubscribe: boolean;
}

export interface SignallingOptions {
  /** Where the server is; the page's own origin when empty. */
  server: string;
  token: CallTokenSource;
  /** Asked before each new session; without a room there is nothing to open. */
  firstRoom: () => FirstRoom | undefined;
  environment: Environment;
}

export interface SignallingEvents {
  state: CallState;
  /** A new session: nothing of the one before holds any more. `room_joined` follows. */
  opened: Welcome;
  /** Everything that the server says, in its order. */
  message: ServerMessage;
}

/**
 * One signalling session and the WebSockets that carry it, one after the
 * other. A lost one is followed by another that resumes the session; where the
 * server does not know the session any more, a new one is opened.
 */
export class Signalling {
  readonly #events = new Emitter<SignallingEvents>();
  readonly #options: SignallingOptions;
  readonly #backoff: Backoff;
  readonly #requests = new Requests();
  #state: CallState = { name: 'idle' };
  #run: AbortController | undefined;
  #wire: Wire | undefined;
  #welcome: Welcome | undefined;
  #seq = 0;
  #isReady = false;
  #liveSince: number | undefined;
  #refused: Refused | undefined;
  /** What the next session asks for its token with. */
  #asking: TokenRequest = { renew: false };
  /** Who waits for a message of the connection; each says whether it has come. */
  readonly #waiters = new Set<(message: ServerMessage) => boolean>();

  constructor(options: SignallingOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.environment.random);
  }

  on<Name extends keyof SignallingEvents>(name: Name, listener: Listener<SignallingEvents[Name]>): () => void {
    return this.#events.on(name, listener);
  }

  get state(): CallState {
    return this.#state;
  }

  /** What the server said of the session, while there is one. */
  get welcome(): Welcome | undefined {
    return this.#welcome;
  }

  start(): void {
    if (this.#run !== undefined) return;
    const run = new AbortController();
    this.#run = run;
    this.#liveSince = undefined;
    this.#asking = { renew: false };
    this.#backoff.reset();
    void this.#keep(run.signal).then((state) => {
      if (this.#run === run) this.close(state);
    });
  }

  /** Ends the session. `messages` are said before, as far as there is a connection. */
  close(state: CallState, messages: readonly ClientRequest[] = []): void {
    for (const message of messages) this.#wire?.send(message);
    this.#wire?.close(true);
    this.#wire = undefined;
    this.#run?.abort();
    this.#run = undefined;
    this.#forget();
    if (this.#state.name !== state.name) this.#setState(state);
  }

  /**
   * Asks the server for something, now or as soon as there is a connection,
   * and again after a lost one. Fails with {@link SluiceError} when the server
   * refuses, when the session is over, and when `signal` takes the request back.
   */
  request(request: ClientRequest, signal?: AbortSignal): Promise<ServerMessage> {
    if (this.#run === undefined || signal?.aborted) return Promise.reject(sessionOver());
    const send = (message: ClientRequest & { id: number }): void => {
      if (this.#isReady) this.#wire?.send(message);
    };
    return this.#requests.ask(request, send, signal);
  }

  /** Stays connected until it ends, and says how it ended. */
  async #keep(signal: AbortSignal): Promise<CallState> {
    let [attempt, lostAt] = [1, Date.now()];
    let cause: SluiceError | undefined;
    this.#announce(attempt);
    while (!signal.aborted) {
      try {
        const wire = await this.#connect(signal);
        const connectedAt = Date.now();
        this.#isLive();
        const closed = await this.#hold(wire, signal);
        if (closed.code === CLOSE_REPLACED) return { name: 'ended', because: 'replaced' };
        const refusal = refusalOfClose(closed.code, closed.reason);
        if (refusal !== undefined && refusal.reason !== 'unauthorized') return { name: 'failed', failure: refusal };
        if (refusal !== undefined) this.#expire(refusal);
        if (signal.aborted) break;
        [attempt, lostAt, cause] = [1, Date.now(), undefined];
        this.#announce(attempt);
        if (lostAt - connectedAt > STABLE_MS_MIN) {
          this.#backoff.reset();
          continue;
        }
      } catch (thrown) {
        this.#drop();
        if (signal.aborted) break;
        cause = toSluiceError(thrown);
        const isGone = cause.reason === 'not_found' && this.#liveSince !== undefined;
        if (isGone) return { name: 'ended', because: 'room_closed' };
        if (this.#isOver(cause, attempt, Date.now() - lostAt)) return { name: 'failed', failure: cause };
        attempt += 1;
        this.#announce(attempt, cause);
      }
      const ms = Math.max(this.#backoff.next(), cause?.retryAfterMs ?? 0);
      await pause(ms, signal, this.#options.environment.onOnline);
    }
    return { name: 'ended', because: 'left' };
  }

  /** Whether trying again makes no sense. */
  #isOver(cause: SluiceError, attempt: number, lostMs: number): boolean {
    if (cause.isFinal || lostMs > RECONNECT_MS_MAX) return true;
    // A server that does not answer may be starting; the user can see that and cancel.
    return this.#liveSince === undefined && cause.reason !== 'unreachable' && attempt >= FIRST_ATTEMPTS_MAX;
  }

  async #connect(signal: AbortSignal): Promise<Wire> {
    if (this.#welcome !== undefined) {
      const wire = await this.#resume(this.#welcome, signal);
      if (wire !== undefined) return wire;
      this.#forget();
    }
    const asking = this.#asking;
    try {
      return await this.#open(asking, signal);
    } catch (thrown) {
      this.#drop();
      const refused = toSluiceError(thrown);
      if (signal.aborted || asking.renew || refused.reason !== 'unauthorized') throw thrown;
      return this.#open(insteadOf(refused), signal).catch((again: unknown) => {
        // Whoever was removed hears that, and not that there is no other token.
        throw refused.code === 'token_revoked' && toSluiceError(again).reason === 'unauthorized' ? refused : again;
      });
    }
  }

  /** Opens a new session. */
  async #open(asking: TokenRequest, signal: AbortSignal): Promise<Wire> {
    const { firstRoom, token } = this.#options;
    const room = firstRoom();
    if (room === undefined) throw sessionOver();
    const shown = (await token({ roomId: room.roomId, ...asking })) ?? '';
    signal.throwIfAborted();
    const query = new URLSearchParams({ token: shown, room_id: room.roomId });
    if (!room.autoSubscribe) query.set('auto_subscribe', 'false');
    const wire = this.#connectTo(`?${query}`);
    const joined = this.#next(({ type }) => type === 'room_joined');
    if (!(await this.#within(wire, wire.opened, signal))) throw await this.#reasonOf(room.roomId, shown);
    await this.#within(wire, joined, signal);
    this.#isReady = true;
    this.#asking = { renew: false };
    // What was asked before there was a session.
    for (const message of this.#requests.unanswered) wire.send(message);
    return wire;
  }

  /** Goes on with a session; nothing where the server does not know it any more. */
  async #resume(welcome: Welcome, signal: AbortSignal): Promise<Wire | undefined> {
    const wire = this.#connectTo('');
    const resumed = this.#next(({ type }) => type === 'resumed' || type === 'error');
    if (!(await this.#within(wire, wire.opened, signal))) throw unreachable();
    wire.send({ type: 'resume', resume_token: welcome.resume_token, seq: this.#seq });
    const first = await this.#within(wire, resumed, signal);
    if (isRefusal(first)) {
      if (first.code === TOKEN_EXPIRED) this.#expire(refusalOf(first));
      else if (first.code !== 'no_such_session') throw refusalOf(first);
      this.#drop();
      return undefined;
    }
    this.#isReady = true;
    // Answers that were missed come before the answer to this; what is
    // unanswered then never reached the server, or its answer got lost.
    const unanswered = this.#requests.unanswered;
    this.#waiters.add((message) => {
      if (message.type !== 'pong') return false;
      const still = new Set(this.#requests.unanswered);
      for (const missing of unanswered) if (still.has(missing)) wire.send(missing);
      return true;
    });
    wire.send({ type: 'ping' });
    return wire;
  }

  #connectTo(query: string): Wire {
    const { environment, server } = this.#options;
    this.#refused = undefined;
    const wire: Wire = new Wire(environment.openSocket(socketUrl(server, query)), (message) => {
      if (this.#wire === wire) this.#onMessage(message);
    });
    this.#wire = wire;
    return wire;
  }

  /** The next message of some kind. */
  #next(isIt: (message: ServerMessage) => boolean): Promise<ServerMessage> {
    return new Promise((resolve) => {
      this.#waiters.add((message) => {
        if (isIt(message)) resolve(message);
        return isIt(message);
      });
    });
  }

  /**
   * Waits for something of a connection, while it is there and not too long;
   * fails with what the server said instead.
   */
  async #within<T>(wire: Wire, wanted: Promise<T>, signal: AbortSignal): Promise<T> {
    const timer = setTimeout(() => wire.close(), SIGNALLING_MS_MAX);
    const abort = (): void => wire.close();
    signal.addEventListener('abort', abort);
    try {
      const ended = wire.closed.then(({ code, reason, wasOpen }) => {
        signal.throwIfAborted();
        // That the handshake failed is told by `opened` itself.
        if (!wasOpen) return new Promise<never>(() => undefined);
        if (this.#refused !== undefined) throw refusalOf(this.#refused);
        throw refusalOfClose(code, reason) ?? unreachable();
      });
      return await Promise.race([wanted, ended]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    }
  }

  /** Why the server did not open a WebSocket, which browsers do not tell. */
  async #reasonOf(roomId: string, token: string): Promise<SluiceError> {
    const { server, environment } = this.#options;
    try {
      await new SluiceApi({ server, token, environment }).room(roomId);
      return unreachable();
    } catch (thrown) {
      return toSluiceError(thrown);
    }
  }

  /** Keeps a connection until it ends: pings, and ends it itself when the server falls silent. */
  async #hold(wire: Wire, signal: AbortSignal): Promise<Closed> {
    const { onNetworkChange } = this.#options.environment;
    const idleMs = (this.#welcome?.idle_timeout ?? 0) * 1000;
    const intervalMs = idleMs > 0 ? Math.min(PING_INTERVAL_MS, idleMs / 3) : PING_INTERVAL_MS;
    const pinging = setInterval(() => {
      if (Date.now() - wire.heardAt > SIGNALLING_SILENT_MS_MAX) wire.close();
      else wire.send({ type: 'ping' });
    }, intervalMs);
    let probe: ReturnType<typeof setTimeout> | undefined;
    const stopListening = onNetworkChange(() => {
      const askedAt = Date.now();
      wire.send({ type: 'ping' });
      clearTimeout(probe);
      probe = setTimeout(() => {
        if (wire.heardAt < askedAt) wire.close();
      }, NETWORK_PROBE_MS_MAX);
    });
    const abort = (): void => wire.close();
    signal.addEventListener('abort', abort);
    try {
      return await wire.closed;
    } finally {
      clearInterval(pinging);
      clearTimeout(probe);
      stopListening();
      signal.removeEventListener('abort', abort);
      this.#drop();
    }
  }

  #onMessage(message: ServerMessage): void {
    const { seq } = message;
    const startsAnew = message.type === 'welcome' || (message.type === 'resumed' && !message.complete);
    // What answers `resume` on a connection without a session counts for itself.
    const isCounted = this.#isReady || !isRefusal(message);
    if (typeof seq === 'number' && isCounted) {
      // A message that comes twice has been taken once.
      if (!startsAnew && message.type !== 'resumed' && seq <= this.#seq) return;
      if (message.type !== 'resumed' || startsAnew || seq === this.#seq + 1) this.#seq = seq;
    }
    if (isRefusal(message)) this.#refused = message;
    if (message.type === 'welcome') {
      this.#welcome = message;
      this.#events.emit('opened', message);
    }
    this.#events.emit('message', message);
    this.#requests.answer(message);
    for (const waiter of [...this.#waiters]) {
      if (waiter(message)) this.#waiters.delete(waiter);
    }
  }

  #announce(attempt: number, cause?: SluiceError): void {
    const why = cause === undefined ? {} : { cause };
    if (this.#liveSince === undefined) this.#setState({ name: 'connecting', attempt, ...why });
    else this.#setState({ name: 'reconnecting', attempt, since: this.#liveSince, ...why });
  }

  #isLive(): void {
    this.#liveSince ??= Date.now();
    this.#setState({ name: 'live', since: this.#liveSince });
  }

  /** Lets go of the connection; the session may go on. */
  #drop(): void {
    this.#isReady = false;
    this.#waiters.clear();
    this.#wire?.close();
    this.#wire = undefined;
  }

  /** The session has ended with its token: another one needs another token. */
  #expire(refusal: SluiceError): void {
    this.#forget();
    this.#asking = insteadOf(refusal);
  }

  /** Lets go of the session. */
  #forget(): void {
    this.#isReady = false;
    this.#welcome = undefined;
    this.#seq = 0;
    this.#requests.drop(sessionOver());
  }

  #setState(state: CallState): void {
    this.#state = state;
    this.#events.emit('state', state);
  }
}

/** The address of the WebSocket on a server, or on the one that the page came from. */
function socketUrl(server: string, query: string): string {
  const base = server === '' ? location.origin : server.replace(/\/+$/, '');
  return `${base.replace(/^http/, 'ws')}/ws${query}`;
}

function unreachable(): SluiceError {
  return new SluiceError({ reason: 'unreachable', message: 'The server did not answer.' });
}
