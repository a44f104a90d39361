"""What /openapi.json says beyond the schemas: who may call, and what a refusal looks like."""

from __future__ import annotations

from typing import Any

from apiflask import APIFlask
from flask import current_app

from backend.api.fields import MAX_ID
from backend.api.outs import ProblemOut
from backend.people.access import declared

_SWAGGER = "/console/static/vendor/swagger-ui"
# A picture in the page itself: no request to anyone for it.
_ICON = (
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 10 10'>"
    "<circle cx='5' cy='5' r='5' fill='%23d9480f'/></svg>"
)
_ABOUT = """
居民、抄表员与支付渠道使用的接口。金额单位为分（fen），热量、电量为瓦时（Wh），水量、气量为升（L），
温度为百分之一摄氏度；日期为北京时间，时刻为 UTC。
登录后在请求头带上 `Authorization: Bearer <token>`。
出错时返回 `application/problem+json`（RFC 9457），其中 `code` 固定不变，`detail` 可直接给人看。
"""


def init_app(app: APIFlask) -> None:
    """Describe the API; the page's scripts come from this server, not from a CDN."""
    app.config.update(
        DESCRIPTION=_ABOUT.strip(),
        SWAGGER_UI_CSS=f"{_SWAGGER}/swagger-ui.css",
        SWAGGER_UI_BUNDLE_JS=f"{_SWAGGER}/swagger-ui-bundle.js",
        SWAGGER_UI_STANDALONE_PRESET_JS=f"{_SWAGGER}/swagger-ui-standalone-preset.js",
        SWAGGER_UI_CONFIG={"persistAuthorization": True, "docExpansion": "list"},
        DOCS_FAVICON=_ICON,
        HTTP_ERROR_SCHEMA=ProblemOut,
        VALIDATION_ERROR_SCHEMA=ProblemOut,
        VALIDATION_ERROR_DESCRIPTION="Refused: `code` says why",
    )

    app.security_schemes = {"token": {"type": "http", "scheme": "bearer"}}
    app.spec_processor(_finish)  # type: ignore[arg-type]  # JSON, so a dict and never a str
    _leave_out_pages(app)


def _leave_out_pages(app: APIFlask) -> None:
    """Blueprints of pages are no APIBlueprints, which APIFlask 3.1 stumbles over: tell it so."""
    spec = app.view_functions["openapi.spec"]

    def view() -> Any:
        for blueprint in app.blueprints.values():
            if not hasattr(blueprint, "enable_openapi"):
                blueprint.enable_openapi = False  # type: ignore[attr-defined]
        return spec()

    app.view_functions["openapi.spec"] = view


def _finish(spec: dict[str, Any]) -> dict[str, Any]:
    for operation, endpoint in _operations(spec):
        who = declared(current_app, endpoint) or frozenset()
        if "anyone" not in who:
            operation["security"] = [{"token": []}]
            operation["x-allow"] = sorted(who)
            _refusals(operation, ("401", "Nobody is signed in"), ("403", "Not for this role"))
        _as_problems(operation)
        _typed_ids(operation)
    return spec


def _operations(spec: dict[str, Any]) -> Any:
    """Every (operation, endpoint) of the document, found by the rule and method it stands for."""
    endpoints = {
        (_path_of(rule.rule), method.lower()): rule.endpoint
        for rule in current_app.url_map.iter_rules()
        for method in rule.methods or ()
    }
    for path, item in spec["paths"].items():
        for method, operation in item.items():
            if (path, method) in endpoints:
                yield operation, endpoints[path, method]


def _path_of(rule: str) -> str:
    """/bills/<int(max=9):bill_id> -> /bills/{bill_id}, as the document spells it."""
    pieces = rule.replace(">", "<").split("<")
    named = [p if i % 2 == 0 else "{" + p.split(":")[-1] + "}" for i, p in enumerate(pieces)]
    return "".join(named)


def _refusals(operation: dict[str, Any], *refusals: tuple[str, str]) -> None:
    schema = {"schema": {"$ref": "#/components/schemas/ProblemOut"}}
    for status, description in refusals:
        operation["responses"].setdefault(
            status, {"description": description, "content": {"application/json": schema}}
        )


def _as_problems(operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        if int(status) >= 400 and "application/json" in response.get("content", {}):
            response["content"] = {
                "application/problem+json": response["content"]["application/json"]
            }


def _typed_ids(operation: dict[str, Any]) -> None:
    """APIFlask reads <int:id> but not <int(max=...):id>: say that ids are whole numbers."""
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path" and parameter["name"].endswith("_id"):
            parameter["schema"] = {"type": "integer", "minimum": 0, "maximum": MAX_ID}
