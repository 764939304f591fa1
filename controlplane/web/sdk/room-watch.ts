import { SluiceApi, type Room } from './api';
import { Backoff } from './backoff';
import { browserEnvironment, type Environment } from './environment';
import { readEvents, type ServerEvent } from './event-stream';
import { Emitter, type Listener } from './events';
import { toSluiceError } from './failure';
import { EVENT_RETRY_MS_MAX, STABLE_MS_MIN, STREAM_PLACE_RETRY_MS } from './limits';
import { problemFrom } from './problem';
import { bearer } from './request';
import { Roster, type Participant, type RoomEvent } from './roster';
import type { TokenSource } from './session';
import { insteadOf, type TokenRequest } from './token';
import { pause } from './waiting';

export interface RoomWatchOptions {
  /** Where the server is; the page's own origin when empty. */
  server?: string;
  roomId: string;
  token: TokenSource;
  environment?: Environment;
}

export interface RoomWatchEvents {
  /** The room, when it became known. */
  room: Room;
  /** Who is there; nothing while that is not known. */
  participants: Participant[] | undefined;
  /** Each event after the list of participants was read. */
  event: RoomEvent;
  /** The room has ended. */
  closed: void;
}

/**
 * Follows a room: who is in it, who publishes, and what happens. It resumes by
 * itself, and goes without where the server has no place for another stream of
 * events: whoever uses it should not depend on it.
 */
export class RoomWatch {
  readonly #events = new Emitter<RoomWatchEvents>();
  readonly #options: RoomWatchOptions;
  readonly #environment: Environment;
  readonly #roster = new Roster();
  #run: AbortController | undefined;
  /** The last event that was seen; nothing when the list has to be read. */
  #lastId: string | undefined;
  /** Events that wait for the list of participants. */
  #waiting: RoomEvent[] | undefined;

  constructor(options: RoomWatchOptions) {
    this.#options = options;
    this.#environment = options.environment ?? browserEnvironment();
  }

  on<Name extends keyof RoomWatchEvents>(
    name: Name,
    listener: Listener<RoomWatchEvents[Name]>,
  ): () => void {
    return this.#events.on(name, listener);
  }

  /** Follows the room until {@link close}, or until it may not or the room is gone. */
  start(): void {
    if (this.#run !== undefined) return;
    const run = new AbortController();
    this.#run = run;
    this.#lastId = undefined;
    void this.#follow(run.signal).then(() => {
      if (this.#run === run) this.#run = undefined;
    });
  }

  close(): void {
    this.#run?.abort();
    this.#run = undefined;
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff(this.#environment.random);
    while (!signal.aborted) {
      const startedAt = Date.now();
      let waitMs = 0;
      try {
        const hadPlace = await this.#environment.withStreamPlace(() => this.#stream(signal));
        if (!hadPlace) waitMs = STREAM_PLACE_RETRY_MS;
      } catch (thrown) {
        const failure = toSluiceError(thrown);
        if (failure.isFinal) return;
        waitMs = failure.retryAfterMs ?? 0;
      }
      if (signal.aborted) return;
      this.#events.emit('participants', undefined);
      if (Date.now() - startedAt > STABLE_MS_MIN) backoff.reset();
      await pause(Math.max(Math.min(backoff.next(), EVENT_RETRY_MS_MAX), waitMs), signal, this.#environment.onOnline);
    }
  }

  /** One stream of events, from its request to its end. */
  async #stream(signal: AbortSignal): Promise<void> {
    const { roomId, server = '' } = this.#options;
    const url = `${server.replace(/\/+$/, '')}/api/rooms/${encodeURIComponent(roomId)}/events`;
    // The stream ends with the run, and when the list cannot be read.
    const both = new AbortController();
    const abort = (): void => both.abort();
    signal.addEventListener('abort', abort);
    try {
      const { response, token } = await this.#open(url, both.signal);
      const api = new SluiceApi({ server, token: token ?? '', environment: this.#environment });
      const read = (): void => void this.#readList(api, both).catch(abort);
      if (this.#lastId === undefined) read();
      else this.#events.emit('participants', this.#roster.participants);
      if (response.body !== null) await readEvents(response.body, (event) => this.#onEvent(event, read));
    } finally {
      abort();
      signal.removeEventListener('abort', abort);
      // Without the list there is nothing to resume.
      if (this.#waiting !== undefined) this.#lastId = undefined;
      this.#waiting = undefined;
    }
  }

  /** Asks for the stream, once more with a renewed token when the first is refused. */
  async #open(url: string, signal: AbortSignal): Promise<{ response: Response; token: string | undefined }> {
    let request: TokenRequest = { renew: false };
    for (;;) {
      const token = await this.#options.token(request);
      const response = await this.#environment.fetch(url, {
        headers: {
          accept: 'text/event-stream',
          ...bearer(token),
          ...(this.#lastId !== undefined && { 'last-event-id': this.#lastId }),
        },
        signal,
      });
      if (response.ok) return { response, token };
      const refusal = await problemFrom(response);
      if (request.renew || refusal.reason !== 'unauthorized') throw refusal;
      request = insteadOf(refusal);
    }
  }

  /** Reads the room and who is in it; events that come meanwhile are applied afterwards. */
  async #readList(api: SluiceApi, stream: AbortController): Promise<void> {
    this.#waiting = [];
    const { roomId } = this.#options;
    const [room, participants] = await Promise.all([api.room(roomId), api.participants(roomId)]);
    if (stream.signal.aborted) return;
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    this.#roster.replace(participants);
    this.#events.emit('room', room);
    for (const event of waiting) this.#roster.apply(event);
    this.#events.emit('participants', this.#roster.participants);
    for (const event of waiting) this.#events.emit('event', event);
  }

  #onEvent({ id, type, data }: ServerEvent, readList: () => void): void {
    this.#lastId = id;
    if (type === 'events_missed') {
      readList();
      return;
    }
    const event = parse(data);
    if (event === undefined) return;
    if (event.type === 'room_closed') this.#events.emit('closed', undefined);
    if (this.#waiting !== undefined) {
      this.#waiting.push(event);
      return;
    }
    if (this.#roster.apply(event)) this.#events.emit('participants', this.#roster.participants);
    this.#events.emit('event', event);
  }
}

function parse(data: string): RoomEvent | undefined {
  try {
    const event: unknown = JSON.parse(data);
    const isEvent = typeof event === 'object' && event !== null && 'type' in event && typeof event.type === 'string';
    return isEvent ? (event as RoomEvent) : undefined;
  } catch {
    return undefined;
  }
}
