/** The business day is Asia/Shanghai (UTC+8, no daylight saving), whatever the phone is set to. */
const SHANGHAI_MS = 8 * 3_600_000
export const DAY_MS = 86_400_000

const two = (value: number) => String(value).padStart(2, '0')
const WEEKDAYS = '日一二三四五六'

/** A Date whose UTC fields read as Shanghai's wall clock. */
const wall = (ms: number) => new Date(ms + SHANGHAI_MS)

/** Instant -> "2026-11-20" in Shanghai. */
export function dayOf(ms: number): string {
  return wall(ms).toISOString().slice(0, 10)
}

/** The instant at which a Shanghai day begins. */
export function startOfDay(day: string): number {
  return Date.parse(`${day}T00:00:00Z`) - SHANGHAI_MS
}

export const addDays = (day: string, days: number) => dayOf(startOfDay(day) + days * DAY_MS)

/** "2026-11-20" -> "11月20日" */
export function dayText(day: string): string {
  const [, month, date] = day.split('-').map(Number)
  return `${month}月${date}日`
}

/** "2026-11-20" -> "2026年11月20日" */
export const dayWithYear = (day: string) => `${day.slice(0, 4)}年${dayText(day)}`

/** "2026-11-20" -> "11月20日 周五" */
export function dayWithWeekday(day: string): string {
  return `${dayText(day)} 周${WEEKDAYS[new Date(`${day}T00:00:00Z`).getUTCDay()]}`
}

/** "2026-10-01", "2026-10-31" -> "2026年10月1日至10月31日" */
export function periodText(from: string, to: string): string {
  const end = from.slice(0, 4) === to.slice(0, 4) ? dayText(to) : dayWithYear(to)
  return `${dayWithYear(from)}至${end}`
}

/** ISO instant -> "14:05" */
export function timeText(iso: string): string {
  const at = wall(Date.parse(iso))
  return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`
}

/** ISO instant -> "2026-11-20 14:05" */
export const stampText = (iso: string) => `${dayOf(Date.parse(iso))} ${timeText(iso)}`

/** ISO instant -> "刚刚", "8 分钟前", "今天 09:20", "昨天 23:10", "11月18日 07:00" */
export function agoText(iso: string, now: number): string {
  const at = Date.parse(iso)
  const minutes = Math.floor((now - at) / 60_000)
  if (minutes < 1) return '刚刚'
  if (minutes < 60) return `${minutes} 分钟前`
  if (dayOf(at) === dayOf(now)) return `今天 ${timeText(iso)}`
  if (dayOf(at) === dayOf(now - DAY_MS)) return `昨天 ${timeText(iso)}`
  return `${dayText(dayOf(at))} ${timeText(iso)}`
}

/** Whole days from `from` to `to`; negative when `to` is earlier. */
export const daysBetween = (from: string, to: string) =>
  Math.round((startOfDay(to) - startOfDay(from)) / DAY_MS)

/** How a due day reads today: "今天到期", "还有 3 天", "已逾期 5 天" */
export function dueText(dueOn: string, today: string): string {
  const days = daysBetween(today, dueOn)
  if (days === 0) return '今天到期'
  return days > 0 ? `还有 ${days} 天` : `已逾期 ${-days} 天`
}

/** 4500 s -> "1 小时 15 分钟"; from two days on "27 天 12 小时" */
export function durationText(seconds: number): string {
  const minutes = Math.round(seconds / 60)
  if (minutes < 60) return `${minutes} 分钟`
  const hours = Math.floor(minutes / 60)
  if (hours >= 48) {
    const over = hours % 24
    return over ? `${Math.floor(hours / 24)} 天 ${over} 小时` : `${hours / 24} 天`
  }
  const rest = minutes % 60
  return rest ? `${hours} 小时 ${rest} 分钟` : `${hours} 小时`
}
