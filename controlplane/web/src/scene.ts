import type { Flowing, SessionState } from '../sdk';

/** What a viewer sees, made from the session, from what arrives over it, and from what the room says. */
export type Scene =
  | 'connecting'
  /** The room is there, and nobody is live yet. */
  | 'waiting'
  /** Somebody is live, and the picture is on its way. */
  | 'starting'
  | 'playing'
  /** There is sound, and no picture. */
  | 'sound_only'
  /** It was playing, and nothing arrives at the moment. */
  | 'paused'
  | 'reconnecting'
  /** It was playing, and is over; it goes on by itself if it comes back. */
  | 'over'
  | 'room_gone'
  | 'failed';

/** What a scene is made from. */
export interface Seen {
  session: SessionState;
  flowing: Flowing;
  /** Whether the room says that somebody publishes whom one would see; nothing where that is not known. */
  isSomebodyLive: boolean | undefined;
  /** Whether anything has ever arrived. */
  hasPlayed: boolean;
  /** Whether anything has arrived since this broadcast began. */
  hasPlayedThis: boolean;
  /** Whether sound has been without a picture for long enough to say so. */
  isPictureMissing: boolean;
  /** Whether nothing has arrived for a long time. */
  isSilentForLong: boolean;
}

/** The scene for what is seen. The room's word counts; where there is none, time has to tell. */
export function sceneOf(seen: Seen): Scene {
  switch (seen.session.name) {
    case 'idle':
    case 'connecting':
      return 'connecting';
    case 'reconnecting':
      return 'reconnecting';
    case 'failed':
      return 'failed';
    case 'ended':
      return seen.session.because === 'room_gone' ? 'room_gone' : 'over';
    case 'live':
      return liveSceneOf(seen);
  }
}

function liveSceneOf(seen: Seen): Scene {
  const before = seen.hasPlayed ? 'over' : 'waiting';
  if (seen.isSomebodyLive === false) return before;
  if (seen.flowing.video) return 'playing';
  if (seen.flowing.audio) return seen.isPictureMissing ? 'sound_only' : 'starting';
  if (seen.isSomebodyLive === true) {
    return seen.hasPlayedThis || seen.isSilentForLong ? 'paused' : 'starting';
  }
  if (!seen.hasPlayedThis) return before;
  return seen.isSilentForLong ? 'over' : 'paused';
}
