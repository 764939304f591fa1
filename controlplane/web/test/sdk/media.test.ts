import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { LocalMedia } from '../../sdk/local-media';
import { WhepPlayer } from '../../sdk/whep';
import { WhipPublisher, type Kind } from '../../sdk/whip';
import { created, fakeWorld } from './fakes';

class FakeTrack extends EventTarget {
  readyState = 'live';
  enabled = true;
  contentHint = '';
  constructor(
    readonly kind: string,
    readonly deviceId = 'default',
  ) {
    super();
  }
  stop(): void {
    this.readyState = 'ended';
  }
  getSettings(): MediaTrackSettings {
    return { deviceId: this.deviceId };
  }
  /** As when somebody pulls the plug. */
  end(): void {
    this.readyState = 'ended';
    this.dispatchEvent(new Event('ended'));
  }
}

class FakeStream {
  readonly tracks: FakeTrack[];
  constructor(tracks: FakeTrack[] = []) {
    this.tracks = [...tracks];
  }
  addTrack(track: FakeTrack): void {
    this.tracks.push(track);
  }
  getVideoTracks(): FakeTrack[] {
    return this.tracks.filter((track) => track.kind === 'video');
  }
  getAudioTracks(): FakeTrack[] {
    return this.tracks.filter((track) => track.kind === 'audio');
  }
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('MediaStream', FakeStream);
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);
const asTrack = (track: FakeTrack): MediaStreamTrack => track as unknown as MediaStreamTrack;

describe('a publisher', () => {
  async function makeLive() {
    const world = fakeWorld();
    world.server.will('POST', created(), created());
    const publisher = new WhipPublisher({ roomId: 'room', environment: world.environment });
    const camera = new FakeTrack('video');
    await publisher.setTrack('video', asTrack(camera));
    publisher.start();
    await settle();
    world.last().turn('connected');
    await settle();
    return { ...world, publisher, camera };
  }

  it('negotiates sound and picture, whether there are tracks or not', async () => {
    const { last, publisher, camera } = await makeLive();
    expect(last().log.slice(0, 2)).toEqual(['addTransceiver sendonly', 'addTransceiver sendonly']);
    expect(last().senders.map((sender) => sender.track)).toEqual([null, camera]);
    publisher.leave();
  });

  it('changes tracks without another offer', async () => {
    const { last, publisher, server } = await makeLive();
    const screen = new FakeTrack('video');
    await publisher.setTrack('video', asTrack(screen));
    expect(last().senders[1]?.track).toBe(screen);
    await publisher.setTrack('video', null);
    expect(last().senders[1]?.track).toBeNull();
    expect(server.count('POST')).toBe(1);
    publisher.leave();
  });

  it('sends the tracks of the moment in a fresh session', async () => {
    const { last, publisher } = await makeLive();
    const screen = new FakeTrack('video');
    await publisher.setTrack('video', asTrack(screen));
    for (const sender of last().senders) sender.transport = { state: 'failed' };
    last().turn('failed');
    await vi.advanceTimersByTimeAsync(1_000);
    expect(last().senders[1]?.track).toBe(screen);
    publisher.leave();
  });

  it('measures while live and stops with the session', async () => {
    const { publisher } = await makeLive();
    const heard = vi.fn();
    publisher.on('quality', heard);
    await vi.advanceTimersByTimeAsync(3_000);
    expect(heard).toHaveBeenCalledTimes(3);
    publisher.leave();
    await vi.advanceTimersByTimeAsync(3_000);
    expect(heard).toHaveBeenCalledTimes(3);
  });
});

describe('a player', () => {
  it('is live before anybody publishes, and tells when media begins and stops', async () => {
    const world = fakeWorld();
    world.server.will('POST', created());
    const player = new WhepPlayer({ roomId: 'room', participantId: 'ann', environment: world.environment });
    const heard: unknown[] = [];
    player.on('media', (flowing) => heard.push(flowing));
    player.start();
    await settle();
    expect(world.server.seen[0]?.url).toBe('/whep/room?participant=ann');
    world.last().turn('connected');
    await vi.advanceTimersByTimeAsync(5_000);
    expect([player.state.name, heard]).toEqual(['live', []]);
    const video = { id: 'v', type: 'inbound-rtp', kind: 'video', framesDecoded: 1 };
    world.last().stats.set('v', video);
    await vi.advanceTimersByTimeAsync(300);
    expect(heard).toEqual([{ audio: false, video: true }]);
    await vi.advanceTimersByTimeAsync(4_000);
    expect(heard).toEqual([
      { audio: false, video: true },
      { audio: false, video: false },
    ]);
    player.close();
  });
});

describe('local media', () => {
  function makeMedia(answers: (FakeStream | string)[]) {
    const asked: MediaStreamConstraints[] = [];
    const answer = async (constraints: MediaStreamConstraints): Promise<FakeStream> => {
      asked.push(constraints);
      const next = answers.shift();
      if (next === undefined) throw new Error('asked too often');
      if (typeof next === 'string') throw new DOMException('words of the browser', next);
      return next;
    };
    const source = {
      getUserMedia: answer,
      getDisplayMedia: answer,
      enumerateDevices: async () => [],
      addEventListener: () => undefined,
    };
    const media = new LocalMedia(source as unknown as MediaDevices);
    const sent: [Kind, MediaStreamTrack | null][] = [];
    media.on('track', ({ kind, track }) => sent.push([kind, track]));
    return { media, asked, sent };
  }

  it.each([
    ['NotAllowedError', 'permission_denied'],
    ['NotFoundError', 'not_found'],
    ['OverconstrainedError', 'not_found'],
    ['NotReadableError', 'in_use'],
    ['TypeError', 'unknown'],
  ])('turns %s into %s', async (name, reason) => {
    const { media, sent } = makeMedia([name]);
    await expect(media.open({ camera: true, microphone: true })).rejects.toMatchObject({ reason });
    expect(sent).toEqual([]);
  });

  it('says that the page is not secure when the browser has no devices', async () => {
    vi.stubGlobal('navigator', {});
    await expect(new LocalMedia().openCamera()).rejects.toMatchObject({ reason: 'insecure_origin' });
  });

  it('asks for exactly the device that was chosen, and lets go of the one before', async () => {
    const [one, two] = [new FakeTrack('video', 'one'), new FakeTrack('video', 'two')];
    const { media, asked, sent } = makeMedia([new FakeStream([one]), new FakeStream([two])]);
    await media.openCamera();
    await media.openCamera('two');
    expect(asked[1]?.video).toMatchObject({ deviceId: { exact: 'two' } });
    expect([one.readyState, two.readyState]).toEqual(['ended', 'live']);
    expect(sent).toEqual([
      ['video', one],
      ['video', two],
    ]);
  });

  it('has no camera when the other one cannot be had', async () => {
    const one = new FakeTrack('video', 'one');
    const { media, sent } = makeMedia([new FakeStream([one]), 'NotReadableError']);
    await media.openCamera();
    await expect(media.openCamera('two')).rejects.toMatchObject({ reason: 'in_use' });
    expect(media.camera).toBeNull();
    expect(sent.at(-1)).toEqual(['video', null]);
  });

  it('stays muted when the microphone changes', async () => {
    const [one, two] = [new FakeTrack('audio', 'one'), new FakeTrack('audio', 'two')];
    const { media } = makeMedia([new FakeStream([one]), new FakeStream([two])]);
    await media.openMicrophone();
    media.setMuted(true);
    await media.openMicrophone('two');
    expect([one.enabled, two.enabled]).toEqual([false, false]);
    media.setMuted(false);
    expect(two.enabled).toBe(true);
  });

  it('shows the screen in the place of the camera, and the camera again when sharing stops', async () => {
    const [camera, screen] = [new FakeTrack('video'), new FakeTrack('video')];
    const { media, sent } = makeMedia([new FakeStream([camera]), new FakeStream([screen])]);
    await media.openCamera();
    await media.shareScreen();
    expect(screen.contentHint).toBe('detail');
    screen.end();
    expect(sent.map(([, track]) => track)).toEqual([camera, screen, camera]);
    expect(camera.readyState).toBe('live');
  });

  it('keeps the screen when the camera behind it is turned off', async () => {
    const [camera, screen] = [new FakeTrack('video'), new FakeTrack('video')];
    const { media, sent } = makeMedia([new FakeStream([camera]), new FakeStream([screen])]);
    await media.openCamera();
    await media.shareScreen();
    media.closeCamera();
    expect(sent.at(-1)).toEqual(['video', screen]);
    expect(camera.readyState).toBe('ended');
  });

  it('tells when a device is pulled out, and not when it is closed', async () => {
    const [one, two] = [new FakeTrack('audio'), new FakeTrack('audio')];
    const { media, sent } = makeMedia([new FakeStream([one]), new FakeStream([two])]);
    const lost = vi.fn();
    media.on('lost', lost);
    await media.openMicrophone();
    one.end();
    expect(lost).toHaveBeenCalledExactlyOnceWith({ source: 'microphone' });
    expect(sent.at(-1)).toEqual(['audio', null]);
    await media.openMicrophone();
    media.close();
    expect(lost).toHaveBeenCalledTimes(1);
  });
});
