import { command, idOf } from '@berth/platform/contract'
import { z } from 'zod'

/**
 * What a terminal token stands for. Allocations mints it, the terminal takes it, once; Redis keeps it
 * under the token's hash with its own expiry.
 */
export const terminalToken = z.strictObject({
  terminalSessionId: idOf('tms'),
  allocationId: idOf('alc'),
  organizationId: idOf('org'),
  userId: idOf('usr'),
  /** By which the person asked for it, as in `actor.credential`. */
  credential: z.string().max(128).nullable().default(null),
  /** The Origin that may use it; null is for clients that are not browsers. */
  origin: z.string().nullable(),
})
export type TerminalToken = z.infer<typeof terminalToken>

/**
 * Where the shell of a terminal session opens. Asked once the session's token is taken: `CONFLICT`
 * when the allocation does not run any more, `FORBIDDEN` when it is another organization's.
 */
export const openTerminal = command({
  name: 'terminals.open',
  owner: 'allocations',
  callers: ['terminal'],
  input: z.strictObject({ terminalSessionId: idOf('tms') }),
  output: z.strictObject({
    allocationId: idOf('alc'),
    organizationId: idOf('org'),
    nodeId: idOf('nod'),
    nodeName: z.string(),
    host: z.string(),
    port: z.int(),
    username: z.string(),
    hostKeyFingerprint: z.string(),
    /** What the session's certificate must name: `<allocation id>@<node name>`. */
    principal: z.string(),
  }),
})

/** The session is over. */
export const closeTerminal = command({
  name: 'terminals.close',
  owner: 'allocations',
  callers: ['terminal'],
  input: z.strictObject({
    terminalSessionId: idOf('tms'),
    reason: z.enum(['EXIT', 'CLIENT', 'IDLE', 'MAX_DURATION', 'DRAIN', 'ERROR', 'REVOKED']),
  }),
  output: z.strictObject({ closed: z.boolean() }),
})
