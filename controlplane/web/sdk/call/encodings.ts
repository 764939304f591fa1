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

/**
 * The layers of a source (RFC 8853), smallest first as browsers want them. A
 * screen has one: what is read has to be sharp for everybody, and costs little
 * while it stands still.
 */
export function encodingsOf(source: Source): RTCRtpEncodingParameters[] {
  switch (profileOf(source)) {
    case 'camera': {
      const [quarter, half, full] = CAMERA_BITS_PER_SECOND;
      return [
        { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: quarter },
        { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: half },
        { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: full },
      ];
    }
    case 'screen':
      return [{ maxBitrate: SCREEN_BITS_PER_SECOND }];
    case 'sound':
      return [{ maxBitrate: SOUND_BITS_PER_SECOND }];
  }
}
