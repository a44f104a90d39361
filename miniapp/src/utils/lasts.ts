/** How long a prepaid balance lasts at what a day cost lately; nothing where that is not known. */
export function lasts(days: number | null): string {
  if (days === null) return ''
  return days > 0 ? ` · 按近日用量约可用 ${days} 天` : ' · 余额已用完'
}
