import { TILE_CHANGE_MIN, TILE_SETTLE_MS } from '../limits';
import type { ClientRequest, ServerMessage } from './protocol';

/** How large a track is shown, in pixels of the screen; nothing while it is not seen. */
export type TileSize = { width: number; height: number } | undefined;

interface Tile {
  roomId: string;
  trackId: string;
  size: TileSize;
  /** What the server was told last. */
  told: { size: TileSize } | undefined;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** Whether two sizes are so near to each other that it makes no difference. */
export function isNear(one: TileSize, other: TileSize): boolean {
  if (one === undefined || other === undefined) return one === other;
  const near = (a: number, b: number): boolean => Math.abs(a - b) <= TILE_CHANGE_MIN * Math.max(a, b);
  return near(one.width, other.width) && near(one.height, other.height);
}

/**
 * Tells the server how large each picture is shown, so that it sends no more
 * than is seen: once a size has settled, and where it is another one than
 * before. Which layer that takes is the server's to say.
 */
export class Tiles {
  readonly #request: (request: ClientRequest) => Promise<ServerMessage>;
  readonly #tiles = new Map<string, Tile>();

  constructor(request: (request: ClientRequest) => Promise<ServerMessage>) {
    this.#request = request;
  }

  /** Says how large a picture is shown from now on. */
  show(roomId: string, trackId: string, size: TileSize): void {
    const key = `${roomId} ${trackId}`;
    const tile = this.#tiles.get(key) ?? { roomId, trackId, size, told: undefined, timer: undefined };
    this.#tiles.set(key, tile);
    tile.size = size;
    clearTimeout(tile.timer);
    tile.timer = setTimeout(() => this.#tell(tile), TILE_SETTLE_MS);
  }

  /** Forgets the pictures of tracks that are gone. */
  keep(isThere: (roomId: string, trackId: string) => boolean): void {
    for (const [key, { roomId, trackId, timer }] of this.#tiles) {
      if (isThere(roomId, trackId)) continue;
      clearTimeout(timer);
      this.#tiles.delete(key);
    }
  }

  /** The server may know nothing of it any more. */
  repeat(): void {
    for (const tile of this.#tiles.values()) this.#again(tile);
  }

  /** The same for one track, which arrives from now on. */
  repeatOne(trackId: string): void {
    for (const tile of this.#tiles.values()) if (tile.trackId === trackId) this.#again(tile);
  }

  close(): void {
    for (const tile of this.#tiles.values()) clearTimeout(tile.timer);
    this.#tiles.clear();
  }

  #again(tile: Tile): void {
    tile.told = undefined;
    clearTimeout(tile.timer);
    tile.timer = setTimeout(() => this.#tell(tile), TILE_SETTLE_MS);
  }

  #tell(tile: Tile): void {
    const { roomId: room_id, trackId: track_id, size } = tile;
    if (tile.told !== undefined && isNear(tile.told.size, size)) return;
    tile.told = { size };
    const seen =
      size === undefined
        ? { paused: true }
        : { paused: false, size: { width: Math.round(size.width), height: Math.round(size.height) } };
    const update = { type: 'update_subscription', room_id, track_id, ...seen } as const;
    // What was not subscribed to yet is told again when it is.
    void this.#request(update).catch(() => (tile.told = undefined));
  }
}
