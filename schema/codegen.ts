import type { CodegenConfig } from '@graphql-codegen/cli'

/**
 * The code generation of one subgraph: `schema/<domain>.graphql` → resolver types.
 *
 * @param mappers GraphQL type → what its resolvers receive as parent, as `../model.ts#Row`
 */
export function subgraphCodegen(
  domain: string,
  mappers: Record<string, string> = {},
): CodegenConfig {
  return {
    schema: `../../schema/${domain}.graphql`,
    generates: {
      'src/generated/resolvers.ts': {
        plugins: ['typescript', 'typescript-resolvers'],
        config: {
          federation: true,
          useTypeImports: true,
          enumsAsTypes: true,
          useIndexSignature: true,
          contextType: '../context.ts#Context',
          mappers,
          scalars: {
            ID: 'string',
            DateTime: 'Date',
            Decimal: 'string',
            Currency: 'string',
            JSON: 'unknown',
          },
        },
      },
    },
  }
}
