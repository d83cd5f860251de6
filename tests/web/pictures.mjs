// Makes the pictures of docs/pictures/ in the tests' browser, from the tests' stand-in for a station:  tests/web/run --pictures
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { Fake } from "./fake.mjs";
import { launch, open, shut, pause } from "./browser.mjs";

const folder = new URL("../../docs/pictures/", import.meta.url);
mkdirSync(folder, { recursive: true });
const browser = await launch();
const PICTURES = {
  ready: [["main"], { height: 720 }, fake => fake.answered("assigned", { lasts: 60_000, serial: "C02XK0AAJG5H", model: "MacBook Air 13\" (M4, 2025)" })],
  "two-lanes": [["left", "right"], { height: 720, scheme: "light" }, fake => {
    fake.answered("wrong_server", { lane: "left", lasts: 60_000, serial: "C02WS9KKJG5P", detail: "Expected Kandji, found Old MDM." });
    fake.answered("assignment_pending", { lane: "right", lasts: 60_000, serial: "C02PD4EEJG5J" });
  }],
  "wrong-barcode": [["main"], { height: 720 }, fake => fake.answered("imei", { lasts: 60_000 })],
  lost: [["main"], { height: 720, scheme: "light" }, fake => fake.answered("assigned", { lasts: 1, serial: "C02XK0AAJG5H" })],
};
for (const [name, [lanes, options, prepare]] of Object.entries(PICTURES)) {
  const fake = await new Fake(lanes).start();
  prepare(fake.busy());
  const page = await open(browser, fake.url, { width: 1280, ...options });
  if (name === "lost") {
    fake.beats = false;
    await page.waitForSelector("html.lost", { timeout: 9000 });
  }
  await pause(name === "two-lanes" ? 250 : 120);
  const file = new URL(`${name}.png`, folder).pathname;
  await page.screenshot({ path: file });
  // A palette of 64 colours is as good to look at and a third as large.
  execFileSync("pngquant", ["--force", "--strip", "--speed", "1", "--output", file, "64", file]);
  await shut(page);
  await fake.stop();
}
await browser.close();
for (const name of readdirSync(folder)) console.log(name, statSync(new URL(name, folder)).size);
