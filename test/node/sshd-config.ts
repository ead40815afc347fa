import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/**
 * The configuration of a node's sshd that needs no privileges: certificates and keys, nothing
 * else; terminals and commands, no forwarding.
 */
export function sshdConfig(node: {
  directory: string
  host: string
  port: number
  sshdPath: string
}): string {
  const file = (name: string) => quote(join(node.directory, name))
  const lines = [
    `Port ${node.port}`,
    `ListenAddress ${node.host}`,
    `HostKey ${file('host_key')}`,
    `PidFile ${file('sshd.pid')}`,
    `AuthorizedKeysFile ${file('authorized_keys')}`,
    `AuthorizedPrincipalsFile ${file('authorized_principals')}`,
    `TrustedUserCAKeys ${file('user_authority.pub')}`,
    'UsePAM no',
    'StrictModes no', // The directory may lie beneath one that others can write, such as /tmp.
    'AuthenticationMethods publickey',
    'PubkeyAuthentication yes',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitUserEnvironment no',
    'DisableForwarding yes',
    'PrintMotd no',
    'PrintLastLog no',
    'LoginGraceTime 20',
    'ClientAliveInterval 30',
    'MaxStartups 200:30:400',
    'MaxSessions 100',
    'LogLevel ERROR',
    `SetEnv ${quote(`PATH=${join(node.directory, 'bin')}:/usr/local/bin:/usr/bin:/bin`)} ${quote(`BERTH_NODE_DIR=${node.directory}`)}`,
    ...programs(node.sshdPath),
  ]
  return `${lines.join('\n')}\n`
}

/** Where sshd's own programs are when they were unpacked somewhere else than they were built for. */
function programs(sshdPath: string): string[] {
  const folder = join(dirname(sshdPath), '../lib/openssh')
  const named = (directive: string, program: string) => {
    const path = join(folder, program)
    return existsSync(path) ? [`${directive} ${quote(path)}`] : []
  }
  const isMoved = !/^\/usr\/s?bin\/sshd$/.test(sshdPath)
  return [
    ...named('Subsystem sftp', 'sftp-server'),
    // From OpenSSH 9.8 and 10.0 on; older ones have neither program nor directive.
    ...(isMoved ? named('SshdSessionPath', 'sshd-session') : []),
    ...(isMoved ? named('SshdAuthPath', 'sshd-auth') : []),
  ]
}

/** sshd splits at blanks, and expands % in some directives. */
function quote(text: string): string {
  if (/["'\\%\n]/.test(text)) throw new RangeError(`sshd cannot be given the path ${text}`)
  return `"${text}"`
}
