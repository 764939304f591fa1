import type { Role } from './roster';

/** What a participant's token says about its holder; see docs/API.md. */
export interface Claims {
  identity: string;
  role: Role;
  canPublish: boolean;
}

/**
 * Reads the claims of a token without checking it, which only the server can.
 * Nothing for what is no participant's token, such as an API key's secret.
 */
export function claimsOf(token: string): Claims | undefined {
  try {
    const payload = (token.split('.')[1] ?? '').replace(/-/g, '+').replace(/_/g, '/');
    const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof claims !== 'object' || claims === null) return undefined;
    const { user_id: identity, role = 'attendee', permissions, admin } = claims as Record<string, unknown>;
    if (typeof identity !== 'string') return undefined;
    const named = role === 'host' || role === 'speaker' ? role : 'attendee';
    const allowed = (permissions as { can_publish?: unknown } | undefined)?.can_publish;
    const canPublish = typeof allowed === 'boolean' ? allowed : admin === true || named !== 'attendee';
    return { identity, role: named, canPublish };
  } catch {
    return undefined;
  }
}
