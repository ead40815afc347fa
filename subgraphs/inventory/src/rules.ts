import { allow, isAuthenticated, isOperator, type Rules } from '@berth/platform/shield'

/** Who may call; what is not named here is denied. What can be rented is public. */
export const rules: Rules = {
  Query: { offers: allow, gpuModels: allow, node: isOperator, nodes: isOperator },
  Mutation: {
    nodeEnroll: isOperator,
    nodeProbe: isOperator,
    nodeCordon: isOperator,
    nodeUncordon: isOperator,
    slotRestore: isOperator,
  },
  // Entities are entered below the queries: guarded on their own.
  Node: isOperator,
  Probe: isOperator,
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
