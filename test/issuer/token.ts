import { parsePerson } from './people.ts'
import { signIn } from './sign-in.ts'

/** `node test/issuer/token.ts <person>`: prints an access token of an hour, and nothing else. */
async function main(): Promise<void> {
  const port = Number(process.env.BERTH_PORT ?? 4000) + 30
  const issuer = `http://127.0.0.1:${port}`
  const person = parsePerson(process.argv[2])
  const isUp = await fetch(`${issuer}/readyz`).then(
    ({ ok }) => ok,
    () => false,
  )
  if (!isUp) throw new Error(`The platform does not run at ${issuer}: start it with npm start`)
  console.log(await signIn(issuer, person))
}

main().catch((error: Error) => {
  console.error(error.message)
  process.exitCode = 1
})
