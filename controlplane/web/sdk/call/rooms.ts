import type { CallParticipant, CallTrack, Resumed, RoomInfo, RoomJoined, Said, ServerMessage } from './protocol';

/** A room that a session is in, as it is now. */
export interface CallRoom {
  id: string;
  info: RoomInfo;
  /** Who the session is there. */
  me: CallParticipant;
  /** The others, in the order in which they became known. */
  others: readonly CallParticipant[];
}

/**
 * The rooms of a session, kept up to date by what the server says. What it
 * gives out is never changed afterwards: whoever kept it can compare.
 */
export class Rooms {
  #rooms: readonly CallRoom[] = [];

  /** All rooms, in the order in which they were entered. */
  get all(): readonly CallRoom[] {
    return this.#rooms;
  }

  find(roomId: string): CallRoom | undefined {
    return this.#rooms.find(({ id }) => id === roomId);
  }

  clear(): void {
    this.#rooms = [];
  }

  /** Applies a message, each once; true when something is different. */
  apply(message: ServerMessage): boolean {
    const before = this.#rooms;
    switch (message.type) {
      case 'room_joined':
        this.#put(message);
        break;
      case 'resumed':
        if (!message.complete) this.#replace(message);
        break;
      case 'room_left':
      case 'removed':
      case 'moved':
        this.#rooms = before.filter(({ id }) => id !== message.room_id);
        break;
      case 'room_updated':
        this.#change(message.room_id, (room) => ({ ...room, info: message.room }));
        break;
      case 'participant_joined':
      case 'participant_updated':
        this.#change(message.room_id, (room) => withParticipant(room, message.participant));
        break;
      case 'participant_left':
        this.#change(message.room_id, (room) => ({
          ...room,
          others: room.others.filter(({ id }) => id !== message.participant_id),
        }));
        break;
      case 'track_published':
        this.#changeTracks(message.room_id, message.participant_id, (tracks) => withTrack(tracks, message.track));
        break;
      case 'track_unpublished':
        this.#changeTracks(message.room_id, message.participant_id, (tracks) =>
          tracks.filter(({ id }) => id !== message.track_id),
        );
        break;
      case 'track_muted':
        this.#changeTracks(message.room_id, message.participant_id, (tracks) =>
          tracks.map((track) => (track.id === message.track_id ? withMute(track, message) : track)),
        );
        break;
    }
    return this.#rooms !== before;
  }

  #put(joined: RoomJoined): void {
    const room = roomOf(joined);
    const isKnown = this.#rooms.some(({ id }) => id === room.id);
    this.#rooms = isKnown
      ? this.#rooms.map((known) => (known.id === room.id ? room : known))
      : [...this.#rooms, room];
  }

  #replace({ rooms }: Resumed): void {
    this.#rooms = (rooms ?? []).map(roomOf);
  }

  #change(roomId: string, change: (room: CallRoom) => CallRoom): void {
    if (this.find(roomId) === undefined) return;
    this.#rooms = this.#rooms.map((room) => (room.id === roomId ? change(room) : room));
  }

  #changeTracks(roomId: string, participantId: string, change: (tracks: CallTrack[]) => CallTrack[]): void {
    this.#change(roomId, (room) => {
      const changed = (participant: CallParticipant): CallParticipant =>
        participant.id === participantId ? { ...participant, tracks: change(participant.tracks) } : participant;
      return { ...room, me: changed(room.me), others: room.others.map(changed) };
    });
  }
}

function roomOf({ room_id, room, participant, participants }: RoomJoined): CallRoom {
  return { id: room_id, info: room, me: participant, others: participants.filter(({ id }) => id !== participant.id) };
}

function withParticipant(room: CallRoom, participant: CallParticipant): CallRoom {
  if (participant.id === room.me.id) return { ...room, me: participant };
  const isKnown = room.others.some(({ id }) => id === participant.id);
  const others = isKnown
    ? room.others.map((other) => (other.id === participant.id ? participant : other))
    : [...room.others, participant];
  return { ...room, others };
}

/** A host's mute stands beside the publisher's own. */
function withMute(track: CallTrack, { muted, muted_by_host }: Said<'track_muted'>): CallTrack {
  return { ...track, muted, muted_by_host };
}

function withTrack(tracks: CallTrack[], track: CallTrack): CallTrack[] {
  return tracks.some(({ id }) => id === track.id)
    ? tracks.map((known) => (known.id === track.id ? track : known))
    : [...tracks, track];
}
