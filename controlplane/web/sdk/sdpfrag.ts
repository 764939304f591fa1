/**
 * The ICE parts of a session description, for ICE restarts over HTTP
 * (RFC 8840 section 9, RFC 9725 section 4.3.3).
 */
export interface IceFragment {
  usernameFragment: string;
  password: string;
  /** Values of the `a=candidate` lines, without `a=`. */
  candidates: string[];
}

/** Reads ufrag, password and candidates; nothing when one of the first two is missing. */
export function parseIceFragment(sdp: string): IceFragment | undefined {
  const lines = sdp.split(/\r?\n/);
  const value = (prefix: string): string | undefined =>
    lines.find((line) => line.startsWith(prefix))?.slice(prefix.length);
  const usernameFragment = value('a=ice-ufrag:');
  const password = value('a=ice-pwd:');
  if (!usernameFragment || !password) return undefined;
  const candidates = lines
    .filter((line) => line.startsWith('a=candidate:'))
    .map((line) => line.slice('a='.length));
  return { usernameFragment, password, candidates: [...new Set(candidates)] };
}

/**
 * Writes the body of an ICE restart from an offer: the group, the first media
 * section that leads the bundle, and the new credentials. No candidates: the
 * server is ICE-lite and learns our addresses from our binding requests.
 */
export function writeIceRestart(offer: string): string | undefined {
  const fragment = parseIceFragment(offer);
  const media = /^m=.*$/m.exec(offer)?.[0].trim();
  const mid = /^a=mid:(.*)$/m.exec(offer)?.[1]?.trim();
  if (fragment === undefined || media === undefined || mid === undefined) return undefined;
  const bundle = /^a=group:BUNDLE .*$/m.exec(offer)?.[0].trim();
  const lines = [
    ...(bundle === undefined ? [] : [bundle]),
    media,
    `a=mid:${mid}`,
    `a=ice-ufrag:${fragment.usernameFragment}`,
    `a=ice-pwd:${fragment.password}`,
  ];
  return `${lines.join('\r\n')}\r\n`;
}

/**
 * The answer that was agreed on, with the server's new credentials and
 * candidates in the place of the old ones. Everything else still holds.
 */
export function withIceFragment(answer: string, fragment: IceFragment): string {
  const lines: string[] = [];
  for (const line of answer.split(/\r?\n/)) {
    if (line === '') continue;
    if (line.startsWith('a=ice-ufrag:')) {
      lines.push(`a=ice-ufrag:${fragment.usernameFragment}`);
    } else if (line.startsWith('a=ice-pwd:')) {
      lines.push(`a=ice-pwd:${fragment.password}`);
    } else if (!isCandidate(line) || fragment.candidates.length === 0) {
      lines.push(line);
    }
  }
  if (fragment.candidates.length > 0) {
    const firstMid = lines.findIndex((line) => line.startsWith('a=mid:'));
    const added = fragment.candidates.map((candidate) => `a=${candidate}`);
    lines.splice(firstMid + 1, 0, ...added);
  }
  return `${lines.join('\r\n')}\r\n`;
}

function isCandidate(line: string): boolean {
  return line.startsWith('a=candidate:') || line.startsWith('a=end-of-candidates');
}
