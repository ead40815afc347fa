import { type CommandHandler, handleCommand } from '@berth/platform/commands'
import { closeTerminal, openTerminal } from '@berth/schema/commands/allocations'
import type { Ports } from './service/ports.ts'
import { closeTerminalSession, openTerminalSession } from './service/terminals.ts'

/** What other services may ask. Both may be repeated: they change nothing the second time. */
export function commandsOf(ports: Ports): CommandHandler[] {
  return [
    handleCommand(openTerminal, async ({ terminalSessionId }, { actor }) => {
      const { allocation, nodeId, login } = await openTerminalSession(
        ports,
        actor,
        terminalSessionId,
      )
      return {
        allocationId: allocation.id,
        organizationId: allocation.organizationId,
        nodeId,
        ...login,
        principal: `${allocation.id}@${login.nodeName}`,
      }
    }),
    handleCommand(closeTerminal, async ({ terminalSessionId, reason }) => ({
      closed: await closeTerminalSession(ports, terminalSessionId, reason),
    })),
  ]
}
