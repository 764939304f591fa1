import { browserEnvironment, type Environment } from './environment';
import { SluiceError } from './failure';
import { ROSTER_PAGES_MAX } from './limits';
import { problemFrom } from './problem';
import { bearer, request } from './request';
import type { Participant, Role } from './roster';

/** A room as the server describes it. */
export interface Room {
  id: string;
  name: string;
  /** Only in the answer to a guest who created the room: a token as its host. */
  token?: string;
}

/** What a new room is made from. */
export interface NewRoom {
  name: string;
  /** 1 to 64 letters, digits, `_` and `-`; the server chooses one when it is left out. */
  id?: string;
  metadata?: unknown;
  pin?: string;
  /** Of a guest: whom the host's token is for, as in {@link NewToken}. */
  identity?: string;
}

/** Whom a token is for. */
export interface NewToken {
  /** 1 to 64 letters, digits, `_` and `-`. */
  identity: string;
  name?: string;
  role: Role;
  pin?: string;
  /** Seconds. */
  expires_in?: number;
}

/** A participant's token. */
export interface Token {
  token: string;
  /** RFC 3339. */
  expires_at: string;
}

/** Whether the server can work. */
export interface Health {
  status: string;
}

export interface ApiOptions {
  /** Where the server is, such as `https://media.example.org`; the page's own origin when empty. */
  server?: string;
  /** An API key's secret or an admin token. Guests have none. */
  token?: string;
  environment?: Environment;
}

/** The REST interface of a Sluice server. Every method throws {@link SluiceError}. */
export class SluiceApi {
  readonly #server: string;
  readonly #token: string | undefined;
  readonly #environment: Environment;

  constructor(options: ApiOptions = {}) {
    this.#server = (options.server ?? '').replace(/\/+$/, '');
    this.#token = options.token;
    this.#environment = options.environment ?? browserEnvironment();
  }

  health(): Promise<Health> {
    return this.#call('GET', '/api/health');
  }

  /** Creates a room; as a guest the answer holds the host's token. */
  createRoom(room: NewRoom): Promise<Room> {
    return this.#call('POST', '/api/rooms', room);
  }

  room(roomId: string): Promise<Room> {
    return this.#call('GET', `/api/rooms/${encodeURIComponent(roomId)}`);
  }

  /** Who is in a room; of very many, those on the first `ROSTER_PAGES_MAX` pages. */
  async participants(roomId: string): Promise<Participant[]> {
    const found: Participant[] = [];
    let cursor: string | null = null;
    for (let pages = 0; pages < ROSTER_PAGES_MAX; pages += 1) {
      const after: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`;
      const path = `/api/rooms/${encodeURIComponent(roomId)}/participants?limit=200${after}`;
      const page: { participants: Participant[]; next_cursor: string | null } = await this.#call('GET', path);
      found.push(...page.participants);
      cursor = page.next_cursor;
      if (cursor === null) break;
    }
    return found;
  }

  /** Issues a token for a participant; without an API key, one for a guest. */
  createToken(roomId: string, token: NewToken): Promise<Token> {
    return this.#call('POST', `/api/rooms/${encodeURIComponent(roomId)}/tokens`, token);
  }

  async #call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await request(this.#environment, this.#server + path, {
      method,
      headers: {
        accept: 'application/json',
        ...bearer(this.#token),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    if (!response.ok) throw await problemFrom(response);
    try {
      return (await response.json()) as T;
    } catch {
      throw new SluiceError({
        reason: 'server_error',
        message: 'The answer of the server is not JSON.',
        status: response.status,
      });
    }
  }
}
