#!/usr/bin/env python3
"""Collects the records of all stations in SQLite: each once, and none missing.  collector.py BROKER PORT USER DATABASE

Needs paho-mqtt 2: pip install paho-mqtt. The password is in the environment variable MQTT_PASSWORD. The user may read benchlight/v1/#
and write benchlight/v1/+/+/cmd/backfill, as `operator` in config/mosquitto/acl. The stations need `commands = true` in [mqtt].
For a broker on another machine, add: client.tls_set(ca_certs="ca.pem")
"""

import json
import os
import sqlite3
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

BROKER, PORT, USER, DATABASE = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
MOST = 1000  # records in one request
newest = {}  # the epoch and the newest seq of each station, from its health
complete = {}  # nothing is missing before this seq of an epoch
asked = {}  # until when a station's answer is waited for

db = sqlite3.connect(DATABASE, check_same_thread=False)
db.execute("CREATE TABLE IF NOT EXISTS record (id TEXT PRIMARY KEY, station TEXT, epoch TEXT, seq INTEGER, time TEXT, serial TEXT, verdict TEXT, event TEXT)")
db.execute("CREATE INDEX IF NOT EXISTS place ON record (epoch, seq)")
db.execute("CREATE TABLE IF NOT EXISTS gone (epoch TEXT, first INTEGER, last INTEGER)")


def missing(epoch, seq):
    """The first record that is missing up to `seq`, or None."""
    expected = complete.get(epoch, 1)
    known = "SELECT seq, seq FROM record WHERE epoch = ?1 AND seq >= ?2 UNION ALL SELECT first, last FROM gone WHERE epoch = ?1 ORDER BY 1"
    for first, last in db.execute(known, (epoch, expected)):
        if first > expected:
            break
        expected = max(expected, last + 1)
    complete[epoch] = expected
    return expected if expected <= seq else None


def on_record(client, _, message):
    event = json.loads(message.payload)
    data = event["data"]
    row = (event["id"], event["source"], data["epoch"], data["seq"], event["time"], data["serial"], data["verdict"], message.payload.decode())
    with db:
        db.execute("INSERT OR IGNORE INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    client.ack(message.mid, message.qos)  # the broker forgets only what is on disk


def on_health(client, _, message):
    journal = json.loads(message.payload)["journal"]
    if journal["unsent"] == 0:  # otherwise they are on their way
        newest[message.topic.rsplit("/", 1)[0]] = (journal["epoch"], journal["seq"])
    client.ack(message.mid, message.qos)


def on_answer(client, _, message):
    answer = json.loads(message.payload)
    if answer.get("gone"):  # the oldest are deleted first
        with db:
            db.execute("INSERT INTO gone VALUES (?, ?, ?)", (answer["epoch"], answer["from"], answer["from"] + answer["gone"] - 1))
    asked.pop(message.topic.removesuffix("/rsp/backfill"), None)
    client.ack(message.mid, message.qos)


def on_connect(client, *_):
    client.subscribe([(f"benchlight/v1/+/+/{channel}", 1) for channel in HANDLERS])


HANDLERS = {"scan": on_record, "change": on_record, "health": on_health, "rsp/backfill": on_answer}
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=USER, protocol=mqtt.MQTTv5, manual_ack=True)
client.username_pw_set(USER, os.environ.get("MQTT_PASSWORD"))
client.on_connect = on_connect
for channel, handler in HANDLERS.items():
    client.message_callback_add(f"benchlight/v1/+/+/{channel}", handler)
# By paho's defaults the session ends with the connection, and what comes before the next one is lost.
session = Properties(PacketTypes.CONNECT)
session.SessionExpiryInterval = 7 * 24 * 3600
client.connect(BROKER, PORT, clean_start=False, properties=session)
client.loop_start()
while True:
    time.sleep(2)
    for station, (epoch, seq) in list(newest.items()):
        first = missing(epoch, seq)
        if first and time.monotonic() > asked.get(station, 0):
            last = min(seq, first + MOST - 1)
            asked[station] = time.monotonic() + 10 + (last - first) / 20
            client.publish(f"{station}/cmd/backfill", json.dumps({"epoch": epoch, "from": first, "to": last}), qos=1)
