// Answers questions about signatures, a JSON object a line, with implementations nobody here wrote:
// wechatpay-axios-plugin, alipay-sdk, and for UnionPay, which has no SDK, Node's own OpenSSL.
'use strict'

const crypto = require('node:crypto')
const path = require('node:path')
const readline = require('node:readline')

const { Aes, Formatter, Rsa } = require('wechatpay-axios-plugin')
const { AlipaySdk } = require('alipay-sdk')
// The SDK keeps this to itself; what it signs with is what we want to hold ours against.
const alipayUtil = require(path.join(__dirname, 'node_modules/alipay-sdk/dist/commonjs/util.js'))

const PUBLIC = Rsa.KEY_TYPE_PUBLIC

const alipay = ({ appKey, alipayKey }) =>
  new AlipaySdk({ appId: '2021000000000001', privateKey: appKey, keyType: 'PKCS8', alipayPublicKey: alipayKey })

const unionText = (fields) =>
  Object.keys(fields).filter((name) => name !== 'signature').sort()
    .map((name) => `${name}=${fields[name]}`).join('&')
const unionDigest = (fields) => crypto.createHash('sha256').update(unionText(fields), 'utf8').digest('hex')

const calls = {
  // --- WeChat Pay v3
  wechat_request: ({ key, method, target, timestamp, nonce, body, mchid, serial }) => {
    const signature = Rsa.sign(Formatter.request(method, target, timestamp, nonce, body), Rsa.from(key))
    return Formatter.authorization(mchid, nonce, signature, timestamp, serial)
  },
  wechat_request_holds: ({ key, method, target, timestamp, nonce, body, signature }) =>
    Rsa.verify(Formatter.request(method, target, timestamp, nonce, body), signature, Rsa.from(key, PUBLIC)),
  wechat_answer: ({ key, timestamp, nonce, body }) =>
    Rsa.sign(Formatter.response(timestamp, nonce, body), Rsa.from(key)),
  wechat_answer_holds: ({ key, timestamp, nonce, body, signature }) =>
    Rsa.verify(Formatter.response(timestamp, nonce, body), signature, Rsa.from(key, PUBLIC)),
  wechat_pay: ({ key, lines }) => Rsa.sign(Formatter.joinedByLineFeed(...lines), Rsa.from(key)),
  wechat_pay_holds: ({ key, lines, signature }) =>
    Rsa.verify(Formatter.joinedByLineFeed(...lines), signature, Rsa.from(key, PUBLIC)),
  wechat_seal: ({ key, nonce, associated, plain }) => Aes.AesGcm.encrypt(plain, key, nonce, associated),
  wechat_open: ({ key, nonce, associated, sealed }) => Aes.AesGcm.decrypt(sealed, key, nonce, associated),
  wechat_encrypt: ({ key, plain }) => Rsa.encrypt(plain, Rsa.from(key, PUBLIC)),
  wechat_decrypt: ({ key, sealed }) => Rsa.decrypt(sealed, Rsa.from(key)),

  // --- Alipay
  alipay_request: ({ keys, method, params, biz }) =>
    alipayUtil.sign(method, { ...params, biz_content: biz }, alipay(keys).config,
      { bizContentAutoSnakeCase: false }),
  alipay_notice_v1: ({ keys, fields }) => alipay(keys).checkNotifySign(fields, true),
  alipay_notice_v2: ({ keys, fields }) => alipay(keys).checkNotifySignV2(fields),
  alipay_answer_holds: ({ keys, text, node, sign }) => {
    alipay(keys).checkResponseSign(text, node, sign, '')
    return true
  },
  alipay_holds: ({ keys, text, sign }) => alipay(keys).rsaCheck(text, sign, 'RSA2'),

  // --- what Alipay's own side does, by the same library as WeChat Pay's
  sha256_rsa: ({ key, text }) => Rsa.sign(text, Rsa.from(key)),

  // --- UnionPay ACP 5.1.0
  union_sign: ({ key, fields }) =>
    crypto.createSign('RSA-SHA256').update(unionDigest(fields)).sign(key, 'base64'),
  union_holds: ({ root, middle, fields, now }) => {
    const [leaf, between, top] = [fields.signPubKeyCert, middle, root]
      .map((pem) => new crypto.X509Certificate(pem))
    const chain = leaf.verify(between.publicKey) && between.verify(top.publicKey)
    const valid = [leaf, between, top]
      .every((one) => Date.parse(one.validFrom) <= now && now <= Date.parse(one.validTo))
    return chain && valid && crypto.createVerify('RSA-SHA256').update(unionDigest(fields))
      .verify(leaf.publicKey, fields.signature, 'base64')
  },
  union_request_holds: ({ cert, fields }) =>
    BigInt(`0x${new crypto.X509Certificate(cert).serialNumber}`).toString() === fields.certId &&
    crypto.createVerify('RSA-SHA256').update(unionDigest(fields))
      .verify(new crypto.X509Certificate(cert).publicKey, fields.signature, 'base64'),
}

const answer = ({ call, ...given }) => {
  try {
    return { value: calls[call](given) }
  } catch (error) {
    return { refused: String(error.message ?? error) }
  }
}

readline.createInterface({ input: process.stdin })
  .on('line', (line) => process.stdout.write(`${JSON.stringify(answer(JSON.parse(line)))}\n`))
