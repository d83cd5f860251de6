"""A real Home Assistant with its MQTT integration, for a test: home_assistant.py FOLDER PORT USER PASSWORD

FOLDER keeps its state, so a second run is a restart. For each line on standard input it prints one line of JSON: every entity of the
MQTT integration by its unique id, every event since the start, and what the integration complained of. It stops at the end of the input.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path

from homeassistant import bootstrap, runner
from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.helpers import device_registry, entity_registry

FOLDER, PORT, USER, PASSWORD = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]


def configure():
    """What a person sets up once: the MQTT integration, with discovery."""
    (FOLDER / ".storage").mkdir(parents=True, exist_ok=True)
    (FOLDER / "configuration.yaml").write_text("homeassistant:\n  name: test\n")
    entries = FOLDER / ".storage/core.config_entries"
    if entries.exists():
        return
    at = "2026-01-01T00:00:00+00:00"
    entry = {
        "created_at": at, "modified_at": at, "disabled_by": None, "discovery_keys": {}, "domain": "mqtt", "entry_id": "01TEST", "minor_version": 2, "version": 1,
        "data": {"broker": "127.0.0.1", "port": PORT, "protocol": "5", "username": USER, "password": PASSWORD},
        "options": {"discovery": True, "discovery_prefix": "homeassistant"},
        "pref_disable_new_entities": False, "pref_disable_polling": False, "source": "user", "subentries": [], "title": "mqtt", "unique_id": None,
    }
    entries.write_text(json.dumps({"version": 1, "minor_version": 5, "key": "core.config_entries", "data": {"entries": [entry]}}))


class Complaints(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        if "mqtt" in record.name:
            self.lines.append(f"{record.levelname} {record.name}: {record.getMessage()}")


async def main():
    configure()
    complaints, events = Complaints(), []
    logging.getLogger().addHandler(complaints)
    hass = await bootstrap.async_setup_hass(runner.RuntimeConfig(
        config_dir=str(FOLDER), skip_pip=True, verbose=False, log_rotate_days=0, log_file=str(FOLDER / "log"), open_ui=False, safe_mode=False,
    ))

    def changed(event):
        new, old = event.data["new_state"], event.data["old_state"]
        # An entity of an event shows the time of the newest; one that is added or comes back shows the old time again.
        if new and new.domain == "event" and new.state not in ("unknown", "unavailable") and old and new.state != old.state and old.state != "unavailable":
            events.append({"entity": new.entity_id, **new.attributes})

    hass.bus.async_listen(EVENT_STATE_CHANGED, changed)
    await hass.async_start()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while await lines.readline():
        print(json.dumps({"entities": entities(hass), "events": events, "complaints": complaints.lines}, default=str), flush=True)
    await hass.async_stop(force=True)


def entities(hass):
    devices, found = device_registry.async_get(hass), {}
    for entry in entity_registry.async_get(hass).entities.values():
        if entry.platform != "mqtt":
            continue
        state, device = hass.states.get(entry.entity_id), devices.async_get(entry.device_id) if entry.device_id else None
        found[entry.unique_id] = {
            "entity": entry.entity_id, "device": device and device.name, "state": state and state.state, "attributes": dict(state.attributes) if state else {},
        }
    return found


asyncio.run(main())
