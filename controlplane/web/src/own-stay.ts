import { SluiceApi, type RoomEvent, type TokenSource } from '../sdk';

/**
 * Knows which of the participants of a room this page is, so that it sees when
 * another page with its identity has taken its place.
 */
export class OwnStay {
  /** Who holds the token; nothing where the token does not say. */
  identity: string | undefined;
  #id: string | undefined;

  /** The id of the last stay. */
  get id(): string | undefined {
    return this.#id;
  }

  /**
   * Takes an event; true when it says that another page replaced this one.
   * `isJoining` is whether this page itself is about to enter: then it is the
   * one who replaces.
   */
  isTakenBy(event: RoomEvent, isJoining: boolean): boolean {
    if (event.type === 'participant_joined' && isJoining && event.identity === this.identity) {
      this.#id = event.participant_id;
      return false;
    }
    if (event.type !== 'participant_left' || event.participant_id !== this.#id) return false;
    return event.reason === 'replaced' && !isJoining;
  }

  /**
   * Whether this page may enter again after the server has forgotten it: not
   * when somebody with its identity publishes there now.
   */
  async mayReturn(roomId: string, token: TokenSource): Promise<boolean> {
    if (this.identity === undefined) return true;
    const api = new SluiceApi({ token: (await token({ renew: false })) ?? '' });
    const participants = await api.participants(roomId);
    return !participants.some(({ identity, tracks }) => identity === this.identity && tracks.length > 0);
  }
}
