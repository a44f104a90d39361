import type { Unit, Utility } from '@/api/types'
import { grouped } from './money'

/**
 * A whole number of thousandths ("12345" thousandths = 12.345) with `decimals` shown, half-up.
 * Wh -> kWh and l -> m³ are both a shift of three places.
 */
export function thousandths(value: number, decimals: 0 | 1 | 2 | 3): string {
  const step = 10 ** (3 - decimals)
  const rounded = Math.floor((Math.abs(value) * 2 + step) / (2 * step))
  const scale = 10 ** decimals
  const whole = grouped(Math.floor(rounded / scale))
  const sign = value < 0 && rounded > 0 ? '-' : ''
  if (decimals === 0) return sign + whole
  return `${sign}${whole}.${String(rounded % scale).padStart(decimals, '0')}`
}

export const kwh = (wh: number, decimals: 0 | 1 | 2 | 3 = 1) => thousandths(wh, decimals)
export const cubicMetres = (litres: number, decimals: 0 | 1 | 2 | 3 = 2) =>
  thousandths(litres, decimals)

/** Wh -> "1.234" GJ. 1 Wh = 3,600 J, so thousandths of a GJ are Wh × 36 / 10,000, half-up. */
export function gigajoules(wh: number, decimals: 0 | 1 | 2 | 3 = 3): string {
  const milli = Math.floor((Math.abs(wh) * 36 + 5_000) / 10_000)
  return thousandths(wh < 0 ? -milli : milli, decimals)
}

export const unitText = (unit: Unit) => (unit === 'wh' ? 'kWh' : 'm³')

/** What a utility is counted in. */
export const unitOf = (utility: Utility): Unit =>
  utility === 'heat' || utility === 'electricity' ? 'wh' : 'l'

/** "12.3 kWh" or "1.23 m³" */
export function quantityText(value: number, unit: Unit): string {
  return `${unit === 'wh' ? kwh(value) : cubicMetres(value)} ${unitText(unit)}`
}

/** A register as a reader sees it on the dial: all three decimals. */
export const registerText = (value: number, unit: Unit) =>
  `${thousandths(value, 3)} ${unitText(unit)}`

/** 2140 -> "21.4"; half-up to the tenth. */
export function degrees(cdeg: number): string {
  const tenths = Math.floor((Math.abs(cdeg) + 5) / 10)
  const sign = cdeg < 0 && tenths > 0 ? '-' : ''
  return `${sign}${Math.floor(tenths / 10)}.${tenths % 10}`
}

/** 2140 -> "21.4 °C" */
export const degreesText = (cdeg: number | null) => (cdeg === null ? '—' : `${degrees(cdeg)} °C`)

const UTILITIES: Record<Utility, string> = {
  heat: '热',
  water: '水',
  gas: '燃气',
  electricity: '电'
}
export const utilityText = (utility: Utility) => UTILITIES[utility] ?? utility

/** -12 -> "少 12%" */
export function percentText(pct: number): string {
  if (pct === 0) return '持平'
  return pct < 0 ? `少 ${-pct}%` : `多 ${pct}%`
}

/** What a day's mark means, in words; an unknown mark is left out rather than shown as code. */
const DAY_FLAGS: Record<string, string> = {
  provisional: '暂估',
  estimated: '估算',
  interpolated: '估算',
  gap: '有缺测',
  not_closed: '未结算',
  fewer_than_two_readings: '缺测',
  stale_boundary: '零点缺测',
  negative_delta: '读数倒退',
  meter_replaced: '换表',
  rollover: '表满归零',
  'substituted:building_mean_per_area': '按均值补',
  'substituted:neighbours_mean': '按邻居补',
  'substituted:last_period': '按上期补',
  whole_building_by_area: '按面积摊'
}
export const dayFlagTexts = (flags: string[]) =>
  [...new Set(flags.map((flag) => DAY_FLAGS[flag]).filter(Boolean))]
