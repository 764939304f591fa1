/** What is measured in one direction of a connection over one interval. */
export interface QualitySample {
  /** Milliseconds since the epoch. */
  at: number;
  /** Picture size in pixels; absent while there is no picture. */
  width?: number;
  height?: number;
  /** Frames sent or shown per second. */
  framesPerSecond?: number;
  /** Name of the video codec, such as `VP8`. */
  videoCodec?: string;
  videoBitsPerSecond: number;
  audioBitsPerSecond: number;
  /** Part of the packets that were lost on the way, 0 to 1; absent before anything is known. */
  lossRatio?: number;
  /** There and back to the server, in milliseconds. */
  roundTripMs?: number;
  /** Times that the picture stood still since the session began. Receivers only. */
  freezes?: number;
  /** What keeps a sender's picture small, when something does. Senders only. */
  limitedBy?: 'cpu' | 'bandwidth' | 'other';
}

export type Direction = 'send' | 'receive';

/** The counters that one sample is computed from. */
export type Report = ReadonlyMap<string, Readonly<Record<string, unknown>>>;

/**
 * Compares two reports of one connection. Rates are over the time between
 * them, so the first sample (`before` absent) has none.
 */
export function computeQuality(
  direction: Direction,
  before: Report | undefined,
  now: Report,
  at: number,
): QualitySample {
  const streams = streamsOf(direction, before, now);
  const video = streams.filter((stream) => stream.kind === 'video');
  const audio = streams.filter((stream) => stream.kind === 'audio');
  // Of several layers the largest that is sent is the one people talk about.
  const main = video.reduce<Stream | undefined>(
    (best, stream) => (stream.number('frameHeight') ?? 0) > (best?.number('frameHeight') ?? -1) ? stream : best,
    undefined,
  );
  const sample: QualitySample = {
    at,
    videoBitsPerSecond: sum(video.map((stream) => stream.bitsPerSecond)),
    audioBitsPerSecond: sum(audio.map((stream) => stream.bitsPerSecond)),
  };
  const put = <Key extends keyof QualitySample>(key: Key, value: QualitySample[Key] | undefined): void => {
    if (value !== undefined) sample[key] = value;
  };
  put('width', main?.number('frameWidth'));
  put('height', main?.number('frameHeight'));
  put('framesPerSecond', main?.framesPerSecond);
  put('videoCodec', main?.codec);
  put('lossRatio', direction === 'receive' ? lossReceived(streams) : lossReported(now));
  put('roundTripMs', roundTrip(now));
  if (direction === 'receive') put('freezes', main?.number('freezeCount'));
  else put('limitedBy', limitation(main));
  return sample;
}

/** One RTP stream with its rates. */
interface Stream {
  kind: unknown;
  codec: string | undefined;
  bitsPerSecond: number;
  framesPerSecond: number | undefined;
  /** A counter as it stands. */
  number: (key: string) => number | undefined;
  /** What a counter grew by since the report before. */
  growth: (key: string) => number | undefined;
  text: (key: string) => string | undefined;
}

function streamsOf(direction: Direction, before: Report | undefined, now: Report): Stream[] {
  const type = direction === 'receive' ? 'inbound-rtp' : 'outbound-rtp';
  const bytes = direction === 'receive' ? 'bytesReceived' : 'bytesSent';
  const frames = direction === 'receive' ? 'framesDecoded' : 'framesEncoded';
  return [...now.values()]
    .filter((stats) => stats['type'] === type)
    .map((stats) => {
      const earlier = before?.get(String(stats['id']));
      const number = (key: string): number | undefined => asNumber(stats[key]);
      const growth = (key: string): number | undefined => difference(number(key), asNumber(earlier?.[key]));
      const seconds = (growth('timestamp') ?? 0) / 1000;
      const perSecond = (key: string): number | undefined => {
        const grown = growth(key);
        return grown === undefined || seconds <= 0 ? undefined : grown / seconds;
      };
      const codecId = stats['codecId'];
      const mimeType = typeof codecId === 'string' ? now.get(codecId)?.['mimeType'] : undefined;
      return {
        kind: stats['kind'],
        codec: typeof mimeType === 'string' ? mimeType.split('/')[1] : undefined,
        bitsPerSecond: Math.round((perSecond(bytes) ?? 0) * 8),
        framesPerSecond: perSecond(frames) ?? number('framesPerSecond'),
        number,
        growth,
        text: (key) => (typeof stats[key] === 'string' ? stats[key] : undefined),
      };
    });
}

/** Loss among what should have arrived in the interval. */
function lossReceived(streams: Stream[]): number | undefined {
  const received = sum(streams.map((stream) => stream.growth('packetsReceived') ?? 0));
  // A packet that came late after all takes one off the count.
  const lost = Math.max(0, sum(streams.map((stream) => stream.growth('packetsLost') ?? 0)));
  return received + lost === 0 ? undefined : lost / (received + lost);
}

/** Loss as the far end reported it last, the worst of all streams. */
function lossReported(now: Report): number | undefined {
  const fractions = [...now.values()]
    .filter((stats) => stats['type'] === 'remote-inbound-rtp')
    .map((stats) => asNumber(stats['fractionLost']))
    .filter((fraction) => fraction !== undefined);
  return fractions.length === 0 ? undefined : Math.max(...fractions);
}

/** From the pair of candidates in use; Firefox does not name it in a transport, but marks it. */
function roundTrip(now: Report): number | undefined {
  const all = [...now.values()];
  const selectedId = all.find((stats) => stats['type'] === 'transport')?.['selectedCandidatePairId'];
  const pair =
    (typeof selectedId === 'string' ? now.get(selectedId) : undefined) ??
    all.find((stats) => stats['type'] === 'candidate-pair' && stats['selected'] === true) ??
    all.find((stats) => stats['type'] === 'candidate-pair' && stats['nominated'] === true);
  const seconds = asNumber(pair?.['currentRoundTripTime']);
  return seconds === undefined ? undefined : seconds * 1000;
}

function limitation(stream: Stream | undefined): QualitySample['limitedBy'] {
  const reason = stream?.text('qualityLimitationReason');
  return reason === 'cpu' || reason === 'bandwidth' || reason === 'other' ? reason : undefined;
}

function asNumber(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

/** Nothing when one is unknown or the counter started again. */
function difference(now: number | undefined, before: number | undefined): number | undefined {
  return now === undefined || before === undefined ? undefined : now - before;
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
