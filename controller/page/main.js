// The live page: puts the controller's events into the model and shows it.

import { Curve } from "./charts.js";
import { ModeSwitch, ProposalCard, WhatIf } from "./controls.js";
import { NetworkMap } from "./map.js";
import { Model } from "./model.js";
import { ChainTable, headline, tiles, twinError } from "./panels.js";
import { follow } from "./stream.js";
import { Timeline } from "./timeline.js";

const by = (id) => document.getElementById(id);
const model = new Model();
const acts = { chosen: (what) => whatIf.choose(what), pointed: (chain) => map.highlight(chain) };
const map = new NetworkMap(by("map"), model, acts);
const chains = new ChainTable(by("chains"), model, acts);
const timeline = new Timeline(by("timeline"), model);
const curves = [new Curve(by("delay-curve"), "delay_ms", "ms"), new Curve(by("power-curve"), "power_w", "W")];
const modes = new ModeSwitch(by("modes"), say);
const whatIf = new WhatIf(by("whatif"), model, { said: say, marked: (what) => map.mark(what) });
const advice = new ProposalCard(by("advice"), model, say);
let connected = false;

const BUDGET_MS = 6; // of a frame: what is left then is drawn in the next ones
const PARTS = [
  () => headline(model, connected),
  () => modes.show(model.reading.state.mode),
  ...map.parts(),
  () => chains.update(),
  () => tiles(by("tiles"), model),
  () => twinError(by("twin"), model),
  ...curves.map((curve) => () => curve.update(model)),
  () => timeline.update(),
  () => advice.update(),
  () => whatIf.update(),
];
let undrawn = []; // parts that have not shown the newest event yet

follow("/api/v1/events", told, (state) => {
  connected = state === "open";
  document.body.classList.toggle("lost", !connected);
  if (model.topology) headline(model, connected);
});

function told(kind, body) {
  const { topology } = model;
  model.take(kind, body);
  if (model.topology !== topology) begin();
  if (!model.topology || !model.reading.state) return;
  document.body.classList.toggle("advising", model.reading.state.mode === "advise");
  if (!undrawn.length) requestAnimationFrame(draw);
  // however many events come at once, each part is drawn once; those that wait already come first
  undrawn = [...undrawn, ...PARTS.filter((part) => !undrawn.includes(part))];
}

function begin() {
  document.body.classList.remove("waiting");
  document.title = `${model.topology.name} – vnftwin`;
  whatIf.fill();
  chains.arrange();
  map.arrange();
}

/** As many parts as there is time for in this frame, one at least. */
function draw() {
  const until = performance.now() + BUDGET_MS;
  try {
    do undrawn.shift()();
    while (undrawn.length && performance.now() < until);
  } finally {
    if (undrawn.length) requestAnimationFrame(draw); // a part that fails holds up none of the others
  }
}

/** One line for a person, read out by screen readers, gone after a while. */
function say(text) {
  const line = by("said");
  line.textContent = text;
  line.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => line.classList.remove("shown"), 5000);
}

// ---- theme: as the system has it, until a person chooses

const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  for (const curve of curves) curve.restyle(model);
}

function toggleTheme() {
  const present = document.documentElement.dataset.theme ?? (prefersDark.matches ? "dark" : "light");
  const name = present === "dark" ? "light" : "dark";
  localStorage.setItem("vnftwin-theme", name);
  theme(name);
}

by("theme").addEventListener("click", toggleTheme);
prefersDark.addEventListener("change", () => theme(""));
if (localStorage.getItem("vnftwin-theme")) theme(localStorage.getItem("vnftwin-theme"));

// ---- keyboard

const KEYS = {
  t: toggleTheme,
  w: () => whatIf.vnf.focus(),
  m: () => by("modes").querySelector("[aria-pressed=true]")?.focus(),
  a: () => by("advice").querySelector("button")?.focus(),
  l: () => by("timeline").focus(),
  "?": () => by("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) whatIf.clear();
  if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) return;
  if (KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key]();
  }
});
by("help-button").addEventListener("click", () => by("help").showModal());
by("help").addEventListener("click", (event) => event.target === by("help") && by("help").close());
