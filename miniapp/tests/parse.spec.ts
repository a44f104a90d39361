import { describe, expect, it } from 'vitest'
import { parseRegister } from '@/utils/parse'
import { thousandths } from '@/utils/quantity'

const value = (text: string) => {
  const parsed = parseRegister(text)
  return parsed.ok ? parsed.value : parsed.reason
}

describe('a register as typed', () => {
  it('becomes whole Wh or litres, exactly', () => {
    expect(value('12345.678')).toBe(12_345_678)
    expect(value('0.1')).toBe(100)
    expect(value('1.005')).toBe(1_005)
    expect(value('4.35')).toBe(4_350)
    expect(value('7')).toBe(7_000)
    expect(value('7.')).toBe(7_000)
    expect(value('000123')).toBe(123_000)
    expect(value('999999999.999')).toBe(999_999_999_999)
  })

  it('may come from a Chinese keyboard, with blanks around', () => {
    expect(value(' １２。５ ')).toBe(12_500)
  })

  it.each(['', '-1', '1.2.3', '1e5', 'abc', '.5', '12,345', '1.2345', '1234567890'])(
    'is refused as %j',
    (text) => expect(parseRegister(text).ok).toBe(false)
  )

  it('reads back as what is shown, for every thousandth', () => {
    for (let milli = 0; milli < 3_000; milli++) {
      expect(value(thousandths(milli, 3))).toBe(milli)
    }
  })
})
