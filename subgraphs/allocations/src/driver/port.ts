import type { CallOptions } from '@berth/platform/commands'
import type { Id } from '@berth/platform/ids'

/** What is to stand on a node for an allocation. */
export type Placement = {
  readonly allocationId: Id<'alc'>
  readonly nodeId: Id<'nod'>
  /** As the node numbers its GPUs. */
  readonly gpuIndexes: readonly number[]
  /** `type base64` lines, without comment. */
  readonly publicKeys: readonly string[]
}

/** Where and as whom people log in to an allocation. */
export type Login = {
  readonly nodeName: string
  readonly host: string
  readonly port: number
  readonly username: string
  readonly hostKeyFingerprint: string
}

/** For whom, and in which request and trace, something is asked of others; the platform when absent. */
export type OnBehalf = Pick<CallOptions, 'actor' | 'requestId' | 'traceparent'>

/** Around a call to a driver. Once the signal is aborted nobody wants its outcome: it may end early. */
export type DriverCall = { readonly by?: OnBehalf; readonly signal?: AbortSignal }

/**
 * How allocations come to stand on nodes: one driver for bare metal over SSH, one for each scheduler.
 * Every driver passes the suite in `conformance.ts`.
 *
 * Each call may be repeated, also after it was cut off anywhere, and concerns one allocation alone.
 * A call that throws has an unknown outcome: make it again. It ends within
 * {@link DRIVER_CALL_SECONDS}, one way or the other.
 */
export type Driver = {
  /** Makes the account, binds the GPUs, installs the keys: exactly these, whatever was there. */
  create(placement: Placement, call?: DriverCall): Promise<Login>
  /** @returns whether the account is complete and can be logged in to */
  verify(
    of: Pick<Placement, 'allocationId' | 'nodeId' | 'publicKeys'>,
    call?: DriverCall,
  ): Promise<boolean>
  /**
   * Ends what runs and removes what is there. What was never there is clean.
   *
   * @returns whether the node confirmed that nothing of it is left
   */
  clean(of: Pick<Placement, 'allocationId' | 'nodeId'>, call?: DriverCall): Promise<boolean>
  /** The allocations of which the node carries anything. */
  list(nodeId: Id<'nod'>, call?: DriverCall): Promise<readonly Id<'alc'>[]>
}

/** No call of a driver takes longer; a worker's lease does. */
export const DRIVER_CALL_SECONDS = 75
