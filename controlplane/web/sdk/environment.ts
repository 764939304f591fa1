import { EVENT_STREAMS_MAX } from './limits';

/**
 * What the SDK needs from the world around it. The defaults are the browser's
 * own; tests put in others.
 */
export interface Environment {
  fetch: (url: string, init: RequestInit) => Promise<Response>;
  createConnection: (configuration: RTCConfiguration) => RTCPeerConnection;
  /** Numbers from 0 up to, not including, 1. */
  random: () => number;
  /** Calls `listener` when the network comes back; returns how to stop that. */
  onOnline: (listener: () => void) => () => void;
  /**
   * Runs `work` when fewer than `EVENT_STREAMS_MAX` others of this browser run;
   * false means that it did not.
   */
  withStreamPlace: (work: () => Promise<void>) => Promise<boolean>;
}

/** The browser as it is. */
export function browserEnvironment(): Environment {
  return {
    fetch: (url, init) => fetch(url, init),
    createConnection: (configuration) => new RTCPeerConnection(configuration),
    random: Math.random,
    onOnline: (listener) => {
      addEventListener('online', listener);
      return () => removeEventListener('online', listener);
    },
    withStreamPlace,
  };
}

async function withStreamPlace(work: () => Promise<void>): Promise<boolean> {
  // Pages that are not secure have no locks, and cannot know of each other.
  const locks = navigator.locks as LockManager | undefined;
  if (locks === undefined) {
    await work();
    return true;
  }
  for (let place = 0; place < EVENT_STREAMS_MAX; place += 1) {
    const hadPlace = await locks.request(`sluice.events.${place}`, { ifAvailable: true }, async (lock) => {
      if (lock !== null) await work();
      return lock !== null;
    });
    if (hadPlace) return true;
  }
  return false;
}
