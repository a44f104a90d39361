"""Writes Alipay's bill: a zip of 业务明细 and its summary, GBK, as seen in published samples."""

import io
import zipfile
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from payments.sandbox.tradebill import BEIJING, BillRow, beijing, yuan

COLUMNS = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,"
    "对方账户,订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,"
    "商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,"
    "退款批次号/请求号,服务费（元）,分润（元）,备注"
)
_RULE = "-" * 41


def write_zip(rows: Sequence[BillRow], seller_id: str, day: date, exported: datetime) -> bytes:
    """The zip as downloaded; names in GBK, which zip files do not say of themselves."""
    stem = f"{seller_id}0156_{day:%Y%m%d}_业务明细"
    detail = write_detail(rows, seller_id, day, exported).encode("gbk", "replace")
    summary = _summary(rows, seller_id, day).encode("gbk", "replace")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in ((f"{stem}.csv", detail), (f"{stem}(汇总).csv", summary)):
            archive.writestr(_named(name), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


class _GbkInfo(zipfile.ZipInfo):
    """A member whose name goes out in GBK without the UTF-8 flag."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.filename.encode("gbk"), self.flag_bits & ~0x800


def _named(name: str) -> zipfile.ZipInfo:
    return _GbkInfo(name)


def write_detail(rows: Sequence[BillRow], seller_id: str, day: date, exported: datetime) -> str:
    """The 业务明细 as text."""
    paid = [row for row in rows if not row.refund_id]
    back = [row for row in rows if row.refund_id]
    shown = exported.astimezone(BEIJING)
    lines = [
        "#支付宝业务明细查询",
        *_head(seller_id, day),
        f"#{_RULE}业务明细列表{_RULE[:-1]}",
        COLUMNS,
        *(_line(row) for row in rows),
        f"#{_RULE}业务明细列表结束{_RULE[:36]}",
        f"#交易合计：{len(paid)}笔，商家实收共{_sum(paid)}元，商家优惠共0.00元",
        f"#退款合计：{len(back)}笔，商家实收退款共{_minus(_sum(back))}元，商家优惠退款共0.00元",
        f"#导出时间：[{shown:%Y年%m月%d日 %H:%M:%S}]",
    ]
    return "\r\n".join(lines) + "\r\n"


def _head(seller_id: str, day: date) -> list[str]:
    following = day + timedelta(days=1)
    return [
        f"#账号：[{seller_id}0156]",
        f"#起始日期：[{day:%Y年%m月%d日} 00:00:00]   终止日期：[{following:%Y年%m月%d日} 00:00:00]",
    ]


def _line(row: BillRow) -> str:
    is_refund = bool(row.refund_id)
    amount = _minus(yuan(row.amount_fen)) if is_refund else yuan(row.amount_fen)
    fee = yuan(-row.fee_fen)
    name = row.description.replace("\r", " ").replace("\n", " ")
    fields = [
        f"{row.transaction_id}\t", f"{row.out_trade_no}\t", "退款" if is_refund else "交易", name,
        beijing(row.at), beijing(row.at), "\t", "\t", "\t", "\t", "**华(159****5620)\t",
        amount, amount, "0.00", "0.00", "0.00", "0.00", "0.00", "", "0.00\t", "0.00",
        f"{row.out_refund_no}\t" if is_refund else "\t", fee, "0.00", row.attach,
    ]  # fmt: skip
    return ",".join(fields)


def _sum(rows: Sequence[BillRow]) -> str:
    return yuan(sum(row.amount_fen for row in rows))


def _minus(amount: str) -> str:
    return amount if amount == "0.00" else f"-{amount}"


def _summary(rows: Sequence[BillRow], seller_id: str, day: date) -> str:
    paid = [row for row in rows if not row.refund_id]
    lines = ["#支付宝业务汇总查询", *_head(seller_id, day), "门店编号,门店名称,交易订单总笔数"]
    return "\r\n".join([*lines, f"合计\t,\t,{len(paid)}"]) + "\r\n"
