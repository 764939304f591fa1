import type { CallEnd, CallParticipant, Role } from '../sdk';
import type { Message } from './messages';

/** What to call somebody; whoever has no name is a guest. */
export function nameOf({ name, identity }: Pick<CallParticipant, 'name' | 'identity'>): string {
  return name === '' || name === identity ? (/^guest[-_.]/i.test(identity) ? 'Guest' : identity) : name;
}

/** Whether somebody only looks on, as from the page for watching: sends nothing and has said no name. */
export function isOnlooker({ name, identity, role, tracks }: Pick<CallParticipant, 'name' | 'identity' | 'role' | 'tracks'>): boolean {
  return role === 'attendee' && tracks.length === 0 && nameOf({ name, identity }) === 'Guest';
}

/** One or two letters that stand for somebody. */
export function initialsOf(name: string): string {
  const words = name.trim().split(/\s+/).filter((word) => word !== '');
  const letters = [words[0], words.length > 1 ? words.at(-1) : undefined].map((word) => [...(word ?? '')][0] ?? '');
  return letters.join('').toUpperCase() || '?';
}

/** A colour for somebody, the same each time: a hue in degrees. */
export function hueOf(identity: string): number {
  let sum = 0;
  for (const char of identity) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 100_003;
  // The golden angle keeps neighbours apart.
  return Math.round(sum * 137.508) % 360;
}

export const ROLE_WORDS: Readonly<Record<Role, string>> = {
  host: 'Host',
  speaker: 'Speaker',
  attendee: 'Listener',
};

/** Which layer of a camera a picture of so many lines is. */
export function layerOf(height: number): string {
  if (height <= 240) return 'small';
  return height <= 480 ? 'medium' : 'large';
}

/** How the last room was when one left it. */
export type LeftBehind = 'others' | 'nobody' | 'locked';

/** What stands where the call was. */
export function endingOf(because: CallEnd, behind: LeftBehind): Message {
  const { title, advice } = ENDINGS[because];
  if (because !== 'left' || behind === 'others') return { title, advice };
  return behind === 'locked'
    ? { title, advice: 'The room is locked: you can join again when a host opens it.' }
    : { title, advice: 'Nobody else was there. You can join again at any time.' };
}

const ENDINGS: Readonly<Record<CallEnd, Message>> = {
  left: { title: 'You left the call', advice: 'The others are still there, and so is your place.' },
  removed: { title: 'A host removed you from the call', advice: 'Ask the host if you think that this was a mistake.' },
  replaced: {
    title: 'You are in this call in another window',
    advice: 'One person is in a call once. Joining again here ends it there.',
  },
  room_closed: { title: 'The call was ended for everyone', advice: 'Start another one on the front page.' },
};

/** What to say when one may stay in a room for so many more milliseconds and no longer. */
export function expiringWords(room: string, leftMs: number): string {
  const minutes = Math.floor(leftMs / 60_000);
  const when = minutes < 1 ? 'in less than a minute' : minutes === 1 ? 'in a minute' : `in ${minutes} minutes`;
  return `Your link for ${room} expires ${when}: ask for a new one to stay longer.`;
}

/** Why somebody is not in the room any more, as the end of a sentence that begins with the name. */
export function wentWord(reason: string): string {
  switch (reason) {
    case 'removed':
      return 'was removed';
    case 'moved':
      return 'was moved to another room';
    case 'connection_lost':
    case 'transport_failed':
      return 'lost the connection';
    case 'token_expired':
      return 'left: the link has expired';
    default:
      return 'left';
  }
}
