import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { readManifests } from '@berth/platform/run/manifests'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { openTestPlatform, type TestPlatform } from '../scenario/test-platform.ts'
import { loopbackCertificate } from './certificate.ts'
import { openChromium } from './chromium.ts'
import type { Secrets } from './hunt.ts'
import { type Answer, ask, type Init } from './in-page.ts'
import { openSite, type Site } from './site.ts'
import { recordTraffic, type Traffic } from './traffic.ts'

export type Rig = AsyncDisposable & {
  readonly berth: TestPlatform
  /** Where people reach it: a proxy that serves the pages of an app, and asks the gateway for the rest. */
  readonly origin: string
  /** Pages of somebody else: under the app's own host, and under another name. */
  readonly neighbour: Site
  readonly stranger: Site
  readonly cookieName: string
  /** A browser of somebody's, with nothing in it, and what goes over its wires. */
  person(): Promise<{ context: BrowserContext; page: Page; traffic: Traffic }>
  /** What the issuer has given the gateway so far, and what the gateway proved itself by. */
  issued(): Secrets[]
}

const APP = `<!doctype html>
<html lang="en">
<title>App</title>
<h1>App</h1>
<a href="/auth/login?returnTo=/app">Sign in</a>
`

const ROOT = path.join(import.meta.dirname, '../..')

/** The whole platform as people in browsers meet it: over HTTPS, or over HTTP on loopback. */
export async function openRig(scheme: 'http' | 'https'): Promise<Rig> {
  await using opening = new AsyncDisposableStack()
  const certificate = scheme === 'https' ? loopbackCertificate() : undefined
  const open = async (options: Omit<Parameters<typeof openSite>[0], 'certificate'>) =>
    opening.adopt(await openSite({ ...options, certificate }), (it) => it.close())
  const app = await open({ pages: { '/': { body: APP }, '/app': { body: APP } } })
  const pages = { '/': { body: '<!doctype html><title>Evil</title><body>' } }
  const neighbour = await open({ pages })
  const stranger = await open({ pages, host: 'localhost' })

  const services = readManifests(ROOT).map((service) =>
    service.name === 'issuer' ? { ...service, main: 'browser/recording-issuer.ts' } : service,
  )
  const env = {
    BERTH_PUBLIC_URL: app.origin,
    BERTH_ALLOWED_ORIGINS: app.origin,
    // By which the issuer tells the gateway of a sign-out.
    ...(certificate ? { NODE_EXTRA_CA_CERTS: fileOf(opening, certificate.cert) } : {}),
  }
  const berth = opening.adopt(await openTestPlatform({}, { services, env }), (it) => it.stop())
  app.upstream = String(berth.platform.urls.gateway)
  const chromium: Browser = opening.adopt(await openChromium(), (it) => it.close())
  const grants = path.join(String(berth.platform.env('issuer').BERTH_STATE_DIR), 'grants.jsonl')

  const held = opening.move()
  return {
    berth,
    origin: app.origin,
    neighbour,
    stranger,
    cookieName: scheme === 'https' ? '__Host-berth' : 'berth-loopback',
    async person() {
      const context = await chromium.newContext({ ignoreHTTPSErrors: true })
      context.setDefaultTimeout(120_000)
      const traffic = recordTraffic(context)
      return { context, page: await context.newPage(), traffic }
    },
    issued() {
      const lines = readFileSync(grants, 'utf8').trim().split('\n')
      return lines.map((line) => {
        const grant = JSON.parse(line) as Record<string, string | undefined>
        const { access_token = '', id_token = '', refresh_token = '', code_verifier } = grant
        return {
          access_token,
          id_token,
          refresh_token,
          ...(code_verifier === undefined ? {} : { code_verifier }),
        }
      })
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

function fileOf(scope: AsyncDisposableStack, content: string): string {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'berth-browser-'))
  scope.defer(() => rmSync(directory, { recursive: true }))
  const file = path.join(directory, 'certificate.pem')
  writeFileSync(file, content)
  return file
}

/** As a person does it: a click on the app's link, one on the issuer's page, and back. */
export async function signIn(page: Page, origin: string, person = 'user'): Promise<void> {
  await page.goto(`${origin}/app`)
  await page.getByRole('link', { name: 'Sign in' }).click()
  await page.locator(`button[value=${person}]`).click()
  await page.waitForURL(`${origin}/app`)
  await request(page, '/auth/session')
}

/** A request of the page's own. @param url relative to the page's */
export function request(page: Page, url: string, init: Init = {}): Promise<Answer> {
  return page.evaluate(ask, { url, init })
}

/** An operation, as an app asks for it. */
export function graphql(
  page: Page,
  query: string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return request(page, '/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ query }),
  })
}
