import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { knock } from '../../src/door';
import { keepToken, takeTokenFromAddress, tokenSourceFor, type Purpose } from '../../src/tokens';
import { FakeServer, problem } from '../sdk/fakes';

let server: FakeServer;

beforeEach(() => {
  server = new FakeServer();
  const kept = new Map<string, string>();
  vi.stubGlobal('fetch', server.fetch);
  vi.stubGlobal('sessionStorage', {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  });
});

afterEach(() => void vi.unstubAllGlobals());

const issued = (token: string): Response => Response.json({ token, expires_at: '2026-01-01T00:00:00Z' });
const source = (pin?: string, purpose: Purpose = 'live') => tokenSourceFor('room', purpose, () => pin);

describe('a token', () => {
  it('is the one that was kept, without asking the server', async () => {
    keepToken('room', 'host');
    expect(await source()({ renew: false })).toBe('host');
    expect(server.seen).toEqual([]);
  });

  it('is a guest’s when there is none, and is kept', async () => {
    server.will('POST', issued('guest'));
    expect(await source()({ renew: false })).toBe('guest');
    expect(await source()({ renew: false })).toBe('guest');
    expect(server.count('POST')).toBe(1);
    expect(server.seen[0]?.url).toBe('/api/rooms/room/tokens');
    expect(JSON.parse(server.seen[0]?.body ?? '')).toEqual({
      identity: expect.stringMatching(/^guest-[0-9a-f]{16}$/),
      role: 'speaker',
    });
  });

  it('of a guest who watches allows no more than that, and going live asks for another', async () => {
    server.will('POST', issued('attendee'), issued('speaker'));
    expect(await source(undefined, 'watch')({ renew: false })).toBe('attendee');
    expect(await source(undefined, 'live')({ renew: false })).toBe('speaker');
    expect(await source(undefined, 'watch')({ renew: false })).toBe('attendee');
    const roles = server.seen.map((request) => JSON.parse(request.body).role);
    expect(roles).toEqual(['attendee', 'speaker']);
  });

  it('that was refused gives way to the guest’s', async () => {
    keepToken('room', 'old');
    server.will('POST', issued('guest'));
    expect(await source()({ renew: true })).toBe('guest');
    expect(await source()({ renew: false })).toBe('guest');
  });

  it.each(['expired', 'expiring'] as const)('that was given and is %s makes nobody a guest', async (cause) => {
    keepToken('room', 'given');
    await expect(source()({ renew: true, cause })).rejects.toMatchObject({ reason: 'unauthorized', code: 'token_expired' });
    expect(server.seen).toEqual([]);
    expect(await source()({ renew: false }), 'it is still the one to show').toBe('given');
    server.will('GET', problem(401, 'token_expired'));
    await expect(knock('room', source())).rejects.toMatchObject({ code: 'token_expired' });
    expect(server.count('POST')).toBe(0);
  });

  it('of a guest is renewed before it ends', async () => {
    server.will('POST', issued('one'), issued('two'));
    await source()({ renew: false });
    expect(await source()({ renew: true, cause: 'expiring' })).toBe('two');
    expect(await source()({ renew: false })).toBe('two');
  });

  it('is renewed for the same guest', async () => {
    server.will('POST', issued('one'), issued('two'));
    await source()({ renew: false });
    expect(await source()({ renew: true })).toBe('two');
    const [first, second] = server.seen.map((request) => JSON.parse(request.body).identity);
    expect(second).toBe(first);
  });

  it('is asked for with the PIN that was entered', async () => {
    server.will('POST', issued('guest'));
    await source('1234')({ renew: false });
    expect(JSON.parse(server.seen[0]?.body ?? '')).toMatchObject({ pin: '1234' });
  });

  it.each([401, 403])('is needed where guests get a %i', async (status) => {
    server.will('POST', problem(status, { 401: 'token_missing', 403: 'forbidden' }[status]));
    await expect(source()({ renew: false })).rejects.toMatchObject({
      reason: 'unauthorized',
      code: 'token_required',
    });
  });

  it.each([401, 403])('has expired where it is refused and guests get a %i', async (status) => {
    keepToken('room', 'old');
    server.will('POST', problem(status));
    await expect(source()({ renew: true })).rejects.toMatchObject({
      reason: 'unauthorized',
      code: 'token_expired',
    });
  });

  it.each([
    [403, 'room_locked', 'forbidden'],
    [401, 'token_revoked', 'unauthorized'],
    [403, 'cross_origin', 'forbidden'],
  ])('is refused with %i %s, and that is said', async (status, code, reason) => {
    server.will('POST', problem(status, code), problem(status, code));
    await expect(source()({ renew: false })).rejects.toMatchObject({ reason, code });
    keepToken('room', 'old');
    await expect(source()({ renew: true })).rejects.toMatchObject({ reason, code });
  });

  it('that was withdrawn is called so where guests get none', async () => {
    keepToken('room', 'old');
    server.will('GET', problem(401, 'token_revoked'));
    server.will('POST', problem(401, 'token_missing'));
    await expect(knock('room', source())).rejects.toMatchObject({ code: 'token_revoked' });
  });

  it('waits for a PIN where the room has one', async () => {
    server.will('POST', problem(403, 'pin_required'));
    await expect(source()({ renew: false })).rejects.toMatchObject({ reason: 'forbidden', code: 'pin_required' });
  });

  it('fails as the server says where guests are not the reason', async () => {
    keepToken('room', 'old');
    server.will('POST', problem(404));
    await expect(source()({ renew: true })).rejects.toMatchObject({ reason: 'not_found' });
  });
});

describe('an address with a token', () => {
  const open = (href: string) => {
    const replaceState = vi.fn();
    vi.stubGlobal('location', { href });
    vi.stubGlobal('history', { state: null, replaceState });
    takeTokenFromAddress('room');
    return replaceState;
  };

  it.each([
    ['https://a.example.org/live/room#token=secret', 'https://a.example.org/live/room'],
    ['https://a.example.org/live/room?token=secret&codec=h264', 'https://a.example.org/live/room?codec=h264'],
  ])('%s becomes %s, and the token is kept', async (before, after) => {
    const replaceState = open(before);
    expect(String(replaceState.mock.calls[0]?.[2])).toBe(after);
    expect(await source()({ renew: false })).toBe('secret');
  });

  it('stays as it is without one', () => {
    expect(open('https://a.example.org/watch/room#top')).not.toHaveBeenCalled();
  });
});
