import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { claimsOf } from '../../sdk/claims';
import { EventParser, type ServerEvent } from '../../sdk/event-stream';
import { EVENT_CHARS_MAX, EVENT_SILENT_MS_MAX, ROSTER_MAX } from '../../sdk/limits';
import { RoomWatch } from '../../sdk/room-watch';
import { publishersOf, Roster, type Participant, type RoomEvent } from '../../sdk/roster';
import { fakeWorld, problem } from './fakes';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

const ann: Participant = {
  id: 'PA_1', identity: 'ann', name: 'Ann', role: 'host', state: 'connected', tracks: [],
};
const joined = (id: string): RoomEvent => ({
  type: 'participant_joined', participant_id: id, identity: id, name: id, role: 'speaker', state: 'joining',
});
const published = (id: string, track: string): RoomEvent => ({
  type: 'track_published', participant_id: id, track_id: track, kind: 'video',
});

describe('server-sent events', () => {
  it.each([
    ['in one piece', ['id: 1\nevent: a\ndata: {"x":1}\n\n']],
    ['cut anywhere', ['id', ': 1\nev', 'ent: a\r\nda', 'ta: {"x":1}\n', '\n']],
    ['after comments', [': hello\n\n:\nid:1\nevent:a\ndata:{"x":1}\n\n']],
  ])('are read %s', (_, pieces) => {
    const seen: ServerEvent[] = [];
    const parser = new EventParser((event) => seen.push(event));
    for (const piece of pieces) parser.push(piece);
    expect(seen).toEqual([{ id: '1', type: 'a', data: '{"x":1}' }]);
  });

  it('of more than one line are joined, and a cut one is left out', () => {
    const seen: string[] = [];
    new EventParser(({ data }) => seen.push(data)).push('data: a\ndata: b\n\ndata: c\n');
    expect(seen).toEqual(['a\nb']);
  });

  it('are refused when one does not end', () => {
    const parser = new EventParser(() => undefined);
    expect(() => parser.push(`data: ${'x'.repeat(EVENT_CHARS_MAX)}`)).toThrow('too long');
  });
});

describe('a roster', () => {
  it('follows who comes, publishes, mutes and goes', () => {
    const roster = new Roster();
    roster.replace([ann]);
    expect(roster.apply(joined('ben'))).toBe(true);
    expect(roster.apply(published('ben', 'TR_1'))).toBe(true);
    expect(publishersOf(roster.participants).map(({ id }) => id)).toEqual(['ben']);
    roster.apply({ type: 'track_muted', participant_id: 'ben', track_id: 'TR_1', muted: true });
    expect(roster.participants[1]?.tracks).toEqual([{ id: 'TR_1', kind: 'video', muted: true }]);
    roster.apply({ type: 'participant_updated', participant_id: 'ben', state: 'reconnecting' });
    expect(roster.participants[1]).toMatchObject({ name: 'ben', state: 'reconnecting' });
    roster.apply({ type: 'track_unpublished', participant_id: 'ben', track_id: 'TR_1' });
    expect(publishersOf(roster.participants)).toEqual([]);
    expect(roster.apply({ type: 'participant_left', participant_id: 'ben', reason: 'left' })).toBe(true);
    expect(roster.participants).toEqual([ann]);
  });

  it('is not changed by what it knows already, nor by those whom it does not know', () => {
    const roster = new Roster();
    roster.replace([ann]);
    for (const event of [joined('PA_1'), published('nobody', 'TR_1'), { type: 'room_updated' }]) {
      expect(roster.apply(event)).toBe(false);
    }
    expect(roster.participants).toEqual([ann]);
  });

  it('is bounded', () => {
    const roster = new Roster();
    for (let count = 0; count < ROSTER_MAX + 5; count += 1) roster.apply(joined(`p${count}`));
    expect(roster.participants).toHaveLength(ROSTER_MAX);
  });
});

describe('claims', () => {
  const token = (claims: unknown): string =>
    `h.${btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(claims)))).replace(/=+$/, '')}.s`;

  it.each([
    [{ user_id: 'ann', role: 'speaker' }, { identity: 'ann', role: 'speaker', canPublish: true }],
    [{ user_id: 'ann' }, { identity: 'ann', role: 'attendee', canPublish: false }],
    [{ user_id: 'ann', role: 'attendee', permissions: { can_publish: true } }, { identity: 'ann', role: 'attendee', canPublish: true }],
    [{ user_id: 'ann', role: 'host', permissions: { can_publish: false } }, { identity: 'ann', role: 'host', canPublish: false }],
    [{ user_id: 'ann', name: 'Ánn ✓', admin: true }, { identity: 'ann', role: 'attendee', canPublish: true }],
    [{ room_id: 'demo' }, undefined],
  ])('%j', (claims, read) => expect(claimsOf(token(claims))).toEqual(read));

  it.each(['', 'secret', 'a.b.c', 'a.bnVsbA.c'])('of %j are none', (text) => expect(claimsOf(text)).toBeUndefined());
});

/** A stream of events that a test writes. */
function openStream() {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  const body = new ReadableStream<Uint8Array>({ start: (given) => void (controller = given) });
  const write = (text: string): void => controller?.enqueue(new TextEncoder().encode(text));
  return {
    response: new Response(body, { headers: { 'content-type': 'text/event-stream' } }),
    send: (id: string, event: RoomEvent) => write(`id: ${id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`),
    write,
    end: () => controller?.close(),
  };
}

function makeWatch() {
  const world = fakeWorld();
  const watch = new RoomWatch({ roomId: 'demo', token: async () => 'token', environment: world.environment });
  const lists: (string[] | undefined)[] = [];
  watch.on('participants', (participants) => lists.push(participants?.map(({ id }) => id)));
  const list = (...participants: Participant[]): Response => Response.json({ participants, next_cursor: null });
  const room = (): Response => Response.json({ id: 'demo', name: 'Friday demo' });
  return { ...world, watch, lists, list, room };
}

describe('a room that is watched', () => {
  it('says its name and who is there, and follows what happens', async () => {
    const { watch, server, lists, list, room } = makeWatch();
    const names: string[] = [];
    watch.on('room', ({ name }) => names.push(name));
    const stream = openStream();
    server.will('GET', stream.response, room(), list(ann));
    watch.start();
    await settle();
    stream.send('7-1', joined('ben'));
    await settle();
    expect(names).toEqual(['Friday demo']);
    expect(lists).toEqual([['PA_1'], ['PA_1', 'ben']]);
    expect(server.seen[0]).toMatchObject({ url: '/api/rooms/demo/events', headers: { authorization: 'Bearer token' } });
    watch.close();
  });

  it('applies what came while the list was read', async () => {
    const { watch, server, lists, list, room } = makeWatch();
    const stream = openStream();
    let answer: (response: Response) => void = () => undefined;
    server.will('GET', stream.response, room(), new Promise<Response>((resolve) => (answer = resolve)));
    watch.start();
    await settle();
    stream.send('7-1', joined('ben'));
    stream.send('7-2', { type: 'participant_left', participant_id: 'PA_1' });
    await settle();
    expect(lists).toEqual([]);
    answer(list(ann));
    await settle();
    expect(lists).toEqual([['ben']]);
    watch.close();
  });

  it('resumes after the last event, and knows nothing in between', async () => {
    const { watch, server, lists, list, room } = makeWatch();
    const [first, second] = [openStream(), openStream()];
    server.will('GET', first.response, room(), list(ann), 'unreachable', second.response);
    watch.start();
    await settle();
    first.send('7-1', joined('ben'));
    await settle();
    first.end();
    await vi.advanceTimersByTimeAsync(5_000);
    second.send('7-2', { type: 'participant_left', participant_id: 'ben' });
    await settle();
    expect(server.seen.at(-1)?.headers['last-event-id']).toBe('7-1');
    expect(lists.slice(2)).toEqual([undefined, undefined, ['PA_1', 'ben'], ['PA_1']]);
    watch.close();
  });

  it('is read anew when events were missed', async () => {
    const { watch, server, lists, list, room } = makeWatch();
    const stream = openStream();
    server.will('GET', stream.response, room(), list(ann), room(), list());
    watch.start();
    await settle();
    stream.send('8-1', { type: 'events_missed' });
    await settle();
    expect(lists).toEqual([['PA_1'], []]);
    watch.close();
  });

  it('is asked for again when its events fall silent', async () => {
    const { watch, server, list, room } = makeWatch();
    const stream = openStream();
    server.will('GET', stream.response, room(), list(), openStream().response, room(), list());
    watch.start();
    await vi.advanceTimersByTimeAsync(EVENT_SILENT_MS_MAX - 1);
    stream.write(':\n\n');
    await vi.advanceTimersByTimeAsync(EVENT_SILENT_MS_MAX - 1);
    expect(server.count('GET')).toBe(3);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(server.seen.slice(3).map(({ url }) => url)).toContain('/api/rooms/demo/events');
    watch.close();
  });

  it('says that it was closed', async () => {
    const { watch, server, list, room } = makeWatch();
    const stream = openStream();
    const closed = vi.fn();
    watch.on('closed', closed);
    server.will('GET', stream.response, room(), list());
    watch.start();
    await settle();
    stream.send('7-1', { type: 'room_closed' });
    await settle();
    expect(closed).toHaveBeenCalledOnce();
    watch.close();
  });

  it.each([403, 404])('is left alone after a %i', async (status) => {
    const { watch, server } = makeWatch();
    server.will('GET', problem(status));
    watch.start();
    await vi.advanceTimersByTimeAsync(120_000);
    expect(server.count('GET')).toBe(1);
  });

  it('does without when the server has no place for a stream, and asks again later', async () => {
    const { watch, server, lists } = makeWatch();
    server.will('GET', problem(503, 'too_many_event_streams'), problem(503));
    watch.start();
    await vi.advanceTimersByTimeAsync(400);
    expect(server.count('GET')).toBe(2);
    expect(lists.every((list) => list === undefined)).toBe(true);
    watch.close();
  });
});
