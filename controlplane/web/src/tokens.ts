import { SluiceApi, SluiceError, type TokenSource } from '../sdk';

// Tokens stay in this tab: closing it forgets them, reloading it does not.
const tokenKey = (roomId: string): string => `sluice.token.${roomId}`;
const IDENTITY_KEY = 'sluice.identity';

/** Keeps a token for a room, such as the host's of a room that was just created. */
export function keepToken(roomId: string, token: string): void {
  sessionStorage.setItem(tokenKey(roomId), token);
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
 * else a fresh one as a guest.
 */
export function tokenSourceFor(roomId: string, pin: () => string | undefined): TokenSource {
  return async ({ renew }) => {
    const kept = sessionStorage.getItem(tokenKey(roomId)) ?? undefined;
    if (kept !== undefined && !renew) return kept;
    try {
      const token = await guestToken(roomId, pin());
      keepToken(roomId, token);
      return token;
    } catch (error) {
      throw kept === undefined ? error : asExpired(error);
    }
  };
}

async function guestToken(roomId: string, pin: string | undefined): Promise<string> {
  const { token } = await new SluiceApi().createToken(roomId, {
    identity: guestIdentity(),
    role: 'speaker',
    ...(pin !== undefined && { pin }),
  });
  return token;
}

/** Who this tab is, so that a reload takes its own place and not a second one. */
function guestIdentity(): string {
  const kept = sessionStorage.getItem(IDENTITY_KEY);
  if (kept !== null) return kept;
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  const identity = `guest-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
  sessionStorage.setItem(IDENTITY_KEY, identity);
  return identity;
}

/** Somebody who came with a token should hear about that token, not about guests. */
function asExpired(error: unknown): unknown {
  const isRefusal =
    error instanceof SluiceError && (error.reason === 'unauthorized' || error.reason === 'forbidden');
  if (!isRefusal) return error;
  return new SluiceError({
    reason: 'unauthorized',
    code: 'token_expired',
    message: 'The server does not take this token any more.',
  });
}
