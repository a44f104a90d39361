"""Problems: what a person is told when something is refused (RFC 9457).

Every `code` is stable and listed in CATALOG with its status and its sentence in plain Chinese; a
room raises `Problem("bind_mismatch", field="owner_name")` and the API turns it into
application/problem+json.
"""

from __future__ import annotations

from typing import Any

CATALOG: dict[str, tuple[int, str]] = {
    "bad_request": (400, "请求格式不正确，请检查后重试。"),
    "validation": (422, "填写的内容有误，请检查后重试。"),
    "not_signed_in": (401, "请先登录。"),
    "session_expired": (401, "登录已过期，请重新登录。"),
    "forbidden": (403, "您没有权限进行此操作。"),
    "not_found": (404, "没有找到您要的内容。"),
    "method_not_allowed": (405, "不支持这种操作方式。"),
    "too_large": (413, "提交的内容太大。"),
    "too_many_attempts": (429, "尝试次数过多，请稍后再试。"),
    "internal": (500, "系统出了点问题，我们已记录，请稍后再试。"),
    "unavailable": (503, "系统正在维护，请稍后再试。"),
    "sign_in_failed": (401, "登录名或密码不正确。"),
    "account_locked": (423, "密码连续输错，账号已暂时锁定，请稍后再试。"),
    "wechat_code_invalid": (401, "微信登录凭证无效或已使用，请重新登录。"),
    "wechat_unavailable": (502, "微信服务暂时无法连接，请稍后再试。"),
    "bind_mismatch": (422, "户号与户主信息不符，请核对后再试。"),
    "already_bound": (409, "该户号已绑定在您的账号下。"),
    "too_many_households": (409, "绑定的住户数量已达上限。"),
    "range_too_long": (422, "查询的时间范围太长。"),
    "range_reversed": (422, "起始日期不能晚于结束日期。"),
    "idempotency_key_missing": (400, "缺少防重复提交标识，请更新应用后重试。"),
    "idempotency_key_reused": (422, "同一次提交标识不能用于不同的内容。"),
    "request_in_progress": (409, "上一次提交还在处理中，请稍候。"),
    "bill_not_payable": (409, "账单已缴清或已冲销，无需再缴。"),
    "bills_not_together": (422, "一次只能缴纳同一住户的账单。"),
    "order_open": (409, "该账单有一笔支付正在进行，请先完成或稍后再试。"),
    "order_ended": (409, "这笔订单已结束，请重新发起支付。"),
    "channel_unknown": (422, "不支持这种支付方式。"),
    "way_unknown": (422, "这种支付方式不能在这里使用，请换一种。"),
    "channel_unavailable": (502, "支付渠道暂时无法连接，未扣款，请稍后再试。"),
    "notice_rejected": (400, "通知未通过验证。"),
    "register_decreased": (422, "读数比上次小，请核对；确认无误请写明原因后再次提交。"),
    "register_jump": (422, "读数比上次大得不合常理，请核对；确认无误请写明原因后再次提交。"),
    "reading_in_future": (422, "抄表时间不能晚于现在。"),
    "reading_too_old": (422, "抄表时间太早，超出可补录的范围。"),
    "not_your_meter": (404, "这块表不在您的抄表任务里。"),
    "no_meters": (422, "所选范围内没有在用的表。"),
    "freeze_out_of_reach": (422, "表里已经没有这一天的冻结数据。"),
    "no_freeze": (422, "这块表不保存冻结数据，不能按冻结抄表。"),
    "run_ended": (409, "这次抄表已经结束。"),
    "household_unknown": (422, "这栋楼里没有这个户号。"),
    "bus_not_asked": (422, "这条总线上的表由平台推送，不能下发搜表、校时等任务。"),
    "not_concentrator": (422, "这条总线不是集中器，不能下装或回读参数。"),
    "not_searchable": (422, "集中器自己管理总线，不能由采集程序搜表；请回读核对它的档案。"),
    "job_open": (409, "这条总线已有一个同类任务在进行。"),
    "job_ended": (409, "这个任务已经结束。"),
    "no_supply": (422, "这块表没有可遥控的阀门或继电器。"),
    "command_open": (409, "这块表还有一条未完成的阀门或拉合闸命令。"),
    "command_moved_on": (409, "命令的状态已变化，请刷新后再看。"),
    "second_person": (409, "关阀须由另一位同事核准，不能自己核准自己的申请。"),
    "meter_removed": (409, "这块表已经拆除或更换。"),
    "address_taken": (409, "同一总线上已有一块在用的表使用这个地址。"),
    "register_impossible": (422, "读数超出了表的量程。"),
    "reason_missing": (422, "请写明原因。"),
    "already_corrected": (409, "这条读数已经更正过，请更正最新的那一条。"),
    "round_too_large": (422, "抄表册太大，请分区域导出。"),
    "import_too_large": (413, "文件太大，请拆分后分批导入。"),
    "import_unreadable": (422, "文件无法读取，请使用 CSV（UTF-8 或 GBK）或 XLSX 格式。"),
    "import_columns": (422, "表头不对，请按模板填写列名。"),
    "day_not_over": (409, "当天还没有结束，不能日结。"),
    "day_already_closed": (409, "该日已经日结。"),
    "day_has_breaks": (409, "还有未处理的差异，日结需要写明原因并签字。"),
    "day_has_open_shift": (409, "当日还有未交班的班次，日结需要写明原因并签字。"),
    "shift_missing": (409, "您还没有开班，请先开班再收款。"),
    "shift_open": (409, "该钱箱或该收银员已有未交班的班次。"),
    "shift_ended": (409, "这个班次已经交班。"),
    "shift_stale": (409, "这个班次不是今天开的，请先交班、再开新班。"),
    "shift_unproven": (409, "班次的收款与账簿不符，不能交班，请联系主管核对。"),
    "amount_changed": (409, "应收金额已变化，请刷新后再收。"),
    "tendered_short": (422, "实收现金不足。"),
    "pos_slip_used": (409, "这张签购单已经入过账。"),
    "approval_needed": (409, "超过限额，须由另一位同事当场核准。"),
    "payment_voided": (409, "这笔收款已经撤销。"),
    "payment_not_voidable": (409, "这笔收款之后账单已冲销或余额已使用，不能撤销，请走退款流程。"),
    "statement_not_ready": (409, "渠道对账单尚未生成，请稍后再取。"),
    "statement_changed": (409, "渠道对账单与已入库的不同，未覆盖，请人工核对。"),
    "statement_broken": (422, "对账单内容有误，未入库。"),
    "run_locked": (409, "这次分摊已经出账，不能改动；请冲销后重新分摊。"),
    "run_superseded": (409, "这次分摊已被新的分摊更正，请对最新的一次操作。"),
    "run_not_billed": (409, "这次分摊还没有出账，重新分摊即可，无需更正。"),
    "rule_missing": (422, "该楼栋没有设置热分摊方法，请先设置分摊规则。"),
    "rule_gap": (422, "所选时间内有日子没有分摊规则，请先补上。"),
    "rule_overlap": (409, "与已有的分摊规则时间重叠，请先结束旧规则。"),
    "rule_changes": (422, "所选时间内分摊规则有变更，请按变更日分段。"),
    "rule_invalid": (422, "分摊规则有误，请检查方法和选项。"),
    "parameters_missing": (422, "有住户缺少分摊所需的参数，请先补齐。"),
    "outdoor_missing": (422, "附近没有室外温度数据，请先登记气象传感器或改用固定基准。"),
    "nobody_active": (422, "这段时间没有在用热的住户，无法分摊。"),
    "allocation_refused": (422, "这次分摊不能进行，请检查数据。"),
    "days_not_closed": (409, "这段时间还有日子没有日结，请先完成日结。"),
    "calibration_refused": (422, "数据不足以辨识参数。"),
    "calibration_open": (409, "该楼栋还有一次辨识等待核准，请先处理它。"),
    "calibration_decided": (409, "这次辨识已有结论，请刷新后再看。"),
    "settlement_ended": (409, "这次结算已经结束。"),
    "nothing_to_settle": (422, "所选范围内没有设置分摊规则的楼栋。"),
    "building_meter_missing": (422, "楼栋总表没有可用读数，不能分摊。"),
    "tariff_missing": (422, "没有适用的价格，不能出账。"),
    "tariff_not_draft": (409, "这个价格方案已经生效或作废，不能再改。"),
    "tariff_overlap": (409, "与已生效的价格日期重叠。"),
    "tariff_in_use": (409, "已有账单按现行价格出账，不能改动。"),
    "billing_rule_overlap": (409, "与已有规则的日期重叠。"),
    "prepaid_open": (409, "这一户已开通预付费。"),
    "balance_short": (409, "账户余额不足。"),
    "cutoff_forbidden": (409, "按规定不能停供。"),
    "cold_report_open": (409, "已有一条室温报修在处理中。"),
    "measurement_invalid": (422, "这次测温不符合规定，不能作为退费依据。"),
    "handover_open": (409, "这一户已有一笔过户在办理。"),
    "handover_unpaid": (409, "原户主还有未结清的账单，结清后才能过户。"),
    "handover_not_ready": (409, "还不能办理过户。"),
    "no_bills": (422, "这段时间没有可试算的账单，请换一个已出账的计费期。"),
    "too_many_bills": (422, "这段时间的账单超过 5 万张，一次算不完；请缩短时段，或先按区域试算。"),
    "request_open": (409, "同样的申请已在等待核准。"),
    "request_decided": (409, "这项申请已经处理过，请刷新后再看。"),
    "bill_not_standing": (409, "这张账单已经冲销，或本身就是红冲单。"),
    "period_not_over": (409, "计费期还没有结束，不能出账。"),
    "entry_unbalanced": (422, "记账不平，未入账。"),
    "entry_conflict": (409, "同一业务号已有不同的记账内容。"),
}


class Problem(Exception):
    """A refusal with a stable code.  `detail` replaces the catalog's sentence."""

    def __init__(
        self, code: str, detail: str | None = None, *, field: str | None = None, **extra: Any
    ):
        self.code = code
        self.status, sentence = CATALOG[code]
        self.detail = detail or sentence
        self.field = field
        self.extra = extra
        super().__init__(f"{code}: {self.detail}")

    def body(self, request_id: str | None) -> dict[str, Any]:
        """The problem document."""
        return {
            "type": "about:blank",
            "title": CATALOG[self.code][1],
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "field": self.field,
            "request_id": request_id,
            **self.extra,
        }
