import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DomainError } from './errors.ts'
import {
  deriveUuid,
  idToUuid,
  isId,
  newId,
  newUuid,
  parseId,
  timeOfId,
  timeOfUuid,
  uuidToId,
} from './ids.ts'

test('an id and its uuid are two spellings of one thing', () => {
  fc.assert(
    fc.property(fc.uuid(), (uuid) => {
      const id = uuidToId('alc', uuid)
      expect(isId('alc', id)).toBe(true)
      expect(idToUuid(id)).toBe(uuid)
    }),
  )
  expect(uuidToId('alc', '0195B8C0-7C1E-7ABC-8DEF-0123456789AB')).toBe(
    uuidToId('alc', '0195b8c0-7c1e-7abc-8def-0123456789ab'),
  )
})

test('new ids are UUIDv7 that ascend and carry their time', () => {
  const before = Date.now()
  const ids = Array.from({ length: 1000 }, () => newId('usr'))
  expect([...ids].sort()).toEqual(ids)
  const time = timeOfId(ids[0] as string).getTime()
  expect(time).toBeGreaterThanOrEqual(before)
  expect(time).toBeLessThanOrEqual(Date.now())
  expect(idToUuid(ids[0] as string)[14]).toBe('7')
})

test.each([
  ['another kind', newId('usr')],
  ['upper case', newId('alc').toUpperCase()],
  ['a suffix that exceeds 128 bits', `alc_8${'z'.repeat(25)}`],
  ['a letter outside the alphabet', `alc_0${'l'.repeat(25)}`],
  ['a missing suffix', 'alc_'],
  ['a trailing line break', `${newId('alc')}\n`],
  ['a bare uuid', newUuid()],
  ['SQL', "alc_' OR 1=1 --"],
])('%s is not an id of this kind', (_case, text) => {
  expect(isId('alc', text)).toBe(false)
  expect(() => parseId('alc', text)).toThrow(DomainError)
  expect(() => parseId('alc', text)).toThrow(/is not an id of the form alc_…/)
})

test('a long bad id is not echoed whole', () => {
  expect(() => parseId('alc', 'x'.repeat(10_000))).toThrow(/^.{0,100}$/)
})

test('a malformed uuid or prefix is a bug of the caller', () => {
  expect(() => uuidToId('alc', 'no uuid')).toThrow(TypeError)
  expect(() => uuidToId('allocation', newUuid())).toThrow(TypeError)
})

test('a derived id is the same for the same cause, keeps the time, and is shaped like a UUIDv7', () => {
  const at = new Date('2026-03-01T00:00:00.123Z')
  const uuid = deriveUuid(at, 'settle alc_1 2026-03')
  expect(deriveUuid(at, 'settle alc_1 2026-03')).toBe(uuid)
  expect(deriveUuid(at, 'settle alc_2 2026-03')).not.toBe(uuid)
  expect(timeOfUuid(uuid)).toEqual(at)
  expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  expect(() => deriveUuid(new Date(Number.NaN), 'x')).toThrow(RangeError)
})
