import type { Problem } from './domain/node.ts'
import type { NvidiaSmiReport } from './domain/nvidia-smi.ts'

export type ProbeTarget = {
  readonly name: string
  readonly host: string
  readonly port: number
  readonly username: string
  /** `SHA256:…` that it must present; null trusts what it presents, to be pinned from then on. */
  readonly hostKeyFingerprint: string | null
}

export type ProbeResult =
  | {
      readonly ok: true
      readonly latencyMs: number
      readonly hostKeyFingerprint: string
      readonly report: NvidiaSmiReport
    }
  | { readonly ok: false; readonly latencyMs: number | null; readonly problem: Problem }

/** Port: one look at a node. */
export type NodeProbe = {
  /** @throws {ProbeNotMade} when the node could not even be asked: that says nothing about it */
  probe(target: ProbeTarget): Promise<ProbeResult>
}

/** Something of ours is missing; the node is not to blame. */
export class ProbeNotMade extends Error {
  override readonly name = 'ProbeNotMade'
}
