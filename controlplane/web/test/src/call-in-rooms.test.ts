import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import type { CallParticipant } from '../../sdk';
import { Call } from '../../src/call.svelte';
import { explainFailure } from '../../src/messages';
import { tokenSourceFor } from '../../src/tokens';
import { FakePeer, FakeSocket, joined, participant, settle, WELCOME, type Json } from '../sdk/call-fakes';

let sockets: FakeSocket[];

function storage(): Storage {
  const kept = new Map<string, string>();
  return {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  } as unknown as Storage;
}

class FakeDevice extends EventTarget {
  readyState = 'live';
  enabled = true;
  contentHint = '';
  readonly kind: string;
  constructor(kind: string) {
    super();
    this.kind = kind;
  }
  getSettings(): Json {
    return {};
  }
  stop(): void {
    this.readyState = 'ended';
  }
}

let devices: FakeDevice[];

beforeEach(() => {
  vi.useFakeTimers();
  [sockets, devices] = [[], []];
  const lend = async ({ video, audio }: MediaStreamConstraints): Promise<unknown> => {
    const [pictures, sounds] = [video ? [new FakeDevice('video')] : [], audio ? [new FakeDevice('audio')] : []];
    devices.push(...pictures, ...sounds);
    return { getVideoTracks: () => pictures, getAudioTracks: () => sounds };
  };
  vi.stubGlobal('localStorage', storage());
  vi.stubGlobal('sessionStorage', storage());
  vi.stubGlobal('location', { origin: 'https://media.example.org', pathname: '/room/red', search: '' });
  vi.stubGlobal('addEventListener', () => undefined);
  vi.stubGlobal('removeEventListener', () => undefined);
  vi.stubGlobal('MediaStream', class {});
  vi.stubGlobal('RTCPeerConnection', FakePeer);
  vi.stubGlobal('navigator', {
    mediaDevices: { getUserMedia: lend, getDisplayMedia: lend, enumerateDevices: async () => [], addEventListener: () => undefined },
  });
  vi.stubGlobal('fetch', async () => Response.json({ token: 'a.b.c', expires_at: '2026-01-01T00:00:00Z' }));
  const open = (url: string): FakeSocket => {
    const socket = new FakeSocket(url);
    sockets.push(socket);
    return socket;
  };
  const node = { connect: () => undefined, disconnect: () => undefined, getFloatTimeDomainData: () => undefined };
  const context = { createMediaStreamSource: () => node, createAnalyser: () => node, close: async () => undefined, resume: async () => undefined };
  vi.stubGlobal('AudioContext', class { constructor() { return context; } });
  vi.stubGlobal('WebSocket', class { constructor(url: string) { return open(url); } });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const socket = (): FakeSocket => sockets.at(-1) as FakeSocket;
const guest = (changes: Partial<CallParticipant> = {}): CallParticipant => participant('guest-1', { name: '', ...changes });
const listener: Partial<CallParticipant> = { role: 'attendee', permissions: { can_publish: false } };

/** Has Ann enter the red room with camera and microphone. */
async function enter(me = guest(), secondId?: string) {
  const call = new Call('red', secondId);
  await call.openDevices();
  call.name = 'Ann';
  call.join();
  await settle();
  socket().accept();
  await settle();
  let seq = 0;
  const say = (message: Json): void => socket().say({ seq: (seq += 1), ...message });
  say(WELCOME);
  say(joined('red', [], me));
  await settle();
  const words = (): string[] => call.news.items.map(({ text }) => text);
  return { call, say, words };
}

describe('somebody in a call', () => {
  it('says its name again when it comes back as somebody new', async () => {
    const { call } = await enter();
    expect(socket().last('update_metadata')).toMatchObject({ room_id: 'red', name: 'Ann' });
    socket().drop();
    await vi.advanceTimersByTimeAsync(700);
    socket().accept();
    await settle();
    socket().say({ type: 'error', code: 'no_such_session', message: 'Gone.' });
    await vi.advanceTimersByTimeAsync(700);
    socket().accept();
    await settle();
    socket().say({ ...WELCOME, session_id: 'SE_2', seq: 1 });
    socket().say({ ...joined('red', [], guest({ id: 'PA_again' })), seq: 2 });
    await settle();
    expect(call.session.name).toBe('live');
    expect(sockets).toHaveLength(3);
    expect(socket().last('update_metadata')).toMatchObject({ room_id: 'red', name: 'Ann' });
  });

  it('who is made a listener hears so, and its devices are let go', async () => {
    const { call, say, words } = await enter();
    await call.toggleScreen();
    expect(devices.map(({ readyState }) => readyState)).toEqual(['live', 'live', 'live', 'live']);
    say({ type: 'participant_updated', room_id: 'red', participant: guest(listener) });
    await settle();
    expect(words()).toEqual(['A host made you a listener: nobody sees or hears you any more.']);
    expect(devices.map(({ readyState }) => readyState)).toEqual(['ended', 'ended', 'ended', 'ended']);
    expect([call.camera, call.microphone, call.screen]).toEqual([null, null, null]);
    const [room] = call.rooms;
    expect(room && call.goesTo(room, 'camera')).toBe(false);

    say({ type: 'participant_updated', room_id: 'red', participant: guest() });
    await settle();
    expect(words().at(-1)).toBe('A host lets you speak: turn on your microphone and camera when you like.');
    await call.toggleMicrophone();
    expect(call.microphone).not.toBeNull();
    expect(room && call.goesTo({ ...room, me: guest() }, 'microphone')).toBe(true);
  });

  it('who comes as a listener hears so, and lends nobody a device', async () => {
    const { words } = await enter(guest(listener));
    expect(words()).toEqual(['You are a listener: nobody sees or hears you.']);
    expect(devices.every(({ readyState }) => readyState === 'ended')).toBe(true);
  });

  it('keeps its devices for the room in which it may still speak', async () => {
    const { call, say, words } = await enter();
    const entering = call.openSecond('blue');
    await settle();
    say({ id: socket().last('join_room')['id'], ...joined('blue', [], guest({ id: 'PA_blue' })) });
    await entering;
    say({ type: 'participant_updated', room_id: 'blue', participant: guest({ id: 'PA_blue', ...listener }) });
    await settle();
    expect(words().at(-1)).toBe('A host made you a listener in The blue: nobody sees or hears you any more.');
    expect(call.camera).not.toBeNull();
    expect(call.rooms.map((room) => call.goesTo(room, 'camera'))).toEqual([true, false]);
  });

  it('is in the room that a host moved it to, and joins that one again', async () => {
    const { call, say } = await enter();
    say({ type: 'moved', room_id: 'red', to_room_id: 'blue' });
    say(joined('blue', [], guest({ id: 'PA_blue' })));
    await settle();
    expect([call.roomId, call.roomName]).toEqual(['blue', 'The blue']);
    call.hangUp();
    expect(call.leftBehind).toBe('nobody');
    call.join();
    await settle();
    expect(new URL(socket().url).searchParams.get('room_id')).toBe('blue');
  });

  it('whose link expires is told before and at the end, and becomes no guest', async () => {
    sessionStorage.setItem('sluice.token.red', 'given');
    const { call, say, words } = await enter();
    say({ ...joined('red', [], guest()), expires_in: 9 });
    await vi.advanceTimersByTimeAsync(7_500);
    expect(words()).toEqual(['Your link for The red expires in less than a minute: ask for a new one to stay longer.']);
    expect(socket().count('renew_token')).toBe(0);
    say({ type: 'removed', room_id: 'red', reason: 'token_expired' });
    socket().say({ type: 'error', code: 'token_expired', message: 'It has ended.' });
    socket().drop(4403, 'token_expired');
    await vi.advanceTimersByTimeAsync(1_000);
    const { session } = call;
    expect(session).toMatchObject({ name: 'failed', failure: { code: 'token_expired' } });
    expect(session.name === 'failed' && explainFailure(session.failure).title).toBe('Your link has expired');
    expect(sockets).toHaveLength(1);
    expect(sessionStorage.getItem('sluice.guest.live.red')).toBeNull();
  });

  it('as a guest stays for longer than its token by asking for another', async () => {
    const { call, say, words } = await enter();
    say({ ...joined('red', [], guest()), expires_in: 9 });
    await vi.advanceTimersByTimeAsync(7_500);
    expect(socket().last('renew_token')).toMatchObject({ token: 'a.b.c' });
    say({ type: 'token_renewed', id: socket().last('renew_token')['id'], rooms: [{ room_id: 'red', expires_in: 9000 }] });
    await settle();
    expect([call.session.name, words()]).toEqual(['live', []]);
  });

  it('has a token after a reload of the room that it was moved to, and keeps a better one', async () => {
    const { say } = await enter();
    sessionStorage.setItem('sluice.token.green', 'own');
    say({ type: 'moved', room_id: 'red', to_room_id: 'blue', token: 'moved' });
    say(joined('blue', [], guest({ id: 'PA_blue' })));
    say({ type: 'moved', room_id: 'blue', to_room_id: 'green', token: 'moved' });
    const kept = await Promise.all(['blue', 'green'].map((room) => tokenSourceFor(room, 'live', () => undefined)({ renew: false })));
    expect(kept).toEqual(['moved', 'own']);
  });

  it('opens the second room of the address again, and stays there when it leaves the first', async () => {
    const { call, say } = await enter(guest(), 'blue');
    const asked = socket().last('join_room');
    expect(asked).toMatchObject({ room_id: 'blue' });
    say({ id: asked['id'], ...joined('blue', [], guest({ id: 'PA_blue' })) });
    await settle();
    expect([call.roomId, call.secondId, call.isShared('blue', 'camera')]).toEqual(['red', 'blue', false]);
    say({ type: 'room_left', room_id: 'red' });
    await settle();
    expect([call.roomId, call.roomName, call.secondId]).toEqual(['blue', 'The blue', undefined]);
    expect(socket().count('join_room')).toBe(1);
  });

  it('hears why the second room is not open again', async () => {
    const { call, say, words } = await enter(guest(), 'blue');
    say({ type: 'error', id: socket().last('join_room')['id'], code: 'room_locked', message: 'No.' });
    await settle();
    expect(words()).toEqual(['You are not in blue again: The room is locked']);
    expect(call.secondId).toBeUndefined();
  });
});
