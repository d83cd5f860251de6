// The page at the bench: what the station says, by the station's clock.

const LOST_MS = 3000, LATE_MS = 1000, RETRY_MS = 1000, PATIENCE_MS = 5000, RENEW_MS = 600_000, KEY_MS = 50, LABEL_MS = 30_000, ANSWER_MS = 10_000;
const NAMES = { en: "English", de: "Deutsch", es: "Español", fr: "Français", pl: "Polski" };
const BUILD = document.querySelector("meta[name=build]").content, root = document.documentElement;
const $ = new Proxy({}, { get: (_, id) => document.getElementById(id) });
const part = (id, which = "ul") => $[id].querySelector(which);
const now = () => performance.now();
// A private window forgets.
let kept = {};
try { kept = localStorage } catch { /* so it is */ }
const ask = (path, how) => fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS), ...how });
async function get(path, how) {
	const reply = await ask(path, how);
	if (!reply.ok) throw new Error(`${path}: ${reply.status}`);
	return reply;
}

// Building: text goes in as text, never as markup.

const clean = (text, most = 600) => [...String(text ?? "")].slice(0, most).join("").replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, "\ufffd");
const fill = (node, ...children) => (node.replaceChildren(...children.flat(9).filter(child => child || child === 0)), node);
const set = (node, about) => {
	for (const [key, value] of Object.entries(about)) key.startsWith("on") ? node[key] = value : node.setAttribute(key, value);
	return node;
};
// What is falsy is left out.
function el(tag, ...children) {
	const [name, ...classes] = tag.split("."), node = document.createElement(name), about = children[0];
	if (classes.length) node.className = classes.join(" ");
	if (about?.constructor === Object) set(node, children.shift());
	return fill(node, children);
}
const svg = (tag, about, ...children) => fill(set(document.createElementNS("http://www.w3.org/2000/svg", tag), about), children);
const bdi = text => text && el("bdi", clean(text));
const english = text => text && el("bdi", { lang: "en" }, clean(text));
const code = text => el("bdi.mono", clean(text));

const SHAPES = {
	ready: "M3.5 12.5l6 6L20.5 6",
	stop: "M5 5l14 14M19 5L5 19",
	hold: "M8 4.5v15M16 4.5v15",
	rescan: "M3 4v16M8 4v16M22 12h-9M17.5 7L12.5 12l5 5",
	alarm: "M12 3L22 20.5H2zM12 9.5v5M12 17.3v.2",
	working: "M4.5 12h.1M12 12h.1M19.5 12h.1",
	unable: "M12 3a9 9 0 1 0 .01 0zM5.8 5.8l12.4 12.4",
	none: "M12 4a8 8 0 1 0 .01 0z",
	again: "M19 7a8 8 0 1 0 1 6M19.5 2.5V7H15",
	today: "M5 20v-7M12 20V4M19 20v-10",
	sound: "M4 9.5v5h3.5L12 19V5L7.5 9.5zM15.5 9a4 4 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11",
	mute: "M4 9.5v5h3.5L12 19V5L7.5 9.5zM15.5 9.5l5 5m0-5l-5 5",
};
const shape = name => svg("svg", { viewBox: "0 0 24 24", "aria-hidden": true }, svg("path", { d: SHAPES[name] ?? SHAPES.none }));
const SIGNAL = { ready: "ready", not_ready: "stop", wait: "hold", unknown: "hold", rescan: "rescan" };
const COUNTED = ["ready", "wait", "unknown", "not_ready"];

// Keeps what stays as it is, so that the focus stays.
function list(parent, items, key, make) {
	const before = parent.kept, after = parent.kept = new Map();
	for (const item of items) {
		const is = key(item), json = JSON.stringify(item) + root.lang, was = before?.get(is);
		after.set(is, was?.json === json ? was : { json, node: make(item) });
	}
	const nodes = [...after.values()].map(one => one.node);
	for (const node of [...parent.children]) nodes.includes(node) || node.remove();
	nodes.forEach((node, at) => parent.children[at] === node || parent.insertBefore(node, parent.children[at]));
}

// Words: every text is in its language's file; numbers and dates are the browser's.

let lang, ages, plural;
const local = navigator.language, number = value => new Intl.NumberFormat(local).format(value);
const date = (how, at) => new Intl.DateTimeFormat(local, { ...how, timeZone: "UTC" }).format(at);
const t = (key, n) => (lang[key] ?? key).replace("{n}", n);
// A counted text, in the form that the language has for that number.
const counted = (key, n) => (lang[key][plural.select(n)] ?? lang[key].other).replace("{n}", number(n));
async function speak(wanted) {
	lang = await (await get(`/lang/${wanted}.json`)).json();
	$.language.value = root.lang = wanted;
	ages = new Intl.RelativeTimeFormat(wanted, { numeric: "auto" });
	plural = new Intl.PluralRules(wanted);
	for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
	for (const [id, key] of Object.entries({ language: "language", verdict: "answer", filter: "filter", typed: "scan_label", lanes: "lanes", scan: "scan" })) set($[id], { "aria-label": t(key), placeholder: t(key) });
	choices($.verdict, [["", t("all")], ...Object.keys(SIGNAL).map(one => [one, t(one)])], $.verdict.value);
	showSound();
	showLink();
	if (state) showAll();
}
const choices = (select, options, chosen) => { fill(select, options.map(([value, text]) => el("option", { value }, text))).value = chosen ?? "" };
// What a service adds to the sentence stays as it came.
const words = ({ reason, message, action, detail }) => [lang.reasons[reason]?.[0] ?? english(message), lang.reasons[reason] && root.lang !== "en" ? lang.reasons[reason][1].replace("{vendor}", state?.mdm ?? "MDM") : english(action), english(detail)];
const stationTime = (at, how) => date(how, Date.parse(at) + (state.today?.utc_offset_minutes ?? 0) * 60_000);
const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const inFull = at => !Date.parse(at) ? at && clean(at) : `${stationTime(at, { day: "numeric", month: "short" })}, ${stationTime(at, CLOCK)}`;
function age(ms) {
	const [by, unit, step] = [[86_400_000, "day", 1], [3_600_000, "hour", 1], [60_000, "minute", 1], [0, "second", 10]].find(([by]) => ms >= by) ?? [0, "second", 0];
	return ages.format(-Math.floor(Math.max(ms, 0) / (by || 10_000)) * step, unit);
}
// A time that grows older. `ms`: the station's boot time; without it `at` stands there.
function since(ms, at) {
	return Number.isFinite(ms) ? el("time", { "data-ms": ms }, age(stationNow() - ms)) : el("time", inFull(at));
}
function growOlder() {
	for (const node of document.querySelectorAll("[data-ms]")) node.textContent = age(stationNow() - node.dataset.ms);
}

// The link. `performance.now()` is the only clock of this machine that is asked.
//
// An event says when it was made (`now_ms`, the station's boot time). `performance.now() - now_ms`, compared with the fastest event of
// its connection, says how late it is. If a connection's first event came within a second, the fastest was fast; otherwise
// nothing is lit. Connections are renewed, so that the drift of two clocks never adds up.

let state, link, next, lastBeat = -LOST_MS, tried = -RETRY_MS, lost = true, blank = false, faults = 0, reloading = false, veil;
const stationNow = () => now() - link.fastest;

function connect() {
	next?.source.close();
	tried = now();
	const mine = next = { source: new EventSource("/events"), began: tried, fastest: Infinity };
	for (const kind of ["state", "answer", "change", "lane", "health", "today", "shelves", "beat"]) mine.source.addEventListener(kind, event => hear(mine, kind, event.data));
	// The browser's own retries end at the first wrong answer; ours never do.
	mine.source.onerror = () => mine.source.close();
}
function keepUp() {
	const at = now();
	if (at - lastBeat >= LOST_MS) lose();
	if (next && (next.source.readyState === 2 || at - next.began > PATIENCE_MS)) next = next.source.close();
	const over = blank || !link || link.source.readyState === 2 || at - link.began > (lost ? LOST_MS : link.proven ? RENEW_MS : PATIENCE_MS);
	if (!next && over && at - tried >= RETRY_MS) connect();
}
function blankUntilState() {
	blank = true;
	root.classList.add("blank");
	tiles.forEach(darken);
	connect();
}
function hear(mine, kind, data) {
	if (mine !== link && (mine !== next || kind !== "state")) return;
	try {
		const event = JSON.parse(data), way = now() - event.now_ms;
		if (mine === next) {
			link?.source.close();
			link = mine;
			next = null;
			mine.fastest = way;
			mine.proven = now() - mine.began <= LATE_MS;
		}
		const late = way - mine.fastest;
		mine.fastest = Math.min(mine.fastest, way);
		// This machine slept: what is lit is old.
		if (late < -LATE_MS) return blankUntilState();
		take(kind, event, mine.proven && late <= LATE_MS);
		if (kind === "beat" && late <= LOST_MS) alive();
	} catch (fault) {
		stumble(fault);
	}
}
function take(kind, event, onTime) {
	if (event.build && event.build !== BUILD) upgrade(event.build);
	if (kind === "beat") return growOlder();
	if (kind === "state") {
		state = event;
		state.station.now_ms = event.now_ms;
		state.onTime = onTime;
		blank = false;
		root.classList.remove("blank");
		showAll(onTime);
	} else if (kind === "lane") {
		const at = state.lanes.findIndex(lane => lane.lane === event.lane), before = state.lanes[at];
		if (!before) return connect();
		state.lanes[at] = event;
		showLane(event, onTime);
		announce(event, before, onTime);
	} else if (kind === "shelves") Object.assign(state, event), soon(showShelves);
	else if (kind === "today") state.today = event, soon(showToday);
	else if (kind === "health") state.station = event, soon(showStation);
	else {
		state.answers = [event, ...state.answers.filter(one => one.id !== event.id)].slice(0, 50);
		soon(showAnswers);
	}
}
const due = new Set();
function soon(show) {
	if (!due.size) setTimeout(() => {
		try {
			for (const one of due.add(showStrip)) one();
		} catch (fault) {
			stumble(fault);
		}
		due.clear();
	}, 50);
	due.add(show);
}
function alive() {
	lastBeat = now();
	faults = 0;
	// Each beat holds the cover down. Without one it comes up, even if this script hangs.
	const before = veil;
	veil = $.veil.animate([{ opacity: 0, easing: "step-end" }, { opacity: 1 }], { duration: LOST_MS, fill: "forwards" });
	before?.cancel();
	if (!lost) return;
	lost = false;
	root.classList.remove("lost");
	if (state) showAll(state.onTime);
}
function lose() {
	if (lost) return;
	lost = true;
	root.classList.add("lost");
	tiles.forEach(darken);
	showLink();
	sing("lost");
}
function showLink() {
	const word = t(!lost ? "live" : faults > 2 ? "fault" : state ? "lost" : "connecting"), gone = lost && state;
	fill($.link, el("span", word));
	$.word.textContent = word;
	$.more.textContent = gone ? t("lost_more") : "";
	set($.veil, { "aria-hidden": !lost });
	document.title = gone ? `✕ ${word}` : `${clean(state?.name)} Benchlight`;
}
// After a fault nothing may look alive.
function stumble(fault) {
	console.error(fault);
	link?.source.close();
	lose();
	if (++faults > 2 && !reloading) reloading = setTimeout(() => location.reload(), PATIENCE_MS);
}
// Loads the newer build once the server hands it out, never away from a page that works to none.
async function upgrade(build) {
	if (reloading || (kept.reloaded === build && now() < 60_000)) return;
	reloading = true;
	try {
		await get("/", { cache: "no-store" });
		kept.reloaded = build;
		location.reload();
	} catch {
		setTimeout(() => { reloading = false }, PATIENCE_MS);
	}
}

const tiles = new Map(), manyLanes = () => state.lanes.length > 1, laneOf = about => manyLanes() && bdi(about.lane);
function darken(tile) {
	tile.light?.cancel();
	tile.light = tile.lit = null;
}
function showAll(onTime) {
	fill($.place, bdi(state.site), " · ", el("b", bdi(state.name)));
	$.lanes.dataset.n = state.lanes.length;
	for (const [name, tile] of tiles) if (!state.lanes.some(lane => lane.lane === name)) tile.node.remove(), tiles.delete(name);
	for (const lane of state.lanes) showLane(lane, onTime);
	for (const show of [showScan, showShelves, showToday, showAnswers, showStation, showStrip, showLink]) show();
}
const nameOf = about => about.serial ?? about.raw ?? "";
const tail = text => [...clean(text)].slice(-4).join("");
const bigCode = text => el("div.code", el("b", tail(text)), el("span.mono", clean(text)));
function say(about, mark) {
	const [sentence, action, detail] = words(about);
	return el("div.say", mark, el("p", sentence, detail && " ", detail), el("p.do", action), el("p.aside", bdi(about.model), about.age_s != null && [" ", t("age_of_copy", age(about.age_s * 1000))]));
}
const face = (lane, right, icon, word, more, ...below) => [el("div.top", bdi(lane.lane), right), el("div.mid", shape(icon), el("div", el("p.word", t(word)), more)), below];
function showLane(lane, onTime) {
	let tile = tiles.get(lane.lane);
	if (!tile) {
		tile = { unlit: el("div"), bright: el("div.face.lit", { "aria-hidden": true }) };
		tile.node = el("article.tile", tile.unlit, tile.bright);
		tiles.set(lane.lane, tile);
		$.lanes.append(tile.node);
	}
	tile.lane = lane;
	set(tile.node, { "aria-label": `${t("lane")} ${clean(lane.lane)}` });
	showUnlit(tile);
	light(tile, onTime);
	fit(tile);
}
function showUnlit(tile) {
	const { lane } = tile, { answer, alarm, scanned } = lane, at = scanned?.at_ms ?? answer?.at_ms ?? 0, old = stationNow() - at;
	const earlier = alarm?.at_ms > (scanned?.at_ms ?? 0) && el("p.earlier", shape("alarm"), el("span", t("earlier_box"), ": ", el("b.mono", tail(nameOf(alarm)))));
	const draw = answer?.verdict === "rescan" && old < LABEL_MS, waits = scanned && !answer && old < ANSWER_MS;
	clearTimeout(tile.timer);
	if (draw || waits) tile.timer = setTimeout(() => lost || fit(showUnlit(tile)), (draw ? LABEL_MS : ANSWER_MS) - old + 20);
	tile.unlit.className = `face unlit ${answer ? "after" : scanned ? "pending" : ""}`;
	fill(tile.unlit, answer ? face(lane, null, "none", answer.verdict === "rescan" ? "scan_serial" : "next_box", earlier, el("div.last", draw ? labelDrawing(answer.reason) : bigCode(nameOf(answer)),
		say(answer, el("p.mark", shape(SIGNAL[answer.verdict]), t(answer.verdict), since(answer.at_ms, answer.at), lane.repeat > 0 && el("small", t("shown_again"))))))
		: scanned ? face(lane, null, waits ? "working" : "none", waits ? "working" : "not_checked", bigCode(scanned.text), !waits && el("p.say", t("no_answer")), earlier)
		: face(lane, null, "none", "not_checked", el("p.say", t("scan_serial")), earlier));
	return tile;
}
// As large as fits: what is too much for its tile is made smaller.
function fit({ unlit, bright }) {
	for (const face of [unlit, bright]) for (let size = 1; face.style.setProperty("--fit", size), face.scrollHeight > face.clientHeight && size > .3; size -= .08);
}
// Lit only for what is left of its time, and by an animation that ends by itself.
function light(tile, onTime) {
	const { lane, bright } = tile, { show, answer, alarm, scanned, since_ms, until_ms, repeat } = lane, left = until_ms == null ? Infinity : until_ms - stationNow(), lit = [show, since_ms, until_ms, repeat].join();
	if (!show || blank || lost || left <= 0 || (show === "ready" && until_ms == null)) return darken(tile);
	const about = show === "alarm" ? alarm : show === "unable" ? null : answer, trouble = state.station.problems[0];
	if (tile.lit !== lit) {
		darken(tile);
		if (!onTime) return;
		tile.lit = lit;
		tile.light = left === Infinity ? bright.animate({ opacity: [1, 1] }, { duration: 1000, iterations: Infinity })
			: bright.animate([{ opacity: 1, easing: "step-end" }, { opacity: 0, offset: left / (left + 1000) }, { opacity: 0 }], left + 1000);
		bright.style.setProperty("--phase", `${Math.min(0, since_ms - stationNow())}ms`);
	}
	bright.dataset.show = show;
	fill(bright, face(lane, about && since(about.at_ms, about.at), show, lang[show] ? show : `signal_${show}`, about ? show === "rescan" ? labelDrawing(about.reason) : bigCode(nameOf(about)) : show === "working" && scanned && bigCode(scanned.text),
		about ? say(about) : show === "unable" && el("div.say", trouble && el("p", troubleWords(trouble)[0]), el("p.do", t("unable_action")))));
}
// The label of a box: the serial number's barcode marked, the one that was scanned crossed out.
function labelDrawing(reason) {
	const parts = [svg("rect", { width: 380, height: 190, rx: 8, fill: "#fff" })];
	for (const [what, text, x, y, width] of [["part_number", "(1P) Part No.", 18, 32, 150], ["upc", "UPC / EAN", 236, 32, 110], ["", "(S) Serial No.", 18, 88, 190], ["imei", "IMEI / EID", 18, 146, 230]]) {
		const color = what ? "#757575" : "#000", cross = what && what === reason.replace("eid", "imei");
		let bars = "";
		for (let at = x, seed = width; at < x + width; seed = (seed * 13 + 7) % 31, at += 3 + seed % 4) bars += `M${at} ${y}v24h${1 + seed % 3}v-24z`;
		parts.push(svg("path", { d: bars, fill: color }), svg("text", { x, y: y - 5, "font-size": what ? 12 : 15, "font-weight": what ? 400 : 700, fill: color }, text));
		if (!what) parts.push(svg("path", { d: "M8 62h214v60H8zM360 92H242m24-26l-26 26 26 26", fill: "none", stroke: "#0a53c4", "stroke-width": 7 }));
		if (cross) parts.push(svg("path", { d: `M${x + width / 2 - 18} ${y - 6}l36 36m0-36l-36 36`, stroke: "#c40d24", "stroke-width": 7 }));
	}
	return svg("svg", { class: "label", viewBox: "0 0 380 190", role: "img", "aria-label": t("label_drawing") }, parts);
}
function announce(lane, before, onTime) {
	const { answer, alarm, show } = lane, of = manyLanes() ? `${t("lane")} ${clean(lane.lane)}: ` : "";
	const tell = (where, word, about) => { where.textContent = `${of}${t(word)}. ${tail(nameOf(about))}. ${words(about).slice(0, 2).map(one => one?.textContent ?? one).join(" ")}` };
	if (alarm && alarm.id !== before.alarm?.id) tell($.cried, "signal_alarm", alarm);
	if (answer && (answer.id !== before.answer?.id || answer.verdict !== before.answer.verdict || lane.repeat !== before.repeat)) tell($.said, answer.verdict, answer);
	if (show === "unable" && before.show !== show) $.cried.textContent = `${of}${t("signal_unable")}. ${t("unable_action")}`;
	if (show && onTime && (show !== before.show || lane.since_ms !== before.since_ms || lane.repeat !== before.repeat)) sing(show);
}

const mark = verdict => el(`span.verdict`, shape(SIGNAL[verdict]), t(verdict));
const asking = about => ({ onclick: () => showWhy(about) });
const whyButton = about => el("button", { ...asking(about), "aria-label": t("why_of", clean(nameOf(about), 40)) }, t("why"));
const asks = () => el("span", shape("again"), " ", t("asks_again"));
const sinceBox = box => since(box.since_ms, box.since);
function showShelves() {
	for (const id of ["waiting", "problem"]) {
		const { total, boxes } = state[id], more = total - boxes.length;
		part(id, "b").textContent = number(total);
		part(id, ".more").textContent = !total ? t(`${id}_none`) : more > 0 ? counted("and_more", more) : "";
	}
	list(part("waiting"), state.waiting.boxes.map(box => ({ ...box, id: box.scan })), box => box.serial + box.lane, box => {
		const [sentence, , detail] = words(box);
		return el(box.turned ? "li.turned" : "li", el("b.tail", tail(box.serial)), el("div", el("p", box.turned ? t("scan_again") : [sentence, " ", detail]),
			el("p.sub", code(box.serial), bdi(box.model), laneOf(box), sinceBox(box), box.asked_again && !box.turned && asks())), whyButton(box));
	});
	const groups = {};
	for (const box of state.problem.boxes) (groups[box.reason] ??= []).push({ ...box, id: box.scan });
	list(part("problem"), Object.values(groups), group => group[0].reason, group => {
		const [sentence, action] = words(group[0]);
		return el("li.group", el("p", sentence), el("p.do", action), group.some(box => box.asked_again) && el("p.sub", asks()),
			el("ul", group.map(box => el("li", el("button", asking(box), el("b.tail", tail(box.serial)), el("span.sub", code(box.serial), " ", sinceBox(box)))))));
	});
}
function showStrip() {
	const { waiting, problem, today, station } = state, turned = waiting.boxes.some(box => box.turned), faulty = station.problems.length;
	const boxes = today && COUNTED.reduce((sum, one) => sum + (today.by_verdict[one] ?? 0), 0);
	const entry = (to, icon, n, word, how = "") => el(`a.${how}`, { href: `#${to}` }, shape(icon), n != null && el("b", number(n)), el("span", word));
	fill($.strip, entry("waiting", turned ? "again" : "hold", waiting.total, t(turned ? "scan_again" : "waiting"), turned ? "hot" : ""), entry("problem", "stop", problem.total, t("problem")), entry("today", "today", boxes, t("today")),
		entry("station", faulty ? "alarm" : "ready", faulty || null, faulty ? counted("problems", faulty) : t("problems_none"), faulty ? "bad" : ""));
}

function showToday() {
	const { today } = state;
	$.date.textContent = today ? date({ dateStyle: "full" }, Date.parse(today.date)) : "";
	fill($.counts, today && Object.keys(SIGNAL).map(one => el(`div.${one}`, el("b", number(today.by_verdict[one] ?? 0)), mark(one))));
	fill($.chart, !today ? t("reading") : today.hours.length ? chart(today.hours) : t("nothing_today"));
}
function chart(hours) {
	const first = Math.min(8, ...hours.map(one => one.hour)), last = Math.max(17, ...hours.map(one => one.hour)), sum = one => COUNTED.reduce((all, kind) => all + (one[kind] ?? 0), 0);
	const most = Math.max(4, ...hours.map(sum)), step = 560 / (last - first + 1), word = hour => date({ hour: "numeric" }, hour * 3_600_000), parts = [svg("line", { x2: 560, y1: 134, y2: 134 })];
	for (let hour = first; hour <= last; hour += 1) {
		const x = (hour - first) * step + step * .15, width = step * .7, one = hours.find(one => one.hour === hour), text = (y, of) => parts.push(svg("text", { x: x + width / 2, y }, of));
		let y = 133;
		for (const kind of one ? COUNTED : []) {
			const tall = one[kind] / most * 115;
			if (tall) parts.push(svg("rect", { x, y: (y -= tall) + 1, width, height: Math.max(1.5, tall - 2), class: kind }));
		}
		if (one) text(y - 5, number(sum(one)));
		if ((hour - first) % Math.ceil((last - first) / 10) === 0) text(150, word(hour));
	}
	const told = hours.map(one => `${word(one.hour)}: ${COUNTED.filter(kind => one[kind]).map(kind => `${t(kind)} ${one[kind]}`).join(", ")}`);
	return svg("svg", { viewBox: "0 0 560 154", role: "img", "aria-label": `${t("by_hour")}. ${told.join("; ")}` }, parts);
}
function showAnswers() {
	const wanted = $.filter.value.trim().toLowerCase(), verdict = $.verdict.value;
	const fits = one => (!verdict || one.verdict === verdict) && [one.serial, one.raw, one.model, one.lane, one.message, lang.reasons[one.reason]?.[0]].join("\n").toLowerCase().includes(wanted);
	const shown = state.answers.filter(fits);
	list(part("answers"), shown, one => one.id, one => el(`li.${one.verdict}`, el("time", stationTime(one.at, CLOCK)), mark(one.verdict),
		el("div", el("p", el("b", code(nameOf(one))), one.cause && ` · ${t(one.cause)}`), el("p.sub", bdi(one.model), laneOf(one), el("span", words(one)[0]))), whyButton(one)));
	part("answers", ".more").textContent = shown.length ? "" : t(state.answers.length ? "answers_no_match" : "answers_none");
}
const pair = (key, value, bad) => value != null && value !== "" && [el("dt", t(key)), el(bad ? "dd.bad" : "dd", value)];
const took = one => one.took_ms == null ? null : `${number(one.took_ms)} ms`;
async function showWhy(about) {
	fill($.asked, t("why_of", clean(nameOf(about), 40)));
	fill($.told, "…");
	if (!$.why.open) $.why.showModal();
	try {
		const { answer, evidence, delivered_at, set_aside, changes } = await (await get(`/api/answers/${about.id}`)).json(), [sentence, action, detail] = words(answer);
		fill($.told, el(`div.${answer.verdict}`, mark(answer.verdict), el("p", sentence), detail && el("p.soft", t("service_says"), ": ", detail), el("p.do", action)),
			el("dl", pair("box", code(nameOf(answer))), pair("time", inFull(answer.at)), pair("lane", bdi(answer.lane)), pair("took", took(answer)), pair(set_aside ? "refused" : "delivered", set_aside ? english(set_aside) : inFull(delivered_at) ?? t("not_yet"))),
			el("div.evidence", evidence.map(one => el("div.source", el("h3", bdi(one.source), " ", el("small", bdi(one.kind))), el("dl", pair("says", lang[`says_${one.says}`] ?? lang[one.says] ?? english(one.says)),
				pair("why", lang.reasons[one.reason]?.[0] ?? english(one.reason)), pair("status", english(one.status)), pair("assigned_at", inFull(one.assigned_at)), pair("last_fetch", inFull(one.as_of)), pair("took", took(one)))))),
			!evidence.length && t("no_sources"), changes.length > 0 && el("h3", t("changes")), changes.map(one => el(`p.${one.verdict}`, mark(one.verdict), ` ${inFull(one.at)} · ${t(one.cause)}. `, words(one)[0])));
	} catch {
		fill($.told, t("not_to_be_had"));
	}
}

const troubleWords = ({ part, word, sentence, remedy }) => lang.troubles[`${part} ${word}`] ?? lang.troubles[word] ?? lang.reasons[word] ?? [english(sentence), english(remedy)];
function showStation() {
	const { problems, sources, health, now_ms } = state.station, { broker, journal, able, clock } = health;
	const ago = at => at && since(now_ms - (Date.parse(health.time) - Date.parse(at))), word = of => lang[`is_${of}`] ?? lang.reasons[of]?.[0] ?? english(of), ok = of => ["ok", "none", "starting"].includes(of);
	fill($.able, shape(able ? "ready" : "unable"), t(able ? "able" : "not_able"));
	$.able.className = able ? "" : "bad";
	const about = one => (one.name ? one.name !== one.word && bdi(one.name) : lang[one.part]);
	list($.problems, problems, one => [one.part, one.name, one.word].join(), one => {
		const [sentence, remedy] = troubleWords(one);
		return el("li", shape("alarm"), el("p", about(one) && el("b", about(one), ": "), sentence), el("p.do", remedy));
	});
	fill($.sources, sources.map(({ name, kind, required }) => {
		const { state: is, as_of, replica, quota_left: left, quota_limit: limit, credential_days: days } = health.sources[name] ?? {};
		return is && el(is === "ok" ? "div.source" : "div.source.bad", el("h3", bdi(name), " ", el("small", bdi(kind), required && ` · ${t("required")}`)), el("p.state", word(is)), el("dl", pair("last_fetch", ago(as_of)),
			pair("quota", left == null ? null : limit ? `${number(left)} / ${number(limit)}` : number(left), left < limit / 5), pair("copy", replica && [word(replica.state), ` · ${counted("devices", replica.rows)} `, ago(replica.pass_at)], !ok(replica?.state)),
			pair("credential", days == null ? null : new Intl.NumberFormat(root.lang, { style: "unit", unit: "day", unitDisplay: "long" }).format(days), days < 30)));
	}));
	const each = (key, parts, is, more) => Object.entries(parts ?? {}).map(([name, part]) => pair(key, [bdi(name), ": ", word(is(part)), more?.(part)], !ok(is(part))));
	fill($.facts, each("scanners", health.scanners, one => one.state, one => !one.proven && ` · ${t("not_proven")}`), each("lamps", health.lamps, one => one), broker && pair("broker", word(broker.state), broker.state === "away"),
		journal && [pair("journal", word(journal.state), !ok(journal.state)), pair("unsent", number(journal.unsent)), journal.set_aside.length > 0 && pair("refused", number(journal.set_aside.length), true)],
		pair("clock", word(clock), clock === "unsynced"), pair("version", clean(state.version)));
}

// Scans from this page: typed, clicked, or a scanner's burst of keys, wherever the focus is.

function showScan() {
	$.scan.hidden = !state.scan;
	$.demo.hidden = !state.demo.length;
	$.demo.open ||= !part("demo").kept;
	list(part("demo"), state.demo, box => box.serial, box => el("li", el("button", { onclick: () => scan(box.serial) }, shape(box.signal), code(box.serial), el("small", { lang: "en" }, bdi(box.what)))));
}
async function scan(text) {
	let said = "scan_failed";
	try {
		const reply = await ask("/api/scan", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ text }) });
		said = { 202: "", 400: "scan_empty", 404: "scan_gone", 413: "scan_long", 503: "scan_full" }[reply.status] ?? said;
	} catch { /* said below */ }
	$.heard.className = said && "bad";
	$.heard.textContent = said ? t(said) : `${t("scan_sent")}: ${clean(text, 40)}`;
	return !said;
}
let burst = {};
function onKey(event) {
	const { key, ctrlKey, altKey, metaKey, target, timeStamp } = event, quick = timeStamp - burst.at <= KEY_MS, field = target.matches?.("input") && target;
	if (!state?.scan || event.isComposing || event.repeat) burst = {};
	else if (key === "Enter") {
		if (quick && burst.text.length > 3) {
			event.preventDefault();
			event.stopPropagation();
			if (burst.field) {
				burst.field.value = burst.value;
				burst.field.dispatchEvent(new Event("input"));
			}
			scan(burst.text);
		}
		burst = {};
	} else if (key !== "Shift" && key !== "Control") {
		// A group separator comes as Ctrl+].
		const letter = ctrlKey && key === "]" ? "\x1d" : key.length === 1 && !ctrlKey && !altKey && !metaKey && key;
		burst = letter ? { ...(quick ? burst : { text: "", field, value: field?.value }), at: timeStamp } : {};
		if (letter) burst.text += letter;
		// Within a burst a space presses no button.
		if (quick && letter === " " && !field) event.preventDefault();
	}
}

// Sound: chords, unlike a scanner's beep. The browser gives it after one touch.

let ear;
const SONGS = {
	ready: [523, 0, .16, 784, .12, .34], stop: [220, 0, .26, 165, .26, .26, 220, .52, .36], hold: [349, 0, .18, 349, .26, .22], rescan: [440, 0, .12, 330, .13, .12, 440, .26, .2],
	alarm: [622, 0, .14, 466, .15, .14, 622, .3, .14, 466, .45, .14, 622, .6, .3], unable: [196, 0, .5], lost: [330, 0, .2, 262, .22, .2, 196, .44, .5],
};
const wantsSound = () => kept.sound === "on", sounds = () => wantsSound() && ear?.state === "running";
function wake() {
	if (!wantsSound() || sounds()) return;
	ear ??= new AudioContext();
	ear.resume().then(showSound);
}
function sing(song) {
	const notes = sounds() ? SONGS[song] ?? [] : [];
	for (let at = 0; at < notes.length; at += 3) for (const [over, loud] of [[1, .22], [1.5, .06]]) {
		const tone = ear.createOscillator(), level = ear.createGain(), from = ear.currentTime + notes[at + 1], to = from + notes[at + 2];
		tone.type = "triangle";
		tone.frequency.value = notes[at] * over;
		level.gain.setValueAtTime(0, from);
		level.gain.linearRampToValueAtTime(loud, from + .015);
		level.gain.exponentialRampToValueAtTime(.001, to);
		tone.connect(level).connect(ear.destination);
		tone.start(from);
		tone.stop(to);
	}
}
function showSound() {
	fill($.sound, shape(sounds() ? "sound" : "mute"), el("span", t(sounds() ? "sound_on" : wantsSound() ? "sound_touch" : "sound_off")));
	set($.sound, { "aria-pressed": !!sounds() });
}

function listen() {
	addEventListener("keydown", onKey, true);
	for (const touch of ["pointerdown", "keydown"]) addEventListener(touch, event => $.sound.contains(event.target) || wake(), true);
	addEventListener("pageshow", event => event.persisted && blankUntilState());
	document.addEventListener("resume", blankUntilState);
	document.addEventListener("visibilitychange", () => document.hidden || blankUntilState());
	addEventListener("error", event => event.error && stumble(event.error));
	$.form.onsubmit = async event => {
		event.preventDefault();
		const field = $.typed, { value } = field;
		if (await scan(value.trim()) && field.value === value) field.value = "";
	};
	$.filter.oninput = $.verdict.onchange = () => state && showAnswers();
	$.close.onclick = () => $.why.close();
	$.why.onclick = event => event.target === $.why && $.why.close();
	$.sound.onclick = () => {
		kept.sound = sounds() ? "off" : "on";
		wake();
		showSound();
	};
	$.language.onchange = event => speak(event.target.value).then(() => { kept.language = root.lang }, () => { $.language.value = root.lang });
	new ResizeObserver(() => tiles.forEach(fit)).observe($.lanes);
	setInterval(keepUp, 250);
}
async function start() {
	choices($.language, Object.entries(NAMES));
	const wanted = [kept.language, ...navigator.languages.map(one => one.slice(0, 2)), "en"].find(one => NAMES[one]);
	while (!lang) await speak(wanted).catch(() => new Promise(done => setTimeout(done, RETRY_MS)));
	listen();
	connect();
}
start();
