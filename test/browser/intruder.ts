/// <reference lib="dom" />
// What a page of somebody else's tries: each function is sent there as text.

/** Resolves when the stream was refused. */
export function eventSource(url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const source = new EventSource(url, { withCredentials: true })
    source.onopen = () => reject(new Error('it was opened'))
    source.onerror = () => resolve(source.close())
  })
}

/** What a script tag, which may name any address, came to: `load` or `error`. */
export function script(src: string): Promise<string> {
  return new Promise((resolve) => {
    const element = Object.assign(document.createElement('script'), { src })
    element.onload = () => resolve('load')
    element.onerror = () => resolve('error')
    document.body.append(element)
  })
}

/** The text of a page in a frame; null when it may not be read. */
export function frame(src: string): Promise<string | null> {
  return new Promise((resolve) => {
    const element = Object.assign(document.createElement('iframe'), { src })
    element.onload = () => resolve(element.contentDocument?.body.textContent ?? null)
    document.body.append(element)
  })
}

/** Leaves by a form, which sends the cookies that a navigation takes along. */
export function submit({
  action,
  fields,
}: {
  action: string
  fields: Record<string, string>
}): void {
  const form = Object.assign(document.createElement('form'), { action, method: 'post' })
  for (const [name, value] of Object.entries(fields)) {
    form.append(Object.assign(document.createElement('input'), { name, value }))
  }
  document.body.append(form)
  form.submit()
}
