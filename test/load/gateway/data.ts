/**
 * What the three subgraphs know: a function of the entity's number, so that different variables have
 * different answers, nothing is looked up, and whoever answers can be checked.
 */

/** How many entities are asked for. */
export const ENTITIES = 20_000

const KINDS = ['TRAINING', 'INFERENCE', 'RENDERING', 'GENERAL'] as const
const TAGS = ['nvlink', 'spot', 'bare-metal', 'eu', 'us', 'reserved', 'liquid-cooled', 'new']
const COUNTRIES = ['Norway', 'Finland', 'Österreich', 'Portugal']
const TEXTS = ['Fast "enough", as promised.', 'Came up\nat once', 'Good value', 'Ein paar Ausfälle']

/** Of catalog. */
export const offerOf = (n: number) => ({
  id: `o${n}`,
  name: `Offer number ${n}`,
  kind: KINDS[n % KINDS.length],
  tags: [TAGS[n % TAGS.length], TAGS[(n * 7 + 3) % TAGS.length]],
  price: 100 + (n % 9_000),
  maker: { name: `Maker ${n % 977}`, country: COUNTRIES[n % COUNTRIES.length] },
})

/** Of supply. */
export const supplyOf = (n: number) => ({
  free: n % 64,
  site: { city: `City ${n % 211}`, bay: `${n % 40}-${n % 7}` },
})

/** Of reviews. */
export const opinionsOf = (n: number) => ({
  rating: (n % 41) / 10 + 1,
  reviews: [n, n + 1].map((m) => ({ stars: (m % 5) + 1, text: TEXTS[m % TEXTS.length] })),
})

export function numberOf(id: string): number {
  return Number(id.slice(1))
}
