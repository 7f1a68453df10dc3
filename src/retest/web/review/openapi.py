"""The description of the JSON interface (OpenAPI 3.1), made from what the operations declare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from retest import __version__
from retest.web.review.models import ConflictAnswer, Problem
from retest.web.review.visit import PREFIX, Endpoint

__all__ = ["describe"]

_REF = "#/components/schemas/{model}"


def describe(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The OpenAPI document of these operations."""
    listed = list(endpoints)
    models: list[type[BaseModel]] = [Problem, ConflictAnswer, *(e.answer for e in listed), *(e.body for e in listed if e.body)]
    refs, definitions = models_json_schema(
        [(model, "validation" if any(model is e.body for e in listed) else "serialization") for model in dict.fromkeys(models)],
        ref_template=_REF,
    )
    schema_of: dict[Any, Any] = {model: value for (model, _), value in refs.items()}
    paths: dict[str, Any] = {}
    for endpoint in listed:
        paths.setdefault(f"{PREFIX}/api{endpoint.path}", {})[endpoint.method.lower()] = _operation(endpoint, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "retest review", "version": __version__, "description": "What the review pages of a study use, for scripts."},
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "The token of a reviewer"}},
        },
        "security": [{"token": []}],
    }


def _operation(endpoint: Endpoint, schema_of: dict[Any, Any]) -> dict[str, Any]:
    answers = {"200": ("As asked", endpoint.answer)}
    answers |= {code: (text, Problem) for code, text in _PROBLEMS.items()}
    if endpoint.decides:
        answers["409"] = ("Somebody else has decided meanwhile; nothing was written", ConflictAnswer)
    if endpoint.body is not None:
        answers["413"] = ("The request is too large", Problem)
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": endpoint.method.lower() + endpoint.path.replace("/", "_").replace("-", "_"),
        "parameters": _parameters(endpoint),
        "responses": {
            code: {"description": text, "content": {"application/json": {"schema": schema_of[model]}}}
            for code, (text, model) in sorted(answers.items())
        },
    }
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema_of[endpoint.body]}}}
    return operation


_PROBLEMS = {
    "400": "The request cannot be read",
    "401": "Nobody is signed in",
    "403": "Not allowed",
    "404": "There is no such thing",
    "422": "A value is wrong",
    "429": "Too many wrong tokens",
    "503": "The study cannot be used at the moment",
}


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    schema = endpoint.query.model_json_schema()
    required = set(schema.get("required", ()))
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": value.get("description", ""),
            "schema": _plain(value, schema.get("$defs", {})),
        }
        for name, value in schema.get("properties", {}).items()
    ]


def _plain(value: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema as it travels in an address: null is its absence, references are written out."""
    value = {key: entry for key, entry in value.items() if key not in ("title", "description", "default")}
    if "$ref" in value:
        return _plain(definitions[value["$ref"].rsplit("/", 1)[-1]], definitions)
    if "anyOf" in value:
        kept = [_plain(entry, definitions) for entry in value["anyOf"] if entry.get("type") != "null"]
        return kept[0] if len(kept) == 1 else {"anyOf": kept}
    return value
