import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import type { Participant } from '../../sdk';

type Listener = (value: never) => void;

/** Says what a test has it say, in the place of the SDK's parts. */
class Teller {
  static readonly all: Teller[] = [];
  readonly #listeners = new Map<string, Listener>();
  constructor() {
    Teller.all.push(this);
  }
  on(name: string, listener: Listener): void {
    this.#listeners.set(name, listener);
  }
  say(name: string, value: unknown): void {
    this.#listeners.get(name)?.(value as never);
  }
  start(): void {}
  close(): void {}
  watch(): void {}
}

vi.mock('../../sdk', async (original) => ({ ...(await original<object>()), WhepPlayer: Teller, RoomWatch: Teller }));

const { Viewing } = await import('../../src/viewing.svelte');

const ann: Participant = {
  id: 'PA_ann',
  identity: 'ann',
  name: 'Ann',
  role: 'host',
  state: 'connected',
  tracks: [{ id: 'TR_ann', kind: 'video', muted: false }],
};
const live = { name: 'live', since: 0 };

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('localStorage', { getItem: () => null, setItem: () => undefined, removeItem: () => undefined });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** A viewer who sees Ann. */
function watch(): { viewing: InstanceType<typeof Viewing>; player: Teller; room: Teller } {
  Teller.all.length = 0;
  const viewing = new Viewing('red', undefined);
  const [player, room] = Teller.all as [Teller, Teller];
  player.say('state', live);
  room.say('participants', [ann]);
  player.say('media', { audio: true, video: true });
  expect(viewing.scene).toBe('playing');
  return { viewing, player, room };
}

it('a viewer hears of no end while the server and all that it knew are gone, until nobody comes back for long', () => {
  const { viewing, player, room } = watch();
  player.say('media', { audio: false, video: false });
  room.say('participants', undefined);
  expect(viewing.scene).toBe('paused');
  room.say('participants', []);
  expect(viewing.scene).toBe('paused');
  player.say('state', { name: 'reconnecting', attempt: 1, since: 0 });
  expect(viewing.scene).toBe('reconnecting');
  player.say('state', live);
  expect(viewing.scene).toBe('paused');
  vi.advanceTimersByTime(30_000);
  expect(viewing.scene).toBe('over');
});

it('a viewer sees who comes back after that', () => {
  const { viewing, player, room } = watch();
  player.say('media', { audio: false, video: false });
  room.say('participants', undefined);
  room.say('participants', []);
  room.say('participants', [ann]);
  player.say('media', { audio: true, video: true });
  vi.advanceTimersByTime(30_000);
  expect(viewing.scene).toBe('playing');
});

it('a viewer sees the end at once that the room says', () => {
  const { viewing, room } = watch();
  room.say('participants', []);
  expect(viewing.scene).toBe('over');
});
