import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { CallSession, type CallParticipant } from '../../sdk';
import { encodingsOf } from '../../sdk/call/encodings';
import { isNear, type TileSize } from '../../sdk/call/tiles';
import { reportOf } from '../../sdk/call/track-quality';
import {
  CONNECT_MS_MAX,
  DISCONNECTED_GRACE_MS,
  PUBLISH_RENEWALS_MAX,
  TILE_SETTLE_MS,
} from '../../sdk/limits';
import { callWorld, device, joined, letIn, participant, settle, track, type FakeSocket, type Json } from './call-fakes';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

async function makeLive(me: CallParticipant = participant('ann'), others: CallParticipant[] = []) {
  const world = callWorld();
  const call = new CallSession({ server: 'https://media.example.org', token: async () => 'secret', environment: world.environment });
  await letIn(call, world.socket, joined('red', others, me));
  let seq = 2;
  const say = (message: Json): void => world.socket().say({ seq: (seq += 1), ...message });
  const reply = async (type: string, message: Json): Promise<void> => {
    say({ id: world.socket().last(type)['id'], ...message });
    await settle();
  };
  return { ...world, call, say, reply };
}

type Live = Awaited<ReturnType<typeof makeLive>>;

/** Agrees to everything that the client wants to publish, as `TR_` and its m-line. */
async function agree({ socket, say, reply }: Live, connection_id = 'PC_1'): Promise<void> {
  await settle();
  const announced = socket().sent.filter(({ type, mid }) => type === 'publish_track' && typeof mid === 'string');
  for (const { id } of announced) say({ type: 'ok', id });
  await settle();
  const { offer_id } = socket().last('offer');
  const tracks = announced.map(({ mid }) => ({ mid, track_id: `TR_${String(mid)}` }));
  await reply('offer', { type: 'answer', offer_id, connection_id, sdp: 'answered', tracks });
}

async function resume(socket: () => FakeSocket, message: Json): Promise<void> {
  socket().drop();
  await vi.advanceTimersByTimeAsync(700);
  socket().accept();
  await settle();
  socket().say({ type: 'resumed', session_id: 'SE_1', ...message });
  await settle();
  socket().say({ type: 'pong' });
  await settle();
}

describe('publishing', () => {
  it('says what it sends, then offers it: a camera in three layers, the smallest first', async () => {
    const live = await makeLive();
    live.call.publish('camera', device());
    live.call.publish('microphone', device('audio'), true);
    await agree(live);
    const [peer] = live.peers;
    expect(live.socket().last('publish_track')).toMatchObject({ source: 'microphone', muted: true, mid: '1' });
    expect(live.socket().sent.find(({ source }) => source === 'camera')).toMatchObject({ mid: '0', width: 1280, height: 720, kind: 'video', room_ids: ['red'] });
    expect(peer?.transceivers[0]?.encodings.map(({ rid, scaleResolutionDownBy }) => [rid, scaleResolutionDownBy])).toEqual([
      ['q', 4],
      ['h', 2],
      ['f', 1],
    ]);
    expect(peer?.remote).toEqual(['answered']);
    expect(live.call.trackIdOf('camera')).toBe('TR_0');
    expect(live.call.trackIdOf('microphone')).toBe('TR_1');
  });

  it('sends no more layers than a small camera has pixels for, the full size among them', () => {
    const rids = (width: number, height: number): (string | undefined)[] => {
      const track = { getSettings: () => ({ width, height }) } as unknown as MediaStreamTrack;
      return encodingsOf('camera', track).map(({ rid }) => rid);
    };
    expect(rids(1280, 720)).toEqual(['q', 'h', 'f']);
    expect(rids(960, 540)).toEqual(['q', 'h', 'f']);
    expect(rids(640, 480)).toEqual(['h', 'f']);
    expect(rids(480, 270)).toEqual(['h', 'f']);
    expect(rids(320, 240)).toEqual(['f']);
  });

  it('makes no connection where nothing may be published', async () => {
    const { call, peers, socket } = await makeLive(participant('ann', { role: 'attendee', permissions: { can_publish: false } }));
    call.publish('camera', device());
    await settle();
    expect(peers).toEqual([]);
    expect(socket().count('publish_track')).toBe(0);
  });

  it('begins when a host allows it', async () => {
    const live = await makeLive(participant('ann', { role: 'attendee', permissions: { can_publish: false } }));
    live.call.publish('microphone', device('audio'));
    live.say({ type: 'participant_updated', room_id: 'red', participant: participant('ann') });
    await agree(live);
    expect(live.call.trackIdOf('microphone')).toBe('TR_0');
  });

  it('uses the m-line of what has ended for the next of its kind', async () => {
    const live = await makeLive();
    live.call.publish('screen_share', device());
    await agree(live);
    live.call.unpublish('screen_share');
    await settle();
    await live.reply('unpublish_track', { type: 'ok' });
    const [peer] = live.peers;
    expect(peer?.offers.at(-1)).toBe('0=inactive');
    await live.reply('offer', { type: 'answer', offer_id: 2, connection_id: 'PC_1', sdp: 'answered', tracks: [] });
    live.call.publish('screen_share', device());
    await agree(live);
    expect(peer?.offers.at(-1)).toBe('0=sendonly');
    expect(peer?.transceivers).toHaveLength(1);
    expect(live.socket().last('offer')).toMatchObject({ offer_id: 3 });
  });

  it('turns a camera off and on again without an offer', async () => {
    const live = await makeLive();
    live.call.publish('camera', device());
    await agree(live);
    live.call.publish('camera', null, true);
    await settle();
    expect(live.peers[0]?.transceivers[0]?.sender.track).toBeNull();
    expect(live.socket().last('mute_track')).toMatchObject({ track_id: 'TR_0', muted: true });
    await live.reply('mute_track', { type: 'ok' });
    live.call.publish('camera', device());
    await settle();
    expect(live.socket().last('mute_track')).toMatchObject({ muted: false });
    expect(live.socket().count('offer')).toBe(1);
  });

  it('offers without what the server refuses, and does not insist', async () => {
    const { call, socket, reply, peers, say } = await makeLive();
    const refused: string[] = [];
    call.on('refused', ({ source, failure }) => refused.push(`${source} ${failure.code}`));
    call.publish('camera', device());
    call.publish('microphone', device('audio'));
    await settle();
    const [camera, microphone] = socket().sent.filter(({ type }) => type === 'publish_track');
    say({ type: 'error', id: camera?.['id'], code: 'may_not_publish', message: 'No.' });
    say({ type: 'ok', id: microphone?.['id'] });
    await settle();
    expect(peers[0]?.offers.at(-1)).toBe('0=inactive 1=sendonly');
    await reply('offer', { type: 'answer', offer_id: 1, connection_id: 'PC_1', sdp: 'a', tracks: [{ mid: '1', track_id: 'TR_1' }] });
    expect(refused).toEqual(['camera may_not_publish']);
    expect(socket().count('publish_track')).toBe(2);
  });

  it('goes to the rooms that it is shared with', async () => {
    const live = await makeLive();
    live.call.publish('microphone', device('audio'));
    await agree(live);
    live.call.share('blue', 'microphone', false);
    const entering = live.call.enter('blue');
    await settle();
    await live.reply('join_room', joined('blue'));
    await entering;
    expect(live.socket().count('publish_track')).toBe(1);
    live.call.share('blue', 'microphone', true);
    await settle();
    expect(live.socket().last('publish_track')).toMatchObject({ track_id: 'TR_0', room_ids: ['blue'] });
    await live.reply('publish_track', { type: 'ok' });
    live.call.share('red', 'microphone', false);
    await settle();
    expect(live.socket().last('unpublish_track')).toMatchObject({ track_id: 'TR_0', room_id: 'red' });
  });

  it('goes on in the room that a host moves one to', async () => {
    const live = await makeLive();
    live.call.publish('camera', device());
    await agree(live);
    const before = live.socket().sent.length;
    live.say({ type: 'moved', room_id: 'red', to_room_id: 'blue' });
    await settle();
    live.say(joined('blue'));
    await settle();
    expect(live.socket().sent.slice(before)).toEqual([]);
    expect(live.call.trackIdOf('camera')).toBe('TR_0');
  });

  it('repeats an offer that was not answered, under its number', async () => {
    const live = await makeLive();
    live.call.publish('camera', device());
    await settle();
    await live.reply('publish_track', { type: 'ok' });
    const offer = live.socket().last('offer');
    await resume(live.socket, { seq: 4, complete: true, publisher_offer_id: 0, publisher_connection_id: null });
    expect(live.socket().last('offer')).toEqual(offer);
    expect(live.peers).toHaveLength(1);
  });

  it('keeps its connection over a lost WebSocket, and makes a new one when the server has none', async () => {
    const live = await makeLive();
    live.call.publish('camera', device());
    await agree(live);
    const me = participant('ann', { tracks: [track('TR_0')] });
    const same = { rooms: [joined('red', [], me)], published: [{ mid: '0', track_id: 'TR_0' }], subscribed: [], complete: false };
    await resume(live.socket, { seq: 50, ...same, publisher_offer_id: 1, publisher_connection_id: 'PC_1' });
    expect(live.peers).toHaveLength(1);
    expect(live.socket().count('offer')).toBe(0);
    await resume(live.socket, { seq: 60, ...same, published: [], publisher_offer_id: 1, publisher_connection_id: null });
    expect(live.peers[0]?.connectionState).toBe('closed');
    expect(live.peers).toHaveLength(2);
    await settle();
    expect(live.socket().last('publish_track')).toMatchObject({ mid: '0', source: 'camera' });
  });

  it('begins anew when the server closes its connection', async () => {
    const live = await makeLive();
    live.call.publish('camera', device());
    await agree(live);
    live.say({ type: 'connection_closed', connection: 'publisher', connection_id: 'PC_1' });
    await settle();
    expect(live.peers).toHaveLength(2);
    await live.reply('publish_track', { type: 'ok' });
    expect(live.socket().last('offer')).toMatchObject({ offer_id: 2 });
  });

  it('begins anew with all that it sends when an answer cannot be used, and goes on', async () => {
    const live = await makeLive();
    const refused: string[] = [];
    live.call.on('refused', ({ source }) => refused.push(source));
    live.call.publish('camera', device());
    await agree(live);
    const [first] = live.peers;
    if (first !== undefined) first.setRemoteDescription = async () => Promise.reject(new DOMException('Bad.', 'OperationError'));
    live.call.publish('microphone', device('audio'));
    await settle();
    await live.reply('publish_track', { type: 'ok' });
    await live.reply('offer', { type: 'answer', offer_id: 2, connection_id: 'PC_1', sdp: 'bad', tracks: [] });
    expect(first?.connectionState).toBe('closed');
    expect(live.peers, 'not without a pause').toHaveLength(1);
    const before = live.socket().sent.length;
    await vi.advanceTimersByTimeAsync(400);
    expect(live.peers).toHaveLength(2);
    const again = live.socket().sent.slice(before).filter(({ type }) => type === 'publish_track');
    expect(again.map(({ source, mid }) => [source, mid])).toEqual([['camera', '0'], ['microphone', '1']]);
    for (const { id } of again) live.say({ type: 'ok', id });
    await settle();
    const tracks = ['0', '1'].map((mid) => ({ mid, track_id: `TR_new${mid}` }));
    await live.reply('offer', { type: 'answer', offer_id: 3, connection_id: 'PC_2', sdp: 'answered', tracks });
    expect([live.call.trackIdOf('camera'), live.call.trackIdOf('microphone')]).toEqual(['TR_new0', 'TR_new1']);
    expect(refused).toEqual([]);
  });

  it('gives up in the end, and says so once of each source', async () => {
    const [code, renewals] = ['sdp_malformed', PUBLISH_RENEWALS_MAX];
    const { call, peers, socket, say, reply } = await makeLive();
    const refused: string[] = [];
    call.on('refused', ({ source, failure }) => refused.push(`${source} ${failure.code}`));
    call.publish('camera', device());
    for (let count = 0; count <= renewals; count += 1) {
      for (let waited = 0; peers.length <= count && waited < 12; waited += 1) {
        say({ type: 'pong' });
        await vi.advanceTimersByTimeAsync(1_000);
      }
      await reply('publish_track', { type: 'ok' });
      await reply('offer', { type: 'error', code, message: 'No.' });
    }
    await vi.advanceTimersByTimeAsync(8_000);
    expect(refused).toEqual([`camera ${code}`]);
    expect(peers).toHaveLength(renewals + 1);
    expect(socket().count('offer')).toBe(renewals + 1);
  });

  it('restarts ICE when the connection is lost, and again while it stays so', async () => {
    const live = await makeLive();
    const media: string[] = [];
    live.call.on('media', (state) => media.push(state));
    live.call.publish('camera', device());
    await agree(live);
    const [peer] = live.peers;
    peer?.turn('connected');
    peer?.turn('disconnected');
    await vi.advanceTimersByTimeAsync(DISCONNECTED_GRACE_MS);
    expect(peer?.offers.at(-1)).toBe('restart 0=sendonly');
    await live.reply('offer', { type: 'answer', offer_id: 2, connection_id: 'PC_1', sdp: 'a', tracks: [] });
    for (const waited of [1_000, CONNECT_MS_MAX - 1_000]) {
      await vi.advanceTimersByTimeAsync(waited);
      live.say({ type: 'pong' });
    }
    expect(live.socket().last('offer')).toMatchObject({ offer_id: 3 });
    peer?.turn('connected');
    expect(media).toEqual(['interrupted', 'flowing']);
    expect(live.call.trackIdOf('camera')).toBe('TR_0');
  });

  it('sends over another connection when ICE restarts do not heal the one that failed', async () => {
    const live = await makeLive();
    const media: string[] = [];
    live.call.on('media', (state) => media.push(state));
    live.call.publish('camera', device());
    await agree(live);
    const [first] = live.peers;
    first?.turn('connected');
    first?.turn('failed');
    await vi.advanceTimersByTimeAsync(1);
    expect(first?.offers.at(-1), 'a restart comes first').toBe('restart 0=sendonly');
    await live.reply('offer', { type: 'answer', offer_id: 2, connection_id: 'PC_1', sdp: 'a', tracks: [] });
    first?.turn('connecting');
    first?.turn('failed');
    await vi.advanceTimersByTimeAsync(1);
    expect(first?.connectionState).toBe('closed');
    expect(live.peers).toHaveLength(2);
    await live.reply('publish_track', { type: 'ok' });
    const tracks = [{ mid: '0', track_id: 'TR_0' }];
    await live.reply('offer', { type: 'answer', offer_id: 3, connection_id: 'PC_2', sdp: 'b', tracks });
    live.say({ type: 'connection_closed', connection: 'publisher', connection_id: 'PC_1' });
    await settle();
    expect([live.peers.length, live.call.trackIdOf('camera')]).toEqual([2, 'TR_0']);
    expect(media).toEqual(['interrupted']);
    live.peers[1]?.turn('connected');
    expect(media).toEqual(['interrupted', 'flowing']);
  });
});

describe('a connection whose DTLS association is over', () => {
  it('is replaced without an ICE restart', async () => {
    const live = await makeLive();
    live.call.publish('camera', device());
    await agree(live);
    const [first] = live.peers;
    if (first !== undefined) first.dtls = 'closed';
    first?.turn('failed');
    await vi.advanceTimersByTimeAsync(1);
    expect(first?.offers.some((offer) => offer.startsWith('restart'))).toBe(false);
    expect(live.peers).toHaveLength(2);
  });
});

describe('receiving', () => {
  const bob = participant('bob', { tracks: [track('TR_b')] });
  const offer = (offer_id: number, connection_id: string, sdp: string): Json => ({ type: 'offer', offer_id, connection_id, sdp });

  it('answers offers and finds the media of each track', async () => {
    const { call, say, socket, peers } = await makeLive(undefined, [bob]);
    say(offer(1, 'SC_1', '0 1'));
    await settle();
    expect(socket().last('answer')).toMatchObject({ offer_id: 1, sdp: 'answer to 0 1' });
    say({ type: 'track_subscribed', track_id: 'TR_b', mid: '1' });
    expect(call.tracks.get('TR_b')?.id).toBe('media 1');
    say({ type: 'track_unsubscribed', track_id: 'TR_b', refused: false });
    expect(call.tracks.size).toBe(0);
    expect(peers).toHaveLength(1);
  });

  it('gives an m-line to the track that came last, without a change of its media', async () => {
    const { call, say } = await makeLive(undefined, [bob]);
    say({ type: 'track_subscribed', track_id: 'TR_b', mid: '0' });
    expect(call.tracks.size, 'the offer is still to come').toBe(0);
    say(offer(1, 'SC_1', '0'));
    await settle();
    const before = call.tracks.get('TR_b');
    say({ type: 'track_subscribed', track_id: 'TR_c', mid: '0' });
    expect([...call.tracks]).toEqual([['TR_c', before]]);
  });

  it('makes a new connection for another name, and none for the same', async () => {
    const { say, peers } = await makeLive(undefined, [bob]);
    for (const [id, connection] of [[1, 'SC_1'], [2, 'SC_1'], [1, 'SC_2']] as const) {
      say(offer(id, connection, '0'));
      await settle();
    }
    expect(peers.map(({ connectionState }) => connectionState)).toEqual(['closed', 'new']);
  });

  it('keeps its tracks over a lost WebSocket', async () => {
    const { call, say, socket, peers } = await makeLive(undefined, [bob]);
    say(offer(1, 'SC_1', '0'));
    await settle();
    say({ type: 'track_subscribed', track_id: 'TR_b', mid: '0' });
    const changes: number[] = [];
    call.on('tracks', (tracks) => changes.push(tracks.size));
    const subscribed = [{ track_id: 'TR_b', mid: '0' }];
    const state = { complete: false, rooms: [joined('red', [bob])], subscribed, published: [], publisher_offer_id: 0 };
    await resume(socket, { seq: 70, ...state, subscriber_connection_id: 'SC_1' });
    expect(changes).toEqual([]);
    expect(peers).toHaveLength(1);
    await resume(socket, { seq: 80, ...state, subscribed: [], subscriber_connection_id: null });
    expect(changes).toEqual([0]);
    expect(peers[0]?.connectionState).toBe('closed');
  });

  it('asks for new ICE credentials when it is lost', async () => {
    const { say, socket, peers } = await makeLive(undefined, [bob]);
    say(offer(1, 'SC_1', '0'));
    await settle();
    peers[0]?.turn('failed');
    await settle();
    expect(socket().count('restart_ice')).toBe(1);
  });

  it('asks for another connection when that does not heal the one that failed', async () => {
    const { say, socket, peers } = await makeLive(undefined, [bob]);
    say(offer(1, 'SC_1', '0'));
    await settle();
    peers[0]?.turn('failed');
    await settle();
    peers[0]?.turn('connecting');
    peers[0]?.turn('failed');
    await settle();
    expect(socket().count('restart_ice')).toBe(1);
    expect(socket().last('renew_connection')).toMatchObject({ connection_id: 'SC_1' });
    say({ type: 'connection_closed', connection: 'subscriber', connection_id: 'SC_1' });
    say(offer(1, 'SC_2', '0'));
    await settle();
    expect(peers.map(({ connectionState }) => connectionState)).toEqual(['closed', 'new']);
  });
});

describe('a host’s mute', () => {
  it('is apart from one’s own, and is told when it comes and goes', async () => {
    const live = await makeLive();
    const told: boolean[] = [];
    live.call.on('muted', ({ source, muted }) => source === 'microphone' && told.push(muted));
    live.call.publish('microphone', device('audio'));
    await agree(live);
    const mute = (muted: boolean, by_host: boolean, muted_by_host: boolean): void => {
      const state = { muted, by_host, muted_by_host };
      live.say({ type: 'track_muted', room_id: 'red', participant_id: 'PA_ann', track_id: 'TR_0', ...state });
    };
    mute(true, true, true);
    mute(true, false, true);
    mute(true, true, false);
    mute(false, false, false);
    expect(told).toEqual([true, false]);
  });

  it('of somebody else is seen to end though the track stays silent', async () => {
    const { call, say } = await makeLive(undefined, [participant('bob', { tracks: [track('TR_b', 'microphone')] })]);
    const states = ([[true, true], [false, true], [true, false]] as const).map(([by_host, muted_by_host]) => {
      const state = { muted: true, by_host, muted_by_host };
      say({ type: 'track_muted', room_id: 'red', participant_id: 'PA_bob', track_id: 'TR_b', ...state });
      return call.rooms[0]?.others[0]?.tracks[0]?.muted_by_host;
    });
    expect(states).toEqual([true, true, false]);
  });
});

describe('a tile', () => {
  it('has the server told of its size when it settles, and has changed by more than a little', async () => {
    const { call, socket, reply } = await makeLive(undefined, [participant('bob', { tracks: [track('TR_b')] })]);
    call.show('red', 'TR_b', { width: 1280, height: 720 });
    call.show('red', 'TR_b', { width: 320, height: 180 });
    await vi.advanceTimersByTimeAsync(TILE_SETTLE_MS);
    expect(socket().count('update_subscription')).toBe(1);
    expect(socket().last('update_subscription')).toMatchObject({ track_id: 'TR_b', size: { width: 320, height: 180 }, paused: false });
    await reply('update_subscription', { type: 'ok' });
    call.show('red', 'TR_b', { width: 330, height: 186 });
    await vi.advanceTimersByTimeAsync(TILE_SETTLE_MS);
    expect(socket().count('update_subscription')).toBe(1);
    call.show('red', 'TR_b', undefined);
    await vi.advanceTimersByTimeAsync(TILE_SETTLE_MS);
    expect(socket().last('update_subscription')).toMatchObject({ paused: true });
  });

  const small = { width: 320, height: 180 };
  it.each<[TileSize, TileSize, boolean]>([
    [small, { width: 350, height: 197 }, true],
    [small, { width: 360, height: 180 }, false],
    [small, { width: 320, height: 203 }, false],
    [small, { width: 180, height: 320 }, false],
    [small, undefined, false],
    [undefined, undefined, true],
  ])('of %j is near to one of %j: %j', (one, other, isSo) => {
    expect(isNear(one, other)).toBe(isSo);
    expect(isNear(other, one)).toBe(isSo);
  });
});

it('the report of one m-line leaves the streams of the others out', () => {
  const report = new Map<string, Json>([
    ['in0', { id: 'in0', type: 'inbound-rtp', mid: '0' }],
    ['in1', { id: 'in1', type: 'inbound-rtp', mid: '1' }],
    ['out1', { id: 'out1', type: 'outbound-rtp', mid: '1' }],
    ['far0', { id: 'far0', type: 'remote-inbound-rtp', localId: 'out0' }],
    ['far1', { id: 'far1', type: 'remote-inbound-rtp', localId: 'out1' }],
    ['pair', { id: 'pair', type: 'candidate-pair' }],
  ]);
  expect([...reportOf('1', report).keys()]).toEqual(['in1', 'out1', 'far1', 'pair']);
});
