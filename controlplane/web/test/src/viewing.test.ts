import { describe, expect, it } from 'vitest';

import type { Participant, Role, SessionState } from '../../sdk';
import { listed } from '../../src/format';
import { OwnStay } from '../../src/own-stay';
import { sceneOf, type Scene, type Seen } from '../../src/scene';
import { calledOf, shownOf, whomToWatch } from '../../src/whom-to-watch';

const live: SessionState = { name: 'live', since: 0 };
const nothing: Seen = {
  session: live,
  flowing: { audio: false, video: false },
  isSomebodyLive: undefined,
  hasPlayed: false,
  hasPlayedThis: false,
  isPictureMissing: false,
  isSilentForLong: false,
};
const both = { audio: true, video: true };
const sound = { audio: true, video: false };
const played = { hasPlayed: true, hasPlayedThis: true };

describe('a viewer sees', () => {
  const cases: [string, Partial<Seen>, Scene][] = [
    ['that nobody is live yet', { isSomebodyLive: false }, 'waiting'],
    ['that it starts as soon as somebody is', { isSomebodyLive: true }, 'starting'],
    ['the picture', { isSomebodyLive: true, flowing: both, ...played }, 'playing'],
    ['the picture where the room says nothing', { flowing: both, ...played }, 'playing'],
    ['no word about the camera while the picture is on its way', { flowing: sound, ...played }, 'starting'],
    ['that the camera is off', { flowing: sound, ...played, isPictureMissing: true }, 'sound_only'],
    ['the end at once, though the last frames count as flowing', { isSomebodyLive: false, flowing: both, ...played }, 'over'],
    ['the end when only silence tells', { ...played, isSilentForLong: true }, 'over'],
    ['an interruption before that', played, 'paused'],
    ['an interruption for as long as somebody is live', { isSomebodyLive: true, ...played, isSilentForLong: true }, 'paused'],
    ['that it starts again', { isSomebodyLive: true, hasPlayed: true }, 'starting'],
    ['an interruption when it never starts', { isSomebodyLive: true, isSilentForLong: true }, 'paused'],
    ['that the room is gone', { session: { name: 'ended', because: 'room_gone' }, flowing: both, ...played }, 'room_gone'],
    ['that it reconnects', { session: { name: 'reconnecting', attempt: 1, since: 0 }, ...played }, 'reconnecting'],
  ];
  it.each(cases)('%s', (_, seen, scene) => expect(sceneOf({ ...nothing, ...seen })).toBe(scene));
});

const somebody = (identity: string, role: Role, second: number): Participant => ({
  id: `PA_${identity}`,
  identity,
  name: identity,
  role,
  state: 'connected',
  joined_at: `2026-01-31T12:00:0${second}.000Z`,
  tracks: [{ id: `TR_${identity}`, kind: 'video', muted: false }],
});

describe('whom to watch', () => {
  const [host, guest, late] = [somebody('ann', 'host', 1), somebody('bob', 'speaker', 2), somebody('ann', 'host', 3)];
  const cases: [string, Participant[], string | undefined, string | undefined][] = [
    ['is the server’s to say when there is one', [guest], undefined, undefined],
    ['stays as it is when the host is shown anyway', [guest, host], undefined, undefined],
    ['is the host who comes back', [guest, late], undefined, 'ann'],
    ['stays the host', [guest, late], 'ann', 'ann'],
    ['is whoever is left when the host goes', [guest], 'ann', undefined],
    ['stays the host when nobody is left', [], 'ann', 'ann'],
  ];
  it.each(cases)('%s', (_, publishers, chosen, next) => expect(whomToWatch(publishers, chosen)).toBe(next));

  it('is found by id and by identity, else it is who came first', () => {
    expect(shownOf([guest, host], 'PA_bob')).toBe(guest);
    expect(shownOf([guest, host], 'bob')).toBe(guest);
    expect(shownOf([guest, host], 'eve')).toBeUndefined();
    expect(shownOf([guest, host], undefined)).toBe(host);
  });

  it.each([
    ['Ann', 'host', 'Ann (host)'],
    ['guest-0123456789abcdef01234567', 'host', 'the host'],
    ['guest-0123456789abcdef01234567', 'speaker', 'a guest'],
    ['Bob', 'speaker', 'Bob'],
  ])('%s as a %s is called %s', (name, role, called) => {
    expect(calledOf({ ...guest, name, role: role as Role })).toBe(called);
  });

  it.each([
    [['a guest'], 'A guest'],
    [['a guest', 'Bob'], 'A guest and Bob'],
    [['Ann', 'Bob', 'Cat'], 'Ann, Bob and Cat'],
    [['Ann', 'Bob', 'Cat', 'Dan'], 'Ann, Bob and 2 more'],
  ])('%j are listed as %s', (names, phrase) => expect(listed(names)).toBe(phrase));
});

describe('one’s own place in a room', () => {
  const enters = (id: string) => ({ type: 'participant_joined', participant_id: id, identity: 'ann' });
  const isPutOut = (id: string, reason = 'replaced') => ({ type: 'participant_left', participant_id: id, identity: 'ann', reason });
  const here = (): OwnStay => {
    const stay = new OwnStay();
    stay.identity = 'ann';
    stay.isTakenBy(enters('PA_1'), true);
    return stay;
  };

  it('is taken when another page replaces this one', () => {
    expect(here().isTakenBy(isPutOut('PA_1'), false)).toBe(true);
  });

  it('is not taken by whoever replaces another page', () => {
    const stay = new OwnStay();
    stay.identity = 'ann';
    expect(stay.isTakenBy(isPutOut('PA_0'), true)).toBe(false);
    expect(stay.isTakenBy(enters('PA_1'), true)).toBe(false);
    expect(stay.isTakenBy(isPutOut('PA_0'), false)).toBe(false);
    expect(stay.id).toBe('PA_1');
  });

  it('is not taken by itself when it comes back, nor by others, nor by leaving', () => {
    expect(here().isTakenBy(isPutOut('PA_1'), true)).toBe(false);
    expect(here().isTakenBy(isPutOut('PA_2'), false)).toBe(false);
    expect(here().isTakenBy(isPutOut('PA_1', 'connection_lost'), false)).toBe(false);
  });
});
