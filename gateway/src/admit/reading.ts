import type { DocumentNode } from 'graphql'
import type { Documents } from './documents.ts'
import type { Caller, Rates } from './rates.ts'

/**
 * The document of a text that a caller has sent. What is new is read at the caller's expense, and
 * what is refused counts against the caller's rate: nobody knows what kind of operation it was to be,
 * so that it counts as a query.
 *
 * @param hash SHA-256 of the text in hexadecimal, where it is known
 * @returns rejects, or throws, as `Documents.open`, or with RATE_LIMITED
 */
export type ReadDocument = (
  text: string,
  caller: Caller,
  hash?: string,
) => DocumentNode | Promise<DocumentNode>

export function createReadDocument({
  documents,
  rates,
}: {
  documents: Pick<Documents, 'open'>
  rates: Rates
}): ReadDocument {
  return (text, caller, hash) => {
    try {
      return documents.open(text, { caller, hash })
    } catch (error) {
      return refused(error, caller)
    }
  }

  async function refused(error: unknown, caller: Caller): Promise<never> {
    await rates.take('query', caller)
    throw error
  }
}
