import type { SluiceError } from './failure';

/**
 * Why another token is wanted than the one before: the server refused it, it
 * has ended, or it ends soon and is still good for a while.
 */
export type RenewCause = 'refused' | 'expired' | 'expiring';

/** What is asked of whoever gives tokens. */
export interface TokenRequest {
  /** Whether the token that was given before does not do. */
  renew: boolean;
  /** Why, where that is so. */
  cause?: RenewCause;
}

/** Asks for another token than the one that was refused. */
export function insteadOf(refusal: SluiceError): Required<TokenRequest> {
  return { renew: true, cause: refusal.code === TOKEN_EXPIRED ? 'expired' : 'refused' };
}

/** The server's code for a token that has ended, and for a session that ended with it. */
export const TOKEN_EXPIRED = 'token_expired';
