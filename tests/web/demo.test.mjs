// The page of the real station: `benchlight demo`, whose program BENCHLIGHT names.
import test, { before, after } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { Fake } from "./fake.mjs";
import { launch, open, shut, pause, until, lit, greens, picture, violations, misfits } from "./browser.mjs";

const program = process.env.BENCHLIGHT;
const options = program ? {} : { skip: "BENCHLIGHT names no program" };
let browser;
before(async () => { browser = await launch() });
after(() => browser.close());

// Starts the demo, and waits for its page's address.
async function demo(t) {
  const station = spawn(program, ["demo"], { stdio: ["pipe", "pipe", "pipe"] });
  const ended = new Promise(done => station.once("exit", done));
  station.end = async () => { station.kill("SIGKILL"); await ended };
  t.after(station.end);
  let said = "";
  for (const stream of [station.stdout, station.stderr]) stream.on("data", data => { said += data });
  const url = await until(() => said.match(/http:\/\/127\.0\.0\.1:\d+\/?/)?.[0], 30_000, "the demo prints its address");
  await until(() => fetch(new URL("/api/state", url)).then(reply => reply.ok, () => false), 30_000, "the page's server answers");
  return { station, url };
}
const shows = (page, signal, ms = 5000) => until(async () => await lit(page) === signal, ms, `the lamp shows ${signal}`);

test("scans from the page: each signal, its end, the shelves, why; the station dies and comes back", options, async t => {
  const { station, url } = await demo(t);
  const page = await open(browser, url);
  t.after(() => shut(page));
  assert.equal(await page.locator(".unlit .word").innerText(), "Not checked");
  const click = signal => page.evaluate(async signal => {
    const state = await (await fetch("/api/state")).json();
    const { serial } = state.demo.find(box => box.signal === signal);
    [...document.querySelectorAll("#demo li button")].find(button => button.textContent.includes(serial)).click();
    return serial;
  }, signal);
  const serial = await click("ready");
  await shows(page, "ready");
  assert.equal(await page.locator(".lit .code b").innerText(), serial.slice(-4));
  await picture(browser, page, "demo-station-ready");
  await shows(page, null, 6000);
  assert.equal(await greens(browser, page), 0);
  for (const signal of ["stop", "hold", "rescan"]) {
    // A wrong barcode within half a second of a serial number is a stray code of the same trigger pull.
    await pause(700);
    await click(signal);
    await shows(page, signal);
    assert.deepEqual(await misfits(page), [], signal);
  }
  await until(async () => await page.locator("#waiting .rows > li").count() > 0 && await page.locator("#problem .rows > li").count() > 0);
  assert.ok(await page.locator("#answers .rows > li").count() >= 4);
  await until(async () => /[1-9]/.test(await page.locator("#counts").innerText()), 8000);
  await page.locator("#answers .rows > li.ready button").first().click();
  await until(async () => await page.locator(".evidence .source").count() === 3);
  await page.keyboard.press("Escape");
  assert.deepEqual(await violations(page), []);
  // The keys of a scanner that types, into a filter.
  await page.locator("#filter").focus();
  const keys = await page.context().newCDPSession(page);
  let at = Date.now() / 1000;
  const key = (type, more) => keys.send("Input.dispatchKeyEvent", { type, timestamp: at += .001, ...more });
  await Promise.all([...[..."FVFGK1BBQ6L4"].map(letter => key("keyDown", { key: letter, text: letter })), key("keyDown", { key: "Enter", code: "Enter", windowsVirtualKeyCode: 13, text: "\r" })]);
  await until(async () => (await page.locator(".lit .code").innerText()).includes("Q6L4"));
  assert.equal(await page.locator("#filter").inputValue(), "");
  assert.deepEqual(page.faults, []);

  const { port } = new URL(url);
  await station.end();
  await page.waitForSelector("html.lost", { timeout: 8000 });
  assert.equal(await greens(browser, page), 0);
  const again = await demo(t);
  if (new URL(again.url).port === port) {
    await page.waitForSelector("html:not(.lost)", { timeout: 20_000 });
    await until(async () => await page.locator(".unlit .word").innerText() === "Not checked");
  }
});

test("the tests' stand-in says what the station says, and nothing else", options, async t => {
  const { url } = await demo(t);
  const ask = path => fetch(new URL(path, url)).then(reply => reply.json());
  const scan = text => fetch(new URL("/api/scan", url), { method: "POST", headers: { "Content-Type": "application/json", Origin: new URL(url).origin }, body: JSON.stringify({ text }) });
  const fake = new Fake().busy();
  fake.state.scan = { lane: "main" };
  fake.state.demo = [{ serial: "C02XK0AAJG5H", what: "new", signal: "ready" }];
  for (const signal of ["hold", "stop", "ready"]) {
    const box = (await ask("/api/state")).demo.find(one => one.signal === signal);
    assert.equal((await scan(box.serial)).status, 202);
    await until(async () => (await ask("/api/state")).answers.some(answer => answer.serial === box.serial), 8000, box.serial);
  }
  await until(async () => { const { waiting, problem, today } = await ask("/api/state"); return waiting.total && problem.total && today?.hours.length }, 15_000);
  const real = await ask("/api/state"), made = fake.whole();
  made.lanes[0] = { ...made.lanes[0], scanned: { text: "", at_ms: 1 }, answer: made.answers[0] };
  // What the page reads must be there; null may stand for anything.
  const lacks = (mine, theirs, path = "") => {
    if (mine === null || theirs === null || typeof mine !== "object") return [];
    if (Array.isArray(mine)) return mine.length && theirs.length ? lacks(mine[0], theirs[0], `${path}[]`) : [];
    return Object.keys(mine).flatMap(key => key in theirs ? lacks(mine[key], theirs[key], `${path}.${key}`) : [`${path}.${key}`]);
  };
  // Names of parts, and what is only there when something is wrong.
  for (const state of [real, made]) {
    const { health } = state.station;
    for (const key of ["scanners", "lamps"]) health[key] = { one: Object.values(health[key])[0] };
  }
  assert.deepEqual(lacks(made, real).filter(path => !path.endsWith("credentials")), []);
  const why = await ask(`/api/answers/${real.answers[0].id}`);
  for (const key of ["v", "answer", "evidence", "delivered_at", "set_aside", "changes"]) assert.ok(key in why, key);
  for (const key of ["source", "kind", "says", "reason", "status", "assigned_at", "as_of", "took_ms"]) assert.ok(key in why.evidence[0], key);

  const reader = (await fetch(new URL("/events", url))).body.getReader();
  let heard = "";
  for (const end = performance.now() + 4000; performance.now() < end && !heard.includes("event: beat");) heard += new TextDecoder().decode((await reader.read()).value);
  await reader.cancel();
  assert.match(heard, /^event: ?state\ndata: ?\{/m);
  const beat = JSON.parse(heard.match(/event: ?beat\ndata: ?(.*)/)[1]);
  assert.ok(beat.now_ms >= real.now_ms && beat.build === real.build);
  await pause(10);
});
