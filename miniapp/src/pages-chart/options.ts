import { DAY_MS, dayText } from '@/utils/dates'
import { degrees, kwh, cubicMetres, unitText } from '@/utils/quantity'
import { lonelyPoints, type Curve, type Point } from '@/utils/temperature'
import type { Consumption } from '@/api/types'

/** ECharts options; pure, so that they can be tested without a canvas. */
const INK = '#2a211c'
const SOFT = '#65564b'
const GRID = '#eadfd2'
const EMBER = '#a83f1b'
const FONT = 13

const COLORS: Record<Curve, string> = { room: EMBER, supply: '#c47f1a', return: '#35506b' }
const NAMES: Record<Curve, string> = { room: '室温', supply: '供水', return: '回水' }

interface TipSize {
  contentSize: number[]
  viewSize: number[]
}

const tooltip = {
  trigger: 'axis',
  confine: true,
  // drawn on the canvas: mini-programs have no DOM to put a box into
  renderMode: 'richText',
  backgroundColor: '#2a211c',
  borderWidth: 0,
  padding: [10, 14],
  // along the top, on the far side of the finger
  position: ([x]: number[], _params: unknown, _el: unknown, _rect: unknown, size: TipSize) => {
    const [width, room] = [size.contentSize[0], size.viewSize[0]]
    return [x > room / 2 ? Math.max(0, x - width - 40) : Math.min(room - width, x + 16), 0]
  },
  textStyle: { color: '#fff', fontSize: 15, lineHeight: 22 },
  axisPointer: { type: 'line', lineStyle: { color: SOFT, type: 'solid', width: 1 } }
}

const axisText = (scale: number) => ({ color: SOFT, fontSize: FONT * scale })
const two = (value: number) => String(value).padStart(2, '0')

/** Shanghai wall-clock ms, to be read as UTC. */
function wallText(ms: number, hours: boolean): string {
  const at = new Date(ms)
  const day = `${at.getUTCMonth() + 1}月${at.getUTCDate()}日`
  return hours ? `${day} ${two(at.getUTCHours())}:${two(at.getUTCMinutes())}` : day
}

/** A tick each 6 hours, each day or each 5 days: what a phone has room for. */
function timeAxis(from: number, to: number) {
  const days = (to - from) / DAY_MS
  return {
    min: from,
    max: to,
    interval: days <= 2 ? DAY_MS / 4 : days <= 8 ? DAY_MS : 5 * DAY_MS,
    formatter: (ms: number) => {
      const at = new Date(ms)
      if (ms > to - 1 && days > 2) return ''
      const clock = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`
      return days <= 2 ? clock : `${at.getUTCMonth() + 1}/${at.getUTCDate()}`
    }
  }
}

/** The axis shows what was measured and, for room temperature, always the target. */
function bounds(curves: { points: Point[] }[], target: number | null) {
  const values = curves.flatMap(({ points }) =>
    points.flatMap(([, value]) => (value === null ? [] : [value]))
  )
  if (target !== null) values.push(target)
  if (!values.length) return { min: 14, max: 26, interval: 2 }
  const low = values.reduce((a, b) => Math.min(a, b))
  const high = values.reduce((a, b) => Math.max(a, b))
  const interval = [1, 2, 5, 10].find((step) => high - low <= 6 * step) ?? 20
  const min = Math.floor((low - 0.3) / interval) * interval
  return { min, max: Math.ceil((high + 0.3) / interval) * interval, interval }
}

function line(curve: Curve, points: Point[], target: number | null, named: boolean) {
  return {
    name: NAMES[curve],
    type: 'line',
    data: points,
    connectNulls: false,
    showSymbol: false,
    symbol: 'circle',
    lineStyle: { width: points.length > 1500 ? 1.5 : 2.5, color: COLORS[curve] },
    itemStyle: { color: COLORS[curve] },
    areaStyle: curve === 'room' ? { color: EMBER, opacity: 0.08, origin: 'start' } : undefined,
    markLine: target === null ? undefined : targetLine(target, named)
  }
}

function targetLine(target: number, named: boolean) {
  return {
    silent: true,
    symbol: 'none',
    lineStyle: { color: '#22614f', type: [6, 5], width: 1.5 },
    label: {
      show: named,
      position: 'insideStartTop',
      formatter: `达标 ${target} °C`,
      color: '#22614f',
      backgroundColor: 'rgba(255,253,249,0.86)',
      padding: [2, 4],
      borderRadius: 4,
      fontSize: FONT
    },
    data: [{ yAxis: target }]
  }
}

function dots(curve: Curve, points: Point[]) {
  return {
    name: `${NAMES[curve]}·`,
    type: 'line',
    data: lonelyPoints(points),
    lineStyle: { width: 0 },
    symbol: 'circle',
    symbolSize: 4,
    showSymbol: true,
    silent: true,
    tooltip: { show: false },
    itemStyle: { color: COLORS[curve] }
  }
}

interface TipItem {
  seriesName: string
  value: [number, number | null]
}

function temperatureTip(items: TipItem[]): string {
  const shown = items.filter((item) => !item.seriesName.endsWith('·'))
  if (!shown.length) return ''
  const rows = shown.map(({ seriesName, value: [, value] }) =>
    value == null ? `${seriesName}  没有数据` : `${seriesName}  ${degrees(Math.round(value * 100))} °C`
  )
  return [wallText(shown[0].value[0], true), ...rows].join('\n')
}

export function temperatureOption(
  curves: { curve: Curve; points: Point[] }[],
  target: number,
  scale = 1
) {
  const withRoom = curves.some(({ curve }) => curve === 'room')
  const times = curves[0]?.points ?? []
  const { formatter, ...time } = timeAxis(times[0]?.[0] ?? 0, times[times.length - 1]?.[0] ?? 1)
  return {
    animation: false,
    textStyle: { color: INK },
    // on the right, half of the last hour's label
    grid: { left: 4, right: Math.round(20 * scale), top: 18, bottom: 4, containLabel: true },
    tooltip: { ...tooltip, formatter: temperatureTip },
    xAxis: {
      type: 'value',
      ...time,
      splitLine: { show: false },
      axisLine: { lineStyle: { color: GRID } },
      axisTick: { show: false },
      axisLabel: { ...axisText(scale), hideOverlap: true, formatter }
    },
    yAxis: {
      type: 'value',
      ...bounds(curves, withRoom ? target : null),
      axisLine: { show: false },
      axisTick: { show: false },
      splitLine: { lineStyle: { color: GRID } },
      axisLabel: { ...axisText(scale), formatter: '{value}°' }
    },
    series: curves.flatMap(({ curve, points }) => [
      line(curve, points, curve === 'room' ? target : null, curves.length === 1),
      dots(curve, points)
    ])
  }
}

const isProvisional = (flags: string[]) =>
  flags.some((flag) => flag === 'provisional' || flag === 'estimated')

/** Bars by day: a firm day is solid, a provisional one pale with a border. */
export function consumptionOption(consumption: Consumption, color: string, scale = 1) {
  const unit = unitText(consumption.unit)
  const { days } = consumption
  const text = (used: number) =>
    `${consumption.unit === 'wh' ? kwh(used) : cubicMetres(used, 3)} ${unit}`
  return {
    animation: false,
    textStyle: { color: INK },
    grid: { left: 4, right: 10, top: 18, bottom: 4, containLabel: true },
    tooltip: {
      ...tooltip,
      axisPointer: { type: 'shadow', shadowStyle: { color: 'rgba(168,63,27,0.08)' } },
      formatter: ([item]: { dataIndex: number }[]) => {
        const { day, used, flags } = days[item.dataIndex]
        const mark = isProvisional(flags) ? '（暂估）' : ''
        return `${dayText(day)}\n${used === null ? '没有数据' : text(used) + mark}`
      }
    },
    xAxis: {
      type: 'category',
      data: days.map(({ day }) => day),
      axisLine: { lineStyle: { color: GRID } },
      axisTick: { show: false },
      axisLabel: {
        ...axisText(scale),
        hideOverlap: true,
        formatter: (day: string) => `${Number(day.slice(5, 7))}/${Number(day.slice(8))}`
      }
    },
    yAxis: {
      type: 'value',
      splitNumber: 3,
      splitLine: { lineStyle: { color: GRID } },
      axisLabel: axisText(scale)
    },
    series: [
      {
        type: 'bar',
        barMaxWidth: 22,
        data: days.map(({ used, flags }) => ({
          value: used === null ? null : used / 1000,
          itemStyle: isProvisional(flags)
            ? { color, opacity: 0.38, borderRadius: [4, 4, 0, 0] }
            : { color, borderRadius: [4, 4, 0, 0] }
        }))
      }
    ]
  }
}
