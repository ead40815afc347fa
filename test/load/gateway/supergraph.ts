import { composeServices } from '@apollo/composition'
import { parse } from 'graphql'
import { type Addresses, federation2, SERVICES } from './graph.ts'

/** The supergraph file of the three subgraphs, at these addresses. */
export function composeSupergraph(addresses: Addresses): string {
  const { supergraphSdl, errors } = composeServices(
    SERVICES.map((name) => ({ name, url: addresses[name], typeDefs: parse(federation2[name]) })),
  )
  if (!supergraphSdl) throw new Error(`the subgraphs do not compose: ${errors?.join('\n')}`)
  return supergraphSdl
}
