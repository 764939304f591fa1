import { render } from 'svelte/server';
import { afterEach, describe, expect, it, vi } from 'vitest';

import type { CallRoom } from '../../sdk';
import type { Call } from '../../src/call.svelte';
import RoomControls from '../../src/parts/call/RoomControls.svelte';
import People from '../../src/parts/call/People.svelte';
import { participant, track } from '../sdk/call-fakes';

afterEach(() => void vi.unstubAllGlobals());

const roomWith = (info: Partial<CallRoom['info']>): CallRoom => ({
  id: 'red',
  info: { name: 'Red', metadata: null, locked: false, pin_required: false, state: 'created', ...info } as CallRoom['info'],
  me: participant('ann', { role: 'host' }),
  others: [participant('ben', { tracks: [track('TR_b', 'microphone')] })],
});

describe('a host', () => {
  it.each([
    [false, 'Set a PIN', 'Remove the PIN'],
    [true, 'Remove the PIN', 'Set a PIN'],
  ])('sees whether the room has a PIN (%s), and can change that', (pin_required, there, missing) => {
    const { body } = render(RoomControls, { props: { call: {} as Call, room: roomWith({ pin_required }) } });
    expect(body).toContain(there);
    expect(body).not.toContain(missing);
  });
});

describe('the list of people', () => {
  it('shows of oneself what a room gets, and not what is on', () => {
    const gets = (isShared: boolean): string => {
      const call = { rooms: [roomWith({})], hostRooms: [], camera: {}, microphone: {}, isMuted: false, goesTo: () => isShared };
      vi.stubGlobal('location', { origin: 'https://media.example.org' });
      const { body } = render(People, { props: { call: call as unknown as Call, onsecond: () => undefined, onclose: () => undefined } });
      return body.slice(body.indexOf('(you)'), body.indexOf('data-identity="ben"'));
    };
    expect(gets(true)).toContain('Microphone on');
    expect(gets(false)).toContain('Microphone off');
    expect(gets(false)).toContain('Camera off');
  });
});
