import type { Channel } from '@/api/types'

export const CHANNEL_NAMES: Record<Channel, string> = {
  wechat: '微信支付',
  alipay: '支付宝',
  unionpay: '银联'
}
