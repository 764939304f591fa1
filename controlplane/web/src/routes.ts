/** Where in the application somebody is. */
export type Route =
  | { page: 'home' }
  | { page: 'live'; roomId: string }
  | { page: 'room'; roomId: string; secondId: string | undefined }
  | { page: 'watch'; roomId: string; participantId: string | undefined }
  | { page: 'unknown' };

/** Reads the part of an address after the host. */
export function parseRoute(path: string, query = ''): Route {
  if (path === '/' || path === '/index.html') return { page: 'home' };
  const match = /^\/(live|watch|room)\/([A-Za-z0-9_-]{1,64})\/?$/.exec(path);
  const roomId = match?.[2];
  if (roomId === undefined) return { page: 'unknown' };
  if (match?.[1] === 'live') return { page: 'live', roomId };
  const parameters = new URLSearchParams(query);
  if (match?.[1] === 'room') {
    const secondId = /^[A-Za-z0-9_-]{1,64}$/.exec(parameters.get('second') ?? '')?.[0];
    return { page: 'room', roomId, secondId: secondId === roomId ? undefined : secondId };
  }
  const participantId = parameters.get('participant') ?? undefined;
  return { page: 'watch', roomId, participantId };
}

/** The path of the page of one or two rooms. */
export function roomPath([first = '', second]: readonly string[]): string {
  return `/room/${first}${second === undefined ? '' : `?second=${second}`}`;
}

/**
 * What somebody typed to watch or to join: an address copied from anywhere, or the id of
 * a room alone. Nothing when it is neither.
 */
export function roomIdFrom(typed: string): string | undefined {
  const text = typed.trim();
  const fromAddress = /\/(?:watch|live|room|whep|whip)\/([A-Za-z0-9_-]{1,64})(?:[/?#]|$)/.exec(text)?.[1];
  return fromAddress ?? /^[A-Za-z0-9_-]{1,64}$/.exec(text)?.[0];
}

/** Whether an address with this host leads to the machine that asks, and to no other. */
export function isLoopback(hostname: string): boolean {
  return /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\])$/i.test(hostname);
}
