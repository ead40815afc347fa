import { type DomainError, ERROR_CODES } from '@berth/platform/errors'

/** It loads nothing, runs nothing, and stands in no frame. */
export const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy':
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
}

/** For a person whose sign-in came to nothing. Shows our own words, and nothing of the request. */
export function signInFailedPage({ code, message }: DomainError): { status: number; html: string } {
  const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Not signed in</title>
<style>body{font:16px/1.5 system-ui;max-width:36rem;margin:4rem auto;padding:0 1rem}</style>
<h1>Not signed in</h1>
<p>${escapeHtml(message)}</p>
<p><a href="/auth/login">Sign in</a></p>
</html>
`
  return { status: ERROR_CODES[code].http, html }
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
