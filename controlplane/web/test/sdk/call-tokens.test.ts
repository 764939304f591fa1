import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { CallSession, SluiceError, type CallState, type Expiring, type TokenRequest } from '../../sdk';
import { Renewals } from '../../sdk/call/renewals';
import { callWorld, joined, letIn, settle, WELCOME, type FakeSocket, type Json } from './call-fakes';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

type Asked = TokenRequest & { roomId: string };

const noOther = (): never => {
  throw new SluiceError({ reason: 'unauthorized', code: 'token_expired', message: 'There is no other.' });
};

/** A server that is there. */
function answeringPings(socket: WebSocket): WebSocket {
  const fake = socket as unknown as FakeSocket;
  const send = fake.send.bind(fake);
  fake.send = (text) => {
    send(text);
    if ((JSON.parse(text) as Json)['type'] === 'ping') fake.say({ type: 'pong' });
  };
  return socket;
}

/** In the room `red` with a token that is good for so many seconds. */
async function inFor(seconds: number, token: (asked: Asked) => string = ({ renew }) => (renew ? 'new' : 'old')) {
  const world = callWorld();
  const asked: Asked[] = [];
  const states: CallState[] = [];
  const expiring: Expiring[] = [];
  const left: { roomId: string; reason: string }[] = [];
  const call = new CallSession({
    server: 'https://media.example.org',
    token: async (request) => {
      asked.push(request);
      return token(request);
    },
    environment: { ...world.environment, openSocket: (url) => answeringPings(world.environment.openSocket(url)) },
  });
  call.on('state', (state) => states.push(state));
  call.on('expiring', (told) => expiring.push(told));
  call.on('left', (told) => left.push(told));
  await letIn(call, world.socket, { ...joined('red'), expires_in: seconds });
  return { ...world, call, asked, states, expiring, left };
}

const pass = (seconds: number): Promise<unknown> => vi.advanceTimersByTimeAsync(seconds * 1000);

/** Renewals by themselves, and how often they have asked for a newer token. */
function renewals(renew: () => Promise<void> = async () => undefined) {
  const expiring: Expiring[] = [];
  const asked = vi.fn(renew);
  const made = new Renewals({ random: () => 0.5, renew: asked, onExpiring: (told) => expiring.push(told) });
  return { made, asked, expiring };
}

describe('a token', () => {
  it.each([
    [8, 5, 7],
    [100, 70, 80],
    [86_400, 86_400 - 900, 86_400 - 600],
    [366 * 86_400, 366 * 86_400 - 900, 366 * 86_400 - 600],
  ])('of %i s is renewed between second %i and %i', async (seconds, first, last) => {
    const { made, asked, expiring } = renewals(async () => made.expect('red', 1000));
    made.expect('red', seconds);
    await pass(first);
    expect(asked).not.toHaveBeenCalled();
    await pass(last - first);
    expect(asked.mock.calls).toEqual([['red']]);
    await pass(500);
    expect(asked, 'once in each term').toHaveBeenCalledTimes(1);
    await pass(400);
    expect(asked).toHaveBeenCalledTimes(2);
    expect(expiring).toEqual([]);
  });

  it('is renewed by nobody where the stay has no end, or is over', async () => {
    const { made, asked } = renewals();
    made.expect('red', null);
    made.expect('blue', 100);
    made.expect('blue', undefined);
    made.expect('green', 100);
    made.forget('green');
    made.expect('black', 100);
    made.clear();
    await pass(1000);
    expect(asked).not.toHaveBeenCalled();
  });

  it.each([
    ['fails', async () => noOther()],
    ['brings no newer one', async () => undefined],
  ])('whose renewal %s is told of once, and tried again until it ends', async (_, renew) => {
    const { made, asked, expiring } = renewals(renew);
    made.expect('red', 100);
    await pass(100);
    const tries = asked.mock.calls.length;
    expect(tries).toBeGreaterThan(5);
    expect(tries).toBeLessThan(40);
    expect(expiring).toHaveLength(1);
    expect(expiring[0]).toMatchObject({ roomId: 'red', leftMs: 25_000, failure: { code: 'token_expired' } });
    await pass(100);
    expect(asked, 'it has ended').toHaveBeenCalledTimes(tries);
    made.expect('red', 100);
    await pass(100);
    expect(expiring, 'of another term one is told again').toHaveLength(2);
  });

  it('is shown to the server by a call, and what that answers is believed', async () => {
    const { socket, asked, expiring } = await inFor(100);
    await pass(81);
    expect(asked.at(-1)).toEqual({ roomId: 'red', renew: true, cause: 'expiring' });
    const answer = (message: Json): void => socket().say({ id: socket().last('renew_token')['id'], ...message });
    expect(socket().last('renew_token')).toMatchObject({ token: 'new' });
    answer({ type: 'error', seq: 3, code: 'token_gives_less', message: 'Less.' });
    await pass(6);
    expect(socket().count('renew_token'), 'once more').toBe(2);
    answer({ type: 'token_renewed', seq: 4, rooms: [{ room_id: 'red', expires_in: 100 }] });
    await pass(69);
    expect(socket().count('renew_token')).toBe(2);
    await pass(12);
    expect(socket().count('renew_token')).toBe(3);
    expect(expiring.map(({ failure }) => failure.code)).toEqual(['token_gives_less']);
  });
});

describe('a session that ends with its token', () => {
  const end = (socket: FakeSocket): void => {
    socket.say({ type: 'removed', seq: 3, room_id: 'red', reason: 'token_expired' });
    socket.say({ type: 'error', code: 'token_expired', message: 'It has ended.' });
    socket.drop(4403, 'token_expired');
  };

  it('is followed by another one with a newer token', async () => {
    const { call, socket, sockets, asked, states } = await inFor(10, ({ cause }) => {
      if (cause === 'expiring') noOther();
      return cause === 'expired' ? 'new' : 'old';
    });
    end(socket());
    await pass(1);
    expect(sockets).toHaveLength(2);
    expect(socket().url).toContain('token=new');
    expect(asked.at(-1)).toEqual({ roomId: 'red', renew: true, cause: 'expired' });
    await letIn(call, socket, { ...joined('red'), expires_in: 10 });
    expect(states.map(({ name }) => name)).toEqual(['connecting', 'live', 'reconnecting', 'live']);
  });

  it('fails with a word where there is no newer token', async () => {
    const { socket, sockets, states, left } = await inFor(10, ({ renew }) => (renew ? noOther() : 'old'));
    end(socket());
    await pass(1);
    expect(sockets).toHaveLength(1);
    expect(states.at(-1)).toMatchObject({ name: 'failed', failure: { reason: 'unauthorized', code: 'token_expired' } });
    expect(left).toEqual([]);
  });

  it('fails with a word where it learns so when it comes back', async () => {
    const { socket, states } = await inFor(10, ({ renew }) => (renew ? noOther() : 'old'));
    socket().drop();
    await pass(1);
    socket().accept();
    await settle();
    socket().say({ type: 'error', code: 'token_expired', message: 'It has ended.' });
    socket().drop(4403, 'token_expired');
    await settle();
    expect(states.at(-1)).toMatchObject({ name: 'failed', failure: { reason: 'unauthorized', code: 'token_expired' } });
  });

  it('leaves one room of two where there is no newer token for it, and comes back where there is', async () => {
    for (const hasOther of [false, true]) {
      const { call, socket, left, states } = await inFor(1000, ({ renew }) => (!renew ? 'old' : hasOther ? 'new' : noOther()));
      const entered = call.enter('blue');
      await settle();
      socket().say({ ...joined('blue'), seq: 3, id: socket().last('join_room')['id'], expires_in: 1000 });
      await entered;
      socket().say({ type: 'removed', seq: 4, room_id: 'blue', reason: 'token_expired' });
      await settle();
      expect(socket().count('join_room')).toBe(hasOther ? 2 : 1);
      if (hasOther) expect(socket().last('join_room')).toMatchObject({ room_id: 'blue', token: 'new' });
      expect(left).toEqual(hasOther ? [] : [{ roomId: 'blue', reason: 'token_expired' }]);
      expect(states.at(-1)?.name).toBe('live');
      call.close();
    }
  });

  it('that resumed knows how long its stays last', async () => {
    const { socket, asked } = await inFor(100_000);
    socket().drop();
    await pass(1);
    socket().accept();
    await settle();
    const rooms = [{ ...joined('red'), expires_in: 100 }];
    socket().say({ ...WELCOME, type: 'resumed', seq: 9, complete: false, rooms, subscribed: [], published: [], publisher_offer_id: 0 });
    await pass(81);
    expect(asked.at(-1)).toMatchObject({ cause: 'expiring' });
  });
});
