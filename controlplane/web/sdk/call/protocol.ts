import type { ClientRequest as AnyRequest, Participant, Permissions, Refused, ServerMessage, Track } from '../messages';

export type { Refused, Resumed, RoomInfo, RoomJoined, ServerMessage, Source, TrackSubscribed, Welcome } from '../messages';

/** What a client wants, without what is not built yet. */
export type ClientRequest = Exclude<AnyRequest, { type: 'send_data' | 'chat' }>;

/** A message of the server of one type. */
export type Said<Type extends ServerMessage['type']> = Extract<ServerMessage, { type: Type }>;

/** Somebody in a room of a call, with the tracks that it publishes. */
export type CallParticipant = Participant;

/** A track that somebody publishes in a room of a call. */
export type CallTrack = Track;

/** What a host may override of somebody's role. */
export type CallPermissions = Permissions;

/** Reads a message of the server; nothing when it is none. */
export function parseMessage(data: unknown): ServerMessage | undefined {
  if (typeof data !== 'string') return undefined;
  try {
    const message: unknown = JSON.parse(data);
    const isMessage = typeof message === 'object' && message !== null && 'type' in message && typeof message.type === 'string';
    return isMessage ? (message as ServerMessage) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a message refuses what it answers. */
export function isRefusal(message: ServerMessage): message is ServerMessage & Refused & { type: 'error' } {
  return message.type === 'error';
}
