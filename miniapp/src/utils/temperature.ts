import type { TemperatureHistory } from '@/api/types'
import { startOfDay } from './dates'

export type Curve = 'room' | 'supply' | 'return'
/** [wall-clock ms (read it as UTC), °C or null for a gap] */
export type Point = [number, number | null]

export interface Range {
  from: number
  to: number
}

const SHANGHAI_MS = 8 * 3_600_000

/** One curve over [from, to): every slot is there, an unmeasured one as null, so gaps stay gaps. */
export function curvePoints(history: TemperatureHistory, curve: Curve, range: Range): Point[] {
  const points: Point[] = []
  for (const day of history.days) {
    const start = startOfDay(day.day)
    const samples = day[`${curve}_cdeg`]
    for (let slot = 0; slot < samples.length; slot++) {
      const at = start + slot * history.interval_s * 1000
      if (at < range.from || at >= range.to) continue
      const cdeg = samples[slot]
      points.push([at + SHANGHAI_MS, cdeg === null ? null : cdeg / 100])
    }
  }
  return points
}

/** A sample between two gaps draws no line; it is shown as a dot. */
export function lonelyPoints(points: Point[]): Point[] {
  const empty = (index: number) => points[index]?.[1] == null
  return points.filter((point, i) => point[1] !== null && empty(i - 1) && empty(i + 1))
}

export interface Stats {
  min: number
  max: number
  mean: number
  below_s: number
  gaps: number
  measured: number
}

/** Over the points shown; null where nothing was measured. */
export function curveStats(points: Point[], target: number, interval_s: number): Stats | null {
  const values = points.flatMap(([, value]) => (value === null ? [] : [value]))
  if (!values.length) return null
  const sum = values.reduce((total, value) => total + value, 0)
  return {
    min: Math.min(...values),
    max: Math.max(...values),
    mean: sum / values.length,
    below_s: values.filter((value) => value < target).length * interval_s,
    gaps: points.length - values.length,
    measured: values.length
  }
}
