import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { CallSession, type CallState } from '../../sdk';
import { NETWORK_PROBE_MS_MAX, PING_INTERVAL_MS, SIGNALLING_SILENT_MS_MAX } from '../../sdk/limits';
import { callWorld, joined, letIn, participant, settle, track, WELCOME } from './call-fakes';
import { problem } from './fakes';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function makeCall(token: (request: { renew: boolean }) => string = () => 'secret') {
  const world = callWorld();
  const states: CallState[] = [];
  const call = new CallSession({
    server: 'https://media.example.org',
    token: async (request) => token(request),
    environment: world.environment,
  });
  call.on('state', (state) => states.push(state));
  return { ...world, call, states, names: () => states.map(({ name }) => name) };
}

async function makeLive(...others: Parameters<typeof joined>[1] & object[]) {
  const made = makeCall();
  await letIn(made.call, made.socket, joined('red', others));
  expect(made.call.state.name).toBe('live');
  return made;
}

describe('a session', () => {
  it('opens with its token and the room, and is live once it is in', async () => {
    const { call, socket, names } = await makeLive(participant('bob'));
    expect(socket().url).toBe('wss://media.example.org/ws?token=secret&room_id=red');
    expect(names()).toEqual(['connecting', 'live']);
    expect(call.identity).toBe('ann');
    expect(call.rooms[0]?.others.map(({ identity }) => identity)).toEqual(['bob']);
  });

  it('asks over HTTP why a WebSocket was refused, and renews a token once', async () => {
    const tokens: boolean[] = [];
    const { call, server, sockets, socket, states } = makeCall(({ renew }) => {
      tokens.push(renew);
      return renew ? 'new' : 'old';
    });
    server.will('GET', problem(401, 'token_expired'), problem(401, 'token_expired'));
    call.start('red');
    await settle();
    socket().drop();
    await settle();
    expect(sockets[1]?.url).toContain('token=new');
    socket().drop();
    await settle();
    expect(tokens).toEqual([false, true]);
    expect(states.at(-1)).toMatchObject({ name: 'failed', failure: { reason: 'unauthorized', code: 'token_expired' } });
  });

  it('fails with what the server says before it closes', async () => {
    const { call, socket, states } = makeCall();
    call.start('red');
    await settle();
    socket().accept();
    await settle();
    socket().say({ ...WELCOME, seq: 1 });
    socket().say({ type: 'error', seq: 2, code: 'room_locked', message: 'The room is locked.' });
    socket().drop(4403, 'room_locked');
    await settle();
    expect(states.at(-1)).toMatchObject({ name: 'failed', failure: { reason: 'forbidden', code: 'room_locked' } });
  });

  it('goes on trying while the server does not answer', async () => {
    const { call, sockets, socket, server, states } = makeCall();
    server.will('GET', ...Array.from({ length: 20 }, () => 'unreachable' as const));
    call.start('red');
    for (let tries = 0; tries < 6; tries += 1) {
      await settle();
      socket().drop();
      await vi.advanceTimersByTimeAsync(10_000);
    }
    expect(sockets.length).toBeGreaterThan(5);
    expect(states.at(-1)).toMatchObject({ name: 'connecting', cause: { reason: 'unreachable' } });
    call.close();
  });

  it('says that it leaves', async () => {
    const { call, socket, states } = await makeLive();
    call.close();
    expect(socket().last('leave_room')).toMatchObject({ room_id: 'red' });
    expect(socket().closedWith, 'which leaves at once').toBe(1000);
    expect(states.at(-1)).toEqual({ name: 'ended', because: 'left' });
  });
});

describe('a lost connection', () => {
  it('is followed by one that resumes with the number of the last message', async () => {
    const { call, sockets, socket, names } = await makeLive();
    socket().say({ type: 'participant_joined', seq: 3, room_id: 'red', participant: participant('bob') });
    socket().drop();
    await vi.advanceTimersByTimeAsync(400);
    expect(sockets).toHaveLength(2);
    expect(socket().url).toBe('wss://media.example.org/ws');
    socket().accept();
    await settle();
    expect(socket().sent[0]).toEqual({ type: 'resume', resume_token: 'again', seq: 3 });
    socket().say({ type: 'resumed', seq: 4, session_id: 'SE_1', complete: true, publisher_offer_id: 0 });
    socket().say({ type: 'participant_left', seq: 5, room_id: 'red', participant_id: 'PA_bob', identity: 'bob', reason: 'left' });
    await settle();
    expect(names()).toEqual(['connecting', 'live', 'reconnecting', 'live']);
    expect(call.rooms[0]?.others).toEqual([]);
  });

  it('has what is unanswered asked again, once all that was missed has come', async () => {
    const { call, socket } = await makeLive();
    const renamed = call.rename('red', 'Ann');
    const locked = call.host('red').setLocked(true);
    const [first, second] = [socket().last('update_metadata'), socket().last('update_room')];
    socket().drop();
    await vi.advanceTimersByTimeAsync(400);
    socket().accept();
    await settle();
    socket().say({ type: 'resumed', seq: 3, session_id: 'SE_1', complete: true, publisher_offer_id: 0 });
    socket().say({ type: 'ok', seq: 4, id: first['id'] });
    await renamed;
    await settle();
    expect(socket().count('update_room')).toBe(0);
    socket().say({ type: 'pong' });
    expect(socket().count('update_metadata')).toBe(0);
    expect(socket().last('update_room')).toEqual(second);
    socket().say({ type: 'error', seq: 5, id: second['id'], code: 'may_not_manage', message: 'No.' });
    await expect(locked).rejects.toMatchObject({ reason: 'forbidden', code: 'may_not_manage' });
    socket().say({ type: 'pong' });
    expect(socket().count('update_room')).toBe(1);
  });

  it('takes what the server says is there, where messages were missed for good', async () => {
    const { call, socket } = await makeLive(participant('bob', { tracks: [track('TR_1')] }), participant('cid'));
    const [before] = call.rooms;
    socket().drop();
    await vi.advanceTimersByTimeAsync(400);
    socket().accept();
    await settle();
    const rooms = [joined('red', [participant('bob', { tracks: [track('TR_1')] }), participant('dan')])];
    socket().say({ type: 'resumed', seq: 900, session_id: 'SE_1', complete: false, rooms, publisher_offer_id: 0 });
    expect(call.rooms[0]?.others.map(({ identity }) => identity)).toEqual(['bob', 'dan']);
    expect(before?.others.map(({ identity }) => identity)).toEqual(['bob', 'cid']);
    socket().say({ type: 'room_updated', seq: 901, room_id: 'red', room: { name: 'New' } });
    expect(call.rooms[0]?.info.name).toBe('New');
  });

  it('ends in a new session where the server knows it no more', async () => {
    const { call, sockets, socket, states } = await makeLive();
    socket().drop();
    await vi.advanceTimersByTimeAsync(400);
    socket().accept();
    await settle();
    socket().say({ type: 'error', seq: 1, code: 'no_such_session', message: 'Gone.' });
    await settle();
    expect(sockets).toHaveLength(3);
    expect(socket().url).toContain('token=secret');
    await letIn(call, socket, joined('red', [participant('eve')]));
    expect(states.at(-1)?.name).toBe('live');
    expect(call.rooms[0]?.others[0]?.identity).toBe('eve');
  });

  it('is told from a silent one by what is heard', async () => {
    const { socket, sockets } = await makeLive();
    await vi.advanceTimersByTimeAsync(PING_INTERVAL_MS);
    expect(socket().count('ping')).toBe(1);
    await vi.advanceTimersByTimeAsync(SIGNALLING_SILENT_MS_MAX + PING_INTERVAL_MS);
    expect(sockets.length).toBeGreaterThan(1);
  });

  it('is looked for at once when the network changes', async () => {
    const { sockets, socket, changeNetwork } = await makeLive();
    await vi.advanceTimersByTimeAsync(10);
    changeNetwork();
    expect(socket().count('ping')).toBe(1);
    await vi.advanceTimersByTimeAsync(NETWORK_PROBE_MS_MAX + 500);
    expect(sockets).toHaveLength(2);
    expect(sockets[0]?.closedWith, 'which the server takes for a break').toBe(4000);
  });

  it('is not fought for when another page has taken the session', async () => {
    const { sockets, socket, states } = await makeLive();
    socket().drop(4409, 'replaced');
    await vi.advanceTimersByTimeAsync(30_000);
    expect(sockets).toHaveLength(1);
    expect(states.at(-1)).toEqual({ name: 'ended', because: 'replaced' });
  });
});

describe('rooms', () => {
  it('tell who came, who left and what is published', async () => {
    const { call, socket } = await makeLive();
    const news: string[] = [];
    call.on('came', ({ participant: { identity } }) => news.push(`+${identity}`));
    call.on('went', ({ participant: { identity }, reason }) => news.push(`-${identity} ${reason}`));
    const bob = participant('bob');
    const say = (seq: number, message: object): void => socket().say({ seq, room_id: 'red', ...message });
    say(3, { type: 'participant_joined', participant: bob });
    say(4, { type: 'track_published', participant_id: bob.id, track: track('TR_1', 'microphone') });
    say(5, { type: 'track_muted', participant_id: bob.id, track_id: 'TR_1', muted: true, by_host: false, muted_by_host: false });
    expect(call.rooms[0]?.others[0]?.tracks).toEqual([{ ...track('TR_1', 'microphone'), muted: true }]);
    say(5, { type: 'track_unpublished', participant_id: bob.id, track_id: 'TR_1' });
    expect(call.rooms[0]?.others[0]?.tracks, 'a message that comes twice is taken once').toHaveLength(1);
    say(6, { type: 'track_unpublished', participant_id: bob.id, track_id: 'TR_1' });
    expect(call.rooms[0]?.others[0]?.tracks).toEqual([]);
    say(7, { type: 'participant_left', participant_id: bob.id, identity: 'bob', reason: 'removed' });
    expect(news).toEqual(['+bob', '-bob removed']);
  });

  it.each([
    ['removed', 'removed'],
    ['replaced', 'replaced'],
    ['room_closed', 'room_closed'],
  ])('end the call when we are %s from the last', async (reason, because) => {
    const { socket, states } = await makeLive();
    socket().say({ type: 'removed', seq: 3, room_id: 'red', reason });
    expect(states.at(-1)).toEqual({ name: 'ended', because });
  });

  it('are entered again after an interruption of the server’s', async () => {
    const { call, socket } = await makeLive();
    socket().say({ type: 'removed', seq: 3, room_id: 'red', reason: 'interrupted' });
    await settle();
    const join = socket().last('join_room');
    expect(join).toMatchObject({ room_id: 'red', token: 'secret' });
    socket().say({ ...joined('red'), seq: 4, id: join['id'] });
    expect(call.rooms).toHaveLength(1);
    expect(call.state.name).toBe('live');
  });

  it('may be two, and are both entered by a new session', async () => {
    const { call, socket } = await makeLive();
    const entering = call.enter('blue');
    await settle();
    socket().say({ ...joined('blue'), seq: 3, id: socket().last('join_room')['id'] });
    await entering;
    expect(call.rooms.map(({ id }) => id)).toEqual(['red', 'blue']);
    socket().drop();
    await vi.advanceTimersByTimeAsync(400);
    socket().accept();
    await settle();
    socket().say({ type: 'error', seq: 1, code: 'no_such_session', message: 'Gone.' });
    await letIn(call, socket);
    expect(socket().last('join_room')).toMatchObject({ room_id: 'blue' });
    expect(call.rooms.map(({ id }) => id), 'what is shown stays until it is known better').toEqual(['red', 'blue']);
  });

  it('may refuse, and the call goes on without', async () => {
    const { call, socket } = await makeLive();
    const entering = call.enter('blue');
    await settle();
    socket().say({ type: 'error', seq: 3, id: socket().last('join_room')['id'], code: 'room_full', message: 'Full.' });
    await expect(entering).rejects.toMatchObject({ code: 'room_full' });
    expect(call.rooms.map(({ id }) => id)).toEqual(['red']);
  });

  it('may be exchanged by a host', async () => {
    const { call, socket } = await makeLive();
    const left: object[] = [];
    call.on('left', (event) => left.push(event));
    socket().say({ type: 'moved', seq: 3, room_id: 'red', to_room_id: 'blue' });
    socket().say({ ...joined('blue'), seq: 4 });
    expect(left).toEqual([{ roomId: 'red', reason: 'moved', movedTo: 'blue' }]);
    expect(call.rooms.map(({ id }) => id)).toEqual(['blue']);
    expect(call.state.name).toBe('live');
  });

  it('is entered again with the token that came with the move, until the server refuses it', async () => {
    const asked: object[] = [];
    const { call, socket, server } = makeCall((request) => {
      asked.push(request);
      return request.renew ? 'fresh' : 'source';
    });
    await letIn(call, socket, joined('red'));
    const left: object[] = [];
    call.on('left', (event) => left.push(event));
    socket().say({ type: 'moved', seq: 3, room_id: 'red', to_room_id: 'blue', token: 'moved' });
    socket().say({ ...joined('blue'), seq: 4 });
    expect(left).toEqual([{ roomId: 'red', reason: 'moved', movedTo: 'blue', token: 'moved' }]);
    const lose = async (): Promise<void> => {
      socket().drop();
      await vi.advanceTimersByTimeAsync(1000);
      socket().accept();
      await settle();
      socket().say({ type: 'error', code: 'no_such_session', message: 'Gone.' });
      await vi.advanceTimersByTimeAsync(1000);
    };
    await lose();
    expect(socket().url).toContain('token=moved&room_id=blue');
    expect(asked).toHaveLength(1);
    await letIn(call, socket, joined('blue'));
    server.will('GET', problem(401, 'token_revoked'));
    await lose();
    socket().drop();
    await settle();
    expect(socket().url).toContain('token=fresh&room_id=blue');
    expect(asked.at(-1)).toEqual({ roomId: 'blue', renew: true, cause: 'refused' });
    call.close();
  });

  it.each([[true], [false]])('may be exchanged, which keeps what one wants to receive: %j', async (autoSubscribe) => {
    const { call, socket } = await makeLive();
    const entering = call.enter('blue', { autoSubscribe });
    await settle();
    socket().say({ ...joined('blue'), seq: 3, id: socket().last('join_room')['id'] });
    await entering;
    socket().say({ type: 'moved', seq: 4, room_id: 'blue', to_room_id: 'green' });
    socket().say({ ...joined('green'), seq: 5 });
    socket().say({ type: 'removed', seq: 6, room_id: 'green', reason: 'interrupted' });
    await settle();
    expect(socket().last('join_room')).toMatchObject({ room_id: 'green', auto_subscribe: autoSubscribe });
  });
});
