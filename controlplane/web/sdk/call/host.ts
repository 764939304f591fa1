import type { Role } from '../roster';
import type { CallPermissions, ClientRequest, ServerMessage } from './protocol';

/**
 * What a host may do in a room. Every method fails with `SluiceError` when the
 * server refuses, as it does for whoever is no host.
 */
export class RoomHost {
  readonly #roomId: string;
  readonly #request: (request: ClientRequest) => Promise<ServerMessage>;

  constructor(roomId: string, request: (request: ClientRequest) => Promise<ServerMessage>) {
    this.#roomId = roomId;
    this.#request = request;
  }

  /** Mutes or frees a track of somebody, or all of them. Nobody can undo that but a host. */
  async mute(participantId: string, muted: boolean, trackId?: string): Promise<void> {
    const whose = { room_id: this.#roomId, participant_id: participantId };
    await this.#request({ type: 'mute_track', ...whose, muted, ...(trackId !== undefined && { track_id: trackId }) });
  }

  async setRole(participantId: string, role: Role): Promise<void> {
    await this.#request({ type: 'update_participant', room_id: this.#roomId, participant_id: participantId, role });
  }

  /** Overrides what the role of somebody allows; all of it at once. */
  async setPermissions(participantId: string, permissions: CallPermissions): Promise<void> {
    const whose = { room_id: this.#roomId, participant_id: participantId };
    await this.#request({ type: 'update_participant', ...whose, permissions });
  }

  /** Removes somebody and revokes its tokens. */
  async remove(participantId: string): Promise<void> {
    await this.#request({ type: 'remove_participant', room_id: this.#roomId, participant_id: participantId });
  }

  /** Moves somebody to another room, which one hosts too. */
  async move(participantId: string, toRoomId: string): Promise<void> {
    const whose = { room_id: this.#roomId, participant_id: participantId };
    await this.#request({ type: 'move_participant', ...whose, to_room_id: toRoomId });
  }

  /** Lets nobody in but hosts, or everybody again. */
  async setLocked(locked: boolean): Promise<void> {
    await this.#request({ type: 'update_room', room_id: this.#roomId, locked });
  }

  /** Asks guests for a PIN from now on; `null` for none. */
  async setPin(pin: string | null): Promise<void> {
    await this.#request({ type: 'update_room', room_id: this.#roomId, pin });
  }

  async setName(name: string): Promise<void> {
    await this.#request({ type: 'update_room', room_id: this.#roomId, name });
  }

  /** Ends the room for all. */
  async end(): Promise<void> {
    await this.#request({ type: 'end_room', room_id: this.#roomId });
  }
}
