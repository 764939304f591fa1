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
  };
}
