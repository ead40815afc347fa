import { createActor } from '@berth/platform/actor'
import type { CommandClient } from '@berth/platform/commands'
import type { DialGuard } from '@berth/platform/dial-guard'
import { DomainError } from '@berth/platform/errors'
import type { Log } from '@berth/platform/log'
import { connectSsh, type SshConnection, SshError } from '@berth/platform/ssh'
import { newSshKeyPair } from '@berth/platform/ssh-certificate'
import { closeTerminal, openTerminal, type TerminalToken } from '@berth/schema/commands/allocations'
import { signCertificate } from '@berth/schema/commands/policy'
import type { Shell } from './session.ts'
import type { TerminalsPorts } from './terminals.ts'

const CERTIFICATE_SECONDS = 120
const CONNECT_SECONDS = 10

/**
 * Shells on nodes: allocations says where, policy certifies a key made for this session alone, and
 * the node lets that certificate in. The private key never leaves this process.
 */
export function createNodes({
  commands,
  dial,
  log,
}: {
  commands: CommandClient
  dial: DialGuard['connect']
  log: Log
}): Pick<TerminalsPorts, 'openShell' | 'tellClosed'> {
  async function openShell(
    token: TerminalToken,
    terminal: { columns: number; rows: number; term: string },
    requestId: string,
  ): Promise<Shell> {
    const { terminalSessionId, organizationId } = token
    const options = { actor: actorOf(token), requestId }
    const place = await commands.call(
      openTerminal,
      { terminalSessionId },
      { ...options, commandId: `open:${terminalSessionId}` },
    )
    if (place.allocationId !== token.allocationId || place.organizationId !== organizationId) {
      throw new Error(`${terminalSessionId} is of another allocation than its token`)
    }
    const { privateKey, publicKey } = newSshKeyPair()
    const { certificate } = await commands.call(
      signCertificate,
      {
        authority: 'user',
        publicKey,
        principal: place.principal,
        organizationId,
        ttlSeconds: CERTIFICATE_SECONDS,
      },
      { ...options, commandId: `sign:${terminalSessionId}` },
    )
    const connection = await connectSsh({
      target: { host: place.host, port: place.port, dial },
      username: place.username,
      hostKeySha256: place.hostKeyFingerprint,
      privateKey,
      certificate,
      timeoutSeconds: CONNECT_SECONDS,
    }).catch((cause: unknown) => {
      log.warn(
        { err: cause, nodeId: place.nodeId, terminalSessionId },
        'node does not open a shell',
      )
      // Where nodes are, and why one may not be dialed, is not for tenants.
      throw new DomainError(
        cause instanceof SshError && cause.failure === 'TIMEOUT'
          ? 'TIMEOUT'
          : 'UPSTREAM_UNAVAILABLE',
        'The node does not answer as it should: try again, and report it if it persists.',
        { cause },
      )
    })
    return shellOn(connection, terminal)
  }

  return {
    openShell,
    async tellClosed(token, reason) {
      const { terminalSessionId } = token
      try {
        await commands.call(
          closeTerminal,
          { terminalSessionId, reason },
          { actor: actorOf(token), commandId: `close:${terminalSessionId}` },
        )
      } catch (err) {
        log.warn({ err, terminalSessionId }, 'allocations was not told that a session ended')
      }
    },
  }
}

/** One shell per connection: they end together. */
async function shellOn(
  connection: SshConnection,
  terminal: { columns: number; rows: number; term: string },
): Promise<Shell> {
  try {
    const shell = await connection.shell(terminal)
    void shell.exited.then(() => connection.close())
    return {
      ...shell,
      close() {
        shell.close()
        connection.close()
      },
    }
  } catch (error) {
    connection.close()
    throw error
  }
}

const actorOf = ({ userId, organizationId }: TerminalToken) =>
  createActor({ kind: 'person', subject: userId, organizationId })
