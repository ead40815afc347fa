import { createServer } from 'node:http'
import { Pool } from 'undici'
import { claimsOf } from './bearer.js'
import { configuration } from './configuration.js'

const { port, services, operations } = configuration
const OFFER = 'id name kind tags price maker { name country }'
const LIST = `query($first: Int!, $after: Int!) { offers(first: $first, after: $after) { ${OFFER} } }`
const SUPPLY =
  'query($representations: [_Any!]!) { _entities(representations: $representations) { ... on Offer { free site { city bay } } } }'
const REVIEWS =
  'query($representations: [_Any!]!) { _entities(representations: $representations) { ... on Offer { rating reviews { stars text } } } }'
const catalog = ask(services.catalog, LIST)
const supply = ask(services.supply, SUPPLY)
const reviews = ask(services.reviews, REVIEWS)

const server = createServer((request, response) => {
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => void answer(request.headers, Buffer.concat(chunks).toString(), response))
})
server.listen(port, '127.0.0.1', () => console.log('ready'))

async function answer({ authorization }, body, response) {
  try {
    await claimsOf(authorization)
    const { query, variables } = JSON.parse(body)
    const text = await (query === operations.entities ? entities : single)(variables, authorization)
    response.writeHead(200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    })
    response.end(text)
  } catch (error) {
    response.writeHead(500).end(String(error))
  }
}

async function single({ first, after }, authorization) {
  const { offers } = await catalog(`{"first":${first},"after":${after}}`, authorization)
  let list = ''
  for (const offer of offers) list += `${list && ','}{${offerText(offer)}}`
  return `{"data":{"offers":[${list}]}}`
}

async function entities({ first, after }, authorization) {
  const { offers } = await catalog(`{"first":${first},"after":${after}}`, authorization)
  let ids = ''
  for (const { id } of offers)
    ids += `${ids && ','}{"__typename":"Offer","id":${JSON.stringify(id)}}`
  const variables = `{"representations":[${ids}]}`
  const [supplies, opinions] = await Promise.all([
    supply(variables, authorization),
    reviews(variables, authorization),
  ])
  let list = ''
  for (let index = 0; index < offers.length; index++) {
    const { free, site } = supplies._entities[index]
    const { rating, reviews } = opinions._entities[index]
    list += `${list && ','}{${offerText(offers[index])},"free":${free},"site":{"city":${JSON.stringify(site.city)},"bay":${JSON.stringify(site.bay)}},"rating":${rating},"reviews":[${reviews.map(reviewText).join(',')}]}`
  }
  return `{"data":{"offers":[${list}]}}`
}

function offerText({ id, name, kind, tags, price, maker }) {
  return `"id":${JSON.stringify(id)},"name":${JSON.stringify(name)},"kind":"${kind}","tags":[${tags.map((tag) => JSON.stringify(tag)).join(',')}],"price":${price},"maker":{"name":${JSON.stringify(maker.name)},"country":${JSON.stringify(maker.country)}}`
}

function reviewText({ stars, text }) {
  return `{"stars":${stars},"text":${JSON.stringify(text)}}`
}

/** Asks a subgraph one fixed query with variables given as JSON text. */
function ask(url, query) {
  const { origin, pathname } = new URL(url)
  const pool = new Pool(origin, { connections: 64, pipelining: 1 })
  const start = `{"query":${JSON.stringify(query)},"variables":`
  return (variables, authorization) =>
    new Promise((resolve, reject) => {
      const chunks = []
      pool.dispatch(
        {
          path: pathname,
          method: 'POST',
          headers: { 'content-type': 'application/json', authorization },
          body: `${start}${variables}}`,
        },
        {
          onRequestStart() {},
          onResponseStart() {},
          onResponseData: (_controller, chunk) => chunks.push(chunk),
          onResponseEnd() {
            const { data, errors } = JSON.parse(Buffer.concat(chunks).toString())
            errors ? reject(new Error(JSON.stringify(errors))) : resolve(data)
          },
          onResponseError: (_controller, error) => reject(error),
        },
      )
    })
}
