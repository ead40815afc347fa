import type { BrowserContext, Page, Request, Response } from 'playwright-core'
import type { Haystack } from './hunt.ts'

/** What went between a browser's pages and the network. */
export type Traffic = {
  /** Every answer so far, redirects included, in the order they came. */
  answers(): Promise<Exchange[]>
  /**
   * What pages could have read: addresses, what they sent and were answered, what they said aloud.
   * Without cookies, which `Set-Cookie` has to make HttpOnly.
   */
  readable(): Promise<Haystack[]>
}

export type Exchange = {
  readonly url: string
  readonly status: number
  readonly sent: Readonly<Record<string, string>>
  /** In lower case, one entry a line. */
  readonly headers: readonly { name: string; value: string }[]
  readonly body: string
}

/** Writes down the traffic of every page that is opened in here from now on. */
export function recordTraffic(context: BrowserContext): Traffic {
  const exchanges: Promise<Exchange>[] = []
  const said: Haystack[] = []
  const failed: Request[] = []
  context.on('response', (response) => {
    const exchange = exchangeOf(response)
    exchanges.push(exchange)
    // What a page that is closed was about to be told fails whoever asks for it, and no other.
    exchange.catch(() => undefined)
  })
  context.on('requestfailed', (request) => failed.push(request))
  context.on('console', (message) => said.push({ place: 'console', text: message.text() }))
  context.on('weberror', (it) => said.push({ place: 'error', text: String(it.error()) }))
  context.on('page', watchSockets)
  for (const page of context.pages()) watchSockets(page)

  function watchSockets(page: Page): void {
    page.on('websocket', (socket) => {
      const place = `WebSocket ${socket.url()}`
      const add = ({ payload }: { payload: string | Buffer }) =>
        said.push({ place, text: String(payload) })
      said.push({ place, text: socket.url() })
      socket.on('framesent', add)
      socket.on('framereceived', add)
    })
  }

  const answers = () => Promise.all(exchanges)
  return {
    answers,
    async readable() {
      const answered = (await answers()).map(({ url, sent, headers, body }) => {
        const visible = headers.filter(({ name }) => name !== 'set-cookie')
        const { cookie: _, ...own } = sent
        return { place: url, text: [url, linesOf(own), linesOf(visible), body].join('\n') }
      })
      const asked = failed.map((it) => ({ place: it.url(), text: `${it.url()}\n${it.postData()}` }))
      return [...answered, ...asked, ...said]
    },
  }
}

function linesOf(it: object): string {
  return JSON.stringify(it)
}

async function exchangeOf(response: Response): Promise<Exchange> {
  const request = response.request()
  const [headers, sent, body] = await Promise.all([
    response.headersArray(),
    request.allHeaders(),
    // A redirect has none that is kept; one of a page that was left is gone.
    response.text().catch(() => ''),
  ])
  return {
    url: response.url(),
    status: response.status(),
    sent: { ...sent, ' body': request.postData() ?? '' },
    headers: headers.map(({ name, value }) => ({ name: name.toLowerCase(), value })),
    body,
  }
}
