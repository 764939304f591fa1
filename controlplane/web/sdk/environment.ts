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
  /** Opens a WebSocket. */
  openSocket: (url: string) => WebSocket;
  /** Calls `listener` when the network comes back; returns how to stop that. */
  onOnline: (listener: () => void) => () => void;
  /** Calls `listener` when the network may be another one; returns how to stop that. */
  onNetworkChange: (listener: () => void) => () => void;
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
    openSocket: (url) => new WebSocket(url),
    random: Math.random,
    onOnline: (listener) => {
      addEventListener('online', listener);
      return () => removeEventListener('online', listener);
    },
    onNetworkChange,
    withStreamPlace,
  };
}

function onNetworkChange(listener: () => void): () => void {
  // Chromium on phones alone says when Wi-Fi becomes mobile; it also tells of
  // each new estimate of the speed, which is no other network.
  const network = (navigator as { connection?: EventTarget & { type?: string } }).connection;
  let type = network?.type;
  const onChange = (): void => {
    if (network?.type === type) return;
    type = network?.type;
    listener();
  };
  network?.addEventListener('change', onChange);
  addEventListener('online', listener);
  return () => {
    network?.removeEventListener('change', onChange);
    removeEventListener('online', listener);
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
