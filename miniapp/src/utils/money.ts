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
