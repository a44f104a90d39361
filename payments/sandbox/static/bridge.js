// Stands in for the bridge WeChat gives its pages: window.WeixinJSBridge with
// getBrandWCPayRequest, as a pay sheet over the page. The sandbox checks the merchant's paySign.
;(() => {
  'use strict'
  if (window.WeixinJSBridge) return // inside WeChat, or loaded before
  const sandbox = new URL(document.currentScript.src).origin
  const PAY = 'getBrandWCPayRequest'
  const PREFIX = 'get_brand_wcpay_request:'
  const DONE_MS = 900
  const PATIENCE_MS = 10_000

  const STYLE = `
    :host { all: initial }
    * { box-sizing: border-box }
    dialog { position: fixed; inset: auto 0 0; width: 100%; max-width: 100%; margin: 0; padding: 0;
      border: 0; border-radius: 14px 14px 0 0; background: #fff; color: #191919;
      font: 17px/1.5 system-ui, -apple-system, "PingFang SC", "Microsoft YaHei",
      "Noto Sans CJK SC", sans-serif; box-shadow: 0 -4px 30px rgb(0 0 0 / .12) }
    dialog::backdrop { background: rgb(0 0 0 / .6) }
    dialog:focus { outline: none }
    .top { display: grid; grid-template-columns: 48px 1fr 48px; align-items: center; height: 52px }
    .top h2 { margin: 0; font-size: 17px; font-weight: 500; text-align: center }
    .cross { width: 48px; height: 48px; border: 0; background: none; color: #191919;
      font: 300 26px/1 system-ui, sans-serif; cursor: pointer }
    .body { padding: 14px 24px calc(28px + env(safe-area-inset-bottom)); text-align: center }
    .merchant { margin: 0; overflow-wrap: anywhere }
    .amount { margin: 2px 0 18px; font-size: 44px; font-weight: 600; line-height: 1.2;
      font-variant-numeric: tabular-nums; letter-spacing: -.5px }
    .amount small { margin-right: 3px; font-size: 30px }
    dl { margin: 0 0 24px; border-top: 1px solid #e5e5e5; font-size: 15px; text-align: left }
    dl div { display: flex; justify-content: space-between; gap: 24px; padding: 11px 0;
      border-bottom: 1px solid #e5e5e5 }
    dt { flex: none; color: #6b6b6b } dd { margin: 0; text-align: right; overflow-wrap: anywhere }
    .main { display: block; width: min(100%, 320px); height: 48px; margin: 0 auto; border: 0;
      border-radius: 8px; background: #07a350; color: #fff; font: inherit; font-weight: 500;
      cursor: pointer }
    .main:hover { background: #06964a } .main:disabled { background: #9fd8b8; cursor: default }
    .second { display: block; width: min(100%, 320px); height: 44px; margin: 8px auto 0; border: 0;
      background: none; color: #3d5a8c; font: inherit; cursor: pointer }
    button:focus-visible { outline: 3px solid #1664ff; outline-offset: 2px }
    .note { margin: 12px 0 0; color: #6b6b6b; font-size: 13px }
    .mark { display: grid; place-items: center; width: 64px; height: 64px; margin: 26px auto 14px;
      border-radius: 50%; background: #07a350; color: #fff; font: 500 34px/1 system-ui, sans-serif }
    .mark.bad { background: #e5484d }
    .said { margin: 0 0 28px; font-size: 20px }
    [hidden] { display: none !important }
    @media (min-width: 600px) { dialog { inset: 0; width: 400px; height: fit-content; margin: auto;
      border-radius: 14px; box-shadow: 0 18px 60px rgb(0 0 0 / .3) } }
    @media (prefers-reduced-motion: no-preference) {
      dialog { animation: rise .22s ease-out }
      @keyframes rise { from { transform: translateY(36px); opacity: 0 } } }`

  const yuan = (fen) => `${Math.floor(fen / 100)}.${String(fen % 100).padStart(2, '0')}`

  function element(tag, properties = {}, children = []) {
    const made = Object.assign(document.createElement(tag), properties)
    made.append(...children)
    return made
  }

  function button(className, text, testid) {
    const made = element('button', { type: 'button', className, textContent: text })
    if (testid) made.dataset.testid = testid
    return made
  }

  // The sandbox said no, in words for the person paying.
  class Refused extends Error {}

  async function ask(path, body) {
    const posted = body && {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body)
    }
    const answer = await fetch(sandbox + path, {
      ...posted, cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS)
    })
    const told = await answer.json()
    if (!answer.ok) throw new Refused(told.message)
    return told
  }

  function details(order) {
    const rows = [['商品', order.description], ['付款人', order.nickname], ['支付方式', '零钱']]
    return element('dl', {}, rows.map(([name, value]) =>
      element('div', {}, [
        element('dt', { textContent: name }),
        element('dd', { textContent: value })
      ])))
  }

  // One sheet: opened, shown, gone with one answer. Esc and the cross mean no.
  class Sheet {
    constructor(fields, answered) {
      this.fields = fields
      this.answered = answered
      this.body = element('div', { className: 'body' })
      this.cross = button('cross', '×')
      this.cross.setAttribute('aria-label', '关闭')
      const top = element('div', { className: 'top' }, [
        this.cross, element('h2', { textContent: '微信支付' })
      ])
      this.dialog = element('dialog', { ariaLabel: '微信支付' }, [top, this.body])
      this.dialog.dataset.testid = 'wx-pay-sheet'
      this.host = element('div')
      this.host.attachShadow({ mode: 'open' }).append(
        element('style', { textContent: STYLE }), this.dialog)
      this.onNo(() => this.close('cancel'))
    }

    // What closing without an answer means from now on. A browser may close the dialog on a
    // second Esc whatever the page says, so the closing itself counts and not the key.
    onNo(action) {
      this.cross.onclick = action
      this.dialog.onclose = action
    }

    async open() {
      document.body.append(this.host)
      this.dialog.showModal()
      this.body.replaceChildren(element('p', { className: 'note', textContent: '正在打开…' }))
      try {
        const prepay = String(this.fields.package).replace(/^prepay_id=/, '')
        this.show(await ask(`/sandbox/wechat/prepay/${encodeURIComponent(prepay)}`))
      } catch (error) {
        this.refused(error)
      }
    }

    show(order) {
      if (this.gone) return
      const amount = element('p', { className: 'amount' }, [
        element('small', { textContent: '¥' }), yuan(order.amount_fen)
      ])
      amount.dataset.testid = 'wx-pay-amount'
      const confirm = button('main', '确认支付', 'wx-pay-confirm')
      const cancel = button('second', '取消', 'wx-pay-cancel')
      confirm.onclick = () => this.pay(confirm, cancel)
      cancel.onclick = () => this.close('cancel')
      this.body.replaceChildren(
        element('p', { className: 'merchant', textContent: order.merchant }), amount,
        details(order), confirm, cancel,
        element('p', { className: 'note', textContent: '沙箱：没有真的扣款' }))
      confirm.focus({ focusVisible: false })
    }

    async pay(confirm, cancel) {
      confirm.disabled = cancel.disabled = this.cross.disabled = true
      confirm.textContent = '正在支付…'
      this.onNo(null) // on its way: there is no way back
      try {
        await ask('/sandbox/wechat/pay', this.fields)
      } catch (error) {
        this.refused(error)
        return
      }
      this.say('✓', '支付成功', '')
      setTimeout(() => this.close('ok'), DONE_MS)
    }

    refused(error) {
      if (this.gone) return
      if (!this.dialog.open) {
        this.close('fail')
        return
      }
      this.say('!', error instanceof Refused ? error.message : '网络不给力，请稍后再试', 'bad')
      const understood = button('main', '知道了', 'wx-pay-understood')
      understood.onclick = () => this.close('fail')
      this.cross.disabled = false
      this.onNo(() => this.close('fail'))
      this.body.append(understood)
      understood.focus({ focusVisible: false })
    }

    say(mark, words, kind) {
      const shown = element('p', { className: 'said', textContent: words, role: 'status' })
      shown.dataset.testid = 'wx-pay-said'
      this.body.replaceChildren(
        element('div', { className: `mark ${kind}`, textContent: mark, ariaHidden: 'true' }), shown)
    }

    close(outcome) {
      if (this.gone) return
      this.gone = true
      this.dialog.close()
      this.host.remove()
      this.answered(outcome)
    }
  }

  let open = null

  function invoke(name, fields, callback) {
    const answer = (outcome) => callback && callback({ err_msg: `${PREFIX}${outcome}` })
    if (name !== PAY) {
      if (callback) callback({ err_msg: `${name}:fail` })
    } else if (open) {
      answer('fail') // one sheet at a time, as in WeChat
    } else {
      open = new Sheet(fields, (outcome) => {
        open = null
        answer(outcome)
      })
      open.open()
    }
  }

  window.WeixinJSBridge = { invoke }
  document.dispatchEvent(new Event('WeixinJSBridgeReady'))
})()
