import { randomBytes } from 'node:crypto'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openChromium } from './chromium.ts'
import { hunt } from './hunt.ts'
import { everythingInReach } from './in-page.ts'
import { openSite, type Site } from './site.ts'
import { recordTraffic } from './traffic.ts'

/** A hunt that finds nothing says something only if it would have found what is there. */
const secret = randomBytes(32).toString('base64url')

let chromium: Browser
let site: Site

beforeAll(async () => {
  chromium = await openChromium()
  site = await openSite({
    pages: {
      '/': { body: '<!doctype html><title>x</title><body>' },
      '/worker.js': { headers: { 'content-type': 'text/javascript' }, body: '' },
      '/secret': { body: secret },
      '/header': { headers: { 'x-secret': secret }, body: '' },
      '/timed': { headers: { 'server-timing': `a;desc="${secret}"` }, body: '' },
    },
  })
})
afterAll(async () => {
  await chromium?.close()
  await site?.close()
})

async function planted(plant: (page: Page) => Promise<unknown>): Promise<string[]> {
  const context = await chromium.newContext()
  const traffic = recordTraffic(context)
  try {
    const page = await context.newPage()
    await page.goto(`${site.origin}/`)
    await plant(page)
    const inReach = await page.evaluate(everythingInReach)
    return hunt([...inReach, ...(await traffic.readable())], { secret })
  } finally {
    await context.close()
  }
}

const script =
  (text: string) =>
  (page: Page): Promise<unknown> =>
    page.evaluate(`(async () => { const it = ${JSON.stringify(secret)}; ${text} })()`)

test.each<[string, (page: Page) => Promise<unknown>, string]>([
  ['a cookie', script('document.cookie = "a=" + it'), 'document.cookie'],
  ['local storage', script('localStorage.a = btoa("x" + it)'), 'localStorage'],
  ['session storage', script('sessionStorage[it] = 1'), 'sessionStorage'],
  [
    'IndexedDB',
    script(`await new Promise((done) => {
      const opening = indexedDB.open('a')
      opening.onupgradeneeded = () => opening.result.createObjectStore('b').put({ c: [it] }, 1)
      opening.onsuccess = () => { opening.result.close(); done() }
    })`),
    'IndexedDB a',
  ],
  ['a cache', script('await (await caches.open("a")).put("/b", new Response(it))'), 'Cache a'],
  [
    'a service worker’s address',
    script('await navigator.serviceWorker.register("/worker.js?" + it)'),
    'service worker',
  ],
  [
    'a private file',
    script(`const directory = await navigator.storage.getDirectory()
      const file = await directory.getFileHandle('a', { create: true })
      const writable = await file.createWritable()
      await writable.write(it)
      await writable.close()`),
    'private file system',
  ],
  ['a global', script('window.a = { b: [new Map([["c", { d: it }]])] }'), 'window.a'],
  ['a hidden property of a global', script('window.JSON[Symbol.for(it)] = 1'), 'window.JSON'],
  ['the source of a function', script('window.a = new Function(`"` + it + `"`)'), 'window.a'],
  ['bytes', script('window.a = new TextEncoder().encode(it)'), 'window.a'],
  ['window.name', script('window.name = it'), 'window.name'],
  ['the document', script('document.body.append(document.createComment(it))'), 'document'],
  ['an attribute', script('document.body.dataset.a = encodeURIComponent(it)'), 'document'],
  [
    'a shadow root',
    script('document.body.attachShadow({ mode: "open" }).innerHTML = it'),
    'shadow root',
  ],
  [
    'a form field',
    script('document.body.append(Object.assign(document.createElement("input"), { value: it }))'),
    'form field',
  ],
  ['the address', script('location.hash = it'), 'address'],
  ['the state of the history', script('history.pushState({ it }, "")'), 'history'],
  [
    'an earlier address',
    script('history.pushState({}, "", "/?" + it); history.pushState({}, "", "/")'),
    'history',
  ],
  ['an answer that is kept', script('window.a = [await fetch("/header")]'), 'window.a'],
  ['the address of a request', script('await (await fetch("/?a=" + it)).text()'), 'performance'],
  ['the server’s timing', script('await (await fetch("/timed")).text()'), 'performance'],
  ['the console', script('console.log("a", it)'), 'console'],
  ['an error', script('setTimeout(() => { throw new Error(it) }); await fetch("/")'), 'error'],
])('%s is looked into', async (_what, plant, place) => {
  expect(await planted(plant)).toContain(`secret in ${place}`)
})

test('where nothing is, nothing is found', async () => {
  expect(await planted(async () => undefined)).toEqual([])
})

test('answers are looked into, and what was sent', async () => {
  expect(await planted(script('await fetch("/secret")'))).toContain(
    `secret in ${site.origin}/secret`,
  )
  const sent = 'await fetch("/worker.js", { headers: { "x-a": it.split("").reverse().join("") } })'
  expect(await planted(script(sent))).toContain(`secret in ${site.origin}/worker.js`)
})

test('the referrer is looked into', async () => {
  const finds = await planted(async (page) => {
    await page.goto(`${site.origin}/?${secret}`)
    await page.evaluate('document.body.innerHTML = "<a href=/>a</a>"')
    await page.click('a')
    await page.waitForURL(`${site.origin}/`)
  })
  expect(finds).toContain('secret in address')
})

test('a token is known by its looks, and by each of its parts', () => {
  const part = () => randomBytes(24).toString('base64url')
  const token = `eyJhbGciOiJFUzI1NiJ9.${part()}.${part()}`
  const [, payload = '', signature = ''] = token.split('.')
  const at = (text: string) => hunt([{ place: 'here', text }], { token })
  expect(hunt([{ place: 'here', text: `a ${token}.` }], {})).toEqual(['a JWT in here'])
  for (const text of [payload, signature, Buffer.from(`xx${signature}y`).toString('base64')]) {
    expect(at(`before ${text} after`)).toEqual(['token in here'])
  }
  expect(at(`eyJhbGciOiJFUzI1NiJ9 ${part()}`)).toEqual([])
})
