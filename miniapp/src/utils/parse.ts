/**
 * What a reader types -> the whole number the server wants. kWh -> Wh and m³ -> l: three decimals,
 * moved as text, so "0.1" can never become 0.1000000001.
 */
export type Parsed = { ok: true; value: number } | { ok: false; reason: string }

const MAX_WHOLE_DIGITS = 9

const refused = (reason: string): Parsed => ({ ok: false, reason })

/** Full-width digits and Chinese punctuation come from some keyboards. */
function plain(text: string): string {
  return text
    .replace(/[０-９]/g, (digit) => String.fromCharCode(digit.charCodeAt(0) - 0xfee0))
    .replace(/[。．]/g, '.')
    .replace(/\s/g, '')
}

export function parseRegister(typed: string): Parsed {
  const text = plain(typed)
  if (!text) return refused('请输入读数。')
  const match = /^(\d+)(?:\.(\d*))?$/.exec(text)
  if (!match) return refused('读数只能是数字和一个小数点。')
  const whole = match[1].replace(/^0+(?=\d)/, '')
  const fraction = match[2] ?? ''
  if (whole.length > MAX_WHOLE_DIGITS) return refused('读数位数太多，请核对。')
  if (fraction.length > 3) return refused('最多三位小数。')
  return { ok: true, value: Number(whole + fraction.padEnd(3, '0')) }
}
