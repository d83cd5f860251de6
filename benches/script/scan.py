#!/usr/bin/env python3
"""What a technician would write instead of Benchlight, to compare with: scan, ask Kandji, publish, print.

Serial numbers on standard input, one a line. It keeps nothing, repeats nothing and trusts every answer.
Environment: KANDJI_URL, KANDJI_TOKEN, MQTT_HOST, MQTT_PORT (1883), MQTT_TOPIC (bench/scan).
"""

import json
import os
import sys
import time

import paho.mqtt.client as mqtt
import requests

kandji = requests.Session()
kandji.headers["Authorization"] = "Bearer " + os.environ["KANDJI_TOKEN"]
kandji.headers.update({"Accept": "application/json", "Cache-Control": "no-cache"})
url = os.environ["KANDJI_URL"] + "/api/v1/integrations/apple/ade/devices"

broker = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
broker.connect(os.environ["MQTT_HOST"], int(os.environ.get("MQTT_PORT", "1883")))
broker.loop_start()

for line in sys.stdin:
    serial, start = line.strip().upper(), time.monotonic()
    try:
        reply = kandji.get(url, params={"serial_number": serial}, timeout=5)
        reply.raise_for_status()
        rows = [row for row in reply.json()["results"] if row["serial_number"] == serial]
        ready = any(row["profile_status"] == "assigned" and not row["mdm_device"] for row in rows)
        verdict = "ready" if ready else "not_ready"
    except (requests.RequestException, KeyError, ValueError) as error:
        verdict = f"unknown ({error})"
    result = {"serial": serial, "verdict": verdict, "ms": round((time.monotonic() - start) * 1000, 1)}
    broker.publish(os.environ.get("MQTT_TOPIC", "bench/scan"), json.dumps(result), qos=1).wait_for_publish(5)
    print(json.dumps(result), flush=True)
broker.disconnect()
