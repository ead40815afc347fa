import { GraphQLError } from 'graphql'

/**
 * The error without "Did you mean …", which tells the schema to those who may not ask for it. It
 * goes over every error of graphql-js that a client may see: of documents, and of variables.
 */
export function withoutSuggestions(error: GraphQLError): GraphQLError {
  const message = error.message.replace(/ ?Did you mean .+$/s, '')
  return message === error.message ? error : reworded(error, message)
}

/** The same error in other words. */
export function reworded(
  { nodes, source, positions, path }: GraphQLError,
  message: string,
): GraphQLError {
  return new GraphQLError(message, {
    nodes: nodes ?? null,
    source: source ?? null,
    positions: positions ?? null,
    path: path ?? null,
  })
}
