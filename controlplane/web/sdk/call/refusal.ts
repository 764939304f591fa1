import { SluiceError, type FailureReason } from '../failure';
import { TOKEN_EXPIRED } from '../token';
import type { Refused } from './protocol';

/** Codes of refusals that are worth a reason of their own; all others are `rejected`. */
const REASONS: Readonly<Record<string, FailureReason>> = {
  no_such_room: 'not_found',
  forbidden: 'forbidden',
  may_not_manage: 'forbidden',
  may_not_publish: 'forbidden',
  may_not_subscribe: 'forbidden',
  room_locked: 'forbidden',
  wrong_pin: 'forbidden',
  room_full: 'busy',
  too_much_metadata: 'busy',
  too_many_sessions: 'busy',
  too_many_joining: 'busy',
  unavailable: 'busy',
  database_unavailable: 'busy',
  dataplane_refuses: 'busy',
  internal: 'server_error',
};

/** What the server refused, as the error that the SDK throws. */
export function refusalOf({ code, message }: Pick<Refused, 'code' | 'message'>): SluiceError {
  const reason = REASONS[code] ?? (code.startsWith('token_') ? 'unauthorized' : 'rejected');
  return new SluiceError({ reason, code, message });
}

/** Close codes of the server, with what they mean for the session. */
const CLOSE_REASONS: Readonly<Record<number, FailureReason>> = {
  4400: 'rejected',
  4403: 'forbidden',
  4413: 'rejected',
};

/**
 * What the end of a connection says about the session: nothing where going on
 * with it makes sense, as after a lost network (1006), a server that shuts down
 * (1001, 4503), or too many messages (4429).
 */
export function refusalOfClose(code: number, reason: string): SluiceError | undefined {
  const known = CLOSE_REASONS[code];
  if (known === undefined) return undefined;
  if (reason === TOKEN_EXPIRED) return refusalOf({ code: reason, message: 'The token has expired.' });
  return new SluiceError({ reason: known, message: reason === '' ? `The server closed the connection (${code}).` : reason });
}

/** Another connection has taken over the session. */
export const CLOSE_REPLACED = 4409;
