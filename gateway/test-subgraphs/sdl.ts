import { readFileSync } from 'node:fs'
import { allow, type Rules } from '@berth/platform/shield'
import { Kind, parse } from 'graphql'

/** A stream without positions, which the product has none of. */
const TICKS = `
type Tick {
  number: Int! @authority(of: PUBLIC)
}
extend type Subscription {
  ticks: Tick! @authority(of: PUBLIC)
}
`

/** The SDL that a subgraph of this name serves. */
export function sdlOf(name: string): string {
  const sdl = readSchema(name)
  return name === 'allocations' ? `${sdl}\n${TICKS}` : sdl
}

/** The committed supergraph, and with it what the test subgraphs serve beyond it. */
export function testSupergraph(): string {
  const owned = '@join__field(graph: ALLOCATIONS) @authority(of: PUBLIC)'
  return readSchema('supergraph')
    .replace(/type Subscription\n[^{]*\{/, `$&\n  ticks: Tick! ${owned}\n`)
    .concat('\ntype Tick @join__type(graph: ALLOCATIONS) { number: Int! @authority(of: PUBLIC) }\n')
}

/** Everything may be called: these subgraphs try the gateway, not their own guards. */
export function allowAll(sdl: string): Rules {
  const types = parse(sdl).definitions.filter(
    (it) => it.kind === Kind.OBJECT_TYPE_DEFINITION || it.kind === Kind.OBJECT_TYPE_EXTENSION,
  )
  return Object.fromEntries(types.map((it) => [it.name.value, allow]))
}

function readSchema(name: string): string {
  return readFileSync(new URL(`../../schema/${name}.graphql`, import.meta.url), 'utf8')
}
