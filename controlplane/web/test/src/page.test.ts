import { describe, expect, it } from 'vitest';

import { CaptureError, SluiceError, type FailureReason } from '../../sdk';
import type { CaptureReason } from '../../sdk/capture-error';
import { formatBitrate, formatDuration, formatRatio } from '../../src/format';
import { detailOf, explainCapture, explainFailure, needsPin } from '../../src/messages';
import { isLoopback, parseRoute, roomIdFrom, roomPath } from '../../src/routes';

describe('routes', () => {
  it.each([
    ['/', '', { page: 'home' }],
    ['/live/abc', '', { page: 'live', roomId: 'abc' }],
    ['/watch/a_B-9/', '', { page: 'watch', roomId: 'a_B-9', participantId: undefined }],
    ['/watch/abc', '?participant=ann', { page: 'watch', roomId: 'abc', participantId: 'ann' }],
    ['/room/abc', '', { page: 'room', roomId: 'abc', secondId: undefined }],
    ['/room/abc', '?second=d_e', { page: 'room', roomId: 'abc', secondId: 'd_e' }],
    ['/room/abc', '?second=abc', { page: 'room', roomId: 'abc', secondId: undefined }],
    ['/room/abc', '?second=a/b', { page: 'room', roomId: 'abc', secondId: undefined }],
    ['/watch', '', { page: 'unknown' }],
    ['/watch/a.b', '', { page: 'unknown' }],
    [`/watch/${'a'.repeat(65)}`, '', { page: 'unknown' }],
    ['/live/abc/more', '', { page: 'unknown' }],
  ])('%s%s', (path, query, route) => {
    expect(parseRoute(path, query)).toEqual(route);
  });

  it.each([
    ['abc', 'abc'],
    ['  abc ', 'abc'],
    ['https://media.example.org/watch/abc', 'abc'],
    ['https://media.example.org/watch/abc?participant=x#token=y', 'abc'],
    ['https://media.example.org/live/abc/', 'abc'],
    ['https://media.example.org/room/abc', 'abc'],
    ['https://media.example.org/', undefined],
    ['two words', undefined],
    ['', undefined],
  ])('the room in %j is %j', (typed, roomId) => {
    expect(roomIdFrom(typed)).toBe(roomId);
  });
});

describe('the path of rooms', () => {
  it.each([[['abc']], [['abc', 'def']]])('%j is read back', (rooms) => {
    const [path = '', query] = roomPath(rooms).split('?');
    expect(parseRoute(path, query)).toEqual({ page: 'room', roomId: rooms[0], secondId: rooms[1] });
  });
});

describe('an address that leads nowhere else', () => {
  it.each(['localhost', 'sluice.localhost', '127.0.0.1', '127.1.2.3', '[::1]'])('%s', (host) => {
    expect(isLoopback(host)).toBe(true);
  });

  it.each(['media.example.org', '192.0.2.1', '[2001:db8::1]', 'localhost.example.org', '127.example.org'])(
    'is not %s',
    (host) => expect(isLoopback(host)).toBe(false),
  );
});

describe('words', () => {
  const FAILURES: FailureReason[] = [
    'unauthorized', 'forbidden', 'not_found', 'conflict', 'rejected', 'busy',
    'server_error', 'unreachable', 'media_blocked', 'unsupported',
  ];
  const CAPTURES: CaptureReason[] = [
    'insecure_origin', 'unsupported', 'permission_denied', 'not_found', 'in_use', 'unknown',
  ];

  it('are different for every failure, and say what to do', () => {
    const messages = FAILURES.map((reason) => explainFailure(new SluiceError({ reason, message: '' })));
    expect(new Set(messages.map((message) => message.title)).size).toBe(FAILURES.length);
    expect(messages.every((message) => message.advice.length > 20)).toBe(true);
  });

  it('are different for every trouble with devices', () => {
    const titles = CAPTURES.map((reason) => explainCapture(new CaptureError(reason, ''), 'camera').title);
    expect(new Set(titles).size).toBe(CAPTURES.length);
  });

  it('tell an expired link from a missing one', () => {
    const title = (code?: string): string =>
      explainFailure(new SluiceError({ reason: 'unauthorized', message: '', code })).title;
    expect(title('token_expired')).toBe('Your link has expired');
    expect(title()).toBe('You need an invitation');
  });

  it('do not repeat what the server says about a room that is not there', () => {
    const failure = new SluiceError({ reason: 'not_found', message: 'there is no such room', status: 404 });
    expect(detailOf(failure)).toBeUndefined();
    const refused = new SluiceError({ reason: 'rejected', message: 'no common codec', status: 422 });
    expect(detailOf(refused)).toBe('The server says: no common codec');
  });

  it('ask for the PIN where the server does', () => {
    const failure = (code?: string): SluiceError => new SluiceError({ reason: 'forbidden', message: '', code });
    expect(needsPin(failure('pin_required'))).toBe(true);
    expect(needsPin(failure())).toBe(false);
    expect(explainFailure(failure('pin_required')).title).toBe('This room has a PIN');
    expect(explainFailure(failure('pin_required'), true).title).toBe('That PIN is wrong');
  });
});

describe('numbers', () => {
  it.each([
    [-5, '0:00'],
    [59_999, '0:59'],
    [60_000, '1:00'],
    [3_600_000, '1:00:00'],
    [36_061_000, '10:01:01'],
  ])('%i ms is %s', (ms, text) => expect(formatDuration(ms)).toBe(text));

  it.each([
    [0, '0 kbit/s'],
    [96_400, '96 kbit/s'],
    [1_440_000, '1.4 Mbit/s'],
  ])('%i bits a second are %s', (bits, text) => expect(formatBitrate(bits)).toBe(text));

  it.each([
    [0, '0 %'],
    [0.004, '0.4 %'],
    [0.12, '12 %'],
  ])('a ratio of %d is %s', (ratio, text) => expect(formatRatio(ratio)).toBe(text));
});
