/** How tiles of one shape are laid out. */
export interface Layout {
  columns: number;
  /** Size of one tile in pixels. */
  width: number;
  height: number;
}

/** Shapes that a tile may have, width by height: from a phone held upright to a camera's own. */
const RATIO_MIN = 1;
const RATIO_MAX = 16 / 9;

/**
 * Lays out `count` tiles in an area so that they are as large as can be. Tiles
 * keep the shape of a camera's picture where there is room for it, and become
 * narrower, down to a square, where that makes them larger.
 */
export function layOut(count: number, width: number, height: number, gap: number): Layout {
  let best: Layout = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= Math.max(count, 1); columns += 1) {
    const rows = Math.ceil(Math.max(count, 1) / columns);
    const wide = (width - gap * (columns - 1)) / columns;
    const high = (height - gap * (rows - 1)) / rows;
    if (wide <= 0 || high <= 0) continue;
    const ratio = Math.min(RATIO_MAX, Math.max(RATIO_MIN, wide / high));
    const fitted = Math.min(wide, high * ratio);
    const layout = { columns, width: Math.floor(fitted), height: Math.floor(fitted / ratio) };
    if (layout.width * layout.height > best.width * best.height) best = layout;
  }
  return best;
}
