import { Backoff } from './backoff';
import { dtlsIsDead, isConnected, waitForConnected, waitForLoss } from './connection';
import { browserEnvironment, type Environment } from './environment';
import { Emitter, type Listener } from './events';
import { SluiceError, toSluiceError } from './failure';
import {
  BLOCKED_ATTEMPTS_MAX,
  FIRST_ATTEMPTS_MAX,
  RECONNECT_MS_MAX,
  STABLE_MS_MIN,
} from './limits';
import { createResource, type SessionResource } from './resource';
import { withIceFragment, writeIceRestart } from './sdpfrag';
import { insteadOf, type TokenRequest } from './token';
import { pause } from './waiting';

/**
 * Where a session stands.
 *
 * ```text
 *          start()            connected
 *   idle ─────────► connecting ─────────► live ◄────────┐
 *    ▲                │    │                │ lost      │ ICE restart, or
 *    │                │    │                ▼           │ a fresh session
 *    │                │    │           reconnecting ────┘
 *    │                │    ▼                │
 *    └── start() ◄── failed ◄───────────────┤ not allowed any more, or 10 minutes
 *    └── start() ◄── ended ◄── close() ─────┘ the room is gone, or another page
 * ```                                         took the place of this one
 */
export type SessionState =
  | { name: 'idle' }
  /** `attempt` counts from 1; `cause` is why the last one did not work. */
  | { name: 'connecting'; attempt: number; cause?: SluiceError }
  /** `since` is the time of the first connection, in ms since the epoch; breaks do not reset it. */
  | { name: 'live'; since: number }
  /** `cause` is why the last attempt did not work, once there was one. */
  | { name: 'reconnecting'; attempt: number; since: number; cause?: SluiceError }
  | { name: 'ended'; because: EndReason }
  | { name: 'failed'; failure: SluiceError };

/** Why a session ended without having failed. `replaced`: another page has its place. */
export type EndReason = 'closed' | 'room_gone' | 'replaced';

/** Gives a token, or none where none is needed; with `renew`, another one than before. */
export type TokenSource = (request: TokenRequest) => Promise<string | undefined>;

export interface SessionOptions {
  /** Gives the address of the WHIP or WHEP endpoint, for each new session. */
  endpoint: () => string;
  token?: string | TokenSource | undefined;
  /** Adds transceivers to each new connection, before the offer. */
  prepare: (connection: RTCPeerConnection) => void | Promise<void>;
  /**
   * Asked when the server does not know the session any more: whether a fresh
   * one may take its place. Two pages with one identity would otherwise throw
   * each other out without end.
   */
  mayReturn?: (() => Promise<boolean>) | undefined;
  environment?: Environment | undefined;
}

export interface SessionEvents {
  state: SessionState;
}

/**
 * Keeps one WHIP or WHEP session alive: offers, watches the connection,
 * restarts ICE when it is lost, and makes a fresh session when that does not
 * help. What is sent or received is the business of its users.
 */
export class Session {
  readonly #events = new Emitter<SessionEvents>();
  readonly #options: SessionOptions;
  readonly #environment: Environment;
  readonly #backoff: Backoff;
  #state: SessionState = { name: 'idle' };
  #run: AbortController | undefined;
  #connection: RTCPeerConnection | undefined;
  #resource: SessionResource | undefined;
  #answer = '';
  #liveSince: number | undefined;
  #isJoining = false;
  #isForgotten = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#environment = options.environment ?? browserEnvironment();
    this.#backoff = new Backoff(this.#environment.random);
  }

  on<Name extends keyof SessionEvents>(
    name: Name,
    listener: Listener<SessionEvents[Name]>,
  ): () => void {
    return this.#events.on(name, listener);
  }

  get state(): SessionState {
    return this.#state;
  }

  get connection(): RTCPeerConnection | undefined {
    return this.#connection;
  }

  /** Whether an offer is on its way, or its answer is not connected yet. */
  get isJoining(): boolean {
    return this.#isJoining;
  }

  /** Connects, and stays connected until {@link close}. Does nothing while it runs already. */
  start(): void {
    if (this.#run !== undefined) return;
    const run = new AbortController();
    this.#run = run;
    this.#liveSince = undefined;
    this.#backoff.reset();
    void this.#live(run.signal).then((end) => {
      if (this.#run !== run) return;
      this.#run = undefined;
      this.#setState(end);
    });
  }

  /**
   * Ends the session and tells the server. Everything happens before it
   * returns, so it is safe to call when the page goes away.
   */
  close(because: EndReason = 'closed'): void {
    const run = this.#run;
    this.#run = undefined;
    run?.abort();
    // Otherwise the server has ended it already.
    if (because !== 'closed') this.#resource = undefined;
    this.#discard();
    if (run !== undefined) this.#setState({ name: 'ended', because });
  }

  /** Begins a fresh session in the place of one that runs, such as for another endpoint. */
  renew(): void {
    if (this.#run === undefined) return;
    this.#run.abort();
    this.#run = undefined;
    this.#discard();
    this.start();
  }

  /** The whole life of the session; gives the state that it ends in. */
  async #live(signal: AbortSignal): Promise<SessionState> {
    let attempt = 0;
    let lostAt = Date.now();
    let cause: SluiceError | undefined;
    // After each wait `signal` comes first: once it is aborted, what `this`
    // holds may belong to the next run.
    while (!signal.aborted) {
      attempt += 1;
      this.#announce(attempt, cause);
      try {
        await this.#establish(signal);
        const connectedAt = Date.now();
        await this.#hold(signal);
        lostAt = Date.now();
        attempt = 0;
        cause = undefined;
        if (lostAt - connectedAt > STABLE_MS_MIN) this.#backoff.reset();
        if (await this.#isReplaced(signal)) {
          this.#discard();
          return { name: 'ended', because: 'replaced' };
        }
      } catch (thrown) {
        if (signal.aborted) break;
        cause = toSluiceError(thrown);
        const end = this.#endAfter(cause, attempt, Date.now() - lostAt);
        if (end !== undefined) {
          this.#discard();
          return end;
        }
        this.#announce(attempt, cause);
      }
      this.#discard();
      await this.#pause(cause, signal);
    }
    return { name: 'ended', because: 'closed' };
  }

  /** Whether the server has forgotten this session because somebody else has its place. */
  async #isReplaced(signal: AbortSignal): Promise<boolean> {
    if (!this.#isForgotten || this.#options.mayReturn === undefined) return false;
    const mayReturn = await this.#options.mayReturn().catch(() => true);
    signal.throwIfAborted();
    return !mayReturn;
  }

  /** Offers and waits until media can flow. */
  async #establish(signal: AbortSignal): Promise<void> {
    this.#isJoining = true;
    const connection = this.#createConnection();
    this.#connection = connection;
    await this.#options.prepare(connection);
    // The offer goes out before it is applied: gathering starts with
    // `setLocalDescription`, and by then the answer has named the ICE servers
    // (RFC 9725 section 4.6). No candidate has to be waited for, because an
    // ICE-lite server learns ours from the binding requests.
    const offer = await connection.createOffer();
    signal.throwIfAborted();
    const created = await this.#post(offer.sdp ?? '');
    if (signal.aborted) {
      void created.resource.remove();
      signal.throwIfAborted();
    }
    this.#resource = created.resource;
    this.#answer = created.answer;
    useIceServers(connection, created.iceServers);
    await connection.setLocalDescription(offer);
    await connection.setRemoteDescription({ type: 'answer', sdp: created.answer });
    await waitForConnected(connection, signal);
    this.#isLive();
  }

  /** Posts the offer, once more with a renewed token when the first is refused. */
  async #post(offer: string): ReturnType<typeof createResource> {
    const { token } = this.#options;
    const endpoint = this.#options.endpoint();
    if (typeof token !== 'function') {
      return createResource(this.#environment, endpoint, token, offer);
    }
    try {
      return await createResource(this.#environment, endpoint, await token({ renew: false }), offer);
    } catch (thrown) {
      const refusal = toSluiceError(thrown);
      if (refusal.reason !== 'unauthorized') throw thrown;
      return createResource(this.#environment, endpoint, await token(insteadOf(refusal)), offer);
    }
  }

  /** Stays until the connection is lost and an ICE restart does not bring it back. */
  async #hold(signal: AbortSignal): Promise<void> {
    const connection = this.#connection;
    while (connection !== undefined && !signal.aborted) {
      await waitForLoss(connection, signal);
      this.#announce(1);
      if (!(await this.#restartIce(connection, signal))) return;
      this.#isLive();
    }
  }

  /**
   * Brings the connection back with new ICE credentials. False means that the
   * session cannot be saved: the server does not know it any more, does not
   * restart ICE, or nothing came through.
   */
  async #restartIce(connection: RTCPeerConnection, signal: AbortSignal): Promise<boolean> {
    const resource = this.#resource;
    const lostAt = Date.now();
    let attempt = 1;
    this.#isForgotten = false;
    while (resource !== undefined && !dtlsIsDead(connection)) {
      if (isConnected(connection)) return true;
      try {
        const offer = await connection.createOffer({ iceRestart: true });
        const body = writeIceRestart(offer.sdp ?? '');
        if (body === undefined) return false;
        const fragment = await resource.restartIce(body);
        signal.throwIfAborted();
        this.#answer = withIceFragment(this.#answer, fragment);
        await connection.setLocalDescription(offer);
        await connection.setRemoteDescription({ type: 'answer', sdp: this.#answer });
        await waitForConnected(connection, signal);
        return true;
      } catch (thrown) {
        signal.throwIfAborted();
        const failure = toSluiceError(thrown);
        this.#isForgotten = failure.reason === 'not_found';
        const isWorthAnother = failure.reason === 'unreachable' || failure.reason === 'busy';
        if (!isWorthAnother || Date.now() - lostAt > RECONNECT_MS_MAX) return false;
        attempt += 1;
        this.#announce(attempt, failure);
        await this.#pause(failure, signal);
        signal.throwIfAborted();
      }
    }
    // The far end has closed the association, and with it the session.
    this.#isForgotten = true;
    return false;
  }

  /** The state that a failed attempt ends the session in, or nothing to go on trying. */
  #endAfter(failure: SluiceError, attempt: number, lostMs: number): SessionState | undefined {
    if (this.#liveSince !== undefined) {
      if (failure.reason === 'not_found') return { name: 'ended', because: 'room_gone' };
      const gaveUp = failure.isFinal || lostMs > RECONNECT_MS_MAX;
      return gaveUp ? { name: 'failed', failure } : undefined;
    }
    // A server that does not answer may be starting; the user can see that and cancel.
    if (failure.reason === 'unreachable' && lostMs <= RECONNECT_MS_MAX) return undefined;
    const attemptsMax =
      failure.reason === 'media_blocked' ? BLOCKED_ATTEMPTS_MAX : FIRST_ATTEMPTS_MAX;
    return failure.isFinal || attempt >= attemptsMax ? { name: 'failed', failure } : undefined;
  }

  /** The wait before another attempt. */
  #pause(cause: SluiceError | undefined, signal: AbortSignal): Promise<void> {
    const ms = Math.max(this.#backoff.next(), cause?.retryAfterMs ?? 0);
    return pause(ms, signal, this.#environment.onOnline);
  }

  #createConnection(): RTCPeerConnection {
    try {
      return this.#environment.createConnection({ bundlePolicy: 'max-bundle' });
    } catch {
      throw new SluiceError({ reason: 'unsupported', message: 'This browser has no WebRTC.' });
    }
  }

  /** Says that there is no connection now. */
  #announce(attempt: number, cause?: SluiceError): void {
    if (this.#liveSince === undefined) {
      this.#setState({ name: 'connecting', attempt, ...(cause && { cause }) });
    } else {
      const since = this.#liveSince;
      this.#setState({ name: 'reconnecting', attempt, since, ...(cause && { cause }) });
    }
  }

  #isLive(): void {
    this.#isJoining = false;
    this.#liveSince ??= Date.now();
    this.#setState({ name: 'live', since: this.#liveSince });
  }

  /** Lets go of the connection and of the session on the server. */
  #discard(): void {
    this.#isJoining = false;
    void this.#resource?.remove();
    this.#resource = undefined;
    this.#connection?.close();
    this.#connection = undefined;
  }

  #setState(state: SessionState): void {
    this.#state = state;
    this.#events.emit('state', state);
  }
}

/** Takes the server's ICE servers into use; a browser may dislike one, as Firefox does some ports. */
function useIceServers(connection: RTCPeerConnection, iceServers: RTCIceServer[]): void {
  if (iceServers.length === 0) return;
  try {
    connection.setConfiguration({ ...connection.getConfiguration(), iceServers });
  } catch (error) {
    // They are help for difficult networks; most sessions do without.
    console.warn('the ICE servers of this Sluice server cannot be used', error);
  }
}
