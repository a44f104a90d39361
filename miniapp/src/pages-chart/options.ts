import { dayText } from '@/utils/dates'
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

const tooltip = {
  trigger: 'axis',
  confine: true,
  // drawn on the canvas: mini-programs have no DOM to put a box into
  renderMode: 'richText',
  backgroundColor: '#2a211c',
  borderWidth: 0,
  padding: [10, 14],
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

function axisLabel(span: number) {
  return (ms: number) => {
    const at = new Date(ms)
    const date = `${at.getUTCMonth() + 1}/${at.getUTCDate()}`
    if (span > 2 * 86_400_000) return date
    return at.getUTCHours() === 0 ? date : `${two(at.getUTCHours())}:00`
  }
}

/** The axis shows what was measured and, for room temperature, always the target. */
function bounds(curves: { points: Point[] }[], target: number | null): [number, number] {
  const values = curves.flatMap(({ points }) =>
    points.flatMap(([, value]) => (value === null ? [] : [value]))
  )
  if (target !== null) values.push(target)
  if (!values.length) return [14, 26]
  const low = values.reduce((a, b) => Math.min(a, b))
  const high = values.reduce((a, b) => Math.max(a, b))
  return [Math.floor(low - 0.8), Math.ceil(high + 0.8)]
}

function line(curve: Curve, points: Point[], target: number | null) {
  return {
    name: NAMES[curve],
    type: 'line',
    data: points,
    connectNulls: false,
    showSymbol: false,
    symbol: 'circle',
    sampling: undefined,
    lineStyle: { width: 2.5, color: COLORS[curve] },
    itemStyle: { color: COLORS[curve] },
    areaStyle: curve === 'room' ? { color: EMBER, opacity: 0.08, origin: 'start' } : undefined,
    markLine: target === null ? undefined : targetLine(target)
  }
}

function targetLine(target: number) {
  return {
    silent: true,
    symbol: 'none',
    lineStyle: { color: '#22614f', type: [6, 5], width: 1.5 },
    label: {
      position: 'insideStartTop',
      formatter: `达标 ${target} °C`,
      color: '#22614f',
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
  const span = times.length ? times[times.length - 1][0] - times[0][0] : 0
  const [min, max] = bounds(curves, withRoom ? target : null)
  return {
    animation: false,
    useUTC: true,
    textStyle: { color: INK },
    grid: { left: 4, right: 14, top: 18, bottom: 4, containLabel: true },
    tooltip: { ...tooltip, formatter: temperatureTip },
    xAxis: {
      type: 'time',
      min: times[0]?.[0],
      max: times[times.length - 1]?.[0],
      splitNumber: 4,
      axisLine: { lineStyle: { color: GRID } },
      axisTick: { show: false },
      axisLabel: { ...axisText(scale), hideOverlap: true, formatter: axisLabel(span) }
    },
    yAxis: {
      type: 'value',
      min,
      max,
      minInterval: 1,
      splitNumber: 4,
      splitLine: { lineStyle: { color: GRID } },
      axisLabel: { ...axisText(scale), formatter: '{value}°' }
    },
    series: curves.flatMap(({ curve, points }) => [
      line(curve, points, curve === 'room' ? target : null),
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
