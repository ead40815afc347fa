/**
 * Who can sign in during development, without a password. The development seed of the platform
 * knows the same subjects.
 */
export const people = [
  { subject: 'user', name: 'User', about: 'rents GPUs in the organization Development' },
  { subject: 'admin', name: 'Admin', about: 'owns the organization Development' },
  { subject: 'operator', name: 'Operator', about: 'runs the platform' },
] as const

export type Person = (typeof people)[number]['subject']

/** @throws {RangeError} that names the people there are */
export function parsePerson(text: string | undefined): Person {
  const person = people.find(({ subject }) => subject === text)
  if (person) return person.subject
  const names = people.map(({ subject }) => subject).join(', ')
  throw new RangeError(`There is no development person ${JSON.stringify(text ?? '')}: ${names}`)
}
