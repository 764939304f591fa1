import { SluiceApi, SluiceError, TOKEN_EXPIRED, type TokenSource } from '../sdk';

/** What a token is for: to go live, or to watch. */
export type Purpose = 'live' | 'watch';

// Tokens stay in this tab: closing it forgets them, reloading it does not.
const tokenKey = (roomId: string): string => `sluice.token.${roomId}`;
// What a guest gets is kept apart: one who watches may do no more than that.
const guestKey = (roomId: string, purpose: Purpose): string => `sluice.guest.${purpose}.${roomId}`;
const IDENTITY_KEY = 'sluice.identity';

/** Keeps a token for a room, such as the host's of a room that was just created. */
export function keepToken(roomId: string, token: string): void {
  sessionStorage.setItem(tokenKey(roomId), token);
}

/** Keeps the token that came with a move to a room, so that one is there again after a reload; not in the place of a better one. */
export function keepTokenOfMove(roomId: string, token: string): void {
  if (sessionStorage.getItem(tokenKey(roomId)) === null) keepToken(roomId, token);
}

/**
 * Takes a token out of the address (`#token=` or `?token=`), keeps it, and
 * cleans the address, so that copying it does not give the token away.
 */
export function takeTokenFromAddress(roomId: string): void {
  const url = new URL(location.href);
  const fragment = new URLSearchParams(url.hash.slice(1));
  const token = fragment.get('token') ?? url.searchParams.get('token');
  if (token === null || token === '') return;
  keepToken(roomId, token);
  fragment.delete('token');
  url.searchParams.delete('token');
  url.hash = fragment.toString();
  history.replaceState(history.state, '', url);
}

/**
 * Where a session gets its token from: the kept one while the server takes it,
 * else a fresh one as a guest. A token that was given, in a link or to who
 * created the room, ends without another: nobody here can renew it.
 */
export function tokenSourceFor(
  roomId: string,
  purpose: Purpose,
  pin: () => string | undefined,
): TokenSource {
  return async ({ renew, cause }) => {
    const given = sessionStorage.getItem(tokenKey(roomId)) ?? undefined;
    const kept = given ?? sessionStorage.getItem(guestKey(roomId, purpose)) ?? undefined;
    if (kept !== undefined && !renew) return kept;
    // Whoever came with a token of their own does not become a guest when it ends.
    if (given !== undefined && (cause === 'expired' || cause === 'expiring')) throw linkExpired();
    try {
      const token = await guestToken(roomId, purpose, pin());
      sessionStorage.setItem(guestKey(roomId, purpose), token);
      // The server did not take it any more.
      sessionStorage.removeItem(tokenKey(roomId));
      return token;
    } catch (error) {
      throw asRefusalOf(kept, error);
    }
  };
}

async function guestToken(roomId: string, purpose: Purpose, pin: string | undefined): Promise<string> {
  const { token } = await new SluiceApi().createToken(roomId, {
    identity: guestIdentity(),
    role: purpose === 'live' ? 'speaker' : 'attendee',
    ...(pin !== undefined && { pin }),
  });
  return token;
}

/** Who this tab is, in every room, so that a reload takes its own place and not a second one. */
export function guestIdentity(): string {
  const kept = sessionStorage.getItem(IDENTITY_KEY);
  if (kept !== null) return kept;
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  const identity = `guest-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
  sessionStorage.setItem(IDENTITY_KEY, identity);
  return identity;
}

function linkExpired(): SluiceError {
  return new SluiceError({ reason: 'unauthorized', code: TOKEN_EXPIRED, message: 'The token of the link has no successor.' });
}

/** Codes that say no more than that guests get no token; a proxy gives none at all. */
const NO_GUESTS: ReadonlySet<string> = new Set(['token_missing', 'forbidden']);

/**
 * When guests are refused, somebody who came with a token should hear that it
 * is not taken any more, and somebody without one that it takes one. Where the
 * server gives a reason of the room or of the person, that is the one to hear.
 */
function asRefusalOf(kept: string | undefined, error: unknown): unknown {
  if (!(error instanceof SluiceError)) return error;
  if (error.reason !== 'unauthorized' && error.reason !== 'forbidden') return error;
  if (error.code !== undefined && !NO_GUESTS.has(error.code)) return error;
  return new SluiceError({
    reason: 'unauthorized',
    code: kept === undefined ? 'token_required' : 'token_expired',
    message: error.message,
  });
}
