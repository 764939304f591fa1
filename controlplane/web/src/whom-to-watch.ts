import type { Participant } from '../sdk';

/** Whom the server plays to those who choose nobody: about the first who came. */
function firstOf(publishers: readonly Participant[]): Participant | undefined {
  const came = ({ joined_at: at }: Participant): number => (at === undefined ? Infinity : Date.parse(at));
  return [...publishers].sort((one, other) => came(one) - came(other))[0];
}

/** Whom a player shows that was told to play `chosen`. */
export function shownOf(
  publishers: readonly Participant[],
  chosen: string | undefined,
): Participant | undefined {
  if (chosen === undefined) return firstOf(publishers);
  return publishers.find(({ id, identity }) => id === chosen || identity === chosen);
}

/**
 * Whom to play next, by identity: the host where others are live too, since it
 * is the host's room. Nothing leaves it to the server.
 */
export function whomToWatch(
  publishers: readonly Participant[],
  chosen: string | undefined,
): string | undefined {
  const shown = shownOf(publishers, chosen);
  if (shown?.role === 'host') return chosen;
  const host = publishers.find(({ role }) => role === 'host');
  if (host !== undefined && publishers.length > 1) return host.identity;
  // Who was chosen is gone; with nobody else there, it is the one to wait for.
  return shown === undefined && publishers.length > 0 ? undefined : chosen;
}

/** What to call a participant to others. */
export function calledOf({ name, role }: Participant): string {
  const hasName = name !== '' && !/^guest-[0-9a-f]{16,}$/.test(name);
  if (role === 'host') return hasName ? `${name} (host)` : 'the host';
  return hasName ? name : 'a guest';
}
