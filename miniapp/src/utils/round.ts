import type { ReaderDay, ReaderMeter } from '@/api/types'
import type { QueuedReading } from './queue'

export type RoundFilter = 'missing' | 'failed' | 'read' | 'all'

/** A meter of today's round, with what this phone knows beyond the server. */
export interface RoundMeter extends ReaderMeter {
  queued: QueuedReading | null
}

export function withQueue(meters: ReaderMeter[], queued: QueuedReading[]): RoundMeter[] {
  const latest = new Map(queued.map((reading) => [reading.meter_id, reading]))
  return meters.map((meter) => ({ ...meter, queued: latest.get(meter.id) ?? null }))
}

/** A reading waiting for signal is work done; one refused by the server is not. */
export function stateOf(meter: RoundMeter): ReaderMeter['state'] {
  if (meter.queued) return meter.queued.conflict ? 'failed' : 'read'
  return meter.state
}

const squeezed = (text: string) => text.toLowerCase().replace(/[\s\-—号楼单元室]/g, '')

/** By place ("2号楼 301", also typed "2 301"), meter address or account number. */
export function matches(meter: ReaderMeter, search: string): boolean {
  const wanted = squeezed(search)
  if (!wanted) return true
  return [meter.place, meter.address, meter.account_no].some((text) =>
    squeezed(text).includes(wanted)
  )
}

export function select(meters: RoundMeter[], filter: RoundFilter, search: string): RoundMeter[] {
  return meters.filter(
    (meter) => (filter === 'all' || stateOf(meter) === filter) && matches(meter, search)
  )
}

/** What a collector's code means to the person sent to the meter. */
const FAILURES: Record<string, string> = {
  silent: '没有应答',
  garbled: '应答不完整',
  checksum: '应答有误码',
  wrong_address: '应答的不是这块表',
  wrong_answer: '应答内容不对',
  refused: '表计拒绝应答',
  unreadable: '读数无法识别',
  link_down: '采集器不在线',
  bad_target: '表计档案有误'
}
export const failureText = (code: string | null) =>
  `自动抄表失败${code && FAILURES[code] ? `：${FAILURES[code]}` : ''}`

/** The whole round: the list leaves out what was read by wire, the day's figures do not. */
export function progress(day: ReaderDay, meters: RoundMeter[]): { read: number; total: number } {
  const waiting = meters.filter(
    (meter) => meter.state !== 'read' && meter.queued && !meter.queued.conflict
  )
  return { read: day.read + waiting.length, total: Math.max(day.total, meters.length) }
}

export function counts(meters: RoundMeter[]): Record<RoundFilter, number> {
  const of = (state: ReaderMeter['state']) =>
    meters.filter((meter) => stateOf(meter) === state).length
  return { missing: of('missing'), failed: of('failed'), read: of('read'), all: meters.length }
}
