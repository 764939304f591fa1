import { claimsOf, insteadOf, SluiceApi, SluiceError, toSluiceError, type Claims, type Room, type TokenSource } from '../sdk';
import { ONLY_TO_WATCH } from './messages';

/** A room that one may go live in, and as whom, where the token says so. */
export interface Entered {
  room: Room;
  claims: Claims | undefined;
}

/**
 * Finds out whether one may go live in a room, before anybody is asked for a
 * camera; with `mayOnlyWatch`, whether one may enter it at all. Throws
 * {@link SluiceError} with what stands in the way.
 */
export async function knock(
  roomId: string,
  token: TokenSource,
  { mayOnlyWatch = false } = {},
): Promise<Entered> {
  try {
    return await enter(roomId, await token({ renew: false }), mayOnlyWatch);
  } catch (thrown) {
    if (toSluiceError(thrown).reason !== 'unauthorized') throw thrown;
    return enter(roomId, await renewed(token, toSluiceError(thrown)), mayOnlyWatch);
  }
}

/** Another token than the one that was `refused`. Whoever was removed hears that, and not that its link is too old. */
async function renewed(token: TokenSource, refused: SluiceError): Promise<string | undefined> {
  try {
    return await token(insteadOf(refused));
  } catch (thrown) {
    throw refused.code === 'token_revoked' && toSluiceError(thrown).reason === 'unauthorized' ? refused : thrown;
  }
}

async function enter(roomId: string, token: string | undefined, mayOnlyWatch: boolean): Promise<Entered> {
  const claims = claimsOf(token ?? '');
  const room = await new SluiceApi({ token: token ?? '' }).room(roomId);
  if (claims !== undefined && !claims.canPublish && !mayOnlyWatch) {
    throw new SluiceError({ reason: 'forbidden', code: ONLY_TO_WATCH, message: 'The token is for watching.' });
  }
  return { room, claims };
}
