import { readFileSync } from 'node:fs'
import { createLog } from '@berth/platform/log'
import { expect, test } from 'vitest'
import { createCedarEngine } from './cedar/cedar.ts'

const page = readFileSync(new URL('../../../../doc/authorization.md', import.meta.url), 'utf8')
const examples = [...page.matchAll(/```cedar\n(.*?)```/gs)].map(([, text]) => String(text))
const engine = createCedarEngine({
  log: createLog({ service: 'policy', instance: 'policy-1', level: 'silent' }),
})

test('what the documentation shows can be set', async () => {
  expect(examples.length).toBeGreaterThan(4)
  for (const example of examples) expect(await engine.validate(example, 'ORGANIZATION')).toEqual([])
})
