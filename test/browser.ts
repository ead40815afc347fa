const REDIRECTS_MAX = 15
const TIMEOUT_MS = 15_000

export type Page = {
  readonly url: URL
  readonly status: number
  readonly headers: Headers
  readonly text: string
}

/** A browser, as far as requests go: its cookies, by host and not by port, and its redirects. */
export type Browser = {
  readonly cookies: Map<string, string>
  /** One request, with the browser's cookies, not followed further. */
  ask(url: string | URL, init?: RequestInit): Promise<Page>
  /** A navigation: follows redirects, up to one that `until` is true of. */
  go(
    url: string | URL,
    options?: { form?: URLSearchParams; until?: (to: URL) => boolean },
  ): Promise<Page>
  /** Everything that was answered. */
  readonly seen: Page[]
}

export function createBrowser(): Browser {
  const cookies = new Map<string, string>()
  const seen: Page[] = []

  async function ask(address: string | URL, init: RequestInit = {}): Promise<Page> {
    const headers = new Headers(init.headers)
    const cookie = [...cookies].map((pair) => pair.join('=')).join('; ')
    if (cookie && !headers.has('cookie')) headers.set('cookie', cookie)
    const response = await fetch(address, {
      ...init,
      headers,
      redirect: 'manual',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (/max-age=0\b/i.test(line) || value === '') cookies.delete(name)
      else cookies.set(name, value)
    }
    const page = {
      url: new URL(address),
      status: response.status,
      headers: response.headers,
      text: await response.text(),
    }
    seen.push(page)
    return page
  }

  return {
    cookies,
    seen,
    ask,
    async go(start, { form, until = () => false } = {}) {
      let url = new URL(start)
      let init: RequestInit = form ? { method: 'POST', body: form } : {}
      for (let n = 0; n < REDIRECTS_MAX; n += 1) {
        const page = await ask(url, { ...init, headers: { accept: 'text/html' } })
        const location = page.headers.get('location')
        if (!location) return page
        url = new URL(location, url)
        init = {}
        if (until(url)) return { ...page, url }
      }
      throw new Error('redirects without end')
    },
  }
}

/** Up to where the issuer sends the browser back, which is not opened. */
export async function signInUpToCallback(
  browser: Browser,
  gatewayUrl: string,
  person: string,
  returnTo = '/',
): Promise<URL> {
  const login = new URL('/auth/login', gatewayUrl)
  login.searchParams.set('returnTo', returnTo)
  const until = (to: URL) => to.pathname === '/auth/callback'
  const picker = await browser.go(login, { until })
  if (until(picker.url)) return picker.url
  if (picker.status !== 200) throw new Error(`no sign-in page: ${picker.status} ${picker.text}`)
  const back = await browser.go(picker.url, { form: new URLSearchParams({ person }), until })
  if (!until(back.url)) throw new Error(`not sent back: ${back.status} ${back.text}`)
  return back.url
}
