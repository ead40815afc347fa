import type { IncomingHttpHeaders } from 'node:http'
import type { Presented } from './authenticate.ts'

/** Of the cookies that a browser sends, those that say who it is: the others are not kept. */
const OURS = /(?:^|;)\s*((?:__Host-berth|berth-loopback)=[^;]*)/g

/** What a request or an upgrade presents. */
export function presentedBy(
  headers: IncomingHttpHeaders,
  clientIp: string,
  face: NonNullable<Presented['face']>,
): Presented {
  const { authorization, cookie } = headers
  const organizationId = textOf(headers['berth-organization'])
  const ours = cookie?.includes('berth') ? cookiesOf(cookie) : undefined
  if (ours === undefined) return { authorization, organizationId, clientIp }
  return {
    authorization,
    organizationId,
    clientIp,
    face,
    cookie: ours,
    csrf: textOf(headers['berth-csrf']),
    origin: headers.origin,
  }
}

function cookiesOf(header: string): string | undefined {
  const found = Array.from(header.matchAll(OURS), ([, pair]) => pair)
  return found.length === 0 ? undefined : found.join('; ')
}

function textOf(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
