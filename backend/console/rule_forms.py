"""What each topic of regional rules (billing.topics) is called and how its fields are typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.billing import tariffs, topics
from backend.console.forms import (
    Field,
    cdeg_field,
    check_field,
    percent_field,
    select_field,
    whole_field,
    words,
    yuan_field,
)


@dataclass(frozen=True, slots=True)
class TopicForm:
    """A topic's form; `utilities` empty: of all of them."""

    says: str
    fields: tuple[Field, ...]
    utilities: tuple[str, ...] = ()
    presets: Mapping[str, str] | None = None  # code -> title


_BANDS = Field(
    "bands",
    "温度档（从低到高，室温低于这一档的温度即按这一档退）",
    control="rows",
    columns=(
        cdeg_field("below_cdeg", "低于", -49, 30),
        percent_field("ratio", "退当日标准热费的"),
    ),
)

FORMS: Mapping[str, TopicForm] = {
    "cycle": TopicForm(
        "多久出一次账、哪天结算、几天内缴清",
        (
            whole_field("months", "每隔几个月出账", 1, 12, "个月"),
            whole_field("settle_day", "结算日（每期到这天零点为止）", 1, 28, "日"),
            whole_field("due_days", "出账后几天内缴清", 1, 90, "天"),
        ),
    ),
    "late_fee": TopicForm(
        "逾期后按日、按未缴本金单利计算，不超过本金",
        (
            check_field("enabled", "收取违约金"),
            percent_field("rate", "日费率", "1", hint="每天按未缴本金的这个比例，常见 0.05%。"),
            percent_field("cap_ratio", "最多为本金的"),
            yuan_field("min_fen", "低于这个数不收"),
            whole_field("grace_days", "宽限", 0, 90, "天"),
            select_field("post", "入账", {"month_end": "每月末", "daily": "每天"}),
        ),
    ),
    "prepaid": TopicForm(
        "余额低于多少提醒、可以欠多少、欠费几天申请停供",
        (
            yuan_field("warn_fen", "余额低于此数提醒", needed=False, hint="不填：不提醒。"),
            yuan_field("overdraft_fen", "允许透支"),
            whole_field(
                "close_after_days",
                "连续欠费几次日结后申请停供",
                *(1, 365),
                "天",
                needed=False,
                hint="不填：从不申请。申请由管理人员核准，阀门命令另需第二人核准。",
            ),
        ),
    ),
    "balance": TopicForm(
        "住户余额和充值先还哪些账",
        (
            check_field("pays_debts", "余额自动缴清账单（先到期的先缴）"),
            check_field("topup_pays_debts", "预付费充值先缴清欠费"),
        ),
    ),
    "cutoff": TopicForm(
        "欠费时谁可以停供；默认谁都不停",
        (
            check_field("enabled", "允许欠费停供"),
            Field(
                "classes",
                "可以停供的用户",
                control="checks",
                choices=tariffs.CLASSES_ZH,
                needed=False,
            ),
            cdeg_field(
                "heat_min_outdoor_cdeg",
                "室外低于此温度不停热",
                *(-50, 40),
                hint="室外温度未知时也不停。",
            ),
        ),
    ),
    "cold_room": TopicForm(
        "室温不达标时，每天退当日标准热费的多少",
        (
            check_field("enabled", "室温不达标退费"),
            cdeg_field("promised_cdeg", "承诺室温", 10, 30),
            _BANDS,
            percent_field(
                "min_share",
                "一天中多少采样不超过某温度，即以它为当日室温",
                hint="常用 50%（中位数）。",
            ),
            percent_field("min_coverage", "一天至少有多少采样才能判定"),
            select_field("rooms", "几个房间都有温度时", {"coldest": "取最冷的", "mean": "取平均"}),
            cdeg_field(
                "window_fall_cdeg",
                "半小时内骤降多少视为开窗",
                *(1, 20),
                needed=False,
                hint="不填：不识别开窗。开窗期间的采样不计。",
            ),
            whole_field("window_max_minutes", "开窗最多算多久", 10, 1440, "分钟"),
            whole_field("measure_within_hours", "报修后多少小时内测温有效", 1, 240, "小时"),
        ),
        utilities=("heat",),
        presets={
            "heilongjiang_2021": "黑龙江 2021（20 ℃，四档）",
            "common_18": "常用 18 ℃（三档）",
        },
    ),
}


def titles(utility: str) -> dict[str, str]:
    """The topics that mean something for a utility."""
    return {
        code: topics.TOPICS[code].title
        for code, form in FORMS.items()
        if not form.utilities or utility in form.utilities
    }


def request_words(wanted: Mapping[str, Any]) -> str:
    """What a request for a rule asks for, as a sentence."""
    said = words(FORMS[wanted["topic"]].fields, wanted["params"])
    what = f"{tariffs.UTILITIES_ZH[wanted['utility']]}·{topics.TOPICS[wanted['topic']].title}"
    return f"{what}，{wanted['effective_from']} 起：" + "；".join(f"{k} {v}" for k, v in said)
