import { ICE_SERVERS_MAX } from './limits';

/** One link of a `Link` header: its target and its parameters, names in lower case. */
export interface Link {
  target: string;
  parameters: Map<string, string>;
}

/**
 * Parses a `Link` header (RFC 8288 section 3). Several headers arrive joined
 * by commas, and commas, semicolons and escaped quotes may stand inside quoted
 * values, so this walks instead of splitting. Stops at the first thing that is
 * not a link and gives what it has read so far.
 */
export function parseLinkHeader(header: string): Link[] {
  const links: Link[] = [];
  let rest = header;
  while (links.length < ICE_SERVERS_MAX) {
    const target = /^[\s,]*<([^>]*)>/.exec(rest);
    if (target === null) break;
    rest = rest.slice(target[0].length);
    const link: Link = { target: target[1] ?? '', parameters: new Map() };
    for (;;) {
      const parameter = PARAMETER.exec(rest);
      if (parameter === null) break;
      rest = rest.slice(parameter[0].length);
      const name = (parameter[1] ?? '').toLowerCase();
      const value = parameter[2] !== undefined ? unescape(parameter[2]) : (parameter[3] ?? '');
      // The first of two parameters with one name counts (section 3.4.1).
      if (!link.parameters.has(name)) link.parameters.set(name, value);
    }
    rest = rest.replace(/^\s*;\s*(?=,|$)/, '');
    links.push(link);
  }
  return links;
}

/** The ICE servers among the links of an answer (RFC 9725 section 4.6). */
export function iceServersFrom(header: string | null): RTCIceServer[] {
  return parseLinkHeader(header ?? '')
    .filter((link) => link.parameters.get('rel') === 'ice-server')
    .filter((link) => /^(stun|stuns|turn|turns):/i.test(link.target))
    .map(({ target, parameters }) => {
      const username = parameters.get('username');
      const credential = parameters.get('credential');
      return {
        urls: target,
        ...(username !== undefined && { username }),
        ...(credential !== undefined && { credential }),
      };
    });
}

// A name, then a value in quotes, as a bare word, or none at all.
const PARAMETER = /^\s*;\s*([!#$%&'*+\-.^_`|~\w]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s";,]*)))?/;

function unescape(quoted: string): string {
  return quoted.replace(/\\(.)/g, '$1');
}
