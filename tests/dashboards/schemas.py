"""Holds messages against docs/schema: lines of [schema, message] on standard input, and the samples of docs/dashboards.md. Prints what is
wrong, and last how many messages of each schema there were; exit code 1 if anything is wrong.

A message must not have a key that its schema does not describe, though the schemas allow it: programs must live with new ones.
"""

import json
import re
import sys
from pathlib import Path

from jsonschema import Draft202012Validator

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMAS = {file.stem: json.loads(file.read_text()) for file in (DOCS / "schema").glob("*.json")}
PAGE = (DOCS / "dashboards.md").read_text()


def parts(schema, place):
    """The schema and every schema in it, with its place."""
    yield place, schema
    for key, value in schema.get("properties", {}).items():
        yield from parts(value, f"{place}.{key}")
    for key, value in schema.get("$defs", {}).items():
        yield from parts(value, f"{place}/{key}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from parts(schema[key], f"{place}[]")


def undescribed(name, schema):
    """What the schema leaves open."""
    for place, part in parts(schema, name):
        means = part.get("description", "")
        may_be_null = "null" in part.get("type", []) or None in part.get("enum", [])
        if len(means) < 5 or means[-1] not in ".?":
            yield f"{place}: what does it mean?"
        if may_be_null and "null: " not in means.lower():
            yield f"{place}: when is it null?"
        if "properties" in part:
            for key in set(part["properties"]) - set(part["required"]):
                if "absent: " not in part["properties"][key].get("description", "").lower():
                    yield f"{place}.{key}: when is it absent?"
        if not {"type", "enum", "oneOf"} & set(part):
            yield f"{place}: what may it be?"
        for key, value in part.get("properties", {}).items():
            if not re.search(rf"`[^`]*\b{key}` \| {re.escape(value.get('description', '?'))} \|", PAGE):
                yield f"{place}.{key}: docs/dashboards.md does not describe it in these words"


def samples():
    """The messages in docs/dashboards.md."""
    for name, text in re.findall(r"^```json (\w+)\n(.*?)^```", PAGE, re.M | re.S):
        yield json.dumps([name, json.loads(text)])


def strict(schema):
    for _, part in parts(schema, ""):
        if "properties" in part:
            part["additionalProperties"] = False
    return Draft202012Validator(schema)


def main():
    wrong = []
    for name, schema in SCHEMAS.items():
        Draft202012Validator.check_schema(schema)
        wrong += undescribed(name, schema)
    validators, seen = {name: strict(schema) for name, schema in SCHEMAS.items()}, dict.fromkeys(SCHEMAS, 0)
    shown = [*samples()]
    if {json.loads(line)[0] for line in shown} != {"scan", "change", "health", "meta"}:
        wrong.append("docs/dashboards.md does not show every message")
    for line in [*shown, *sys.stdin]:
        name, message = json.loads(line)
        seen[name] += 1
        wrong += [f"{name}: {fault.json_path}: {fault.message}" for fault in validators[name].iter_errors(message)]
    print("\n".join(sorted(set(wrong))))
    print(json.dumps(seen))
    return int(bool(wrong))


sys.exit(main())
