// The page at "/": classifies images that are dropped, pasted or chosen, shows where each leaves
// the network, and draws the statistics of the server once a second.
"use strict";

const kParallel = 4;     // requests at a time: browsers open 6 connections, statistics need one
const kTries = 8;        // how often an image is sent while the server is busy
const kThumbs = 24;      // images that a bin shows
const kFlights = 16;     // images that move at a time; more go to their bin at once
const kCards = 24;       // cards that are added at a time
const kRerun = 60;       // with more images, a new stop rule waits for "Classify again"
const kLarge = 200000;   // bytes from which a file is made small before it is shown
const kSeconds = 120;    // that the live charts show
const kPatience = 20000; // milliseconds until statistics are given up
const kDrifted = 0.05;   // the distance from which the server may call it drift

// ---- Elements and words

const $ = (id) => document.getElementById(id);

function make(space, name, attributes, children) {
  const element = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
const html = (name, attributes = {}, ...children) =>
  make("http://www.w3.org/1999/xhtml", name, attributes, children);
const svg = (name, attributes = {}, ...children) =>
  make("http://www.w3.org/2000/svg", name, attributes, children);

const percent = (x, digits = 0) => `${(100 * x).toFixed(digits)}\u00a0%`;
const cost = (x) => x.toFixed(x < 0.1 ? 3 : 2);
const count = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;
const number = (x) => x.toFixed(x >= 100 || x === 0 ? 0 : x >= 10 ? 1 : 2);
const time = (ms) => (ms >= 1000 ? `${number(ms / 1000)}\u00a0s` : `${number(ms)}\u00a0ms`);
const colour = (exit) => "c" + ((exit - 1) % 8);
const sum = (list) => list.reduce((a, b) => a + b, 0);
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

// ---- Talking to the server

let token = "";

/** An answer that is no success. `status` is 0 if there was no answer at all. */
class Trouble extends Error {
  constructor(status, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = "Bearer " + token;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch {
    throw new Trouble(0, options.body
      ? "The connection broke while the image was sent: it is too large for this server, or the " +
        "server has stopped."
      : "The server does not answer. This page tries again.");
  }
  const json = await response.json().catch(() => ({}));
  if (response.ok) return json;
  throw new Trouble(response.status, json.error || `The server answered ${response.status}.`,
    Number(response.headers.get("Retry-After")) || 1);
}

/** Shows what keeps the page from working, or hides it. */
function showTrouble(error) {
  const asks = error?.status === 401;
  if (asks && $("ask-token").hidden) setTimeout(() => $("token").focus());
  $("ask-token").hidden = !asks;
  const words = !error ? "" : asks ? (token ? "The server does not know this token." : "")
    : error.message;
  if ($("trouble").textContent !== words) $("trouble").textContent = words;
  $("trouble").hidden = words === "";
}

// ---- The model

let models = [];       // as GET /v1/models lists them
let model = null;      // the one that is shown
let costs = [];        // [exits] relative cost of an image that leaves there
const address = () =>
  `v2/models/${encodeURIComponent(model.name)}/versions/${encodeURIComponent(model.version)}/stats`;
const statistics = async () =>
  (await ask(address(), { signal: AbortSignal.timeout(kPatience) })).model_stats[0];
const saved = (relativeCost) => 1 - relativeCost / costs[costs.length - 1];

async function loadModels() {
  models = (await ask("v1/models")).models;
  const before = model;
  model = models.find((one) => one.name === before?.name && one.version === before?.version) ||
    models[0];
  $("choose-model").hidden = models.length < 2;
  $("model").replaceChildren(...models.map((one, i) =>
    html("option", { value: i }, `${one.name}, version ${one.version}`)));
  $("model").selectedIndex = models.indexOf(model);
  showModel();
}

function showModel() {
  const isNew = String(model.relative_costs) !== String(costs);
  costs = model.relative_costs;
  const [, height, width] = model.input;
  $("facts").textContent = [`${model.name}, version ${model.version}`, model.precision,
    count(costs.length, "exit"), `${model.classes.length} classes`, count(model.threads, "thread"),
    `images of ${width} × ${height} pixels`].join(" · ");
  document.title = `${model.name} · offramp`;
  if (isNew) buildNetwork();
  buildRules();
  resetLive();
  if (isNew && entries.length) runAgain();
}

// ---- The network

let bins = [];         // [exits] {root, count, share, thumbs, rest, images}
let flights = 0;
let layout = null;     // {lane: [x, y] of its start, down, ramps: [exits] paths}
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function buildNetwork() {
  for (const bin of bins) bin.root.remove();
  bins = costs.map((relativeCost, i) => {
    const exit = i + 1;
    const last = exit === costs.length;
    const total = html("span", {}, "0");
    const share = html("small", {}, "images");
    const thumbs = html("div", { class: "thumbs" });
    const root = html("div", { class: `bin ${colour(exit)}`, role: "group",
      "aria-label": `Exit ${exit}` },
      html("p", { class: "bin-head" }, html("b", {}, last ? `Exit ${exit}, the last` :
        `Exit ${exit}`), html("span", { class: "soft" }, last ? "the whole network" :
        `saves ${percent(saved(relativeCost))}`)),
      html("p", { class: "count" }, total, " ", share), thumbs);
    $("network").append(root);
    return { root, total, share, thumbs, rest: html("span", { class: "rest" }), images: 0 };
  });
  const steps = costs.map((c, i) => c - (i ? costs[i - 1] : 0));
  const mean = sum(steps) / steps.length;
  const parts = [...steps, mean].map((s) => Math.min(1.5, Math.max(0.8, s / mean)).toFixed(2));
  $("network").style.gridTemplateColumns = parts.map((p) => `minmax(0, ${p}fr)`).join(" ");
  drawRoad();
}

/** Draws the road to where the bins lie now. */
function drawRoad() {
  if (!bins.length) return;
  const network = $("network");
  network.classList.toggle("down", network.clientWidth < 640 || costs.length > 5);
  const down = network.classList.contains("down");
  const box = network.getBoundingClientRect();
  const corners = bins.map(({ root }) => {
    const { left, top } = root.getBoundingClientRect();
    return { left: left - box.left - network.clientLeft, top: top - box.top - network.clientTop };
  });
  const lane = down ? 32 : 46;
  const starts = corners.map(({ left, top }) => (down ? top - 4 : left - 44));
  const curves = corners.map(({ left, top }, i) => (down
    ? `C ${lane} ${top + 18} ${lane + 4} ${top + 30} ${left + 2} ${top + 30}`
    : `C ${left - 4} ${lane} ${left + 34} ${lane + 14} ${left + 34} ${top + 2}`));
  const at = (i) => (down ? [lane, starts[i]] : [starts[i], lane]);
  const end = at(bins.length - 1);
  const begin = down ? [lane, 0] : [0, lane];
  const parts = curves.map((curve, i) =>
    svg("path", { class: `ramp ${colour(i + 1)}`, d: `M ${at(i).join(" ")} ${curve}` }));
  parts.push(svg("path", { class: "lane", "stroke-linecap": "round",
    d: `M ${begin.join(" ")} L ${end.join(" ")}` }));
  parts.push(svg("path", { class: "marks", d: `M ${begin.join(" ")} L ${end.join(" ")}` }));
  curves.forEach((curve, i) => {
    const [x, y] = at(i);
    parts.push(svg("circle", { class: `sign ${colour(i + 1)}`, cx: x, cy: y, r: 13 }));
    parts.push(svg("text", { class: colour(i + 1), x, y: y + 4.5 }, String(i + 1)));
    if (!down) parts.push(svg("text", { class: "cost", x, y: 20 }, `cost ${cost(costs[i])}`));
  });
  $("road").replaceChildren(...parts);
  layout = { begin, ways: curves.map((curve, i) =>
    `M ${begin.join(" ")} L ${at(i).join(" ")} ${curve}`) };
}

const picture = (entry, className) => {
  const image = html("img", { class: className, alt: "", decoding: "async" });
  if (entry.url) image.src = entry.url;
  else entry.images.push(image);
  image.addEventListener("load", () => {
    if (image.naturalWidth <= 96) image.classList.add("crisp");
  });
  return image;
};

/** Lets an image leave at its exit: along the road, down the ramp, into the bin. */
function leave(entry) {
  const exit = entry.answer.exit;
  if (calm.matches || document.hidden || flights >= kFlights || !layout) return land(entry);
  const way = svg("path", { d: layout.ways[exit - 1] });
  const length = way.getTotalLength();
  const frames = [];
  for (let i = 0; i <= 24; ++i) {
    const { x, y } = way.getPointAtLength((length * i) / 24);
    frames.push({ transform: `translate(${x}px, ${y}px)` });
  }
  const flier = picture(entry, "flier");
  $("network").append(flier);
  ++flights;
  const animation = flier.animate(frames, { duration: 450 + 350 * exit, easing: "ease-in-out" });
  animation.onfinish = animation.oncancel = () => {
    --flights;
    flier.remove();
    land(entry);
  };
}

function land(entry) {
  if (entry.round !== round || !entry.answer) return;
  const bin = bins[entry.answer.exit - 1];
  ++bin.images;
  const button = html("button", { type: "button",
    "aria-label": `${entry.name}: ${entry.answer.class}, ${percent(entry.answer.probability)}` },
    picture(entry, ""));
  button.title = button.getAttribute("aria-label");
  button.addEventListener("click", () => showCard(entry));
  bin.thumbs.prepend(button);
  bin.total.textContent = bin.images.toLocaleString("en");
  bin.rest.remove();
  while (bin.thumbs.children.length > kThumbs) bin.thumbs.lastElementChild.remove();
  if (bin.images > kThumbs) {
    bin.rest.textContent = `and ${bin.images - kThumbs} more`;
    bin.thumbs.append(bin.rest);
  }
  refreshSoon();
}

// ---- The images

let entries = [];      // in the order of the cards: {file, name, url, query, round, answer, error}
let queue = [];        // those that wait to be sent
let workers = 0;
let round = 0;         // answers of earlier rounds are not shown
let busy = false;      // the server asked to wait
let filter = 0;        // the exit whose cards are shown; 0: all; -1: those without an answer
let shown = kCards;
let note = "";         // about files that were left out

const isImage = (file) => file.type.startsWith("image/") || /\.(jpe?g|png|webp|bmp)$/i.test(file.name);

function addFiles(files) {
  const images = files.filter(isImage);
  const others = files.length - images.length;
  note = !others ? "" : files.length === 1 ? `${files[0].name} is not an image.`
    : `${count(others, "file")} left out: not images.`;
  if (others) say(`${note} Send JPEG, PNG, WebP or BMP files.`);
  if (!images.length || !model) return;
  if (!workers) $("progress").value = 0;
  const added = images.map((file) => ({ file, name: file.name || "pasted image", images: [],
    url: file.size > kLarge ? "" : URL.createObjectURL(file) }));
  entries = [...added, ...entries];
  shown = Math.max(shown, kCards);
  run(added);
}

/** Makes a large file small to be shown: photos would be decoded in full again and again. */
async function shrink(entry) {
  let file = entry.file;
  try {
    const bitmap = await createImageBitmap(file, { resizeWidth: 256, resizeQuality: "medium" });
    const canvas = html("canvas", { width: bitmap.width, height: bitmap.height });
    canvas.getContext("bitmaprenderer").transferFromImageBitmap(bitmap);
    file = await new Promise((done) => canvas.toBlob(done)) || file;
  } catch {
    // The server says what is wrong with it.
  }
  entry.url = URL.createObjectURL(file);
  for (const image of entry.images.splice(0)) image.src = entry.url;
}

function say(words) {
  $("status").textContent = words;
}

function run(list) {
  const query = new URLSearchParams({ model: model.name, version: model.version, top_k: 3,
    ...ruleParameters() });
  for (const entry of list) {
    Object.assign(entry, { query, round, answer: null, error: "", isOpen: true });
    fillCard(entry);
  }
  queue.push(...list);
  while (workers < kParallel && workers < queue.length) work();
  showCards();
  refreshSoon();
}

function startRound() {
  ++round;
  queue = [];
  for (const bin of bins) {
    bin.images = 0;
    bin.thumbs.replaceChildren();
  }
}

/** Classifies all images once more, by the stop rule that is set now. */
function runAgain() {
  startRound();
  run(entries.slice());
}

function clearAll() {
  startRound();
  for (const entry of entries) URL.revokeObjectURL(entry.url);
  entries = [];
  filter = 0;
  shown = kCards;
  say("");
  showCards();
  refreshSoon();
}

async function work() {
  ++workers;
  while (queue.length) {
    const entry = queue.shift();
    const mine = entry.round;
    const result = await classify(entry);
    if (!entry.url) await shrink(entry);
    if (mine !== round || entry.round !== mine) continue;
    Object.assign(entry, result, { isOpen: false });
    fillCard(entry);
    if (entry.answer) leave(entry);
    refreshSoon();
  }
  if (--workers === 0) finish();
}

async function classify(entry) {
  for (let left = kTries; ; --left) {
    try {
      const answer = await ask("v1/classify?" + entry.query, { method: "POST", body: entry.file,
        headers: { "Content-Type": "application/octet-stream" } });
      busy = false;
      return { answer };
    } catch (error) {
      if (error.status === 401) showTrouble(error);
      busy = error.status === 503;
      if (error.status !== 503 || left === 1) return { error: error.message };
      refreshSoon();
      await wait(1000 * Math.min(error.retryAfter, 30) * (0.8 + 0.4 * Math.random()));
    }
  }
}

function finish() {
  const done = entries.filter((entry) => entry.answer);
  const failed = entries.filter((entry) => entry.error).length;
  const places = costs.map((_, i) => [i + 1, done.filter((e) => e.answer.exit === i + 1).length])
    .filter(([, n]) => n).map(([exit, n]) => `${n} at exit ${exit}`);
  if (done.length || failed) {
    say((done.length ? `${count(done.length, "image")} answered: ${places.join(", ")}.` : "") +
      (failed ? ` ${count(failed, "image")} without an answer.` : "") + (note && ` ${note}`));
  }
  refresh();
}

let refreshing = 0;
function refreshSoon() {
  if (!refreshing) refreshing = setTimeout(refresh, 60);
}

/** Brings every count and sentence up to date. */
function refresh() {
  clearTimeout(refreshing);
  refreshing = 0;
  const done = entries.filter((entry) => entry.answer);
  const open = entries.filter((entry) => entry.isOpen);
  const landed = sum(bins.map((bin) => bin.images));
  for (const bin of bins) {
    bin.total.textContent = bin.images.toLocaleString("en");
    bin.share.textContent = (bin.images === 1 ? "image" : "images") +
      (landed ? `, ${percent(bin.images / landed)}` : "");
  }
  $("waiting").textContent = open.length
    ? `${count(open.length, "image")} ${busy ? "wait: the server is busy" : "under way"}`
    : "Images enter here";
  const first = open.slice(0, 12);
  const known = [...$("queue").children];
  if (known.length !== first.length || known.some((image, i) => image.entry !== first[i])) {
    $("queue").replaceChildren(...first.map((entry) =>
      known.find((image) => image.entry === entry) ||
        Object.assign(picture(entry, ""), { entry })));
  }
  $("progress").hidden = !open.length || entries.length < 2;
  $("progress").max = Math.max(1, entries.length);
  $("progress").value = entries.length - open.length;
  $("again").hidden = $("clear").hidden = entries.length === 0;
  if (done.length) {
    const mean = sum(done.map((entry) => entry.answer.relative_cost)) / done.length;
    const early = done.filter((entry) => entry.answer.exit < costs.length).length;
    const less = saved(mean);
    $("sentence").textContent = (done.length === 1
      ? `${done[0].answer.class}, found at exit ${done[0].answer.exit} of ${costs.length}`
      : `${early.toLocaleString("en")} of ${count(done.length, "image")} left early`) +
      (less > 0.0005 ? `: ${percent(less)} less work than to the last exit.`
        : ": nothing was saved.");
  } else if (!open.length) {
    $("sentence").textContent = "Drop images anywhere on this page. Each leaves the network at " +
      "the first exit that is sure of its class.";
  }
  showFilter();
}

// ---- The cards

function fillCard(entry) {
  const card = entry.card || html("li", { tabindex: -1 });
  const { answer, error } = entry;
  card.className = "card" + (answer ? " " + colour(answer.exit) : "");
  if (!entry.card) {
    entry.card = card;
    card.append(picture(entry, "face"), html("p", { class: "name", title: entry.name },
      entry.name));
  }
  while (card.children.length > 2) card.lastElementChild.remove();
  if (error) card.append(html("p", { class: "class error" }, error));
  if (!answer && !error) card.append(html("p", { class: "class soft" }, "…"));
  if (!answer) return;
  const top = answer.top || [{ class: answer.class, probability: answer.probability }];
  const facts = [["exit", `${answer.exit} of ${costs.length}`],
    ["time", time(answer.milliseconds)], ["relative cost", cost(answer.relative_cost)],
    ["saved", percent(saved(answer.relative_cost))]];
  card.append(html("p", { class: "class" }, answer.class),
    html("ol", { "aria-label": "Most probable classes" }, ...top.map((one) => {
      const row = html("li", {}, html("span", {}, one.class), percent(one.probability, 1));
      row.style.setProperty("--p", `${100 * one.probability}%`);
      return row;
    })),
    html("dl", {}, ...facts.flatMap(([name, value]) =>
      [html("dt", {}, name), html("dd", {}, value)])));
  if (answer.limited) card.append(html("p", { class: "name" }, "stopped by a deadline"));
}

const matches = (entry) => filter === 0 || (filter === -1 ? Boolean(entry.error)
  : entry.answer?.exit === filter);

function showCards() {
  const list = entries.filter(matches);
  const cards = list.slice(0, shown).map((entry) => entry.card);
  const old = $("cards").children;
  if (old.length !== cards.length || cards.some((card, i) => old[i] !== card))
    $("cards").replaceChildren(...cards);
  $("no-answers").hidden = entries.length > 0;
  const rest = list.length - cards.length;
  $("more").hidden = rest <= 0;
  $("more").textContent = `Show ${Math.min(kCards, rest)} of ${count(rest, "more image")}`
    .replace("more images", "more");
}

function showFilter() {
  const choices = [[0, "All", entries.length],
    ...costs.map((_, i) => [i + 1, `Exit ${i + 1}`,
      entries.filter((entry) => entry.answer?.exit === i + 1).length]),
    [-1, "No answer", entries.filter((entry) => entry.error).length]]
    .filter(([key, , n]) => n || key === 0 || key === filter);
  $("filter").hidden = choices.length < 3;
  const buttons = [...$("filter").children];
  if (buttons.map((b) => b.value).join() === choices.map(([key]) => key).join()) {
    choices.forEach(([, name, n], i) => { buttons[i].textContent = `${name} (${n})`; });
  } else {
    $("filter").replaceChildren(...choices.map(([key, name, n]) => {
      const button = html("button", { type: "button", value: key }, `${name} (${n})`);
      button.addEventListener("click", () => setFilter(key));
      return button;
    }));
  }
  for (const button of $("filter").children)
    button.setAttribute("aria-pressed", String(Number(button.value) === filter));
  if (filter !== 0) showCards();
}

function setFilter(key) {
  filter = key;
  shown = kCards;
  showFilter();
  showCards();
}

function showCard(entry) {
  if (!matches(entry)) setFilter(0);
  shown = Math.max(shown, entries.filter(matches).indexOf(entry) + 1);
  showCards();
  entry.card.scrollIntoView({ block: "center" });
  entry.card.focus({ preventScroll: true });
}

// ---- The stop rule

const ruleInputs = () => [...document.querySelectorAll("input[name=rule]")];
const rule = () => ruleInputs().find((input) => input.checked).value;

function ruleParameters() {
  if (rule() === "last") return { stop: "last" };
  if (rule() === "threshold") return { threshold: $("threshold").value };
  if (rule() === "step") return { [model.path.parameter]: $("step").value };
  return {};
}

/** Offers the rules that this model has, and chooses the one that it was calibrated with. */
function buildRules() {
  const { path } = model;
  const offered = { policy: model.policy !== false, step: Boolean(path),
    threshold: model.criterion !== "patience", last: true };
  for (const input of ruleInputs()) input.parentElement.hidden = !offered[input.value];
  if (!offered[rule()] || !ruleInputs().some((input) => input.dataset.touched))
    ruleInputs().find((input) => offered[input.value]).checked = true;
  if (path) {
    if ($("step").max !== String(path.chosen)) $("step").value = $("step").max = path.chosen;
  }
  showRule();
}

function showRule() {
  const { path } = model;
  const now = rule();
  $("path").hidden = !path || (now !== "step" && now !== "policy");
  if (path && now === "policy") $("step").value = path.chosen;
  $("level").hidden = now !== "threshold";
  $("rule-words").textContent = {
    policy: (model.criterion ? `The model's policy, by ${model.criterion}. ` : "") +
      (path ? "" : "There is no slider: the file holds no certified path. Calibrating with a " +
        "guarantee stores one."),
    step: "Every step of the path up to the deployed one is certified.",
    threshold: "A threshold of your own has no certificate.",
    last: "Every image goes through the whole network.",
  }[now];
  $("threshold-words").textContent = $("threshold").value + (model.criterion &&
    model.criterion !== "confidence" ? ` (${model.criterion})` : "");
  if (path) showStep(path);
}

function showStep(path) {
  const at = Number($("step").value);
  const { accuracy, relative_cost: relativeCost } = path.steps[at];
  const less = saved(relativeCost);
  $("step-words").replaceChildren(html("b", {}, percent(accuracy, 1)), " accuracy at ",
    html("b", {}, cost(relativeCost)), " of the cost", html("small", {},
      `step ${at} of ${path.chosen}${at === path.chosen ? ", the deployed one" : ""}${
        at === 0 ? ", always the last exit" : ""}; saves ${percent(Math.max(0, less))} against ` +
      "the last exit; on the images it was calibrated with"));
  $("step").setAttribute("aria-valuetext", `step ${at} of ${path.chosen}: accuracy ` +
    `${percent(accuracy, 1)}, relative cost ${cost(relativeCost)}`);

  const [width, height, left, bottom] = [400, 170, 46, 30];
  const range = (values, least) => {
    const [a, b] = [Math.min(...values), Math.max(...values)];
    const pad = Math.max((b - a) * 0.12, least);
    return [a - pad, b + pad];
  };
  const [x0, x1] = range(path.steps.map((s) => s.relative_cost), 0.02);
  const [y0, y1] = range(path.steps.map((s) => s.accuracy), 0.002);
  const x = (s) => left + ((s.relative_cost - x0) / (x1 - x0)) * (width - left - 8);
  const y = (s) => 8 + (1 - (s.accuracy - y0) / (y1 - y0)) * (height - bottom - 8);
  const text = (xx, yy, words, place) => svg("text", { x: xx, y: yy, class: place }, words);
  const parts = [svg("path", { class: "grid", d: `M ${left} 8 V ${height - bottom} H ${width}` })];
  for (const value of [y0 + (y1 - y0) * 0.1, y0 + (y1 - y0) * 0.9])
    parts.push(text(left - 6, y({ accuracy: value }) + 4, percent(value, 1), "end"));
  for (const value of [x0 + (x1 - x0) * 0.1, x0 + (x1 - x0) * 0.9])
    parts.push(text(x({ relative_cost: value }), height - bottom + 15, cost(value), "mid"));
  parts.push(text((left + width) / 2, height - 2, "relative cost", "mid"),
    text(left + 6, 18, "accuracy", ""));
  const r = path.steps.length > 50 ? 2 : 3.2;
  path.steps.forEach((s, i) => parts.push(svg("circle",
    { class: i > path.chosen ? "off" : "dot", cx: x(s), cy: y(s), r })));
  parts.push(svg("circle", { class: "here", cx: x(path.steps[at]), cy: y(path.steps[at]), r: 7 }));
  const failed = path.steps.length > path.chosen + 1;
  $("path-chart").setAttribute("viewBox", `0 0 ${width} ${height}`);
  $("path-chart").setAttribute("aria-label", "Accuracy against relative cost of the steps of the " +
    `path; step ${at} is marked` + (failed ? "; the hollow one failed the test" : ""));
  $("path-chart").replaceChildren(...parts);
}

let rerun = 0;
function ruleChanged() {
  for (const input of ruleInputs()) input.dataset.touched = "yes";
  showRule();
  clearTimeout(rerun);
  if (!entries.length) return;
  if (entries.length <= kRerun) rerun = setTimeout(runAgain, 400);
  else say("The stop rule has changed: press Classify again.");
}

// ---- Live charts

let samples = [];      // {at, rate, requests, p50, p95, exits, drift}; null: nothing
let before = null;     // the statistics before, with the time `at`
let charts = {};

function resetLive() {
  samples = [];
  before = null;
  charts = Object.fromEntries([["rate", "Images and requests a second"], ["latency", "Latency"],
    ["shares", "Share of exits"], ["drift", "Drift"]].map(([key, title]) => {
    const chart = { value: html("p", { class: "value" }, "–"),
      image: svg("svg", { role: "img", viewBox: "0 0 400 124", "aria-label": title }),
      legend: html("ul", { class: "legend" }), title };
    chart.panel = html("div", { class: "panel", id: "chart-" + key }, html("h3", {}, title),
      chart.value, chart.image, chart.legend);
    return [key, chart];
  }));
  $("charts").replaceChildren(...Object.values(charts).map((chart) => chart.panel));
}

/** The q-quantile of a histogram, linear inside its bins. */
function quantile(bounds, counts, q) {
  let left = q * sum(counts);
  for (let i = 0; i < counts.length; ++i) {
    if (left <= counts[i] && counts[i] > 0) {
      const low = i ? bounds[i - 1] : 0;
      return low + ((i < bounds.length ? bounds[i] : low) - low) * (left / counts[i]);
    }
    left -= counts[i];
  }
  return null;
}

/** Adds what happened since the statistics before. */
function addSample(now) {
  const old = before;
  before = now;
  const sample = { at: now.at, rate: null, requests: null, p50: null, p95: null, exits: null,
    drift: now.offramp.drift === "unknown" ? null : now.offramp.drift_distance };
  const answered = old ? now.inference_count - old.inference_count : -1;
  if (answered >= 0) {
    const seconds = (now.at - old.at) / 1000;
    sample.rate = answered / seconds;
    sample.requests = (now.offramp.requests - old.offramp.requests) / seconds;
    sample.exits = now.offramp.exits.map((n, i) => n - old.offramp.exits[i]);
    const { latency } = now.offramp;
    if (answered) {
      const counts = latency.counts.map((n, i) => n - old.offramp.latency.counts[i]);
      sample.p50 = quantile(latency.bounds_ms, counts, 0.5);
      sample.p95 = quantile(latency.bounds_ms, counts, 0.95);
    }
  }
  samples.push(sample);
  samples = samples.filter(({ at }) => at > now.at - 1000 * kSeconds);
}

const niceAbove = (value) => {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * 0.999);
};
const kLeft = 40;
const kTop = 8;
const kBase = 104;
const kSecond = (400 - kLeft) / kSeconds;
const place = (i) => 400 - ((samples[samples.length - 1].at - samples[i].at) / 1000) * kSecond;

function frame(chart, top, words) {
  const text = (x, y, content, at) => svg("text", { x, y, class: at }, content);
  const rules = [kTop, (kTop + kBase) / 2, kBase].map((y) => `M ${kLeft} ${y} H 400`);
  chart.image.replaceChildren(svg("path", { class: "grid", d: rules.join(" ") }),
    text(kLeft - 6, kTop + 4, top, "end"), text(kLeft - 6, kBase + 4, "0", "end"),
    text(kLeft, kBase + 17, "2 minutes ago", ""), text(400, kBase + 17, "now", "end"));
  chart.image.setAttribute("aria-label", `${chart.title}: ${words}`);
}

function drawLine(chart, values, most, className) {
  let d = "";
  let open = false;
  values.forEach((value, i) => {
    if (value === null) {
      open = false;
      return;
    }
    const point = `${place(i).toFixed(1)} ${(kBase - (value / most) * (kBase - kTop)).toFixed(1)}`;
    d += open ? ` L ${point}` : ` M ${point} h ${(values[i + 1] ?? null) === null ? 2.5 : 0}`;
    open = true;
  });
  if (d) chart.image.append(svg("path", { class: "line " + className, d }));
}

const lastOf = (key) => samples.reduce((found, s) => s[key] ?? found, null);
const mostOf = (...keys) => Math.max(0, ...samples.flatMap((s) => keys.map((k) => s[k] ?? 0)));
const legend = (...items) => items.map(([name, className]) =>
  html("li", { class: className }, name));

function setValue(chart, value, small) {
  chart.value.replaceChildren(value, " ", html("small", {}, small));
}

function drawLive(now) {
  const { offramp } = now;
  const rate = lastOf("rate");
  const most = niceAbove(Math.max(1, mostOf("rate", "requests")));
  const failed = now.inference_stats.fail.count;
  setValue(charts.rate, rate === null ? "–" : number(rate),
    `${count(now.inference_count, "image")} answered since the start, ${offramp.waiting} waiting` +
    (failed ? `, ${failed.toLocaleString("en")} without an answer` : ""));
  frame(charts.rate, String(most), rate === null ? "nothing yet" : number(rate));
  drawLine(charts.rate, samples.map((s) => s.requests), most, "c1 dashed");
  drawLine(charts.rate, samples.map((s) => s.rate), most, "c0");
  charts.rate.legend.replaceChildren(...legend(["images", "stroke c0"],
    [`requests: ${number(lastOf("requests") ?? 0)}`, "stroke dash c1"]));

  const [p50, p95] = [lastOf("p50"), lastOf("p95")];
  const slowest = niceAbove(Math.max(0.1, mostOf("p50", "p95")));
  const some = p50 === null ? "no image yet" : `p50 ${time(p50)}, p95 ${time(p95)}`;
  setValue(charts.latency, p50 === null ? "–" : time(p50),
    p50 === null ? some : `half of the images are faster; p95 ${time(p95)}`);
  frame(charts.latency, time(slowest).replace(/\.0+(?!\d)/, ""), some);
  drawLine(charts.latency, samples.map((s) => s.p95), slowest, "c1 dashed");
  drawLine(charts.latency, samples.map((s) => s.p50), slowest, "c0");
  charts.latency.legend.replaceChildren(
    ...legend(["p50", "stroke c0"], ["p95", "stroke dash c1"]));

  drawShares(offramp);
  drawDrift(offramp);
  drawGuarantee(offramp.guarantee);
  drawWatch(offramp.watch);
}

function drawShares(offramp) {
  const chart = charts.shares;
  const recent = costs.map((_, k) => sum(samples.map((s) => s.exits?.[k] ?? 0)));
  const all = sum(recent);
  const calibrated = offramp.calibrated_shares;
  const words = costs.map((_, k) => `exit ${k + 1} ${all ? percent(recent[k] / all) : "–"}`);
  const early = all ? percent(1 - recent[costs.length - 1] / all) : "–";
  setValue(chart, early, all ? "left early in these two minutes" : "no image in these two minutes");
  frame(chart, "100 %", words.join(", "));
  costs.forEach((_, k) => {
    let d = "";
    samples.forEach((s, i) => {
      const n = s.exits ? sum(s.exits) : 0;
      if (!n || !s.exits[k]) return;
      const from = sum(s.exits.slice(0, k)) / n;
      const size = (s.exits[k] / n) * (kBase - kTop);
      const y = kBase - from * (kBase - kTop) - size;
      const width = Math.min(place(i) - (i ? place(i - 1) : kLeft), 3 * kSecond);
      d += `M ${(place(i) - width).toFixed(1)} ${y.toFixed(1)} h ${width.toFixed(2)} ` +
        `v ${size.toFixed(1)} h -${width.toFixed(2)} z `;
    });
    if (d) chart.image.append(svg("path", { class: `fill ${colour(k + 1)}`, d }));
  });
  chart.legend.replaceChildren(...legend(...words.map((one, k) =>
    [one + (calibrated[k] !== undefined ? ` (at calibration ${percent(calibrated[k])})` : ""),
      colour(k + 1)])));
}

function drawDrift({ drift, drift_distance: distance }) {
  const chart = charts.drift;
  const isKnown = drift !== "unknown";
  setValue(chart, { none: "none", drifted: "drifted" }[drift] || "not known yet",
    isKnown ? `${percent(distance, 1)} of the images leave elsewhere than at calibration`
      : "the server compares after 200 images, if the file holds shares of calibration");
  chart.value.classList.toggle("no", drift === "drifted");
  const most = niceAbove(Math.max(0.1, mostOf("drift")));
  frame(chart, percent(most), isKnown ? `${drift}, distance ${percent(distance, 1)}` : "not known");
  const y = kBase - (kDrifted / most) * (kBase - kTop);
  chart.image.append(svg("path", { class: "rule", d: `M ${kLeft} ${y} H 400` }));
  drawLine(chart, samples.map((s) => s.drift), most, "c2");
  chart.legend.replaceChildren(...legend(["share that leaves elsewhere", "stroke c2"],
    [`smallest that counts as drift: ${percent(kDrifted)}`, "stroke dash"]));
}

function fillPanel(id, title, value, tone, ...words) {
  const key = JSON.stringify([value, tone, words]);
  if ($(id).dataset.key === key) return;
  $(id).dataset.key = key;
  $(id).replaceChildren(html("h3", {}, title), html("p", { class: "value " + tone }, value),
    ...words.filter(Boolean).map((one) => html("p", { class: "soft" }, one)));
}

const bad = { harm: "classified incorrectly where the last exit is correct",
  disagreement: "classified other than at the last exit" };

function drawGuarantee(guarantee) {
  if (!guarantee) {
    return fillPanel("guarantee", "Guarantee", "none", "", "The model's policy has no " +
      "certificate. Calibrating with a guarantee draws one.");
  }
  const { of, epsilon, delta, in_force: inForce, why } = guarantee;
  fillPanel("guarantee", "Guarantee",
    { yes: "in force", no: "not in force" }[inForce] || "not known yet",
    { yes: "yes", no: "no" }[inForce] || "", why,
    `Certified: at most ${number(100 * epsilon)} % of the images are ${bad[of] || of}, with ` +
    `confidence ${percent(1 - delta)}, for images like those of the certificate that stop as ` +
    "calibrated.");
}

function drawWatch(watch) {
  $("watch").hidden = !watch;  // this server may not audit answers
  if (!watch) return;
  const { state, audits, disagreements, bound, evidence, alarm_at: alarmAt } = watch;
  if (state === "off") return fillPanel("watch", "Watch", "off", "", watch.why);
  fillPanel("watch", "Watch", { holding: "holds", alarm: "alarm" }[state] || "collecting audits",
    { holding: "yes", alarm: "no" }[state] || "", watch.why,
    `${count(audits, "audit")}, ${count(disagreements, "disagreement")} with the last exit` +
    (audits ? ` (${percent(disagreements / audits, 2)})` : "") +
    `; the certified bound is ${percent(bound, 2)}. Audited are ${percent(watch.audit_share, 1)} ` +
    "of the images.",
    `Evidence against the bound: ${number(evidence)}; the alarm is at ` +
    `${alarmAt.toLocaleString("en")}. While the bound holds, that takes at least as many audits ` +
    "on average.",
    watch.on_alarm && watch.on_alarm !== "none" ? { cautious: "An alarm makes the server use a " +
      "more cautious step of the path.", last: "An alarm sends all images to the last exit." }[
      watch.on_alarm] + (watch.step != null ? ` Step ${watch.step} is in use.` : "") : "");
  if (!$("watch").querySelector("meter")) {
    const most = Math.log10(alarmAt);
    const meter = html("meter", { min: 0, max: most, low: most / 2, high: 0.99 * most, optimum: 0,
      "aria-label": "Evidence against the bound, logarithmic, up to the alarm" });
    meter.value = Math.log10(Math.max(1, evidence));
    $("watch").append(meter);
  }
}

/** Asks for statistics once a second while the page is visible. */
async function live() {
  for (let failures = 0; ;) {
    const start = performance.now();
    if (document.hidden) {
      before = null;
    } else {
      try {
        if (!model) await loadModels();
        const mine = model;
        const now = await statistics();
        if (mine === model) {
          if (before && now.offramp.loaded !== before.offramp.loaded) await loadModels();
          now.at = performance.now();
          addSample(now);
          drawLive(now);
        }
        failures = 0;
        showTrouble(null);
      } catch (error) {
        ++failures;
        before = null;
        if (!(error instanceof Trouble)) console.error(error);
        showTrouble(error);
        if (error.status === 404) model = null;  // it is no longer served
      }
    }
    const pause = 1000 * Math.min(1 + failures, 5);
    await wait(Math.max(pause - (performance.now() - start), failures ? pause : 300));
  }
}

// ---- What people do

/** The files of a drop, those in folders too. */
async function droppedFiles(transfer) {
  const found = [];
  const read = async (item) => {
    if (item.isFile) {
      found.push(await new Promise((done, fail) => item.file(done, fail)));
    } else {
      const reader = item.createReader();
      for (;;) {
        const part = await new Promise((done, fail) => reader.readEntries(done, fail));
        if (!part.length) break;
        for (const one of part) await read(one);
      }
    }
  };
  const files = [...transfer.files];  // both lists are empty once this function has waited
  const items = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
  if (!items.some((item) => item?.isDirectory)) return files;
  for (const item of items) if (item) await read(item);
  return found;
}

function listen() {
  $("files").addEventListener("change", (event) => {
    addFiles([...event.target.files]);
    event.target.value = "";
  });
  $("example").addEventListener("click", async () => {
    try {
      const response = await fetch("example.png");
      addFiles([new File([await response.blob()], "example.png", { type: "image/png" })]);
    } catch {
      say("The server does not answer.");
    }
  });
  $("again").addEventListener("click", runAgain);
  $("clear").addEventListener("click", () => {
    clearAll();
    $("files").focus();
  });
  $("more").addEventListener("click", () => {
    const first = $("cards").children.length;
    shown = first + kCards;
    showCards();
    $("cards").children[first]?.focus();
  });
  let depth = 0;
  const over = (change) => (event) => {
    event.preventDefault();
    depth = Math.max(0, depth + change);
    $("network").classList.toggle("over", depth > 0);
  };
  document.addEventListener("dragenter", over(1));
  document.addEventListener("dragleave", over(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", async (event) => {
    over(-depth)(event);
    addFiles(await droppedFiles(event.dataTransfer));
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) addFiles(files);
    else if (event.target !== $("token")) say("There is no image on the clipboard.");
  });
  for (const input of ruleInputs()) input.addEventListener("change", ruleChanged);
  for (const id of ["step", "threshold"]) {
    $(id).addEventListener("input", () => {
      document.querySelector(`[value=${id}]`).checked = true;
      showRule();
    });
    $(id).addEventListener("change", ruleChanged);
  }
  $("model").addEventListener("change", (event) => {
    model = models[event.target.selectedIndex];
    clearAll();
    showModel();
  });
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token = $("token").value.trim();
    $("token").value = "";
    loadModels().then(() => showTrouble(null), showTrouble);
  });
  new ResizeObserver(drawRoad).observe($("network"));
}

listen();
live();
