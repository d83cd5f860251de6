// A real browser for the tests: pages of a station, pictures of them, and what is wrong with them.
import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";

const ROOT = new URL("../../", import.meta.url);
const require = createRequire(new URL("target/web/modules/package.json", ROOT));
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
export const PICTURES = new URL("target/web/", ROOT);
mkdirSync(PICTURES, { recursive: true });

const FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS.split(" ") });

// Opens the station's page; whatever goes wrong in it is kept in `page.faults`.
export async function open(browser, url, { width = 1280, height = 800, scheme = "dark", locale = "en-GB", context, before, wait = true, ...more } = {}) {
  const own = context ?? await browser.newContext({ viewport: { width, height }, colorScheme: scheme, locale, ...more });
  const page = await own.newPage();
  page.faults = [];
  page.on("pageerror", fault => page.faults.push(`${fault}`));
  page.on("console", line => (line.type() === "error" || line.text().includes("Content Security Policy")) && !line.text().includes("Failed to load resource") && page.faults.push(line.text()));
  page.on("dialog", dialog => { page.faults.push(`dialog ${dialog.message()}`); dialog.dismiss() });
  if (before) await page.addInitScript(before);
  await page.goto(url);
  if (wait) await page.waitForSelector("html:not(.lost)");
  return page;
}
export const shut = page => page.context().close();
export const pause = ms => new Promise(done => setTimeout(done, ms));
// Waits for a fact, asked every 20 ms.
export async function until(fact, ms = 5000, what = String(fact)) {
  for (const end = performance.now() + ms; ;) {
    const is = await fact();
    if (is) return is;
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await pause(20);
  }
}

// What a tile's lamp shows, as a person sees it: null when it is dark.
export const lit = (page, lane = 0) => page.locator(".lit").nth(lane).evaluate(node => Number(getComputedStyle(node).opacity) > 0 && getComputedStyle(node).visibility === "visible" ? node.dataset.show : null);

let desk = null;
async function pixels(browser, png, how) {
  desk ??= await (await browser.newContext()).newPage();
  return desk.evaluate(async ([data, how]) => {
    const bitmap = await createImageBitmap(new Blob([Uint8Array.from(atob(data), letter => letter.charCodeAt(0))], { type: "image/png" }));
    const canvas = document.createElement("canvas");
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    const pen = canvas.getContext("2d");
    if (how === "grey") pen.filter = "grayscale(1)";
    pen.drawImage(bitmap, 0, 0);
    if (how === "grey") return canvas.toDataURL("image/png").split(",")[1];
    const { data: dots } = pen.getImageData(0, 0, canvas.width, canvas.height);
    let green = 0, coloured = 0;
    for (let at = 0; at < dots.length; at += 4) {
      const [red, leaf, blue] = [dots[at], dots[at + 1], dots[at + 2]];
      if (leaf > 90 && leaf > red * 1.4 && leaf > blue * 1.25) green += 1;
      if (Math.max(red, leaf, blue) - Math.min(red, leaf, blue) > 24) coloured += 1;
    }
    return { green, coloured };
  }, [png.toString("base64"), how]);
}
export const greens = async (browser, page) => (await pixels(browser, await page.screenshot(), "count")).green;
export const coloured = async (browser, page) => (await pixels(browser, await page.screenshot(), "count")).coloured;
// A picture in target/web/, and the same in grey.
export async function picture(browser, page, name, { grey = false, fullPage = false } = {}) {
  const png = await page.screenshot({ fullPage });
  await writeFile(new URL(`${name}.png`, PICTURES), png);
  if (grey) await writeFile(new URL(`${name}.grey.png`, PICTURES), Buffer.from(await pixels(browser, png, "grey"), "base64"));
}

// What axe-core finds wrong with the page as it is.
export async function violations(page) {
  if (!await page.evaluate(() => "axe" in window)) await page.evaluate(AXE);
  const found = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  return found.violations.map(one => `${one.id}: ${one.nodes.map(node => `${node.target} ${node.failureSummary}`).slice(0, 3).join(" | ")}`);
}
// What does not fit: a page that scrolls sideways, and text that is cut off or leaves its tile.
export const misfits = page => page.evaluate(() => {
  const found = [];
  if (document.documentElement.scrollWidth > innerWidth) found.push(`the page is ${document.documentElement.scrollWidth} wide of ${innerWidth}`);
  for (const tile of document.querySelectorAll(".tile")) {
    const frame = tile.getBoundingClientRect();
    const face = Number(getComputedStyle(tile.querySelector(".lit")).opacity) > 0 ? tile.querySelector(".lit") : tile.querySelector(".unlit");
    for (const node of face.querySelectorAll(".word, .code b, .say, .do, svg, .earlier")) {
      const box = node.getBoundingClientRect(), is = `${node.className?.baseVal ?? node.className} "${node.textContent.slice(0, 30)}"`;
      if (!box.width || !box.height) continue;
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1) found.push(`${is} leaves its tile by ${Math.round(Math.max(frame.left - box.left, box.right - frame.right, frame.top - box.top, box.bottom - frame.bottom))} px`);
      if (node.matches(".word, .code b, .do") && (node.scrollWidth > node.clientWidth + 1 || node.scrollHeight > node.clientHeight * 1.25)) found.push(`${is} is cut off`);
    }
    const boxes = [...face.querySelectorAll(".mid > svg, .word, .code b, .label, .last, :scope > .say")].map(node => [node, node.getBoundingClientRect()]).filter(([, box]) => box.width && box.height);
    for (const [one, a] of boxes) for (const [other, b] of boxes) if (one !== other && !one.contains(other) && !other.contains(one) && a.left < b.right - 2 && b.left < a.right - 2 && a.top < b.bottom - 2 && b.top < a.bottom - 2 && a.top <= b.top) found.push(`${one.className?.baseVal ?? one.className} lies over ${other.className?.baseVal ?? other.className}`);
  }
  return found;
});
