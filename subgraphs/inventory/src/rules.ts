import { allow, isAuthenticated, mayDo, type Rules } from '@berth/platform/shield'

// As it stands, policy grants both to operators of the platform alone.
const readsNodes = mayDo('node:read')
const managesNodes = mayDo('node:manage')

/** Who may call; what is not named here is denied. What can be rented is public. */
export const rules: Rules = {
  Query: { offers: allow, gpuModels: allow, node: readsNodes, nodes: readsNodes },
  Mutation: {
    nodeEnroll: managesNodes,
    nodeProbe: managesNodes,
    nodeCordon: managesNodes,
    nodeUncordon: managesNodes,
    slotRestore: managesNodes,
  },
  // Entities are entered below the queries: guarded on their own.
  Node: readsNodes,
  Probe: readsNodes,
  // Whose it is, is asked where it is loaded.
  Slot: isAuthenticated,
  GpuModel: allow,
  Region: allow,
  Offer: allow,
  OfferConnection: allow,
  OfferEdge: allow,
  PageInfo: allow,
  NodeConnection: allow,
  NodeEdge: allow,
  NodeEnrollPayload: allow,
  NodeProbePayload: allow,
  NodeCordonPayload: allow,
  NodeUncordonPayload: allow,
  SlotRestorePayload: allow,
}
