import { CAMERA_BITS_PER_SECOND, SCREEN_BITS_PER_SECOND, SOUND_BITS_PER_SECOND } from '../limits';
import type { Source } from './protocol';

/** What an m-line is made for: it is used again only for the same. */
export type Profile = 'camera' | 'screen' | 'sound';

export function profileOf(source: Source): Profile {
  if (source === 'camera') return 'camera';
  return source === 'screen_share' ? 'screen' : 'sound';
}

export function kindOf(source: Source): 'audio' | 'video' {
  return profileOf(source) === 'sound' ? 'audio' : 'video';
}

/** Pixels from which on Chromium sends two layers, and three: of more than that it leaves out the largest. */
const TWO_LAYERS_PIXELS_MIN = 480 * 270;
const THREE_LAYERS_PIXELS_MIN = 960 * 540;

/**
 * The layers of a source (RFC 8853), smallest first as browsers want them: as
 * many as its picture is large enough for, so that the full size is always
 * among them. A screen has one: what is read has to be sharp for everybody, and
 * costs little while it stands still.
 */
export function encodingsOf(source: Source, track: MediaStreamTrack | null): RTCRtpEncodingParameters[] {
  switch (profileOf(source)) {
    case 'camera': {
      const [quarter, half, full] = CAMERA_BITS_PER_SECOND;
      const layers = [
        { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: quarter },
        { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: half },
        { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: full },
      ];
      return layers.slice(-layersOf(track));
    }
    case 'screen':
      return [{ maxBitrate: SCREEN_BITS_PER_SECOND }];
    case 'sound':
      return [{ maxBitrate: SOUND_BITS_PER_SECOND }];
  }
}

function layersOf(track: MediaStreamTrack | null): 1 | 2 | 3 {
  const { width, height } = track?.getSettings() ?? {};
  // What is not known yet is taken for a camera as it is asked for.
  if (width === undefined || height === undefined) return 3;
  const pixels = width * height;
  if (pixels >= THREE_LAYERS_PIXELS_MIN) return 3;
  return pixels >= TWO_LAYERS_PIXELS_MIN ? 2 : 1;
}
