import { describe, expect, it } from 'vitest';

import { MEDIA_SILENT_MS_MAX } from '../../sdk/limits';
import { MediaFlow } from '../../sdk/media-flow';
import { levelOf } from '../../sdk/microphone-level';
import { computeQuality, type Report } from '../../sdk/quality';

const report = (...stats: Record<string, unknown>[]): Report =>
  new Map(stats.map((entry) => [String(entry['id']), entry]));

const pair = { id: 'pair', type: 'candidate-pair', nominated: true, currentRoundTripTime: 0.034 };

function received(seconds: number, values: Record<string, unknown>): Record<string, unknown> {
  return {
    id: 'v',
    type: 'inbound-rtp',
    kind: 'video',
    timestamp: seconds * 1000,
    frameWidth: 1280,
    frameHeight: 720,
    codecId: 'c',
    ...values,
  };
}

describe('what is received', () => {
  const before = report(
    received(10, { bytesReceived: 1_000, framesDecoded: 100, packetsReceived: 1_000, packetsLost: 5, freezeCount: 0 }),
  );

  it('is rates over the time between two reports', () => {
    const now = report(
      received(12, { bytesReceived: 251_000, framesDecoded: 160, packetsReceived: 1_190, packetsLost: 15, freezeCount: 1 }),
      { id: 'a', type: 'inbound-rtp', kind: 'audio', timestamp: 12_000, bytesReceived: 50 },
      { id: 'c', type: 'codec', mimeType: 'video/VP8' },
      pair,
    );
    expect(computeQuality('receive', before, now, 7)).toEqual({
      at: 7,
      width: 1280,
      height: 720,
      framesPerSecond: 30,
      videoCodec: 'VP8',
      videoBitsPerSecond: 1_000_000,
      audioBitsPerSecond: 0,
      lossRatio: 0.05,
      roundTripMs: 34,
      freezes: 1,
    });
  });

  it('has no loss when packets that were counted as lost came after all', () => {
    const now = report(received(12, { bytesReceived: 1_000, packetsReceived: 1_100, packetsLost: 2 }));
    expect(computeQuality('receive', before, now, 0).lossRatio).toBe(0);
  });

  it('has no loss and no rates to tell in the first sample', () => {
    const sample = computeQuality('receive', undefined, before, 0);
    expect(sample).toMatchObject({ videoBitsPerSecond: 0, width: 1280 });
    expect(sample).not.toHaveProperty('lossRatio');
    expect(sample).not.toHaveProperty('framesPerSecond');
    expect(sample).not.toHaveProperty('roundTripMs');
  });

  it('takes the round trip from the selected pair, not from any other', () => {
    const now = report(
      { id: 'other', type: 'candidate-pair', nominated: true, currentRoundTripTime: 1 },
      { id: 'chosen', type: 'candidate-pair', nominated: true, currentRoundTripTime: 0.02 },
      { id: 't', type: 'transport', selectedCandidatePairId: 'chosen' },
    );
    expect(computeQuality('receive', undefined, now, 0).roundTripMs).toBe(20);
  });
});

describe('what is sent', () => {
  const sent = (id: string, seconds: number, height: number, bytesSent: number, framesEncoded: number) => ({
    id,
    type: 'outbound-rtp',
    kind: 'video',
    timestamp: seconds * 1000,
    frameWidth: (height * 16) / 9,
    frameHeight: height,
    bytesSent,
    framesEncoded,
    qualityLimitationReason: 'bandwidth',
  });

  it('is the largest layer, and the bits of all of them', () => {
    const before = report(sent('lo', 1, 180, 0, 0), sent('hi', 1, 720, 0, 0));
    const now = report(sent('lo', 2, 180, 12_500, 15), sent('hi', 2, 720, 125_000, 30), {
      id: 'r',
      type: 'remote-inbound-rtp',
      fractionLost: 0.02,
    });
    expect(computeQuality('send', before, now, 0)).toEqual({
      at: 0,
      width: 1280,
      height: 720,
      framesPerSecond: 30,
      videoBitsPerSecond: 1_100_000,
      audioBitsPerSecond: 0,
      lossRatio: 0.02,
      limitedBy: 'bandwidth',
    });
  });
});

describe('whether media arrives', () => {
  const counts = (packets: number, frames: number): Report =>
    report(
      { id: 'a', type: 'inbound-rtp', kind: 'audio', packetsReceived: packets },
      { id: 'v', type: 'inbound-rtp', kind: 'video', packetsReceived: 999, framesDecoded: frames },
    );

  it('is told by packets of sound and decoded frames of picture', () => {
    const flow = new MediaFlow();
    expect(flow.update(counts(0, 0), 0)).toEqual({ audio: false, video: false });
    expect(flow.update(counts(5, 0), 100)).toEqual({ audio: true, video: false });
    expect(flow.update(counts(5, 1), 200)).toEqual({ audio: true, video: true });
  });

  it('is over when nothing grew for a while, and begins again', () => {
    const flow = new MediaFlow();
    flow.update(counts(5, 5), 0);
    expect(flow.update(counts(5, 6), MEDIA_SILENT_MS_MAX - 1)).toEqual({ audio: true, video: true });
    expect(flow.update(counts(5, 6), MEDIA_SILENT_MS_MAX)).toEqual({ audio: false, video: true });
    expect(flow.update(counts(6, 6), 3 * MEDIA_SILENT_MS_MAX)).toEqual({ audio: true, video: false });
  });
});

it.each([
  ['silence', [0, 0], 0],
  ['full scale', [1, -1], 1],
  ['a tenth of it', [0.1, -0.1], 2 / 3],
  ['what is under the floor', [0.0001, -0.0001], 0],
])('the microphone meter shows %s', (_, samples, level) => {
  expect(levelOf(Float32Array.from(samples))).toBeCloseTo(level, 5);
});
