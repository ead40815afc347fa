/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/// <reference lib="dom.asynciterable" />
// What runs inside a page: each function is sent there as text, and knows nothing outside itself.

/** What the pages of these tests keep of what they are answered, in a global of theirs. */
export type App = {
  csrf: string
  answers: unknown[]
  frames: { id?: string; type: string; payload?: unknown }[]
  socketClosed: number | null
}

/** What a request is made of, as far as it can be sent into a page. */
export type Init = {
  method?: string
  mode?: 'no-cors'
  headers?: Record<string, string>
  body?: string
}

export type Answer = { status: number; text: string }

/** One request of the page's, with its cookies; 0 when it may not be made, or not be read. */
export async function ask({ url, init = {} }: { url: string; init?: Init }): Promise<Answer> {
  const kept = window as unknown as { app?: App }
  kept.app ??= { csrf: '', answers: [], frames: [], socketClosed: null }
  const headers = { ...init.headers }
  if (kept.app.csrf !== '') headers['berth-csrf'] ??= kept.app.csrf
  try {
    const response = await fetch(url, { credentials: 'include', ...init, headers })
    const text = await response.text()
    kept.app.answers.push({ url: response.url, headers: [...response.headers], text })
    if (new URL(url, location.href).pathname === '/auth/session' && response.ok) {
      kept.app.csrf = (JSON.parse(text) as { csrf?: string }).csrf ?? ''
    }
    return { status: response.status, text }
  } catch (error) {
    kept.app.answers.push(String(error))
    return { status: 0, text: '' }
  }
}

/** Opens a WebSocket and subscribes; the global tells what came, and by which code it was closed. */
export function subscribe({ url, query }: { url: string; query: string }): void {
  const kept = window as unknown as { app?: App; socket?: WebSocket }
  kept.app ??= { csrf: '', answers: [], frames: [], socketClosed: null }
  const { app } = kept
  const socket = new WebSocket(url, 'graphql-transport-ws')
  kept.socket = socket
  socket.onopen = () => socket.send('{"type":"connection_init"}')
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(String(data)) as App['frames'][number]
    app.frames.push(frame)
    if (frame.type === 'ping') socket.send('{"type":"pong"}')
    if (frame.type === 'connection_ack') {
      socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }))
    }
  }
  socket.onclose = ({ code }) => {
    app.socketClosed = code
  }
}

/** Everything that a script in this page can come by, by where it is. */
export async function everythingInReach(): Promise<{ place: string; text: string }[]> {
  const found: { place: string; text: string }[] = []
  const add = (place: string, value: unknown) => {
    const texts: string[] = []
    gather(value, texts, new Set(), 0)
    if (texts.length > 0) found.push({ place, text: texts.join('\n') })
  }

  add('document.cookie', document.cookie)
  if ('cookieStore' in window) add('cookieStore', await window.cookieStore.getAll())
  add('localStorage', { ...localStorage })
  add('sessionStorage', { ...sessionStorage })
  for (const { name } of await indexedDB.databases()) add(`IndexedDB ${name}`, await rowsOf(name))
  for (const name of await caches.keys()) add(`Cache ${name}`, await entriesOf(name))
  for (const { scope, active, waiting, installing } of await registrations()) {
    add('service worker', [scope, active?.scriptURL, waiting?.scriptURL, installing?.scriptURL])
  }
  if (window.isSecureContext) add('private file system', await filesOf())

  add('address', [location.href, document.referrer, document.URL, document.baseURI])
  add('window.name', window.name)
  add('history', history.state)
  const entries = window.navigation?.entries() ?? []
  add(
    'history',
    entries.map((it) => [it.url, it.getState()]),
  )
  add('performance', JSON.stringify(performance.getEntries()))

  add('document', [document.documentElement.outerHTML, document.title])
  const nodes = document.createTreeWalker(document, NodeFilter.SHOW_ALL)
  for (let node: Node | null = nodes.currentNode; node; node = nodes.nextNode()) {
    if (!(node instanceof Element)) continue
    if (node.shadowRoot) add('shadow root', node.shadowRoot.innerHTML)
    if ('value' in node) add('form field', node.value)
    if (node instanceof HTMLIFrameElement) {
      add('frame', [node.src, node.contentDocument?.documentElement.outerHTML])
    }
  }
  for (const sheet of document.styleSheets) add('style sheet', sheet.ownerNode?.textContent)

  const native = /\[native code\]\s*}$/
  for (const name of Reflect.ownKeys(window)) {
    const value = Reflect.get(window, name) as unknown
    if (value === window) continue
    const isOfTheBrowser = typeof value === 'function' && native.test(String(value))
    if (!isOfTheBrowser || Reflect.ownKeys(value).length > 3) add(`window.${String(name)}`, value)
  }
  return found

  /** Every text in a value, its keys and what it holds, to any depth that matters. */
  function gather(value: unknown, into: string[], seen: Set<unknown>, depth: number): void {
    if (typeof value === 'string') into.push(value)
    else if (typeof value === 'symbol') into.push(value.description ?? '')
    if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return
    // The document is read as text, above.
    if (seen.has(value) || depth > 12 || seen.size > 50_000 || value instanceof Node) return
    if (value === window && depth > 0) return
    seen.add(value)
    if (typeof value === 'function') into.push(Function.prototype.toString.call(value))
    if (value instanceof ArrayBuffer) into.push(new TextDecoder().decode(value))
    if (ArrayBuffer.isView(value)) into.push(new TextDecoder().decode(value))
    const keys = new Set(Reflect.ownKeys(value))
    // What the browser's own objects have is enumerable, and their prototypes'.
    for (const key in value) keys.add(key)
    for (const key of keys) {
      into.push(String(key))
      try {
        gather(Reflect.get(value, key), into, seen, depth + 1)
      } catch {
        // A getter that refuses gives nothing away.
      }
    }
    try {
      if (!Array.isArray(value)) gather([...(value as Iterable<unknown>)], into, seen, depth + 1)
    } catch {
      // Most are not iterable; of a map, a set or headers it is what they hold.
    }
  }

  async function rowsOf(name: string | undefined): Promise<unknown> {
    const opening = indexedDB.open(String(name))
    const database = await result(opening)
    const stores = [...database.objectStoreNames]
    const rows: unknown[] = [stores]
    for (const store of stores) {
      const all = database.transaction(store).objectStore(store)
      rows.push(await result(all.getAll()), await result(all.getAllKeys()))
    }
    database.close()
    return rows
  }

  function result<T>(request: IDBRequest<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result)
      request.onerror = () => reject(request.error ?? new Error('IndexedDB'))
    })
  }

  async function entriesOf(name: string): Promise<unknown> {
    const cache = await caches.open(name)
    const entries = (await cache.keys()).map(async (request) => {
      const response = await cache.match(request)
      return [
        request.url,
        [...request.headers],
        [...(response?.headers ?? [])],
        await response?.text(),
      ]
    })
    return Promise.all(entries)
  }

  async function registrations(): Promise<readonly ServiceWorkerRegistration[]> {
    return navigator.serviceWorker ? navigator.serviceWorker.getRegistrations() : []
  }

  async function filesOf(): Promise<string[]> {
    const names: string[] = []
    const directory = await navigator.storage.getDirectory()
    for await (const [name, handle] of directory.entries()) {
      names.push(name)
      if (handle instanceof FileSystemFileHandle) names.push(await (await handle.getFile()).text())
    }
    return names
  }
}
