import type { PublicKeys } from '../domain/audit-checkpoint.ts'

const QUERY = `query AuditExport($input: AuditExportInput) {
  auditExport(input: $input) { ndjson endCursor hasNextPage keys }
}`

type Page = { ndjson: string; endCursor: string | null; hasNextPage: boolean; keys: string }

type Answer = { data?: { auditExport: Page } | null; errors?: { message: string }[] }

/**
 * All pages of an organization's export, one after another.
 *
 * @param headers say who asks
 * @throws {Error} with what the graph says when it refuses
 */
export async function downloadExport({
  endpoint,
  headers,
  ...range
}: {
  endpoint: string
  headers: Readonly<Record<string, string>>
  from?: string | undefined
  to?: string | undefined
}): Promise<{ ndjson: string; keys: PublicKeys; pages: number }> {
  let ndjson = ''
  let after: string | null = null
  for (let pages = 1; ; pages += 1) {
    const page: Page = await pageAfter(after)
    ndjson += page.ndjson
    after = page.endCursor
    if (!page.hasNextPage) return { ndjson, keys: JSON.parse(page.keys) as PublicKeys, pages }
  }

  async function pageAfter(cursor: string | null): Promise<Page> {
    const response = await fetch(endpoint, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ query: QUERY, variables: { input: { ...range, after: cursor } } }),
    })
    const text = await response.text()
    const { data, errors } = (text.startsWith('{') ? JSON.parse(text) : {}) as Answer
    if (data?.auditExport) return data.auditExport
    throw new Error(errors?.[0]?.message ?? `${endpoint} answered with status ${response.status}`)
  }
}
