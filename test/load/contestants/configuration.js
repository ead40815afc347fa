/**
 * What the bench tells a contestant, as JSON in its only argument.
 *
 * @type {{ port: number, supergraph: string, services: Record<string, string>, pem: string,
 *   issuer: string, audience: string, planner: 'js' | 'rust', dedup: boolean,
 *   operations: Record<string, string> }}
 */
export const configuration = JSON.parse(process.argv[2] ?? '{}')
