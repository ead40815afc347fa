/** Something that may hold what it must not. */
export type Haystack = { readonly place: string; readonly text: string }

/** What must not be found, by its name. */
export type Secrets = Readonly<Record<string, string>>

/** @returns where any of these is, whole or encoded, and where anything is that looks like a token */
export function hunt(haystacks: readonly Haystack[], secrets: Secrets): string[] {
  const needles = Object.entries(secrets).flatMap(([name, secret]) =>
    formsOf(secret).map((form) => ({ name, form })),
  )
  const finds = haystacks.flatMap(({ place, text }) => [
    ...needles.filter(({ form }) => text.includes(form)).map(({ name }) => `${name} in ${place}`),
    ...(LOOKS_LIKE_A_TOKEN.test(text) ? [`a JWT in ${place}`] : []),
  ])
  return [...new Set(finds)]
}

/** A signed or encrypted one, in its compact form. */
const LOOKS_LIKE_A_TOKEN = /eyJ[\w-]{8,}\.[\w-]*\.[\w-]*/

/** A secret, and each part of a JWT: as it is, and as it would be kept or sent by somebody careless. */
function formsOf(secret: string): string[] {
  if (secret.length < 16) throw new RangeError('too short to be looked for')
  // The header of a token is the same in all of them.
  const parts = secret.split('.').slice(1)
  return [secret, ...parts.filter((it) => it.length >= 16)].flatMap((it) => [
    it,
    encodeURIComponent(it),
    [...it].reverse().join(''),
    Buffer.from(it).toString('hex'),
    ...base64Of(it),
  ])
}

/** As it stands within something longer, at any of the three places that a byte can have there. */
function base64Of(text: string): string[] {
  const forms = [0, 1, 2].map((before) => {
    const encoded = Buffer.from(' '.repeat(before) + text).toString('base64url')
    // What its neighbours have a part in is cut off.
    return encoded.slice(before === 0 ? 0 : before + 1, -2)
  })
  return [...forms, ...forms.map((it) => it.replaceAll('-', '+').replaceAll('_', '/'))]
}
