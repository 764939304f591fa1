import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { CONNECT_MS_MAX, DISCONNECTED_GRACE_MS, RECONNECT_MS_MAX } from '../../sdk/limits';
import { Session, type SessionOptions, type SessionState } from '../../sdk/session';
import { created, fakeWorld, problem, restarted } from './fakes';

const ENDPOINT = 'https://media.example.org/whip/room';
const RESOURCE = 'https://media.example.org/whip/room/session';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

function makeSession(options: Partial<SessionOptions> = {}) {
  const world = fakeWorld();
  const states: SessionState[] = [];
  const session = new Session({
    endpoint: () => ENDPOINT,
    token: 'secret',
    prepare: (connection) => void connection.addTransceiver('video', { direction: 'sendonly' }),
    environment: world.environment,
    ...options,
  });
  session.on('state', (state) => states.push(state));
  return { ...world, session, states, names: () => states.map((state) => state.name) };
}

async function makeLive(options: Partial<SessionOptions> = {}) {
  const made = makeSession(options);
  made.server.will('POST', created());
  made.session.start();
  await settle();
  made.last().turn('connected');
  await settle();
  expect(made.session.state.name).toBe('live');
  return made;
}

describe('connecting', () => {
  it('posts the offer with its token and goes live when the connection is up', async () => {
    const { server, names } = await makeLive();
    const post = server.seen[0];
    expect(post).toMatchObject({ method: 'POST', url: ENDPOINT });
    expect(post?.headers).toMatchObject({ 'content-type': 'application/sdp', authorization: 'Bearer secret' });
    expect(post?.body).toContain('a=ice-ufrag:c1');
    expect(names()).toEqual(['connecting', 'live']);
  });

  it('knows the ICE servers of the answer before it begins to gather', async () => {
    const { server, session, last } = makeSession();
    server.will('POST', created({ link: '<stun:stun.example.org>; rel="ice-server"' }));
    session.start();
    await settle();
    expect(last().log).toEqual([
      'addTransceiver sendonly',
      'createOffer',
      'setConfiguration',
      'setLocalDescription',
      'setRemoteDescription',
    ]);
    expect(last().configuration.iceServers).toEqual([{ urls: 'stun:stun.example.org' }]);
    session.close();
  });

  it('does without ICE servers that the browser refuses', async () => {
    vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    const { server, session, connections, environment, last } = makeSession();
    const create = environment.createConnection;
    environment.createConnection = (configuration) => {
      const connection = create(configuration);
      connection.setConfiguration = () => {
        throw new DOMException('a port that is blocked', 'SyntaxError');
      };
      return connection;
    };
    server.will('POST', created({ link: '<stun:stun.example.org:9>; rel="ice-server"' }));
    session.start();
    await settle();
    last().turn('connected');
    await settle();
    expect(session.state.name).toBe('live');
    expect(connections).toHaveLength(1);
    session.close();
  });

  it.each([
    [401, 'unauthorized'],
    [403, 'forbidden'],
    [404, 'not_found'],
    [422, 'rejected'],
  ])('fails at once on %i with the reason %s', async (status, reason) => {
    const { server, session } = makeSession();
    server.will('POST', problem(status));
    session.start();
    await settle();
    expect(session.state).toMatchObject({ name: 'failed', failure: { reason, message: 'A detail.', status } });
    expect(server.count('POST')).toBe(1);
  });

  it('goes on trying while the server does not answer, and says so', async () => {
    const { server, session, last } = makeSession();
    server.will('POST', ...Array.from({ length: 8 }, () => 'unreachable' as const), created());
    session.start();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(session.state).toMatchObject({ name: 'connecting', cause: { reason: 'unreachable' } });
    while (server.count('POST') < 9) await vi.advanceTimersByTimeAsync(100);
    last().turn('connected');
    await settle();
    expect(session.state.name).toBe('live');
    session.close();
  });

  it('gives up on a server that has not answered for ten minutes', async () => {
    const { server, session } = makeSession();
    server.will('POST', ...Array.from({ length: 200 }, () => 'unreachable' as const));
    session.start();
    await vi.advanceTimersByTimeAsync(RECONNECT_MS_MAX + 30_000);
    expect(session.state).toMatchObject({ name: 'failed', failure: { reason: 'unreachable' } });
  });

  it('says that media is blocked when the server answers and nothing connects', async () => {
    const { server, session, connections } = makeSession();
    server.will('POST', created(), created());
    session.start();
    await vi.advanceTimersByTimeAsync(2 * CONNECT_MS_MAX + 1_000);
    expect(session.state).toMatchObject({ name: 'failed', failure: { reason: 'media_blocked' } });
    expect(server.count('DELETE')).toBe(2);
    expect(connections.every((connection) => connection.connectionState === 'closed')).toBe(true);
  });

  it('waits as long as a busy server asks', async () => {
    const { server, session } = makeSession();
    server.will('POST', problem(503, '', { 'retry-after': '7' }), created());
    session.start();
    await vi.advanceTimersByTimeAsync(6_900);
    expect(server.count('POST')).toBe(1);
    await vi.advanceTimersByTimeAsync(200);
    expect(server.count('POST')).toBe(2);
    session.close();
  });

  it('renews a token that is refused, once', async () => {
    const token = vi.fn(async ({ renew }: { renew: boolean }) => (renew ? 'fresh' : 'stale'));
    const { server, session } = makeSession({ token });
    server.will('POST', problem(401), created());
    session.start();
    await settle();
    expect(server.seen.map((request) => request.headers['authorization'])).toEqual(['Bearer stale', 'Bearer fresh']);
    session.close();
  });

  it('reports what the source of tokens throws', async () => {
    const { session } = makeSession({ token: () => Promise.reject(new Error('no token today')) });
    session.start();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(session.state).toMatchObject({ name: 'failed', failure: { message: 'no token today' } });
  });

  it('makes a session again after it failed', async () => {
    const { server, session } = makeSession();
    server.will('POST', problem(404), created());
    session.start();
    await settle();
    session.start();
    await settle();
    expect(session.state.name).toBe('connecting');
    session.close();
  });
});

describe('a lost connection', () => {
  it('comes back by an ICE restart, on the same connection', async () => {
    const { server, session, last, connections, names } = await makeLive();
    server.will('PATCH', restarted());
    last().turn('failed');
    await settle();
    const patch = server.seen.at(-1);
    expect(patch).toMatchObject({ method: 'PATCH', url: RESOURCE });
    expect(patch?.headers).toMatchObject({ 'if-match': '*', 'content-type': 'application/trickle-ice-sdpfrag' });
    expect(patch?.body).toContain('a=ice-ufrag:c2');
    expect(last().remoteDescriptions.at(-1)).toContain('a=ice-ufrag:newserver');
    last().turn('connecting');
    last().turn('connected');
    await settle();
    expect(connections).toHaveLength(1);
    expect(names()).toEqual(['connecting', 'live', 'reconnecting', 'live']);
    session.close();
  });

  it('is left alone when it heals within the grace time', async () => {
    const { server, session, last, names } = await makeLive();
    last().turn('disconnected');
    await vi.advanceTimersByTimeAsync(DISCONNECTED_GRACE_MS - 1);
    last().turn('connected');
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.count('PATCH')).toBe(0);
    expect(names()).toEqual(['connecting', 'live']);
    session.close();
  });

  it('restarts ICE when it stays disconnected', async () => {
    const { server, session, last } = await makeLive();
    server.will('PATCH', restarted());
    last().turn('disconnected');
    await vi.advanceTimersByTimeAsync(DISCONNECTED_GRACE_MS);
    expect(server.count('PATCH')).toBe(1);
    session.close();
  });

  it.each([404, 405, 412, 422, 501])('becomes a fresh session when the PATCH answers %i', async (status) => {
    const { server, session, last, connections } = await makeLive();
    server.will('PATCH', problem(status));
    server.will('POST', created());
    last().turn('failed');
    await vi.advanceTimersByTimeAsync(1_000);
    expect(connections).toHaveLength(2);
    last().turn('connected');
    await settle();
    expect(session.state.name).toBe('live');
    session.close();
  });

  it('becomes a fresh session without a PATCH when DTLS is over', async () => {
    const { server, session, last, connections } = await makeLive();
    server.will('POST', created());
    for (const sender of last().senders) sender.transport = { state: 'closed' };
    last().turn('failed');
    await vi.advanceTimersByTimeAsync(1_000);
    expect(server.count('PATCH')).toBe(0);
    expect(connections).toHaveLength(2);
    session.close();
  });

  it('becomes a fresh session when nothing comes through after the restart', async () => {
    const { server, session, last, connections } = await makeLive();
    server.will('PATCH', restarted());
    server.will('POST', created());
    last().turn('failed');
    await vi.advanceTimersByTimeAsync(CONNECT_MS_MAX + 1_000);
    expect(connections).toHaveLength(2);
    session.close();
  });

  it('asks again while the server is away, and stops asking once the connection is back', async () => {
    const { server, session, last } = await makeLive();
    server.will('PATCH', 'unreachable', 'unreachable', 'unreachable', 'unreachable');
    last().turn('failed');
    await vi.advanceTimersByTimeAsync(2_000);
    expect(session.state).toMatchObject({ name: 'reconnecting', cause: { reason: 'unreachable' } });
    const asked = server.count('PATCH');
    expect(asked).toBeGreaterThan(2);
    last().turn('connected');
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.count('PATCH')).toBe(asked);
    expect(session.state.name).toBe('live');
    session.close();
  });

  it('does not sit out a pause when the network is back', async () => {
    const { server, session, last, comeOnline } = await makeLive();
    server.will('PATCH', ...Array<'unreachable'>(6).fill('unreachable'), restarted());
    last().turn('failed');
    await vi.advanceTimersByTimeAsync(9_000);
    expect(server.count('PATCH')).toBe(5);
    comeOnline();
    await settle();
    expect(server.count('PATCH')).toBe(6);
    session.close();
  });

  it('keeps the time of the first connection', async () => {
    const { server, session, last, states } = await makeLive();
    const first = states.at(-1);
    server.will('PATCH', restarted());
    await vi.advanceTimersByTimeAsync(5_000);
    last().turn('failed');
    await settle();
    last().turn('connected');
    await settle();
    expect(states.at(-1)).toEqual(first);
    session.close();
  });

  it('ends when the room is gone', async () => {
    const { server, session, last } = await makeLive();
    server.will('PATCH', problem(404));
    server.will('POST', problem(404));
    last().turn('failed');
    await vi.advanceTimersByTimeAsync(1_000);
    expect(session.state).toEqual({ name: 'ended', because: 'room_gone' });
  });

  it('gives up after ten minutes', async () => {
    const { server, session, last } = await makeLive();
    server.will('PATCH', problem(404));
    server.will('POST', ...Array<'unreachable'>(200).fill('unreachable'));
    last().turn('failed');
    await vi.advanceTimersByTimeAsync(RECONNECT_MS_MAX - 20_000);
    expect(session.state.name).toBe('reconnecting');
    await vi.advanceTimersByTimeAsync(40_000);
    expect(session.state.name).toBe('failed');
  });

  it('pauses longer each time when sessions do not last', async () => {
    const { server, session, last, connections } = await makeLive();
    const madeAt: number[] = [];
    for (let round = 0; round < 4; round += 1) {
      server.will('POST', created());
      for (const sender of last().senders) sender.transport = { state: 'closed' };
      const before = connections.length;
      const began = Date.now();
      last().turn('failed');
      while (connections.length === before) await vi.advanceTimersByTimeAsync(50);
      madeAt.push(Date.now() - began);
      last().turn('connected');
      await settle();
    }
    expect(madeAt).toEqual([300, 600, 1_200, 2_400]);
    session.close();
  });
});

describe('closing', () => {
  it('deletes the session with keepalive and ends, before it returns', async () => {
    const { server, session, last } = await makeLive();
    const connection = last();
    session.close();
    expect(server.seen.at(-1)).toMatchObject({ method: 'DELETE', url: RESOURCE, keepalive: true });
    expect(server.seen.at(-1)?.headers).toMatchObject({ authorization: 'Bearer secret' });
    expect(connection.connectionState).toBe('closed');
    expect(session.state).toEqual({ name: 'ended', because: 'closed' });
  });

  it('deletes a session whose answer comes after the end', async () => {
    const { server, session } = makeSession();
    let answer: (response: Response) => void = () => undefined;
    server.will('POST', new Promise<Response>((resolve) => (answer = resolve)));
    session.start();
    await settle();
    session.close();
    expect(server.count('DELETE')).toBe(0);
    answer(created());
    await settle();
    expect(server.count('DELETE')).toBe(1);
    expect(session.state).toEqual({ name: 'ended', because: 'closed' });
  });

  it('offers nothing when it ends before the offer is made', async () => {
    const { server, session } = makeSession();
    session.start();
    session.close();
    await settle();
    expect(server.seen).toEqual([]);
  });

  it('does not disturb a run that began right after', async () => {
    const { server, session, last, connections } = makeSession();
    server.will('POST', created(), created());
    session.start();
    await settle();
    session.close();
    session.start();
    await settle();
    last().turn('connected');
    await vi.advanceTimersByTimeAsync(30_000);
    expect(connections).toHaveLength(2);
    expect(session.state.name).toBe('live');
    session.close();
  });

  it('says nothing when nothing ran', () => {
    const { session, states } = makeSession();
    session.close();
    expect(states).toEqual([]);
  });
});

describe('a session that the server has forgotten', () => {
  async function lose(mayReturn: () => Promise<boolean>) {
    const made = await makeLive({ mayReturn });
    made.server.will('PATCH', problem(404));
    made.last().turn('failed');
    await settle();
    return made;
  }

  it('ends when another page has its place', async () => {
    const { session, server } = await lose(async () => false);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(session.state).toEqual({ name: 'ended', because: 'replaced' });
    expect(server.count('POST')).toBe(1);
  });

  it.each([
    ['nobody has its place', async () => true],
    ['nobody can say', () => Promise.reject(new Error('no answer'))],
  ])('gives way to a fresh one when %s', async (_, mayReturn: () => Promise<boolean>) => {
    const { session, server, last } = await lose(mayReturn);
    server.will('POST', created());
    await vi.advanceTimersByTimeAsync(1_000);
    last().turn('connected');
    await settle();
    expect(session.state.name).toBe('live');
    session.close();
  });
});

describe('a session that begins afresh', () => {
  it('asks for the new endpoint, ends the old session, and is live again', async () => {
    let endpoint = ENDPOINT;
    const { session, server, last, names } = await makeLive({ endpoint: () => endpoint });
    endpoint = `${ENDPOINT}?participant=ann`;
    server.will('POST', created());
    session.renew();
    await settle();
    last().turn('connected');
    await settle();
    expect(server.seen.map(({ method, url }) => [method, url])).toEqual([
      ['POST', ENDPOINT],
      ['DELETE', RESOURCE],
      ['POST', endpoint],
    ]);
    expect(names()).toEqual(['connecting', 'live', 'connecting', 'live']);
    session.close();
  });
});
