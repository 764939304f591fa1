import type { Environment } from './environment';
import { SluiceError } from './failure';
import { iceServersFrom } from './link';
import { problemFrom } from './problem';
import { bearer, request } from './request';
import { parseIceFragment, type IceFragment } from './sdpfrag';

/** What an endpoint made of an offer. */
export interface Created {
  answer: string;
  iceServers: RTCIceServer[];
  resource: SessionResource;
}

/** Posts an offer to a WHIP or WHEP endpoint (RFC 9725 section 4.2). */
export async function createResource(
  environment: Environment,
  endpoint: string,
  token: string | undefined,
  offer: string,
): Promise<Created> {
  const response = await request(environment, endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/sdp', ...bearer(token) },
    body: offer,
  });
  if (response.status !== 201) throw await problemFrom(response);
  const location = response.headers.get('location');
  if (location === null) {
    throw new SluiceError({
      reason: 'server_error',
      message: 'The answer names no session (Location is missing).',
      status: response.status,
    });
  }
  // After a redirect the location is relative to where the answer came from.
  const url = resolve(location, response.url !== '' ? response.url : endpoint);
  return {
    answer: await response.text(),
    iceServers: iceServersFrom(response.headers.get('link')),
    resource: new SessionResource(environment, url, token),
  };
}

/** One session on the server: what the `Location` of the answer names. */
export class SessionResource {
  readonly #environment: Environment;
  readonly #url: string;
  readonly #token: string | undefined;

  constructor(environment: Environment, url: string, token: string | undefined) {
    this.#environment = environment;
    this.#url = url;
    this.#token = token;
  }

  /**
   * Restarts ICE (RFC 9725 section 4.3.3) and gives the server's new
   * credentials. `If-Match: *` says that whatever ICE session the server has
   * is the one to replace.
   */
  async restartIce(body: string): Promise<IceFragment> {
    const response = await request(this.#environment, this.#url, {
      method: 'PATCH',
      headers: {
        'content-type': 'application/trickle-ice-sdpfrag',
        'if-match': '*',
        ...bearer(this.#token),
      },
      body,
    });
    if (!response.ok) throw await problemFrom(response);
    const fragment = parseIceFragment(await response.text());
    if (fragment === undefined) {
      // A server may take the PATCH as trickle only and answer 204.
      throw new SluiceError({
        reason: 'rejected',
        message: 'The server does not restart ICE.',
        status: response.status,
      });
    }
    return fragment;
  }

  /**
   * Ends the session. Survives the page that calls it (`keepalive`), and says
   * nothing when it fails: the server also ends sessions that fall silent.
   */
  async remove(): Promise<void> {
    try {
      await request(this.#environment, this.#url, {
        method: 'DELETE',
        headers: bearer(this.#token),
        keepalive: true,
      });
    } catch {
      return;
    }
  }
}

function resolve(location: string, base: string): string {
  // In a page the endpoint may be a path alone.
  const origin = typeof document === 'undefined' ? undefined : document.baseURI;
  try {
    return new URL(location, new URL(base, origin)).href;
  } catch {
    return location;
  }
}
