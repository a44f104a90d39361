import { describe, expect, it } from 'vitest'
import { ApiError } from '@/api/http'
import type { ReadingInput } from '@/api/types'
import { isConfirmable, QUEUE_LIMIT, type QueuedReading, ReadingQueue } from '@/utils/queue'
import { storage } from '@/utils/storage'

const reading = (id: string, over: Partial<QueuedReading> = {}): QueuedReading => ({
  client_id: id,
  meter_id: 1,
  register: 5_000,
  read_at: '2026-11-20T01:00:00Z',
  unit: 'wh',
  place: '2号楼 301',
  address: '10023456',
  conflict: null,
  ...over
})
const answered = { reading_id: 1, flags: [], usage_since_last: 10 }
const offline = () => new ApiError(0, 'offline', '网络不通')
const ids = (readings: QueuedReading[]) => readings.map((one) => one.client_id)
const queue = () => new ReadingQueue(storage, 'queue.wang')

describe('the queue of readings', () => {
  it('survives a reload: a new queue over the same storage holds the same readings', () => {
    queue().add(reading('a'))
    expect(ids(queue().all())).toEqual(['a'])
  })

  it('keeps each reader to their own', () => {
    queue().add(reading('a'))
    expect(new ReadingQueue(storage, 'queue.li').all()).toEqual([])
  })

  it('sends in the order typed, and only what the server asks for', async () => {
    const sent: ReadingInput[] = []
    const waiting = queue()
    waiting.add(reading('a', { note: '换表', confirm: true }))
    waiting.add(reading('b'))
    await waiting.flushTo(async (one) => (sent.push(one), answered))
    expect(sent.map((one) => one.client_id)).toEqual(['a', 'b'])
    expect(sent[0]).toMatchObject({ note: '换表', confirm: true })
    expect(Object.keys(sent[1]).sort()).toEqual(['client_id', 'meter_id', 'read_at', 'register'])
    expect(waiting.all()).toEqual([])
  })

  it('stops where the signal stops, loses nothing and goes on from there', async () => {
    const waiting = queue()
    ;['a', 'b', 'c'].forEach((id) => waiting.add(reading(id)))
    let signal = 1
    const send = async () => {
      if (signal-- <= 0) throw offline()
      return answered
    }
    await waiting.flushTo(send)
    expect(ids(waiting.all())).toEqual(['b', 'c'])
    signal = 9
    await waiting.flushTo(send)
    expect(waiting.all()).toEqual([])
  })

  it('sets a refused reading aside for a person and sends the rest', async () => {
    const waiting = queue()
    waiting.add(reading('a'))
    waiting.add(reading('b'))
    await waiting.flushTo(async (one) => {
      if (one.client_id === 'a') throw new ApiError(422, 'register_decreased', '读数比上次小')
      return answered
    })
    expect(ids(waiting.conflicts())).toEqual(['a'])
    expect(waiting.waiting()).toEqual([])
    expect(isConfirmable(waiting.conflicts()[0].conflict!.code)).toBe(true)
  })

  it('sends a confirmed reading again under the same id', async () => {
    const waiting = queue()
    const refused = { code: 'register_decreased', detail: '读数比上次小' }
    waiting.add(reading('a', { conflict: refused }))
    waiting.add(reading('a', { note: '换表', confirm: true }))
    const sent: ReadingInput[] = []
    await waiting.flushTo(async (one) => (sent.push(one), answered))
    expect(sent).toHaveLength(1)
    expect(sent[0]).toMatchObject({ client_id: 'a', confirm: true })
  })

  it.each([
    [401, 'session_expired'],
    [429, 'too_many_attempts'],
    [503, 'unavailable'],
    [409, 'request_in_progress']
  ])('waits, without a conflict, after %i %s', async (status, code) => {
    const waiting = queue()
    waiting.add(reading('a'))
    await waiting.flushTo(async () => {
      throw new ApiError(status, code, '')
    })
    expect(ids(waiting.waiting())).toEqual(['a'])
  })

  it('never sends one reading twice at once, however often it is asked to', async () => {
    const waiting = queue()
    waiting.add(reading('a'))
    let sends = 0
    const send = async () => {
      sends += 1
      await new Promise((resolve) => setTimeout(resolve, 5))
      return answered
    }
    await Promise.all([waiting.flushTo(send), waiting.flushTo(send), waiting.flushTo(send)])
    expect(sends).toBe(1)
  })

  it('sends what is added while it is sending', async () => {
    const waiting = queue()
    waiting.add(reading('a'))
    await waiting.flushTo(async (one) => {
      if (one.client_id === 'a') waiting.add(reading('b'))
      return answered
    })
    expect(waiting.all()).toEqual([])
  })

  it('is bounded and says so', () => {
    const waiting = queue()
    for (let i = 0; i < QUEUE_LIMIT; i++) waiting.add(reading(`r${i}`))
    expect(waiting.add(reading('one more'))).toMatchObject({ ok: false })
    expect(waiting.add(reading('r0', { register: 6_000 }))).toEqual({ ok: true })
    expect(waiting.all()).toHaveLength(QUEUE_LIMIT)
    expect(waiting.all()[0].register).toBe(6_000)
  })

  it('treats unreadable storage as empty', () => {
    uni.setStorageSync('nuan.queue.wang', '{broken')
    expect(queue().all()).toEqual([])
  })
})
