import { type GraphQLOutputType, isListType, isNonNullType } from 'graphql'

/**
 * An object of the answer that is put together, of what several fetches bring or in another order: what
 * was cut out for it where it was brought, and then, as an array, by each fetch that adds to it.
 */
export type Piece = unknown[]

/** Where in a piece a cutting is: at an index, or at one of the array that is there. */
export type Cutting = { readonly at: number; readonly within: number }

/** @returns undefined when it was not brought yet */
export function cuttingIn(piece: Piece, { at, within }: Cutting): unknown {
  return within < 0 ? piece[at] : (piece[at] as Piece | undefined)?.[within]
}

export type Write = (value: never) => string

/** Of the text of an object. */
export type Part = {
  readonly before: string
  /** Null: nothing comes after that. */
  readonly cutting: Cutting | null
  /** Null: it is text. */
  readonly write: Write | null
}

/** Made here and not where it is used: it would keep alive all that it was made from. */
export function writeObject(parts: readonly Part[]): Write {
  return (piece: Piece) => {
    let text = ''
    for (let i = 0; i < parts.length; i++) {
      const { before, cutting, write } = parts[i] as Part
      text += before
      if (cutting === null) continue
      const cut = cuttingIn(piece, cutting)
      text += write === null ? (cut as string) : write(cut as never)
    }
    return `${text}}`
  }
}

/**
 * The text of what `scanOf` found for the same type.
 *
 * @param write of the type that lists and non-nulls are of
 */
export function writeOf(type: GraphQLOutputType, write: Write): Write {
  if (isNonNullType(type)) return writePresent(type.ofType, write)
  const present = writePresent(type, write)
  return (value) => (value === null ? 'null' : present(value))
}

function writePresent(type: GraphQLOutputType, write: Write): Write {
  if (!isListType(type)) return write
  const item = writeOf(type.ofType, write)
  return (items: readonly never[]) => {
    let text = '['
    for (let i = 0; i < items.length; i++) {
      if (i > 0) text += ','
      text += item(items[i] as never)
    }
    return `${text}]`
  }
}
