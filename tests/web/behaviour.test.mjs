// What the page does: it never shows a green out of date, says when it hears nothing, comes back by itself, and takes scans.
import test, { before, after } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { Fake } from "./fake.mjs";
import { launch, open, shut, pause, until, lit, greens, picture, misfits } from "./browser.mjs";

let browser;
before(async () => { browser = await launch() });
after(() => browser.close());

async function bench(t, lanes, options, prepare = () => {}) {
  const fake = await new Fake(lanes).start();
  t.after(() => fake.stop().catch(() => {}));
  await prepare(fake);
  const page = await open(browser, fake.url, options);
  t.after(() => shut(page));
  return { fake, page };
}
const shows = (page, signal, ms = 2000) => until(async () => await lit(page) === signal, ms, `the lamp shows ${signal}`);
const isLost = page => page.evaluate(() => document.documentElement.classList.contains("lost"));
const last = page => page.locator(".unlit .last .code b").innerText();

test("green goes when the lamp's green goes, and its answer stays below", async t => {
  const { fake, page } = await bench(t);
  assert.equal(await page.locator(".unlit .word").innerText(), "Not checked");
  fake.answered("assigned", { lasts: 1500, serial: "C02XK0AAJG5H" });
  const began = performance.now();
  await shows(page, "ready");
  assert.equal(await page.locator(".lit .word").innerText(), "Ready");
  await shows(page, null, 3000);
  const lasted = performance.now() - began;
  assert.ok(lasted > 1300 && lasted < 1900, `${lasted} ms`);
  assert.equal(await last(page), "JG5H");
  assert.equal(await greens(browser, page), 0);
});

test("green ends by itself, and the cover comes up, even when nothing of the page runs any more", async t => {
  const { fake, page } = await bench(t);
  const watch = await page.context().newCDPSession(page);
  let newest = null;
  watch.on("Page.screencastFrame", ({ data, sessionId }) => { newest = data; watch.send("Page.screencastFrameAck", { sessionId }).catch(() => {}) });
  await watch.send("Page.startScreencast", { format: "png", everyNthFrame: 1 });
  fake.answered("assigned", { lasts: 2500 });
  await shows(page, "ready");
  // The page's own thread hangs for eight seconds; what is seen comes from the compositor.
  const hung = page.evaluate(() => { for (const end = performance.now() + 8000; performance.now() < end;); });
  await pause(6500);
  const eye = await open(browser, "about:blank", { wait: false });
  t.after(() => shut(eye));
  const seen = await eye.evaluate(async data => {
    const bitmap = await createImageBitmap(new Blob([Uint8Array.from(atob(data), letter => letter.charCodeAt(0))], { type: "image/png" })), canvas = new OffscreenCanvas(bitmap.width, bitmap.height), pen = canvas.getContext("2d");
    pen.drawImage(bitmap, 0, 0);
    const { data: dots } = pen.getImageData(0, 0, bitmap.width, bitmap.height), middle = (Math.floor(bitmap.height / 2) * bitmap.width + Math.floor(bitmap.width / 2)) * 4;
    let green = 0;
    for (let at = 0; at < dots.length; at += 4) if (dots[at + 1] > 90 && dots[at + 1] > dots[at] * 1.4 && dots[at + 1] > dots[at + 2] * 1.25) green += 1;
    return { green, corner: [...dots.slice(0, 3)], middle: [...dots.slice(middle, middle + 3)] };
  }, newest);
  assert.equal(seen.green, 0, "no green stays");
  assert.ok(Math.max(...seen.corner) > 60, `the cover is up: ${seen.corner}`);
  await hung;
});

test("three seconds without a beat: grey, in words, no green; it comes back by itself", async t => {
  const { fake, page } = await bench(t);
  fake.answered("assigned", { lasts: 60_000 });
  await shows(page, "ready");
  fake.beats = false;
  const began = performance.now();
  await page.waitForSelector("html.lost");
  const after = performance.now() - began;
  assert.ok(after > 1900 && after < 4500, `${after} ms`);
  assert.equal(await lit(page), null);
  assert.equal(await greens(browser, page), 0);
  assert.match(await page.title(), /Display lost the station/);
  assert.match(await page.locator("#veil").innerText(), /comes back by itself/);
  // A server that answers and has no beat is no station.
  await pause(2500);
  assert.ok(await isLost(page));
  fake.beats = true;
  await page.waitForSelector("html:not(.lost)");
  await shows(page, "ready");
  assert.match(await page.title(), /bench-1/);
});

test("the station dies and comes back: the page follows by itself, whatever the server answers in between", async t => {
  const { fake, page } = await bench(t);
  const { port } = fake;
  await fake.stop();
  await page.waitForSelector("html.lost", { timeout: 6000 });
  for (const refuse of [503, 401, 404]) {
    const wrong = new Fake();
    wrong.refuse = refuse;
    await wrong.start(port);
    await pause(1300);
    assert.ok(await isLost(page), `after ${refuse}`);
    await wrong.stop();
  }
  const mute = new Fake();
  mute.hang = true;
  await mute.start(port);
  await pause(1500);
  await mute.stop();
  const again = new Fake();
  await again.start(port);
  t.after(() => again.stop());
  again.answered("wrong_server", { lasts: 30_000 });
  await page.waitForSelector("html:not(.lost)", { timeout: 10_000 });
  await shows(page, "stop");
});

test("a connection that goes silent without an end is left for a new one", async t => {
  const { fake, page } = await bench(t);
  const first = [...fake.readers];
  for (const reader of first) fake.readers.delete(reader);
  fake.hang = true;
  await page.waitForSelector("html.lost", { timeout: 6000 });
  fake.hang = false;
  await page.waitForSelector("html:not(.lost)", { timeout: 9000 });
  fake.answered("assigned");
  await shows(page, "ready");
});

test("an event that comes a second late is shown unlit; one that is a little late is lit for what is left", async t => {
  const { fake, page } = await bench(t);
  fake.show("ready", { answer: fake.answer("assigned", { serial: "C02LATELATE1" }), lasts: 60_000, late: 1300 });
  await until(async () => await last(page) === "ATE1");
  assert.equal(await lit(page), null);
  const began = performance.now();
  fake.show("ready", { answer: fake.answer("assigned", { serial: "C02SOON0SOON" }), lasts: 2000, late: 700 });
  await shows(page, "ready");
  await shows(page, null);
  const lasted = performance.now() - began;
  assert.ok(lasted > 1100 && lasted < 1700, `${lasted} ms of 1,300 that were left`);
  // Beats that are far too late are no sign of life. (A new connection brings the page back at once.)
  await page.evaluate(() => new MutationObserver(() => { window.wasLost ||= document.documentElement.classList.contains("lost") }).observe(document.documentElement, { attributes: true }));
  const { send } = fake;
  fake.send = function (kind, data) { return send.call(this, kind, { ...data, now_ms: this.now() - 9000 }) };
  await until(() => page.evaluate(() => window.wasLost), 6000, "the page was lost");
});

test("a connection that takes long lights nothing, until a fast one proves the time", async t => {
  const fake = await new Fake().start();
  t.after(() => fake.stop());
  const { listen } = fake;
  let connections = 0;
  fake.listen = async function (request, response) {
    connections += 1;
    if (connections > 1) return listen.call(this, request, response);
    // The state was made in time, and nothing of it comes for a second and a half.
    const whole = this.whole();
    await pause(1500);
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write(`event: state\ndata: ${JSON.stringify(whole)}\n\n`);
    response.write(`event: beat\ndata: ${JSON.stringify({ now_ms: whole.now_ms, build: this.build })}\n\n`);
  };
  fake.answered("assigned", { lasts: 60_000 });
  const page = await open(browser, fake.url);
  t.after(() => shut(page));
  assert.equal(await last(page), fake.lane().answer.serial.slice(-4));
  if (connections === 1) assert.equal(await lit(page), null);
  await shows(page, "ready", 9000);
  assert.ok(connections > 1);
});

test("a green without an end is not lit", async t => {
  const { fake, page } = await bench(t);
  fake.show("ready", { answer: fake.answer("assigned", { serial: "C02NOEND0END" }), lasts: null });
  await until(async () => await last(page) === "0END");
  assert.equal(await lit(page), null);
});

test("a browser that slept an hour: no green, and the age is an hour", async t => {
  await t.test("its clock stood still", async t => {
    const { fake, page } = await bench(t);
    fake.answered("assigned", { lasts: 60_000, serial: "C02XK0AAJG5H" });
    await shows(page, "ready");
    fake.ahead += 3_600_000;
    await shows(page, null, 1500);
    await until(async () => await page.locator(".unlit .mark time").innerText() === "1 hour ago", 3000);
    assert.equal(await greens(browser, page), 0);
    fake.answered("assigned");
    await shows(page, "ready");
  });
  await t.test("its clock went on", async t => {
    const { fake, page } = await bench(t, undefined, { before: () => {
      const real = performance.now.bind(performance);
      window.slept = 0;
      performance.now = () => real() + window.slept;
    } });
    fake.answered("assigned", { lasts: 60_000 });
    await shows(page, "ready");
    fake.ahead += 3_600_000;
    await page.evaluate(() => { window.slept = 3_600_000 });
    await shows(page, null, 1500);
    await page.waitForSelector("html:not(.lost)", { timeout: 6000 });
    await until(async () => await page.locator(".unlit .mark time").innerText() === "1 hour ago", 3000);
  });
  await t.test("hidden and shown again, resumed, and out of the page cache: blank until the next state", async t => {
    const { fake, page } = await bench(t);
    fake.answered("assigned", { lasts: 60_000 });
    for (const wake of [() => document.dispatchEvent(new Event("visibilitychange")), () => dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true })), () => document.dispatchEvent(new Event("resume"))]) {
      await shows(page, "ready");
      fake.hang = true;
      await page.evaluate(wake);
      assert.equal(await page.evaluate(() => document.documentElement.classList.contains("blank")), true);
      assert.equal(await lit(page), null);
      fake.hang = false;
      await page.waitForSelector("html:not(.blank)", { timeout: 8000 });
    }
  });
  await t.test("stopped as a whole for five seconds", async t => {
    const own = await launch();
    t.after(() => own.close());
    const fake = await new Fake().start();
    t.after(() => fake.stop());
    const page = await open(own, fake.url);
    fake.answered("assigned", { lasts: 3000 });
    await shows(page, "ready");
    const renderers = execFileSync("ps", ["-eo", "pid,ppid,args"], { encoding: "utf8" }).split("\n").map(line => line.trim().split(/\s+/));
    const kin = new Set([String(process.pid)]);
    for (let grew = true; grew;) {
      grew = false;
      for (const [pid, parent, ...words] of renderers) if (!kin.has(pid) && kin.has(parent) && pid !== String(process.pid)) grew = !!kin.add(pid);
    }
    const stopped = renderers.filter(([pid, , ...words]) => kin.has(pid) && words.join(" ").includes("--type=renderer")).map(([pid]) => Number(pid));
    assert.ok(stopped.length);
    for (const pid of stopped) process.kill(pid, "SIGSTOP");
    await pause(5000);
    for (const pid of stopped) process.kill(pid, "SIGCONT");
    assert.equal(await lit(page), null);
    assert.equal(await greens(own, page).catch(() => 0), 0);
    await page.waitForSelector("html:not(.lost)", { timeout: 6000 });
  });
});

test("the browser's wall clock does not matter, years behind or ahead", async t => {
  const texts = [];
  for (const year of [1999, 2031]) {
    const { fake, page } = await bench(t, undefined, { before: `{ const Real = Date, shift = Real.UTC(${year}, 0, 1) - Real.now(); Date = class extends Real { constructor(...about) { about.length ? super(...about) : super(Real.now() + shift) } static now() { return Real.now() + shift } }; globalThis.Date = Date }` }, fake => fake.busy());
    assert.equal(await page.evaluate(() => new Date().getUTCFullYear()), year);
    fake.answered("assigned", { lasts: 1200, serial: "C02XK0AAJG5H", at: "2026-11-29T13:42:10Z" });
    await shows(page, "ready");
    await shows(page, null, 3000);
    texts.push(await page.locator("#today, #station, .shelves, .unlit").allInnerTexts());
  }
  assert.deepEqual(texts[0], texts[1]);
  assert.match(texts[0].join(), /29 November 2026/);
});

test("what was scanned is there at once; without an answer it says so", async t => {
  const { fake, page } = await bench(t);
  const lane = fake.scanned("C02XK0AAJG5H");
  await until(async () => await page.locator(".unlit.pending .code b").innerText() === "JG5H", 1000);
  assert.equal(await page.locator(".unlit .word").innerText(), "Checking");
  lane.scanned.at_ms -= 9500;
  fake.sendLane(lane);
  await until(async () => (await page.locator(".unlit").innerText()).includes("No answer came"), 3000);
  assert.equal(await page.locator(".unlit .word").innerText(), "Not checked");
});

test("a wrong barcode: the label is drawn until the next scan, at most 30 seconds", async t => {
  const { fake, page } = await bench(t);
  fake.answered("upc", { lasts: 400, at_ms: fake.now() - 28_500 });
  await shows(page, "rescan");
  await shows(page, null);
  assert.equal(await page.locator(".unlit .label").count(), 1);
  await until(async () => await page.locator(".unlit .label").count() === 0, 4000);
  fake.answered("imei", { lasts: 400 });
  await until(async () => await page.locator(".unlit .label").count() === 1);
  fake.scanned("C02XK0AAJG5H");
  await until(async () => await page.locator(".unlit .label").count() === 0);
});

test("an upgrade: the page loads itself anew, once, and only when the server hands it out", async t => {
  const { fake, page } = await bench(t);
  let loads = 0;
  page.on("framenavigated", () => { loads += 1 });
  fake.broken = 503;
  fake.build = "0.2.0-aaaaaa";
  await pause(2500);
  assert.equal(loads, 0, "never away from a page that works");
  assert.equal(await isLost(page), false);
  fake.broken = null;
  await until(() => loads === 1, 8000);
  await page.waitForSelector("html:not(.lost)");
  assert.equal(await page.locator("meta[name=build]").getAttribute("content"), "0.2.0-aaaaaa");
  await pause(2500);
  assert.equal(loads, 1);
});

test("a proxy that keeps handing out the old page: no loop", async t => {
  const { fake, page } = await bench(t);
  let loads = 0;
  page.on("framenavigated", () => { loads += 1 });
  const { whole, beat } = fake;
  fake.whole = function () { return { ...whole.call(this), build: "0.3.0-bbbbbb" } };
  fake.beat = function () { this.send("beat", { build: "0.3.0-bbbbbb" }) };
  await until(() => loads === 1, 5000);
  await pause(5000);
  assert.equal(loads, 1);
  fake.beat = beat;
});

test("a message that makes no sense: the page is grey, says so, and loads itself anew", async t => {
  const { fake, page } = await bench(t);
  let loads = 0;
  page.on("framenavigated", () => { loads += 1 });
  const { whole } = fake;
  fake.whole = function () { return { ...whole.call(this), lanes: [{ lane: "main", show: "ready", answer: 7 }] } };
  fake.send("lane", null);
  for (const reader of fake.readers) reader.write("event: lane\ndata: {\n\n");
  await page.waitForSelector("html.lost", { timeout: 3000 });
  fake.whole = whole;
  await page.waitForSelector("html:not(.lost)", { timeout: 15_000 });
  fake.answered("assigned");
  await shows(page, "ready");
});

test("hostile text is text: markup, writing direction, 5,000 characters", async t => {
  const evil = ["<img src=x onerror=alert(1)><script>alert(2)</script>", "\u202egpj.exe\u2066\u0007\u200b", "\"'`&lt;${1}", "W".repeat(5000), "ש".repeat(300), "a\u0300\u0301\u0302".repeat(900)];
  const { fake, page } = await bench(t, ["main", "<b>lane</b>"], {}, fake => {
    const { state } = fake.busy();
    Object.assign(state, { site: evil[0], name: evil[1], scan: { lane: "main" } });
    state.answers = evil.map(text => fake.answer("wrong_server", { serial: text, model: text, lane: text, message: text, detail: text, action: text }));
    state.answers.push(...evil.map(text => fake.answer("upc", { raw: text, reason: text, message: text, action: text })));
    state.waiting.boxes = evil.map(text => fake.box("settling", fake.now(), { serial: text, lane: text, reason: text, message: text, model: text }));
    state.problem.boxes = evil.map(text => fake.box("released", fake.now(), { serial: text, reason: text, message: text, action: text }));
    state.demo = evil.map(text => ({ serial: text, what: text, signal: text }));
    state.station.problems = evil.map(text => ({ part: text, name: text, word: text, sentence: text, remedy: text }));
    state.station.sources.push({ name: evil[3], kind: evil[0], required: true });
    state.station.health.sources[evil[3]] = { state: evil[0], as_of: evil[0], credential_days: 3 };
    state.station.health.sources.kandji.as_of = evil[1];
    state.station.health.scanners = { [evil[0]]: { state: evil[1], proven: false } };
    state.version = evil[0];
  });
  // The end of an endless sentence may be cut off; the signal and the serial number may not.
  const spilt = async () => (await misfits(page)).filter(what => !/^(say|do) .*(leaves its tile|cut off)/.test(what));
  for (const text of evil) {
    const answer = { ...fake.state.answers[0], ...fake.answer("wrong_server", { serial: text, model: text, message: text, detail: text }) };
    fake.show("stop", { answer });
    await until(async () => await lit(page) === "stop");
    assert.deepEqual(await spilt(), [], text.slice(0, 40));
    fake.dark();
    await until(async () => await lit(page) === null);
    assert.deepEqual(await spilt(), [], `${text.slice(0, 40)}, over`);
    fake.scanned(text);
    await until(async () => await page.locator(".unlit.pending").count() === 1);
    assert.deepEqual(await spilt(), [], `${text.slice(0, 40)}, scanned`);
    fake.evidence.set(answer.id, { v: 1, answer, delivered_at: null, set_aside: text, changes: [{ ...answer, cause: text }], evidence: [{ source: text, kind: text, says: text, reason: text, status: text, assigned_at: null, as_of: null, took_ms: 1 }] });
    fake.state.answers.unshift(answer);
    fake.send("answer", answer);
    await page.locator("#answers .rows button").first().click();
    await page.locator(".evidence .source").first().waitFor();
    assert.ok(await page.locator("#why").evaluate(node => node.scrollWidth <= node.clientWidth), "the details fit");
    await page.keyboard.press("Escape");
  }
  await page.waitForTimeout(200);
  assert.equal(await page.evaluate(() => document.querySelectorAll("img:not(header img), b > b, script:not([src])").length), 0);
  assert.doesNotMatch(await page.evaluate(() => document.body.textContent), /[\u0007\u200b-\u200f\u202a-\u202e\u2066-\u2069]/);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
  assert.deepEqual(page.faults, []);
  assert.equal(await isLost(page), false);
});

test("two lanes: each shows its own", async t => {
  const { fake, page } = await bench(t, ["left", "right"]);
  fake.answered("assigned", { lane: "left", serial: "C02LEFT0LEFT" });
  fake.answered("wrong_server", { lane: "right", serial: "C02RIGHTIGHT" });
  await until(async () => await lit(page, 0) === "ready" && await lit(page, 1) === "stop");
  assert.deepEqual(await page.locator(".lit .code b").allInnerTexts(), ["LEFT", "IGHT"]);
  await picture(browser, page, "two-lanes", { grey: true });
  fake.scanned("C02NEXT0NEXT", "left");
  await until(async () => await lit(page, 0) === null);
  assert.equal(await lit(page, 1), "stop");
  assert.match(await page.locator("#said").textContent(), /^Lane right: Not ready\. IGHT\./);
});

test("two benches in two tabs: each follows its own station", async t => {
  const { fake, page } = await bench(t);
  const second = new Fake();
  second.state.name = "bench-2";
  await second.start();
  t.after(() => second.stop());
  const other = await open(browser, second.url, { context: page.context() });
  fake.answered("assigned", { lasts: 20_000 });
  second.answered("wrong_server", { lasts: 20_000 });
  await shows(page, "ready");
  await shows(other, "stop");
  assert.match(await other.title(), /bench-2/);
  await second.stop();
  await other.waitForSelector("html.lost", { timeout: 6000 });
  assert.equal(await isLost(page), false);
});

test("a burst of keys is a scan wherever the focus is, and never text in a filter", async t => {
  const { fake, page } = await bench(t, undefined, {}, fake => Object.assign(fake.busy().state, { scan: { lane: "main" } }));
  // As a scanner types: a key every millisecond, whatever this machine has to do meanwhile.
  const keys = await page.context().newCDPSession(page);
  const wand = async text => {
    let at = Date.now() / 1000;
    const key = (type, more) => keys.send("Input.dispatchKeyEvent", { type, timestamp: at += .001, ...more });
    await Promise.all([...[...text].flatMap(letter => [key("keyDown", { key: letter, text: letter, unmodifiedText: letter }), key("keyUp", { key: letter })]), key("keyDown", { key: "Enter", code: "Enter", windowsVirtualKeyCode: 13, text: "\r" }), key("keyUp", { key: "Enter", code: "Enter", windowsVirtualKeyCode: 13 })]);
  };
  await wand("C02XK0AAJG5H");
  await until(() => fake.scans.at(-1) === "C02XK0AAJG5H");
  await page.locator("#filter").fill("air");
  await page.locator("#filter").focus();
  await wand("C02PD4EEJG5J");
  await until(() => fake.scans.at(-1) === "C02PD4EEJG5J");
  assert.equal(await page.locator("#filter").inputValue(), "air");
  await page.locator("#waiting button").first().focus();
  await wand("K7QW2 CCPX9");
  await until(() => fake.scans.at(-1) === "K7QW2 CCPX9");
  assert.equal(await page.locator("#why").evaluate(node => node.open), false, "no button was pressed");
  await page.locator("#filter").focus();
  await page.keyboard.type("slow", { delay: 90 });
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#filter").inputValue(), "airslow");
  assert.equal(fake.scans.length, 3);
  // Without a scanner here, keys are keys.
  fake.state.scan = null;
  for (const reader of fake.readers) reader.end();
  await page.waitForSelector("#scan[hidden]", { state: "attached", timeout: 6000 });
  await page.locator("#filter").fill("");
  await page.locator("#filter").focus();
  await wand("C02XK0AAJG5H");
  assert.equal(await page.locator("#filter").inputValue(), "C02XK0AAJG5H");
  assert.equal(fake.scans.length, 3);
});

test("typed and clicked scans; each refusal in words", async t => {
  const { fake, page } = await bench(t, undefined, {}, fake => Object.assign(fake.state, { scan: { lane: "main" }, demo: [{ serial: "DEMOREADY001", what: "new", signal: "ready" }] }));
  const said = page.locator("#heard");
  await page.locator("#typed").fill("C02XK0AAJG5H");
  await page.locator("#form button").click();
  await until(async () => await said.innerText() === "Scanned: C02XK0AAJG5H");
  assert.equal(await page.locator("#typed").inputValue(), "");
  await page.locator("#demo li button").click();
  await until(() => fake.scans.at(-1) === "DEMOREADY001");
  for (const [status, words] of [[400, "There is nothing to scan."], [413, "That is too long for a barcode."], [503, "Too many scans at once. Scan it again."], [404, "The station takes no scans from here."], [500, "The station did not get the scan. Scan it again."]]) {
    fake.scanStatus = status;
    await page.locator("#typed").fill("C02XK0AAJG5H");
    await page.locator("#form button").click();
    await until(async () => await said.innerText() === words, 3000, words);
    assert.equal(await page.locator("#typed").inputValue(), "C02XK0AAJG5H", "what was typed is kept");
  }
});

test("the keyboard alone: everything is reached, seen and used", async t => {
  const { page } = await bench(t, undefined, {}, fake => Object.assign(fake.busy().state, { scan: { lane: "main" } }));
  const reached = new Set();
  for (let step = 0; step < 60; step += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const node = document.activeElement;
      if (node === document.body) return null;
      return { is: node.id || node.closest("section,nav,form")?.id || node.tagName, seen: getComputedStyle(node).outlineStyle !== "none" };
    });
    if (!at) break;
    assert.ok(at.seen, `the focus on ${at.is} is seen`);
    reached.add(at.is);
  }
  for (const is of ["sound", "language", "typed", "strip", "waiting", "problem", "filter", "verdict", "answers"]) assert.ok(reached.has(is), `${is} is reached: ${[...reached]}`);
  const why = page.locator("#answers .rows button").first();
  await why.focus();
  await page.keyboard.press("Enter");
  await page.locator(".evidence .source").first().waitFor();
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#why").evaluate(node => node.open), false);
  assert.ok(await why.evaluate(node => node === document.activeElement), "the focus is back");
  // A new answer does not take it away.
});

test("the focus stays where it is while answers come in", async t => {
  const { fake, page } = await bench(t, undefined, {}, fake => fake.busy());
  const third = page.locator("#answers .rows > li").nth(2).locator("button");
  await third.focus();
  const name = await page.evaluate(() => document.activeElement.getAttribute("aria-label"));
  fake.answered("assigned");
  await until(async () => await page.locator("#answers .rows > li").count() === 19);
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), name);
});

test("a live region that is there before its content says each answer, alarm and loss", async t => {
  const { fake, page } = await bench(t);
  for (const [id, role] of [["said", "status"], ["cried", "alert"], ["veil", "alert"]]) {
    assert.equal(await page.locator(`#${id}`).getAttribute("role"), role);
    if (id !== "veil") assert.equal(await page.locator(`#${id}`).textContent(), "");
  }
  fake.answered("assigned", { serial: "C02XK0AAJG5H" });
  await until(async () => await page.locator("#said").textContent() === "Ready. JG5H. The enrollment profile is Assigned. Power it on.");
  fake.show("alarm", { answer: fake.answer("released", { serial: "C02RL2MMJG5R" }) });
  await until(async () => (await page.locator("#cried").textContent()).startsWith("Earlier box!. JG5R. This device was released") || (await page.locator("#cried").textContent()).startsWith("Earlier box! JG5R. This device was released"));
  fake.unable("offline");
  await until(async () => (await page.locator("#cried").textContent()).startsWith("Cannot check"));
});

test("sound comes after one touch, is its own for each signal, and stays on", async t => {
  const { fake, page } = await bench(t, undefined, { before: () => {
    window.heard = [];
    const make = AudioContext.prototype.createOscillator;
    AudioContext.prototype.createOscillator = function () {
      const tone = make.call(this), { start } = tone;
      tone.start = when => { window.heard.push(Math.round(tone.frequency.value)); return start.call(tone, when) };
      return tone;
    };
  } });
  const heard = async () => { const tones = await page.evaluate(() => window.heard.splice(0)); return tones.join() };
  fake.answered("assigned");
  await shows(page, "ready");
  assert.equal(await heard(), "");
  await page.locator("#sound").click();
  await until(async () => await page.locator("#sound").getAttribute("aria-pressed") === "true");
  const songs = new Set();
  for (const reason of ["assigned", "wrong_server", "settling", "imei"]) {
    fake.answered(reason);
    await until(async () => await lit(page) === fake.lane().show);
    const song = await until(heard, 2000, reason);
    songs.add(song);
  }
  fake.show("alarm", { answer: fake.answer("released") });
  songs.add(await until(heard));
  assert.equal(songs.size, 5);
  await page.reload();
  await page.waitForSelector("html:not(.lost)");
  await page.locator("#place").click();
  await until(async () => await page.locator("#sound").getAttribute("aria-pressed") === "true");
  await page.locator("#sound").click();
  assert.equal(await page.locator("#sound").getAttribute("aria-pressed"), "false");
});

test("the language: the browser's at first, then the chosen one, kept", async t => {
  const { fake, page } = await bench(t, undefined, { locale: "pl-PL" }, fake => fake.busy());
  assert.equal(await page.evaluate(() => document.documentElement.lang), "pl");
  assert.equal(await page.locator(".unlit .word").innerText(), "Niesprawdzone");
  await page.locator("#language").selectOption("fr");
  await page.waitForSelector("html[lang=fr]");
  fake.answered("assigned", { lasts: 20_000 });
  await shows(page, "ready");
  assert.equal(await page.locator(".lit .word").innerText(), "Prêt");
  await page.locator("#language").selectOption("de");
  await until(async () => await page.locator(".lit .word").innerText() === "Bereit");
  await picture(browser, page, "german");
  await page.reload();
  await page.waitForSelector("html[lang=de]");
  await page.waitForSelector("html:not(.lost)");
  assert.equal(await page.evaluate(() => document.documentElement.lang), "de");
});

test("the waiting shelf: the oldest first, one that turned ready on top, said again; what is too many is counted", async t => {
  const { fake, page } = await bench(t, undefined, {}, fake => fake.busy());
  assert.equal(await page.locator("#waiting .rows > li").count(), 4);
  const box = { ...fake.state.waiting.boxes[2], turned: true, reason: "assigned", verdict: "ready" };
  fake.send("shelves", { waiting: { total: 1204, boxes: [box, ...fake.state.waiting.boxes.filter(one => one.serial !== box.serial)] }, problem: { total: 0, boxes: [] } });
  await page.locator("#waiting .turned").waitFor();
  assert.match(await page.locator("#waiting .rows > li").first().innerText(), /Ready now: scan again/);
  assert.equal(await page.locator("#waiting .more").innerText(), "and 1,200 more");
  assert.equal(await page.locator("#problem .more").innerText(), "No box needs anybody.");
  assert.match(await page.locator("#strip").innerText(), /Ready now: scan again/);
  assert.equal(await greens(browser, page), 0);
});

test("problems are counted in the form that each language has for their number", async t => {
  const { fake, page } = await bench(t);
  fake.unable();
  const said = async () => (await page.locator("#strip a").last().innerText()).replace(/\s+/g, " "), [problem] = fake.state.station.problems;
  for (const [code, ...words] of [["en", "Problem", "Problems", "Problems"], ["pl", "Problem", "Problemy", "Problemów"]]) {
    await page.locator("#language").selectOption(code);
    await page.waitForSelector(`html[lang=${code}]`);
    for (const [at, n] of [1, 2, 5].entries()) {
      fake.state.station.problems = Array.from({ length: n }, (_, nth) => ({ ...problem, name: `kandji-${nth}` }));
      fake.send("health", fake.state.station);
      await until(async () => await said() === `${n} ${words[at]}`, 3000, `${code}, ${n}`);
    }
  }
});
