// The page's files themselves: languages, and what must not stand in them.
import test from "node:test";
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";

const ASSETS = new URL("../../src/web/assets/", import.meta.url);
const read = name => readFileSync(new URL(name, ASSETS), "utf8");
const LANGUAGES = ["en", "de", "es", "fr", "pl"];
const files = Object.fromEntries(LANGUAGES.map(code => [code, JSON.parse(read(`lang/${code}.json`))]));
const script = read("page.js"), bare = script.replace(/^\s*\/\/.*$/gm, "");

// A counted text has as many forms as its language.
const COUNTED = Object.keys(files.en).filter(key => files.en[key].other);
const keys = (table, path = "") => Object.entries(table).flatMap(([key, value]) => Array.isArray(value) || typeof value === "string" || COUNTED.includes(key) ? [path + key] : keys(value, `${path}${key}.`)).sort();

test("every language has every text, filled, with the same places to fill in", () => {
  assert.deepEqual(readdirSync(new URL("lang/", ASSETS)).sort(), LANGUAGES.map(code => `${code}.json`).sort());
  const places = text => (text.match(/\{\w+\}/g) ?? []).join();
  for (const code of LANGUAGES) {
    assert.deepEqual(keys(files[code]), keys(files.en), code);
    for (const [key, text] of Object.entries(files[code])) if (typeof text === "string") {
      assert.ok(text.trim(), `${code} ${key}`);
      assert.equal(places(text), places(files.en[key]), `${code} ${key}`);
    }
    for (const table of ["reasons", "troubles"]) for (const [key, pair] of Object.entries(files[code][table])) {
      assert.equal(pair.length, 2, `${code} ${table} ${key}`);
      assert.ok(pair.every(text => text.length > 3), `${code} ${table} ${key}`);
      if (code !== "en") assert.notEqual(pair[0], files.en[table][key][0], `${code} ${table} ${key} is still English`);
    }
  }
});

test("a counted text is in the form that its language has for the number", () => {
  const said = (code, key, n) => (files[code][key][new Intl.PluralRules(code).select(n)] ?? files[code][key].other).replace("{n}", n);
  const words = (key, ...numbers) => LANGUAGES.map(code => numbers.map(n => said(code, key, n)).join(" "));
  assert.deepEqual(COUNTED, ["and_more", "problems", "devices"]);
  assert.deepEqual(words("problems", 1, 2), ["Problem Problems", "Problem Probleme", "Problema Problemas", "Problème Problèmes", "Problem Problemy"]);
  assert.equal([1, 2, 5, 12, 22, 25].map(n => said("pl", "problems", n)).join(), "Problem,Problemy,Problemów,Problemów,Problemy,Problemów");
  assert.equal(said("fr", "devices", 0), "0 appareil");
  assert.equal(said("es", "devices", 1_000_000), "1000000 de dispositivos");
  assert.deepEqual(words("and_more", 1), ["and 1 more", "und 1 weiterer", "y 1 más", "et 1 de plus", "i jeszcze 1"]);
  for (const code of LANGUAGES) for (const key of COUNTED) {
    const { other, ...forms } = files[code][key];
    assert.ok(other);
    for (const [form, text] of Object.entries(forms)) {
      assert.ok(new Intl.PluralRules(code).resolvedOptions().pluralCategories.includes(form), `${code} ${key} ${form}`);
      assert.equal(text.includes("{n}"), other.includes("{n}"), `${code} ${key} ${form}`);
    }
  }
});

test("the English reasons and actions are those of the station", () => {
  const rust = readFileSync(new URL("../../src/reason.rs", import.meta.url), "utf8");
  const table = Object.fromEntries([...rust.matchAll(/= "(\w+)", \w+, "([^"]*)", "([^"]*)";/g)].map(([, code, sentence, action]) => [code, [sentence, action]]));
  assert.ok(Object.keys(table).length > 40);
  assert.deepEqual(files.en.reasons, table);
});

test("every text that the page asks for is there, and none is left over", () => {
  const asked = new Set([...bare.matchAll(/["'`]([a-z][a-z_]*)["'`]/g)].map(match => match[1]));
  for (const [, key] of read("index.html").matchAll(/data-t="(\w+)"/g)) asked.add(key), assert.ok(key in files.en, key);
  for (const [, key] of bare.matchAll(/\b(?:t|counted)\("(\w+)"/g)) assert.ok(key in files.en, key);
  const made = key => /^(signal|says|is)_/.test(key) || ["waiting_none", "problem_none", "ready", "not_ready", "wait", "unknown", "rescan", "recheck", "late_answer", "late_commit", "recall", "problem", "waiting"].includes(key);
  for (const key of Object.keys(files.en)) assert.ok(asked.has(key) || made(key) || new RegExp(`\\b${key}\\b`).test(bare), `nobody shows "${key}"`);
});

test("nothing asks the browser's wall clock, makes markup of text, or comes from elsewhere", () => {
  for (const word of ["Date.now", "new Date", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "http:", "https:"]) {
    assert.ok(!bare.replaceAll("http://www.w3.org/2000/svg", "").includes(word), word);
  }
  for (const name of ["index.html", "page.css"]) assert.ok(!/https?:|url\(|@import|style=|<style|onload=|javascript:/.test(read(name)), name);
});
