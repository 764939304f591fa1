/** Address of a room's WHIP or WHEP endpoint on `server` (the page's own when empty). */
export function endpointFor(
  protocol: 'whip' | 'whep',
  server: string,
  roomId: string,
  participantId?: string,
): string {
  const path = `${server.replace(/\/+$/, '')}/${protocol}/${encodeURIComponent(roomId)}`;
  return participantId === undefined ? path : `${path}?participant=${encodeURIComponent(participantId)}`;
}
