// Every state of the page: looked at by axe-core, measured, and kept as a picture in target/web/.
import test, { before, after } from "node:test";
import assert from "node:assert/strict";
import { Fake, REASONS } from "./fake.mjs";
import { launch, open, shut, pause, until, lit, greens, coloured, picture, violations, misfits } from "./browser.mjs";

let browser;
before(async () => { browser = await launch() });
after(() => browser.close());

const DEMO = [["C02XK0AAJG5H", "healthy new stock", "ready"], ["C02PD4EEJG5J", "no profile yet: Pending", "hold"], ["C02WS9KKJG5P", "moved to another MDM server", "stop"], ["C02RL2MMJG5R", "released from the organisation", "stop"], ["354442067957452", "an IMEI", "rescan"]].map(([serial, what, signal]) => ({ serial, what, signal }));
const STATES = {
  start: fake => fake,
  busy: fake => fake.busy(),
  ready: fake => fake.busy().answered("assigned", { lasts: 60_000, serial: "C02XK0AAJG5H" }),
  stop: fake => fake.busy().answered("wrong_server", { lasts: 60_000, serial: "C02WS9KKJG5P", detail: "Expected Kandji, found Old MDM." }),
  hold: fake => fake.busy().answered("assignment_pending", { lasts: 60_000, serial: "C02PD4EEJG5J" }),
  rescan: fake => fake.busy().answered("imei", { lasts: 60_000 }),
  "rescan over": fake => fake.busy().answered("imei", { lasts: 1 }),
  alarm: fake => { fake.busy().answered("assigned", { lasts: 1, at_ms: fake.now() - 9000 }); fake.show("alarm", { lasts: 60_000, answer: fake.answer("released", { cause: "recall", at_ms: fake.now() }) }) },
  "alarm over": fake => { fake.busy().answered("assigned", { lasts: 1, at_ms: fake.now() - 9000 }); fake.show("alarm", { lasts: 1, answer: fake.answer("released", { cause: "recall", at_ms: fake.now() + 5 }) }) },
  scanned: fake => fake.busy().scanned("C02XK0AAJG5H"),
  working: fake => { fake.busy().scanned("C02XK0AAJG5H"); fake.show("working", { lasts: 60_000 }) },
  unable: fake => fake.busy().unable("credentials_refused"),
  over: fake => fake.busy().answered("not_found", { lasts: 1, detail: "Last fetch 2026-01-09 22:01 UTC.", age_s: 240 }),
  turned: fake => { const box = fake.busy().state.waiting.boxes[0]; fake.state.waiting.boxes[0] = { ...box, turned: true, verdict: "ready", reason: "assigned" } },
  demo: fake => Object.assign(fake.busy().state, { scan: { lane: "main" }, demo: DEMO }),
  troubles: fake => {
    const { station } = fake.busy().unable("offline").state ?? fake.state;
    Object.assign(station.health, { broker: { state: "away", nobody_listens: false }, clock: "unsynced" });
    Object.assign(station.health.journal, { unsent: 1834, set_aside: [{ seq: 7, why: "packet_too_large" }] });
    station.health.sources.business.quota_left = 3;
    station.health.sources.apple.credential_days = 6;
    station.problems.push({ part: "broker", name: "", word: "away", sentence: "there is no MQTT session", remedy: "look" }, { part: "clock", name: "", word: "unsynced", sentence: "s", remedy: "r" },
      { part: "alarm", name: "credential_expiring", word: "credential_expiring", sentence: "s", remedy: "r" }, { part: "scanner", name: "left", word: "something_new", sentence: "A word of a later version.", remedy: "Look it up." });
  },
};
Fake.prototype.unable = (unable => function (...about) { unable.apply(this, about); return this })(Fake.prototype.unable);

// Whatever a test opens is closed when it ends, however it ends.
async function bench(t, lanes, options, prepare = () => {}) {
  const fake = await new Fake(lanes).start();
  t.after(() => fake.stop());
  await prepare(fake);
  const page = await open(browser, fake.url, options);
  t.after(() => shut(page));
  await pause(80);
  return { fake, page };
}
const shown = (t, state, options) => bench(t, undefined, options, STATES[state]);

const SHOWS = { alarm: "alarm", working: "working", unable: "unable", troubles: "unable", ready: "ready", stop: "stop", hold: "hold", rescan: "rescan" };
for (const state of Object.keys(STATES)) test(`${state}: axe-core finds nothing, dark or light, and everything fits`, async t => {
  const { page } = await shown(t, state, { scheme: "dark" });
  await picture(browser, page, `${state}-dark`.replaceAll(" ", "-"), { grey: true });
  if (["busy", "troubles"].includes(state)) await picture(browser, page, `${state}-whole`, { fullPage: true });
  assert.equal(await lit(page), SHOWS[state] ?? null);
  if (state !== "ready") assert.equal(await greens(browser, page), 0, "green is the lit lamp's colour alone");
  else assert.ok(await greens(browser, page) > 100_000);
  assert.deepEqual(await violations(page), []);
  assert.deepEqual(await misfits(page), []);
  await page.emulateMedia({ colorScheme: "light" });
  await picture(browser, page, `${state}-light`.replaceAll(" ", "-"));
  assert.deepEqual(await violations(page), []);
  assert.deepEqual(page.faults, []);
});

test("the details of an answer, and a list that finds nothing: axe-core finds nothing", async t => {
  const { page } = await shown(t, "busy");
  await page.locator("#answers .rows button").first().click();
  await page.locator(".evidence .source").first().waitFor();
  await picture(browser, page, "why-dark", { grey: true });
  assert.deepEqual(await violations(page), []);
  assert.equal(await page.locator(".evidence .source").count(), 3);
  await page.keyboard.press("Escape");
  await page.locator("#filter").fill("nothing has this name");
  assert.equal(await page.locator("#answers .rows > li").count(), 0);
  assert.deepEqual(await violations(page), []);
  await page.locator("#filter").fill("wrong_nothing");
  await page.locator("#filter").fill("another MDM server");
  assert.ok(await page.locator("#answers .rows > li").count() > 0);
  await page.locator("#filter").fill("");
  await page.locator("#verdict").selectOption("rescan");
  assert.equal(await page.locator("#answers .rows > li").count(), 2);
});

test("lost: all grey, in words, without a green, and axe-core finds nothing", async t => {
  const { fake, page } = await shown(t, "ready");
  assert.ok(await greens(browser, page) > 0);
  fake.beats = false;
  await page.waitForSelector("html.lost", { timeout: 5000 });
  await pause(100);
  await picture(browser, page, "lost-dark", { grey: true });
  assert.equal(await greens(browser, page), 0);
  assert.equal(await coloured(browser, page), 0, "grey is grey");
  assert.equal(await page.locator("#word").innerText(), "Display lost the station");
  assert.deepEqual(await violations(page), []);
  await page.emulateMedia({ colorScheme: "light" });
  await picture(browser, page, "lost-light");
  assert.deepEqual(await violations(page), []);
});

const SIZES = [[320, 568], [390, 844], [600, 1024], [800, 480], [1024, 600], [1280, 800], [1920, 1080], [1080, 1920], [3840, 2160]];
// The longest texts of each signal.
const LONGEST = ["mdm_link_broken", "already_enrolled", "imei", "assigned"];
for (const [width, height] of SIZES) for (const lanes of [["main"], ["left", "right"], ["a", "b", "c", "d"]]) {
  test(`${width} x ${height}, lanes: ${lanes.length}: signals and answers fit in every language`, async t => {
    const { fake, page } = await bench(t, lanes, { width, height }, fake => fake.busy());
    for (const code of ["en", "de", "es", "fr", "pl"]) {
      await page.locator("#language").selectOption(code);
      await page.waitForSelector(`html[lang=${code}]`);
      for (const first of lanes.length === 1 ? [0, 1, 2] : [0]) {
        lanes.forEach((lane, at) => fake.answered(LONGEST[first + at], { lane, lasts: 20_000, model: "MacBook Pro 14\" (M4, 2024)", age_s: 240 }));
        await until(async () => await lit(page, lanes.length - 1) === fake.lane(lanes.at(-1)).show);
        assert.deepEqual(await misfits(page), [], `${code}, ${LONGEST[first]}`);
        if (code === "de") await picture(browser, page, `size-${width}x${height}-${lanes.length}-${fake.lane().show}`);
        for (const lane of lanes) fake.dark(lane);
        await until(async () => await lit(page, lanes.length - 1) === null);
        assert.deepEqual(await misfits(page), [], `${code}, ${LONGEST[first]}, over`);
        if (code === "de" && lanes.length < 3) await picture(browser, page, `size-${width}x${height}-${lanes.length}-over`);
      }
    }
    if (lanes.length === 1) {
      const bottom = await page.locator("#strip").evaluate(node => node.getBoundingClientRect().bottom);
      assert.ok(bottom <= height + 1, `the counts end at ${bottom} of ${height}`);
      await picture(browser, page, `size-${width}x${height}-whole`, { fullPage: true });
    }
    assert.deepEqual(page.faults, []);
  });
}

test("the last four characters are the largest text of the tile, and to be read from 3 m on a bench's screen", async t => {
  for (const [width, height, least] of [[800, 480, 60], [1280, 800, 110], [1920, 1080, 150]]) {
    const { page } = await shown(t, "ready", { width, height });
    const sizes = await page.locator(".lit").evaluate(face => [...face.querySelectorAll("p, b, span, time")].map(node => [node.textContent, parseFloat(getComputedStyle(node).fontSize)]));
    const [text, size] = sizes.sort((one, other) => other[1] - one[1])[0];
    assert.equal(text, "JG5H");
    assert.ok(size >= least, `${size} px at ${width} x ${height}`);
  }
});

test("forced colours: the lamp is lit by the system's colours, shape and word stay", async t => {
  for (const state of ["ready", "stop", "busy"]) {
    const { page } = await shown(t, state, { forcedColors: "active" });
    await picture(browser, page, `forced-${state}`);
    assert.equal(await greens(browser, page), 0);
    if (state !== "busy") assert.equal(await page.locator(".lit .word").innerText(), state === "ready" ? "Ready" : "Stop");
    assert.deepEqual(await violations(page), []);
  }
});

test("nothing flashes more than three times a second, and with reduced motion nothing moves", async t => {
  for (const state of ["stop", "rescan", "alarm", "working"]) {
    const { page } = await shown(t, state);
    const moving = () => page.evaluate(() => document.getAnimations().filter(one => one instanceof CSSAnimation).map(one => [one.animationName, one.effect.getComputedTiming().duration]));
    const moves = await moving();
    assert.equal(moves.length, 1, state);
    for (const [name, length] of moves) assert.ok((name === "twice" ? 2 : 1) * 1000 / length <= 3, `${state}: ${name} ${length}`);
    await page.emulateMedia({ reducedMotion: "reduce" });
    assert.deepEqual(await moving(), [], state);
  }
});

test("every reason of every language is shown as one sentence with its action", async t => {
  const { fake, page } = await bench(t);
  for (const code of ["en", "de", "es", "fr", "pl"]) {
    await page.locator("#language").selectOption(code);
    await page.waitForSelector(`html[lang=${code}]`);
    const texts = await (await fetch(`${fake.url}lang/${code}.json`)).json();
    for (const reason of REASONS) {
      fake.answered(reason, { lasts: 9000 });
      // Some reasons have the same action.
      await until(async () => await page.locator(".unlit .say > p:nth-of-type(2)").innerText() === texts.reasons[reason][0], 3000, `${code} ${reason}`);
      assert.equal(await page.locator(".unlit .say .do").innerText(), texts.reasons[reason][1].replace("{vendor}", "Kandji"));
    }
  }
  assert.deepEqual(page.faults, []);
});
