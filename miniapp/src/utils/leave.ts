import type { BrowserPay } from '@/api/types'

/** Sends the browser to a channel's own cash desk; it comes back to the result page by itself. */
export function leaveFor(pay: BrowserPay): 'left' {
  if (!pay.form) {
    window.location.assign(pay.url)
    return 'left'
  }
  const form = document.createElement('form')
  form.method = 'post'
  form.action = pay.url
  for (const [name, value] of Object.entries(JSON.parse(pay.form) as Record<string, string>)) {
    const field = document.createElement('input')
    field.type = 'hidden'
    field.name = name
    field.value = value
    form.append(field)
  }
  document.body.append(form)
  form.submit()
  return 'left'
}
