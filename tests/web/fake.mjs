// A stand-in for the station's web server, written from docs/display.md, with which the tests show every state of the page.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { randomUUID } from "node:crypto";

const ASSETS = new URL("../../src/web/assets/", import.meta.url);
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css", svg: "image/svg+xml", json: "application/json" };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const ENGLISH = JSON.parse(await readFile(new URL("lang/en.json", ASSETS), "utf8")).reasons;
const SIGNALS = { ready: "ready", not_ready: "stop", wait: "hold", unknown: "hold", rescan: "rescan" };
const VERDICTS = {
  ready: ["assigned", "returned_stock"],
  wait: ["assignment_pending", "assignment_throttled", "sync_pending", "settling"],
  rescan: ["imei", "eid", "upc", "part_number", "carton", "tracking", "unreadable", "ambiguous"],
  unknown: ["offline", "timeout", "source_error", "rate_limited", "credentials_refused", "credentials_expired", "terms_not_signed", "tls_untrusted", "mdm_link_broken", "stale", "contradiction", "garbled_answer", "clock_unsynced", "journal_fault", "station_fault"],
};
export const REASONS = Object.keys(ENGLISH);
export const verdictOf = reason => Object.keys(VERDICTS).find(verdict => VERDICTS[verdict].includes(reason)) ?? "not_ready";
const MODELS = ["MacBook Air 13\" (M4, 2025)", "MacBook Pro 14\" (M4, 2024)", "iPhone 16", "iPad (A16)", "iMac 24\" (M4, 2024)"];
const NOON = Date.parse("2026-11-29T13:42:10Z");

export class Fake {
  build = "0.1.0-3f2a9c";
  beats = true;
  readers = new Set();
  scans = [];
  evidence = new Map();
  scanStatus = 202;
  policy = POLICY;
  // The station's boot time; `ahead` moves it, as after a sleep of the browser's machine.
  booted = performance.now() - 8_800_000;
  ahead = 0;
  made = 0;

  constructor(lanes = ["main"]) {
    this.state = this.empty(lanes);
  }
  now() {
    return Math.round(performance.now() - this.booted + this.ahead);
  }
  at(ms = this.now()) {
    return new Date(NOON + ms - 8_800_000).toISOString();
  }
  empty(lanes) {
    const health = {
      time: this.at(), able: true, reason: null, alarms: [], scanners: Object.fromEntries(lanes.map(lane => [lane, { state: "ok", proven: true }])),
      lamps: Object.fromEntries(lanes.map(lane => [lane, "ok"])),
      sources: {
        kandji: { state: "ok", since: this.at(this.now() - 4e6), as_of: this.at(this.now() - 1_260_000), credential_days: 212, quota_left: 8990, quota_limit: 10_000, replica: { state: "ok", rows: 48_211, pass_at: this.at(this.now() - 340_000), fault: null } },
        apple: { state: "ok", since: this.at(this.now() - 4e6), as_of: null, credential_days: 112, quota_left: null, quota_limit: null },
        business: { state: "ok", since: this.at(this.now() - 4e6), as_of: null, credential_days: null, quota_left: 31, quota_limit: 60 },
      },
      broker: { state: "connected", nobody_listens: false }, journal: { state: "ok", epoch: randomUUID(), seq: 4321, unsent: 0, set_aside: [], dropped: 0, interrupted: 0, faulted: 0 },
      clock: "synced", waiting: 0, log_dropped: 0, results_dropped: 0, version: "0.1.0",
    };
    return {
      v: 1, version: "0.1.0", site: "ams1", name: "bench-1", mdm: "Kandji", scan: null, demo: [],
      lanes: lanes.map(lane => ({ lane, show: null, since_ms: null, until_ms: null, scanned: null, answer: null, alarm: null, repeat: 0 })),
      waiting: { total: 0, boxes: [] }, problem: { total: 0, boxes: [] },
      today: { date: "2026-11-29", utc_offset_minutes: 60, by_verdict: { ready: 0, wait: 0, not_ready: 0, unknown: 0, rescan: 0 }, hours: [] },
      answers: [],
      station: {
        health, problems: [], credentials: null,
        sources: [{ name: "kandji", kind: "kandji", required: true }, { name: "apple", kind: "apple-dep", required: true }, { name: "business", kind: "apple-business", required: false }],
        scanners: lanes.map(lane => ({ name: lane, kind: "hid", lane })),
      },
    };
  }
  // A bench in the middle of a day.
  busy() {
    const { state } = this, minutes = n => this.now() - n * 60_000;
    const day = ["assigned", "assigned", "wrong_server", "assigned", "imei", "assigned", "assigned", "assignment_pending", "assigned", "not_found", "assigned", "returned_stock", "offline", "assigned", "upc", "assigned", "released", "assigned"];
    state.answers = day.map((reason, n) => this.answer(reason, { at_ms: minutes(4 * n + 1), at: this.at(minutes(4 * n + 1)), took_ms: 60 + n * 7 }));
    state.waiting.boxes = [["assignment_pending", 3], ["settling", 9], ["sync_pending", 31], ["offline", 47]].map(([reason, ago]) => this.box(reason, minutes(ago)));
    state.problem.boxes = [["not_found", 140], ["wrong_server", 12], ["wrong_server", 25], ["wrong_server", 190], ["released", 65]].map(([reason, ago]) => this.box(reason, minutes(ago)));
    for (const shelf of [state.waiting, state.problem]) shelf.total = shelf.boxes.length;
    const hours = [[7, 12, 1, 0, 0, 1], [8, 31, 0, 3, 0, 2], [9, 44, 2, 1, 1, 4], [10, 38, 1, 0, 0, 0], [11, 41, 0, 2, 0, 1], [12, 9, 0, 0, 4, 0], [13, 27, 3, 1, 0, 2], [14, 16, 1, 1, 0, 0]];
    state.today.hours = hours.map(([hour, ready, wait, not_ready, unknown, rescan]) => ({ hour, ready, wait, not_ready, unknown, rescan }));
    for (const verdict of Object.keys(SIGNALS)) state.today.by_verdict[verdict] = state.today.hours.reduce((sum, hour) => sum + hour[verdict], 0);
    state.station.health.waiting = 4;
    return this;
  }
  serial() {
    const letters = "CDFGHJKLMNPQRTVWXY";
    let mixed = this.made += 1, name = "";
    for (let at = 0; at < 9; at += 1) {
      mixed = (mixed * 7919 + 104_729 + at) % 1_000_003;
      name += letters[mixed % letters.length];
    }
    return `C02${name}`;
  }
  answer(reason, more = {}) {
    const verdict = verdictOf(reason), [sentence, action] = ENGLISH[reason], rescan = verdict === "rescan", detail = more.detail ?? null;
    return {
      id: randomUUID(), scan: null, cause: null, lane: "main", scanner: "main", serial: rescan ? null : this.serial(), raw: rescan ? "354442067957452" : null, verdict, reason,
      message: detail ? `${sentence} ${detail}` : sentence, detail, action, model: rescan ? null : MODELS[this.made % MODELS.length], signal: SIGNALS[verdict], at: this.at(), at_ms: this.now(), took_ms: 91, age_s: null,
      previous_verdict: null, previous_reason: null, group: null, ...more,
    };
  }
  box(reason, since_ms, more = {}) {
    const answer = this.answer(reason);
    return { serial: answer.serial, lane: "main", reason, verdict: answer.verdict, message: answer.message, detail: null, action: answer.action, since: this.at(since_ms), since_ms, asked_again: answer.verdict !== "not_ready", turned: false, model: answer.model, scan: answer.id, ...more };
  }

  // ---- What happens at the bench.

  lane(name = this.state.lanes[0].lane) {
    return this.state.lanes.find(lane => lane.lane === name);
  }
  // Sends a lane's whole state; `late`: made so long ago.
  sendLane(lane, late = 0) {
    this.send("lane", { ...lane, now_ms: this.now() - late });
  }
  scanned(text, name) {
    const lane = this.lane(name);
    Object.assign(lane, { show: null, since_ms: null, until_ms: null, scanned: { text, at_ms: this.now() }, answer: null, repeat: 0 });
    this.sendLane(lane);
    return lane;
  }
  show(show, { answer = null, lasts = show === "ready" ? 3000 : show === "stop" || show === "hold" ? 30_000 : 2000, name, late = 0 } = {}) {
    const lane = this.lane(name), now = this.now() - late;
    Object.assign(lane, { show, since_ms: now, until_ms: lasts === null ? null : now + lasts });
    if (answer && show === "alarm") lane.alarm = answer;
    else if (answer) Object.assign(lane, { answer, scanned: { text: answer.serial ?? answer.raw, at_ms: Math.min(answer.at_ms, now) } });
    this.sendLane(lane, late);
    return lane;
  }
  // The lamp goes dark.
  dark(name) {
    const lane = this.lane(name);
    Object.assign(lane, { show: null, since_ms: null, until_ms: null });
    this.sendLane(lane);
  }
  // A whole scan: its answer is in the list, too.
  answered(reason, more = {}) {
    const answer = this.answer(reason, more);
    this.state.answers.unshift(answer);
    this.send("answer", answer);
    this.show(answer.signal, { answer, name: more.lane, lasts: more.lasts });
    return answer;
  }
  unable(reason = "offline", name = "kandji") {
    const { station } = this.state;
    station.health.able = false;
    station.health.reason = reason;
    station.health.sources[name].state = reason;
    station.problems = [{ part: "source", name, word: reason, sentence: ENGLISH[reason][0], remedy: ENGLISH[reason][1] }];
    this.send("health", station);
    for (const { lane } of this.state.lanes) this.show("unable", { lasts: null, name: lane });
  }

  // ---- The server.

  whole() {
    return { ...this.state, build: this.build, now_ms: this.now(), station: { ...this.state.station, health: { ...this.state.station.health, time: this.at() } } };
  }
  send(kind, data = {}) {
    const text = `event: ${kind}\ndata: ${JSON.stringify({ now_ms: this.now(), ...data })}\n\n`;
    for (const reader of this.readers) reader.write(text);
  }
  beat() {
    if (this.beats) this.send("beat", { build: this.build });
  }
  async start(port = 0) {
    this.server = createServer((request, response) => this.answerTo(request, response).catch(fault => response.destroy(fault)));
    await new Promise((done, failed) => this.server.once("error", failed).listen(port, "127.0.0.1", done));
    this.port = this.server.address().port;
    this.url = `http://127.0.0.1:${this.port}/`;
    this.beating = setInterval(() => this.beat(), 1000);
    return this;
  }
  // As a station that died: connections break, the port is closed.
  async stop() {
    clearInterval(this.beating);
    this.readers.clear();
    const closed = new Promise(done => this.server.close(done));
    this.server.closeAllConnections();
    await closed;
  }
  async answerTo(request, response) {
    const path = new URL(request.url, this.url).pathname;
    response.setHeader("Content-Security-Policy", this.policy);
    response.setHeader("X-Content-Type-Options", "nosniff");
    response.setHeader("Referrer-Policy", "no-referrer");
    response.setHeader("Cache-Control", "no-cache");
    if (this.broken && path !== "/events") return response.writeHead(this.broken).end();
    if (path === "/events") return this.listen(request, response);
    if (path === "/api/state") return this.json(response, 200, this.whole());
    if (path === "/api/scan") return this.takeScan(request, response);
    if (path.startsWith("/api/answers/")) return this.tellWhy(path.split("/").pop(), response);
    const name = path === "/" ? "index.html" : path.slice(1);
    const type = TYPES[name.split(".").pop()];
    if (!type || name.includes("..")) return response.writeHead(404).end();
    const text = await readFile(new URL(name, ASSETS), "utf8");
    response.writeHead(200, { "Content-Type": type }).end(text.replace("@BUILD@", this.build));
  }
  listen(request, response) {
    if (this.refuse) return response.writeHead(this.refuse).end();
    if (this.hang) return;
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write(`event: state\ndata: ${JSON.stringify(this.whole())}\n\n`);
    if (this.beats) response.write(`event: beat\ndata: ${JSON.stringify({ now_ms: this.now(), build: this.build })}\n\n`);
    this.readers.add(response);
    response.on("close", () => this.readers.delete(response));
  }
  json(response, status, body) {
    response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
  }
  async takeScan(request, response) {
    let body = "";
    for await (const part of request) body += part;
    const { text } = JSON.parse(body);
    if (this.scanStatus !== 202) return this.json(response, this.scanStatus, { error: "no", remedy: "try again" });
    this.scans.push(text);
    this.json(response, 202, { id: randomUUID() });
    this.onScan?.(text);
  }
  tellWhy(id, response) {
    const answer = this.state.answers.find(one => one.id === id);
    if (!answer) return this.json(response, 404, { error: "no such answer" });
    this.json(response, 200, this.evidence.get(id) ?? {
      v: 1, answer, delivered_at: answer.at, set_aside: null, changes: [],
      evidence: answer.serial ? [
        { source: "kandji", kind: "kandji", says: answer.verdict === "ready" ? "ready" : "no", reason: answer.reason, status: "assigned", assigned_at: "2026-01-09T22:01:10Z", as_of: this.at(this.now() - 1_260_000), took_ms: 84 },
        { source: "apple", kind: "apple-dep", says: "ready", reason: "assigned", status: "assigned", assigned_at: "2026-01-09T22:01:10Z", as_of: null, took_ms: 61 },
        { source: "business", kind: "apple-business", says: "no_objection", reason: null, status: "ASSIGNED", assigned_at: null, as_of: null, took_ms: 78 },
      ] : [],
    });
  }
}
