import { createPinia, setActivePinia } from 'pinia'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { ReaderMeter } from '@/api/types'
import { useReadings } from '@/stores/readings'
import { useSession } from '@/stores/session'
import type { QueuedReading } from '@/utils/queue'
import {
  counts,
  failureText,
  matches,
  progress,
  select,
  stateOf,
  withQueue
} from '@/utils/round'

const meter = (id: number, over: Partial<ReaderMeter> = {}): ReaderMeter => ({
  id,
  kind: 'heat',
  address: `1002345${id}`,
  place: '2号楼 301',
  account_no: `23010${id}`,
  state: 'missing',
  last_read_at: null,
  register: 1_000,
  unit: 'wh',
  error: null,
  owes_fen: 0,
  ...over
})
const queued = (meter_id: number, conflict: QueuedReading['conflict'] = null): QueuedReading => ({
  client_id: `c${meter_id}`,
  meter_id,
  register: 2_000,
  read_at: '2026-11-20T01:00:00Z',
  unit: 'wh',
  place: '',
  address: '',
  conflict
})

describe('today’s round', () => {
  it('counts a reading waiting on the phone as done and a refused one as failed', () => {
    const refused = { code: 'register_decreased', detail: '' }
    const meters = withQueue([meter(1), meter(2), meter(3)], [queued(1), queued(2, refused)])
    expect(meters.map(stateOf)).toEqual(['read', 'failed', 'missing'])
    expect(counts(meters)).toEqual({ missing: 1, failed: 1, read: 1, all: 3 })
  })

  it('counts the meters read by wire, which the list leaves out, and those waiting here', () => {
    const day = { day: '2026-11-20', total: 90, read: 80, missing: 10, meters: [] }
    const meters = withQueue([meter(1), meter(2, { state: 'read' })], [queued(1), queued(2)])
    expect(progress(day, meters)).toEqual({ read: 81, total: 90 })
  })

  it('says why a meter failed in words, never in code', () => {
    expect(failureText('silent')).toBe('自动抄表失败：没有应答')
    expect(failureText('E_17')).toBe('自动抄表失败')
    expect(failureText(null)).toBe('自动抄表失败')
  })

  it('is searched by place as people type it, by meter and by account', () => {
    for (const text of ['2号楼301', '2 301', '301', '10023451', '230101', '']) {
      expect(matches(meter(1), text)).toBe(true)
    }
    expect(matches(meter(1), '302')).toBe(false)
  })

  it('is filtered by state and search together', () => {
    const meters = withQueue([meter(1), meter(2, { state: 'failed' })], [])
    expect(select(meters, 'failed', '').map(({ id }) => id)).toEqual([2])
    expect(select(meters, 'all', '10023451').map(({ id }) => id)).toEqual([1])
  })
})

describe('a reader in a basement', () => {
  const answers = (by: (options: any) => void) =>
    vi.mocked(uni.request).mockImplementation(by as any)
  const online = (data: unknown) =>
    answers(({ success }) => success({ statusCode: 200, data }))
  const offline = () => answers(({ fail }) => fail({ errMsg: 'request:fail' }))
  const day = () => ({ day: '2026-11-20', total: 1, read: 0, missing: 1, meters: [meter(1)] })

  beforeEach(() => {
    setActivePinia(createPinia())
    useSession().$patch({ token: 't', role: 'reader', name: 'wang' })
  })

  it('sees the last list, marked as old', async () => {
    online(day())
    await useReadings().load()
    setActivePinia(createPinia())
    useSession().$patch({ token: 't', role: 'reader', name: 'wang' })
    offline()
    await useReadings().load()
    expect(useReadings().stale).toBe(true)
    expect(useReadings().meter(1)?.place).toBe('2号楼 301')
  })

  it('is told when there is no list at all', async () => {
    offline()
    await expect(useReadings().load()).rejects.toMatchObject({ code: 'offline' })
  })

  it('types a reading that goes out once there is signal, and the list shows it', async () => {
    online(day())
    const readings = useReadings()
    await readings.load()
    offline()
    readings.add(queued(1))
    await readings.flush()
    expect(readings.waiting).toHaveLength(1)
    online({ reading_id: 5, flags: [], usage_since_last: 1_000 })
    await readings.flush()
    expect(readings.waiting).toHaveLength(0)
    expect(readings.answers.c1.usage_since_last).toBe(1_000)
    expect(readings.day).toMatchObject({ read: 1, missing: 0 })
    expect(readings.meter(1)).toMatchObject({ state: 'read', register: 2_000 })
  })
})
