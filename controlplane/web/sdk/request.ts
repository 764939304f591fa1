import type { Environment } from './environment';
import { SluiceError } from './failure';
import { REQUEST_MS_MAX } from './limits';

/**
 * One HTTP request with a bound on its time. An answer of any status is
 * returned; no answer at all is an error with the reason `unreachable`.
 */
export async function request(
  environment: Environment,
  url: string,
  init: RequestInit,
): Promise<Response> {
  try {
    return await environment.fetch(url, { ...init, signal: AbortSignal.timeout(REQUEST_MS_MAX) });
  } catch {
    throw new SluiceError({
      reason: 'unreachable',
      message: 'The server did not answer.',
    });
  }
}

/** The header that carries a token, or none. */
export function bearer(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}
