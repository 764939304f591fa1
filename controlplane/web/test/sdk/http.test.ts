import { describe, expect, it } from 'vitest';

import { SluiceApi } from '../../sdk/api';
import { Backoff } from '../../sdk/backoff';
import { endpointFor } from '../../sdk/endpoint';
import { SluiceError } from '../../sdk/failure';
import { iceServersFrom, parseLinkHeader } from '../../sdk/link';
import { parseRetryAfter, problemFrom, reasonFor } from '../../sdk/problem';
import { createResource } from '../../sdk/resource';
import { created, fakeWorld, problem } from './fakes';

describe('the Link header', () => {
  it.each<[string, string, RTCIceServer[]]>([
    ['is nothing', '', []],
    ['names a STUN server', '<stun:stun.example.org>; rel="ice-server"', [{ urls: 'stun:stun.example.org' }]],
    [
      'names a TURN server with credentials',
      '<turn:t.example.org?transport=udp>; rel="ice-server"; username="u"; credential="p"; credential-type="password"',
      [{ urls: 'turn:t.example.org?transport=udp', username: 'u', credential: 'p' }],
    ],
    [
      'holds commas, semicolons and quotes inside quotes',
      '<turn:t.example.org>;rel=ice-server;username="a,b;c";credential="say \\"hi\\""',
      [{ urls: 'turn:t.example.org', username: 'a,b;c', credential: 'say "hi"' }],
    ],
    [
      'holds several links',
      '<stun:a.example.org>; rel="ice-server", <turns:b.example.org:443>; rel="ice-server"; username=u; credential=p',
      [{ urls: 'stun:a.example.org' }, { urls: 'turns:b.example.org:443', username: 'u', credential: 'p' }],
    ],
    ['has links of other kinds', '</doc>; rel="help", <stun:a.example.org>; rel="ice-server"', [{ urls: 'stun:a.example.org' }]],
    ['has targets that are no ICE servers', '<javascript:alert(1)>; rel="ice-server"', []],
    ['ends in a semicolon', '<stun:a.example.org>; rel="ice-server";', [{ urls: 'stun:a.example.org' }]],
    ['is not a link header', 'nonsense; rel="ice-server"', []],
    ['ends in the middle of a quote', '<stun:a.example.org>; rel="ice-ser', []],
  ])('%s', (_, header, servers) => {
    expect(iceServersFrom(header)).toEqual(servers);
  });

  it('is absent', () => {
    expect(iceServersFrom(null)).toEqual([]);
  });

  it('is read up to sixteen links', () => {
    const header = Array(100).fill('<stun:a.example.org>; rel="ice-server"').join(', ');
    expect(iceServersFrom(header)).toHaveLength(16);
  });

  it('keeps the first of two parameters with one name', () => {
    expect(parseLinkHeader('<a>; rel=one; rel=two')[0]?.parameters.get('rel')).toBe('one');
  });
});

describe('an answer that is no success', () => {
  it.each([
    [400, 'rejected'],
    [401, 'unauthorized'],
    [403, 'forbidden'],
    [404, 'not_found'],
    [406, 'rejected'],
    [409, 'conflict'],
    [410, 'not_found'],
    [413, 'rejected'],
    [415, 'rejected'],
    [422, 'rejected'],
    [429, 'busy'],
    [500, 'server_error'],
    [501, 'server_error'],
    [502, 'unreachable'],
    [503, 'busy'],
    [504, 'unreachable'],
  ])('%i means %s', (status, reason) => {
    expect(reasonFor(status)).toBe(reason);
  });

  it('carries the words and the code of the problem document', async () => {
    const error = await problemFrom(problem(422, 'no_common_codec'));
    expect(error).toMatchObject({ reason: 'rejected', message: 'A detail.', code: 'no_common_codec', status: 422 });
  });

  it.each([
    ['a page of a proxy', new Response('<html>', { status: 502, headers: { 'content-type': 'text/html' } })],
    ['broken JSON', new Response('{', { status: 502, headers: { 'content-type': 'application/json' } })],
    ['JSON of another shape', new Response('[1]', { status: 502, headers: { 'content-type': 'application/json' } })],
    ['JSON null', new Response('null', { status: 502, headers: { 'content-type': 'application/json' } })],
  ])('is understood from its status when the body is %s', async (_, response) => {
    expect(await problemFrom(response)).toMatchObject({ reason: 'unreachable', message: 'The server answered 502.' });
  });

  it.each([
    [null, undefined],
    ['5', 5_000],
    [' 5 ', 5_000],
    ['999999', 60_000],
    ['-1', undefined],
    ['Wed, 21 Oct 2026 07:28:00 GMT', undefined],
  ])('asks with Retry-After %j to wait %j ms', (header, ms) => {
    expect(parseRetryAfter(header)).toBe(ms);
  });

  it('is final for what would only fail again', () => {
    const isFinal = (status: number): boolean =>
      new SluiceError({ reason: reasonFor(status), message: '' }).isFinal;
    expect([401, 403, 404, 409, 422].map(isFinal)).toEqual([true, true, true, true, true]);
    expect([429, 500, 502, 503].map(isFinal)).toEqual([false, false, false, false]);
  });
});

describe('back-off', () => {
  it('doubles up to ten seconds and begins again after a success', () => {
    const backoff = new Backoff(() => 0);
    expect(Array.from({ length: 8 }, () => backoff.next())).toEqual([
      300, 600, 1_200, 2_400, 4_800, 9_600, 10_000, 10_000,
    ]);
    backoff.reset();
    expect(backoff.next()).toBe(300);
  });

  it('is shortened by chance by up to a half', () => {
    expect(new Backoff(() => 0.5).next()).toBe(225);
    expect(new Backoff(() => 0.999999).next()).toBe(150);
  });
});

describe('the REST interface', () => {
  it('creates a room without a key, as a guest does', async () => {
    const { server, environment } = fakeWorld();
    server.will('POST', Response.json({ id: 'r1', name: 'Demo', token: 'jwt' }, { status: 201 }));
    const room = await new SluiceApi({ environment }).createRoom({ name: 'Demo' });
    expect(room).toEqual({ id: 'r1', name: 'Demo', token: 'jwt' });
    expect(server.seen[0]).toMatchObject({ method: 'POST', url: '/api/rooms', body: '{"name":"Demo"}' });
    expect(server.seen[0]?.headers).not.toHaveProperty('authorization');
  });

  it('asks for a token with its key, at another server', async () => {
    const { server, environment } = fakeWorld();
    server.will('POST', Response.json({ token: 'jwt', expires_at: '2026-01-01T00:00:00Z' }, { status: 201 }));
    const api = new SluiceApi({ server: 'https://media.example.org/', token: 'key', environment });
    await api.createToken('a b', { identity: 'ann', role: 'attendee', expires_in: 60 });
    expect(server.seen[0]?.url).toBe('https://media.example.org/api/rooms/a%20b/tokens');
    expect(server.seen[0]?.headers).toMatchObject({ authorization: 'Bearer key', 'content-type': 'application/json' });
    expect(JSON.parse(server.seen[0]?.body ?? '')).toEqual({ identity: 'ann', role: 'attendee', expires_in: 60 });
  });

  it('throws what the server says, and that it does not answer', async () => {
    const { server, environment } = fakeWorld();
    server.will('GET', problem(404, 'room_not_found'), 'unreachable', new Response('fine', { status: 200 }));
    const api = new SluiceApi({ environment });
    await expect(api.room('x')).rejects.toMatchObject({ reason: 'not_found', code: 'room_not_found' });
    await expect(api.room('x')).rejects.toMatchObject({ reason: 'unreachable' });
    await expect(api.health()).rejects.toMatchObject({ reason: 'server_error' });
  });
});

describe('a session on the server', () => {
  it.each([
    ['/whip/r/s1', 'https://media.example.org/whip/r/s1'],
    ['s1', 'https://media.example.org/whip/s1'],
    ['https://node2.example.org/whip/r/s1', 'https://node2.example.org/whip/r/s1'],
  ])('is found at the Location %s', async (location, url) => {
    const { server, environment } = fakeWorld();
    server.will('POST', created({ location }));
    const { resource } = await createResource(environment, 'https://media.example.org/whip/r', undefined, 'v=0');
    await resource.remove();
    expect(server.seen.at(-1)).toMatchObject({ method: 'DELETE', url });
  });

  it('cannot be used without a Location', async () => {
    const { server, environment } = fakeWorld();
    server.will('POST', new Response('v=0', { status: 201 }));
    await expect(createResource(environment, '/whip/r', undefined, 'v=0')).rejects.toMatchObject({
      reason: 'server_error',
    });
  });

  it('does not restart ICE when the PATCH is taken as trickle only', async () => {
    const { server, environment } = fakeWorld();
    server.will('POST', created());
    server.will('PATCH', new Response(null, { status: 204 }));
    const { resource } = await createResource(environment, 'https://media.example.org/whip/r', undefined, 'v=0');
    await expect(resource.restartIce('')).rejects.toMatchObject({ reason: 'rejected', status: 204 });
  });

  it('has an endpoint that names room and participant', () => {
    expect(endpointFor('whip', '', 'r1')).toBe('/whip/r1');
    expect(endpointFor('whep', 'https://m.example.org/', 'r1', 'p&q')).toBe(
      'https://m.example.org/whep/r1?participant=p%26q',
    );
  });
});
