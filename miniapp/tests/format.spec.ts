import { describe, expect, it } from 'vitest'
import {
  agoText,
  dayOf,
  daysBetween,
  dueText,
  durationText,
  periodText,
  startOfDay,
  timeText
} from '@/utils/dates'
import { lasts } from '@/utils/lasts'
import { fenOf, yuan, yuanText } from '@/utils/money'
import {
  cubicMetres,
  dayFlagTexts,
  degrees,
  gigajoules,
  kwh,
  percentText,
  registerText
} from '@/utils/quantity'

describe('money', () => {
  it('shows fen as yuan with two decimals and grouped thousands', () => {
    expect(yuanText(1234)).toBe('12.34 元')
    expect(yuan(0)).toBe('0.00')
    expect(yuan(5)).toBe('0.05')
    expect(yuan(-5)).toBe('-0.05')
    expect(yuan(123456789)).toBe('1,234,567.89')
  })

  it('reads what somebody types as whole fen, or not at all', () => {
    expect([fenOf('50'), fenOf('12.3'), fenOf(' 0.05 ')]).toEqual([5000, 1230, 5])
    for (const typed of ['', '0', '-5', '1.234', '1e3', '五十', '.5', '12345678']) {
      expect(fenOf(typed)).toBeNull()
    }
  })

  it('says how long a balance lasts, where that is known', () => {
    expect([lasts(null), lasts(12)]).toEqual(['', ' · 按近日用量约可用 12 天'])
    expect(lasts(0)).toContain('余额已用完')
  })
})

describe('energy and volume', () => {
  it('shows Wh as kWh, half-up', () => {
    expect(kwh(1_234_550)).toBe('1,234.6')
    expect(kwh(1_234_549)).toBe('1,234.5')
    expect(kwh(999_950)).toBe('1,000.0')
    expect(kwh(-50)).toBe('-0.1')
    expect(kwh(-49)).toBe('0.0')
    expect(kwh(500, 0)).toBe('1')
  })

  it('shows Wh as GJ without passing through floating point', () => {
    expect(gigajoules(277_778)).toBe('1.000')
    expect(gigajoules(718_192)).toBe('2.585')
    expect(gigajoules(16_333_333, 2)).toBe('58.80')
    expect(gigajoules(0)).toBe('0.000')
  })

  it('shows litres as cubic metres and a register with all its decimals', () => {
    expect(cubicMetres(8_450)).toBe('8.45')
    expect(registerText(12_345_678, 'l')).toBe('12,345.678 m³')
    expect(registerText(5, 'wh')).toBe('0.005 kWh')
  })

  it('shows hundredths of a degree to the tenth, half-up, below zero too', () => {
    expect(degrees(2145)).toBe('21.5')
    expect(degrees(2144)).toBe('21.4')
    expect(degrees(-105)).toBe('-1.1')
    expect(degrees(-4)).toBe('0.0')
  })

  it('says less and more in words, and leaves out day marks it does not know', () => {
    expect(percentText(-12)).toBe('少 12%')
    expect(percentText(3)).toBe('多 3%')
    expect(percentText(0)).toBe('持平')
    expect(dayFlagTexts(['provisional', 'estimated', 'interpolated', 'zzz'])).toEqual(['暂估', '估算'])
  })
})

describe('dates', () => {
  const noon = Date.parse('2026-11-20T04:00:00Z')

  it('counts days in Shanghai, whatever the phone is set to', () => {
    expect(dayOf(Date.parse('2026-11-19T16:00:00Z'))).toBe('2026-11-20')
    expect(dayOf(Date.parse('2026-11-19T15:59:59Z'))).toBe('2026-11-19')
    expect(startOfDay('2026-11-20')).toBe(Date.parse('2026-11-19T16:00:00Z'))
    expect(timeText('2026-11-20T01:05:00Z')).toBe('09:05')
  })

  it('says how long ago', () => {
    expect(agoText('2026-11-20T03:59:40Z', noon)).toBe('刚刚')
    expect(agoText('2026-11-20T03:52:00Z', noon)).toBe('8 分钟前')
    expect(agoText('2026-11-20T01:20:00Z', noon)).toBe('今天 09:20')
    expect(agoText('2026-11-19T15:10:00Z', noon)).toBe('昨天 23:10')
    expect(agoText('2026-11-17T23:00:00Z', noon)).toBe('11月18日 07:00')
  })

  it('says when a bill is due and by how much it is overdue', () => {
    expect(dueText('2026-11-20', '2026-11-20')).toBe('今天到期')
    expect(dueText('2026-11-23', '2026-11-20')).toBe('还有 3 天')
    expect(dueText('2026-11-15', '2026-11-20')).toBe('已逾期 5 天')
    expect(daysBetween('2026-12-31', '2027-01-01')).toBe(1)
  })

  it('writes periods and durations', () => {
    expect(periodText('2026-10-01', '2026-10-31')).toBe('2026年10月1日至10月31日')
    expect(periodText('2026-12-15', '2027-01-14')).toBe('2026年12月15日至2027年1月14日')
    expect(durationText(600)).toBe('10 分钟')
    expect(durationText(7_200)).toBe('2 小时')
    expect(durationText(4_500)).toBe('1 小时 15 分钟')
    expect(durationText(172_800)).toBe('2 天')
    expect(durationText(2_376_000)).toBe('27 天 12 小时')
  })
})
