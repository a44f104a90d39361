import { ApiError } from '@/api/http'
import type { MeasurementInput, ReadingAccepted, ReadingInput, Unit } from '@/api/types'
import type { KeyValue } from './storage'

/**
 * Readings typed in a basement wait here until there is signal. They are kept in storage, sent in
 * the order typed, and carry a client_id, so that a send whose answer was lost may be repeated.
 */
export interface QueuedReading extends ReadingInput {
  unit: Unit
  place: string
  address: string
  /** Set once the server has refused it: a person must look. */
  conflict: { code: string; detail: string } | null
}

/** A cold room measured on site, kept in the same way. */
export interface QueuedMeasurement extends MeasurementInput {
  client_id: string
  report_id: number
  place: string
  conflict: { code: string; detail: string } | null
}

export type Enqueued = { ok: true } | { ok: false; reason: string }

/** About a week's round; a bound, so that storage can never fill up unnoticed. */
export const QUEUE_LIMIT = 500

/** Refusals a reader can overrule by confirming with a note. */
const CONFIRMABLE = ['register_decreased', 'register_jump']
export const isConfirmable = (code: string) => CONFIRMABLE.includes(code)

/** What a queue holds: known by its client_id, refused (conflict) or waiting. */
export interface Queued {
  client_id: string
  conflict: { code: string; detail: string } | null
}

export class Outbox<Item extends Queued, Answer> {
  private sending: Promise<void> | null = null

  constructor(
    private readonly storage: KeyValue,
    private readonly key: string
  ) {}

  all(): Item[] {
    return this.storage.read<Item[]>(this.key) ?? []
  }

  waiting(): Item[] {
    return this.all().filter((reading) => !reading.conflict)
  }

  conflicts(): Item[] {
    return this.all().filter((reading) => reading.conflict)
  }

  /** A reading already here (same client_id) is replaced where it stands. */
  add(reading: Item): Enqueued {
    const queue = this.all()
    const at = queue.findIndex((other) => other.client_id === reading.client_id)
    if (at < 0 && queue.length >= QUEUE_LIMIT) {
      return { ok: false, reason: `已有 ${QUEUE_LIMIT} 条待上传，请先到有信号处上传。` }
    }
    if (at < 0) queue.push(reading)
    else queue[at] = reading
    this.storage.write(this.key, queue)
    return { ok: true }
  }

  drop(clientId: string): void {
    this.storage.write(
      this.key,
      this.all().filter((reading) => reading.client_id !== clientId)
    )
  }

  /** Sends what waits, oldest first, until done or until there is no signal. One run at a time. */
  flush(
    send: (item: Item) => Promise<Answer>,
    accepted: (reading: Item, answer: Answer) => void = () => {}
  ): Promise<void> {
    this.sending ??= this.run(send, accepted).finally(() => {
      this.sending = null
    })
    return this.sending
  }

  private async run(
    send: (item: Item) => Promise<Answer>,
    accepted: (reading: Item, answer: Answer) => void
  ): Promise<void> {
    for (let next = this.waiting()[0]; next; next = this.waiting()[0]) {
      try {
        const answer = await send(next)
        this.drop(next.client_id)
        accepted(next, answer)
      } catch (error) {
        if (!this.settle(next, error)) return
      }
    }
  }

  /** Whether to go on with the next reading. */
  private settle(reading: Item, error: unknown): boolean {
    if (!(error instanceof ApiError)) throw error
    if (error.retriable || error.status === 401 || error.code === 'request_in_progress') {
      return false
    }
    this.add({ ...reading, conflict: { code: error.code, detail: error.detail } })
    return true
  }
}

/** Readings, in the form the server takes them. */
export class ReadingQueue extends Outbox<QueuedReading, ReadingAccepted> {
  flushTo(
    send: (reading: ReadingInput) => Promise<ReadingAccepted>,
    accepted?: (reading: QueuedReading, answer: ReadingAccepted) => void
  ): Promise<void> {
    return this.flush((reading) => send(wireForm(reading)), accepted)
  }
}

function wireForm(reading: QueuedReading): ReadingInput {
  const { client_id, meter_id, register, read_at, note, confirm } = reading
  return {
    client_id,
    meter_id,
    register,
    read_at,
    ...(note ? { note } : {}),
    ...(confirm ? { confirm } : {})
  }
}
