import { ROSTER_MAX } from './limits';

/** What somebody may do in a room: host manages, speaker publishes, attendee watches. */
export type Role = 'host' | 'speaker' | 'attendee';

/** A track that somebody publishes. */
export interface PublishedTrack {
  id: string;
  kind: 'audio' | 'video';
  muted: boolean;
}

/** Somebody in a room. */
export interface Participant {
  /** The id of this stay. */
  id: string;
  identity: string;
  name: string;
  role: Role;
  state: 'joining' | 'connected' | 'reconnecting';
  /** RFC 3339. */
  joined_at?: string;
  tracks: PublishedTrack[];
}

/** An event of a room, with the fields that its type has; see docs/API.md. */
export interface RoomEvent {
  type: string;
  /** RFC 3339. */
  at?: string;
  participant_id?: string;
  identity?: string;
  name?: string;
  role?: Role;
  state?: Participant['state'];
  reason?: string;
  track_id?: string;
  kind?: 'audio' | 'video';
  muted?: boolean;
}

/** Who is in a room: a list from the server, kept up to date by events. At most `ROSTER_MAX` are kept. */
export class Roster {
  readonly #participants = new Map<string, Participant>();

  /** Everybody, in the order in which they became known. */
  get participants(): Participant[] {
    return [...this.#participants.values()];
  }

  /** Starts again from a list. */
  replace(participants: readonly Participant[]): void {
    this.#participants.clear();
    for (const participant of participants.slice(0, ROSTER_MAX)) {
      this.#participants.set(participant.id, participant);
    }
  }

  /** Applies an event; applying one again changes nothing. True when somebody's entry changed. */
  apply(event: RoomEvent): boolean {
    const id = event.participant_id;
    if (id === undefined) return false;
    if (event.type === 'participant_joined') return this.#join(id, event);
    if (event.type === 'participant_left') return this.#participants.delete(id);
    const before = this.#participants.get(id);
    const after = before === undefined ? undefined : changed(before, event);
    if (after === undefined) return false;
    this.#participants.set(id, after);
    return true;
  }

  #join(id: string, event: RoomEvent): boolean {
    if (this.#participants.has(id) || this.#participants.size >= ROSTER_MAX) return false;
    const { identity = id, name = identity, role = 'attendee', state = 'joining', at } = event;
    const joined = at === undefined ? {} : { joined_at: at };
    this.#participants.set(id, { id, identity, name, role, state, ...joined, tracks: [] });
    return true;
  }
}

/** Those who publish something. */
export function publishersOf(participants: readonly Participant[]): Participant[] {
  return participants.filter((participant) => participant.tracks.length > 0);
}

function changed(before: Participant, event: RoomEvent): Participant | undefined {
  const others = before.tracks.filter((track) => track.id !== event.track_id);
  const known = before.tracks.find((track) => track.id === event.track_id);
  switch (event.type) {
    case 'participant_updated': {
      const { name = before.name, role = before.role, state = before.state } = event;
      return { ...before, name, role, state };
    }
    case 'track_published': {
      if (event.track_id === undefined || event.kind === undefined || known !== undefined) return undefined;
      return { ...before, tracks: [...others, { id: event.track_id, kind: event.kind, muted: false }] };
    }
    case 'track_unpublished':
      return { ...before, tracks: others };
    case 'track_muted':
      if (known === undefined) return undefined;
      return { ...before, tracks: [...others, { ...known, muted: event.muted === true }] };
    default:
      return undefined;
  }
}
