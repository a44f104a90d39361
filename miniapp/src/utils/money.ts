/** 123456 -> "1,234.56". Whole fen in, no float anywhere. */
export function yuan(fen: number): string {
  const magnitude = Math.abs(fen)
  const cents = String(magnitude % 100).padStart(2, '0')
  return `${fen < 0 ? '-' : ''}${grouped(Math.floor(magnitude / 100))}.${cents}`
}

/** 1234 -> "12.34 元" */
export const yuanText = (fen: number) => `${yuan(fen)} 元`

/** 1234567 -> "1,234,567" */
export function grouped(whole: number): string {
  return String(whole).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** "12.3" -> 1230; null where it is no sum of at most two decimals above nothing. */
export function fenOf(typed: string): number | null {
  const found = /^(\d{1,7})(?:\.(\d{0,2}))?$/.exec(typed.trim())
  if (!found) return null
  const fen = Number(found[1]) * 100 + Number((found[2] ?? '').padEnd(2, '0'))
  return fen > 0 ? fen : null
}
