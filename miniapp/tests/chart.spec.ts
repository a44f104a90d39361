import { describe, expect, it } from 'vitest'
import type { Consumption, TemperatureHistory } from '@/api/types'
import { consumptionOption, temperatureOption } from '@/pages-chart/options'
import { startOfDay } from '@/utils/dates'
import { curvePoints, curveStats, lonelyPoints } from '@/utils/temperature'

const DAY = '2026-11-20'
const START = startOfDay(DAY)
const SLOT = 600_000

function history(samples: (number | null)[]): TemperatureHistory {
  const day = { day: DAY, room_cdeg: samples, supply_cdeg: samples, return_cdeg: samples }
  const stats = { min_cdeg: null, max_cdeg: null, mean_cdeg: null, below_target_s: 0 }
  return { interval_s: 600, target_cdeg: 1800, days: [day], stats }
}

const all = { from: START, to: START + 86_400_000 }

describe('a temperature curve', () => {
  it('has a point for each slot, a gap staying a gap', () => {
    const points = curvePoints(history([2100, null, 2130]), 'room', all)
    expect(points.map(([, value]) => value)).toEqual([21, null, 21.3])
    expect(new Date(points[0][0]).toISOString()).toBe('2026-11-20T00:00:00.000Z')
    expect(points[1][0] - points[0][0]).toBe(SLOT)
  })

  it('is cut to the range asked for', () => {
    const range = { from: START + SLOT, to: START + 2 * SLOT }
    expect(curvePoints(history([1, 2, 3]), 'room', range).map(([, v]) => v)).toEqual([0.02])
  })

  it('shows a sample between two gaps as a dot', () => {
    const points = curvePoints(history([2100, 2110, null, 2000, null]), 'room', all)
    expect(lonelyPoints(points).map(([, value]) => value)).toEqual([20])
  })

  it('is summed up over what was measured, in time below the target too', () => {
    const stats = curveStats(curvePoints(history([1700, null, 1900]), 'room', all), 18, 600)
    expect(stats).toEqual({ min: 17, max: 19, mean: 18, below_s: 600, gaps: 1, measured: 2 })
    expect(curveStats(curvePoints(history([null]), 'room', all), 18, 600)).toBe(null)
  })
})

describe('the temperature chart', () => {
  const points = curvePoints(history([2100, null, 2130]), 'room', all)
  const option = temperatureOption([{ curve: 'room', points }], 18)

  it('leaves gaps open and draws the target line inside its axis', () => {
    expect(option.series[0]).toMatchObject({ connectNulls: false })
    expect((option.series[0] as any).markLine.data).toEqual([{ yAxis: 18 }])
    expect(option.yAxis.min).toBeLessThan(18)
    expect(option.yAxis.max).toBeGreaterThan(21.3)
  })

  it('tells the moment and the value under the finger', () => {
    const tip = option.tooltip.formatter
    expect(tip([{ seriesName: '室温', value: points[2] as any }])).toBe('11月20日 00:20\n室温  21.3 °C')
    expect(tip([{ seriesName: '室温', value: points[1] as any }])).toContain('没有数据')
  })
})

describe('the consumption chart', () => {
  const consumption: Consumption = {
    utility: 'heat',
    unit: 'wh',
    provisional: true,
    days: [
      { day: '2026-11-18', used: 31_500, flags: [] },
      { day: '2026-11-19', used: null, flags: ['gap'] },
      { day: '2026-11-20', used: 12_000, flags: ['provisional'] }
    ],
    total: 43_500,
    previous_total: null
  }
  const option = consumptionOption(consumption, '#a83f1b')

  it('shows a day without data as no bar and a provisional one paler', () => {
    const [firm, none, provisional] = option.series[0].data as any[]
    expect(firm).toMatchObject({ value: 31.5 })
    expect(none.value).toBe(null)
    expect(firm.itemStyle.opacity).toBeUndefined()
    expect(provisional.itemStyle.opacity).toBeLessThan(1)
  })

  it('says so in its tooltip', () => {
    const tip = (index: number) => option.tooltip.formatter([{ dataIndex: index }])
    expect(tip(0)).toBe('11月18日\n31.5 kWh')
    expect(tip(1)).toBe('11月19日\n没有数据')
    expect(tip(2)).toBe('11月20日\n12.0 kWh（暂估）')
  })
})
