const nameKey = (roomId: string): string => `sluice.name.${roomId}`;

/** Remembers, in this tab, how a room is called. */
export function keepRoomName(roomId: string, name: string): void {
  sessionStorage.setItem(nameKey(roomId), name);
}

/** What to call a room: its name where this tab knows it, else its id. */
export function roomTitle(roomId: string): string {
  return sessionStorage.getItem(nameKey(roomId)) ?? roomId;
}
