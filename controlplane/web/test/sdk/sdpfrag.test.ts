import { expect, it } from 'vitest';

import { parseIceFragment, withIceFragment, writeIceRestart } from '../../sdk/sdpfrag';
import { ANSWER } from './fakes';

const OFFER = [
  'v=0',
  'a=group:BUNDLE 0 1',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111',
  'a=ice-ufrag:abcd',
  'a=ice-pwd:0123456789012345678901',
  'a=mid:0',
  'm=video 9 UDP/TLS/RTP/SAVPF 96',
  'a=ice-ufrag:abcd',
  'a=ice-pwd:0123456789012345678901',
  'a=mid:1',
  '',
].join('\r\n');

it('an ICE restart names the first media section and the new credentials', () => {
  expect(writeIceRestart(OFFER)).toBe(
    [
      'a=group:BUNDLE 0 1',
      'm=audio 9 UDP/TLS/RTP/SAVPF 111',
      'a=mid:0',
      'a=ice-ufrag:abcd',
      'a=ice-pwd:0123456789012345678901',
      '',
    ].join('\r\n'),
  );
});

it('an offer without ICE or media gives no restart', () => {
  expect(writeIceRestart('v=0\r\n')).toBeUndefined();
  expect(writeIceRestart(OFFER.replaceAll('a=ice-pwd', 'a=x'))).toBeUndefined();
});

it('a fragment is read with either kind of line end', () => {
  const fragment = { usernameFragment: 'u', password: 'p', candidates: ['candidate:1 1 udp 1 192.0.2.1 1 typ host'] };
  const lines = ['a=ice-ufrag:u', 'a=ice-pwd:p', 'a=candidate:1 1 udp 1 192.0.2.1 1 typ host'];
  expect(parseIceFragment(lines.join('\n'))).toEqual(fragment);
  expect(parseIceFragment(lines.join('\r\n'))).toEqual(fragment);
  expect(parseIceFragment('')).toBeUndefined();
});

it('an answer takes new credentials and candidates, and keeps the rest', () => {
  const answer = withIceFragment(ANSWER, {
    usernameFragment: 'U',
    password: 'P',
    candidates: ['candidate:9 1 udp 1 198.51.100.7 3478 typ host'],
  });
  expect(answer.split('\r\n')).toEqual([
    'v=0',
    'a=group:BUNDLE 0 1',
    'm=audio 9 UDP/TLS/RTP/SAVPF 111',
    'a=mid:0',
    'a=candidate:9 1 udp 1 198.51.100.7 3478 typ host',
    'a=ice-ufrag:U',
    'a=ice-pwd:P',
    'm=video 9 UDP/TLS/RTP/SAVPF 96',
    'a=mid:1',
    'a=ice-ufrag:U',
    'a=ice-pwd:P',
    '',
  ]);
});

it('an answer keeps its candidates when the fragment has none', () => {
  const answer = withIceFragment(ANSWER, { usernameFragment: 'U', password: 'P', candidates: [] });
  expect(answer).toBe(ANSWER.replaceAll(':server\r', ':U\r').replaceAll(':serverpassword123456789', ':P'));
});
