import { people } from './people.ts'

/** The sign-in page: one button per person. */
export function pickerPage(interaction: string): string {
  const buttons = people
    .map(
      ({ subject, name, about }) =>
        `<button name="person" value="${subject}"><b>${name}</b> ${about}</button>`,
    )
    .join('\n')
  return page(
    'Development sign-in',
    `<form method="post" action="/interaction/${encodeURIComponent(interaction)}">\n${buttons}\n</form>`,
  )
}

/** @param form of the provider, with its own protection against forgery */
export function signOutPage(form: string): string {
  return page(
    'Sign out',
    `${form}\n<button form="op.logoutForm" name="logout" value="yes">Sign out here too</button>`,
  )
}

export function signedOutPage(): string {
  return page('Signed out', '<p>You are signed out.</p>')
}

export function errorPage(error: string, description: string | undefined): string {
  return page(
    'This sign-in failed',
    `<p>${escapeHtml(error)}: ${escapeHtml(description ?? '')}</p>`,
  )
}

/** May be sent with every page: it loads nothing, runs nothing, and stands in no frame. */
export const pageHeaders = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-store',
  'content-security-policy':
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
} as const

function page(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 30rem; margin: 4rem auto; padding: 0 1rem }
  strong { background: #fd6; color: #000; padding: 0 .4em }
  button { display: block; width: 100%; margin: .5rem 0; padding: .7rem; font: inherit; text-align: left; cursor: pointer }
</style>
<p><strong>Development only</strong> Nobody is asked for a password here.</p>
<h1>${title}</h1>
${body}
</html>
`
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
