import { describe, expect, it } from 'vitest';

import { SluiceError } from '../../sdk';
import { endingOf, expiringWords, initialsOf, isOnlooker, layerOf, nameOf, wentWord } from '../../src/call-words';
import { layOut } from '../../src/grid';
import { explainFailure } from '../../src/messages';

describe('tiles', () => {
  it.each([
    ['one fills a wide window in the shape of a camera', 1, [1280, 720], { columns: 1, width: 1280, height: 720 }],
    ['two stand side by side where it is wide', 2, [1288, 640], { columns: 2, width: 640, height: 640 }],
    ['two stand one above the other on a phone', 2, [360, 640], { columns: 1, width: 360, height: 316 }],
    ['none take no room', 1, [0, 0], { columns: 1, width: 0, height: 0 }],
  ])('%s', (_, count, [width = 0, height = 0], layout) => {
    expect(layOut(count, width, height, 8)).toEqual(layout);
  });

  it.each([1, 2, 3, 5, 7, 12, 25])('%i of them fit into every window', (count) => {
    for (const [width, height] of [[1280, 640], [390, 700], [700, 390], [320, 320]] as const) {
      const { columns, width: wide, height: high } = layOut(count, width, height, 8);
      const rows = Math.ceil(count / columns);
      expect(columns * wide + (columns - 1) * 8).toBeLessThanOrEqual(width);
      expect(rows * high + (rows - 1) * 8).toBeLessThanOrEqual(height);
      expect(wide / high).toBeGreaterThan(0.95);
    }
  });
});

describe('words', () => {
  it.each([
    ['Ann Berg', 'AB'],
    ['  élise ', 'É'],
    ['Jan van der Berg', 'JB'],
    ['', '?'],
  ])('the letters of %j are %s', (name, letters) => expect(initialsOf(name)).toBe(letters));

  it('somebody without a name is a guest', () => {
    expect(nameOf({ name: 'guest-1a2b', identity: 'guest-1a2b' })).toBe('Guest');
    expect(nameOf({ name: 'Ann', identity: 'guest-1a2b' })).toBe('Ann');
    expect(nameOf({ name: '', identity: 'ann' })).toBe('ann');
  });

  it.each([
    [180, 'small'],
    [360, 'medium'],
    [720, 'large'],
  ])('a picture of %i lines is the %s layer', (height, layer) => expect(layerOf(height)).toBe(layer));

  it('somebody who only looks on has no name and sends nothing', () => {
    const viewer = { name: 'guest-1a2b', identity: 'guest-1a2b', role: 'attendee', tracks: [] } as const;
    expect(isOnlooker({ ...viewer, tracks: [] })).toBe(true);
    expect(isOnlooker({ ...viewer, tracks: [], name: 'Ann' })).toBe(false);
    expect(isOnlooker({ ...viewer, tracks: [], role: 'speaker' })).toBe(false);
  });

  it('promise a place only where it is kept', () => {
    const [others, nobody, locked] = (['others', 'nobody', 'locked'] as const).map((behind) => endingOf('left', behind).advice);
    expect(others).toContain('your place');
    expect(nobody).toContain('Nobody else');
    expect(locked).toContain('locked');
    expect(endingOf('removed', 'locked').title).toContain('removed');
  });

  it('say when a link expires', () => {
    const said = [59_000, 60_000, 119_000, 600_000].map((leftMs) => /expires (.*):/.exec(expiringWords('A', leftMs))?.[1]);
    expect(said).toEqual(['in less than a minute', 'in a minute', 'in a minute', 'in 10 minutes']);
    expect(`Ben ${wentWord('token_expired')}`).toBe('Ben left: the link has expired');
  });

  it('say why a room cannot be entered', () => {
    const failure = (code: string): SluiceError => new SluiceError({ reason: 'forbidden', code, message: 'No.' });
    expect(explainFailure(failure('room_locked'), false).title).toBe('The room is locked');
    expect(explainFailure(failure('token_revoked'), false).title).toBe('Your invitation was withdrawn');
    expect(explainFailure(failure('wrong_pin'), true).title).toBe('That PIN is wrong');
  });
});
