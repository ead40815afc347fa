import { DomainError } from '@berth/platform/errors'

/** The public keys of the two SSH authorities, as `GET /ssh/authorities` of policy gives them. */
export type AuthorityKeys = { readonly user: string; readonly node: string }

/** Where a node keeps what it trusts. */
const DIRECTORY = '/etc/ssh/berth'

/**
 * What a node's sshd needs, by path: certificates of the user authority open the account of their
 * allocation, those of the node authority are for administration alone, and nothing else opens anything.
 *
 * @throws {DomainError} BAD_INPUT for a name that no node can have
 */
export function nodeTrust(
  { name, username }: { name: string; username: string },
  { user, node }: AuthorityKeys,
): Record<string, string> {
  if (!/^[a-z0-9][a-z0-9-]{0,39}$/.test(name)) {
    throw new DomainError('BAD_INPUT', 'Name the node as it is enrolled: a-z, 0-9 and -')
  }
  if (!/^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/.test(username)) {
    throw new DomainError('BAD_INPUT', 'Name the account that Berth administers the node as')
  }
  return {
    [`${DIRECTORY}/user_authority.pub`]: `${user}\n`,
    // The node authority is trusted here and nowhere else, and for this one principal.
    [`${DIRECTORY}/administration_keys`]: `cert-authority,restrict,principals="admin@${name}" ${node}\n`,
    '/etc/ssh/sshd_config.d/10-berth.conf': sshdLines(username),
  }
}

/** OpenSSH, sshd_config(5): the first value of a directive holds, so that these go before the rest. */
function sshdLines(username: string): string {
  return `${[
    `TrustedUserCAKeys ${DIRECTORY}/user_authority.pub`,
    // Of an account, the allocations that may enter: written when an allocation begins.
    `AuthorizedPrincipalsFile ${DIRECTORY}/principals/%u`,
    'AuthenticationMethods publickey',
    'PubkeyAuthentication yes',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitUserEnvironment no',
    'AllowTcpForwarding no',
    'AllowAgentForwarding no',
    'X11Forwarding no',
    'PermitTunnel no',
    `Match User ${username}`,
    `  AuthorizedKeysFile ${DIRECTORY}/administration_keys`,
    'Match all',
  ].join('\n')}\n`
}
