// What a person can do: choose who decides, ask what a move would change, make it, and answer proposals.

import { ask } from "./api.js";
import { change, el, joules, judge, ms, pair, reasonWords, watts } from "./words.js";

const AGAIN_MS = 2000; // a prediction is of the traffic of its moment

export class ModeSwitch {
  constructor(root, said) {
    this.buttons = [...root.querySelectorAll("button")];
    for (const button of this.buttons) {
      button.addEventListener("click", () =>
        ask("PUT", "/api/v1/mode", { mode: button.value }).then(() => this.show(button.value), (error) => said(error.message)),
      );
    }
  }

  show(mode) {
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.value === mode));
  }
}

export class WhatIf {
  constructor(root, model, { said, marked }) {
    Object.assign(this, { root, model, said, marked, asked: 0 });
    const { vnf, server } = root.elements;
    Object.assign(this, { vnf, server, button: root.querySelector("button[type=submit]"), effect: root.querySelector("output") });
    for (const field of [vnf, server]) field.addEventListener("change", () => this.#changed());
    root.addEventListener("submit", (event) => (event.preventDefault(), this.#move()));
    root.querySelector("[type=reset]").addEventListener("click", () => setTimeout(() => this.#changed()));
  }

  /** The names to choose from. */
  fill() {
    const { chains, servers } = this.model.topology;
    const groups = chains.map((chain) => {
      const group = el("optgroup", "", ...chain.vnfs.map((v) => option(v.id, v.id)));
      group.label = chain.id;
      return group;
    });
    this.vnf.replaceChildren(option("", "VNF …"), ...groups);
    this.server.replaceChildren(option("", "server …"), ...servers.map((s) => option(s.id, `${s.id} (${s.tier}, ${s.at})`)));
  }

  choose({ vnf, server }) {
    if (vnf) this.vnf.value = vnf;
    if (server) this.server.value = server;
    this.#changed();
  }

  clear() {
    this.root.reset();
    this.#changed();
  }

  /** A new reading: what was predicted is of an older one. */
  update() {
    if (this.vnf.value && this.server.value && performance.now() - this.asked > AGAIN_MS) this.#predict();
  }

  #changed() {
    this.marked({ vnf: this.vnf.value, server: this.server.value });
    this.button.disabled = true;
    if (this.vnf.value && this.server.value) this.#predict();
    else this.effect.replaceChildren(el("span", "hint", "Pick a VNF and a server, here or on the map: the effect is shown before anything moves."));
  }

  async #predict() {
    this.asked = performance.now();
    const wanted = { vnf: this.vnf.value, target: this.server.value };
    const stale = () => wanted.vnf !== this.vnf.value || wanted.target !== this.server.value;
    try {
      const answer = await ask("POST", "/api/v1/whatif", wanted);
      if (!stale()) this.#show(answer);
    } catch (error) {
      if (!stale()) this.effect.replaceChildren(el("span", "verdict no", reasonWords(error.message)));
    }
  }

  #show(answer) {
    this.button.disabled = !answer.allowed;
    const how = answer.move ? `by ${answer.mode.replace("_", " ")}, about ${answer.move.whole_s.toFixed(1)} s, silence ${ms(answer.move.silence_ms)}` : "";
    this.effect.replaceChildren(
      gain("delay", answer.delay_now_ms, answer.delay_after_ms, ms),
      gain("power", answer.power_now_w, answer.power_after_w, watts),
      el("span", `verdict ${answer.allowed ? "yes" : "no"}`, answer.allowed ? `allowed ${how && "· "}${how}` : `would be refused: ${reasonWords(answer.reason)} (${answer.reason})`),
    );
  }

  async #move() {
    this.button.disabled = true;
    try {
      await ask("POST", "/api/v1/migrations", { vnf: this.vnf.value, target: this.server.value, idempotency_key: crypto.randomUUID?.() ?? String(Math.random()) });
      this.said(`${this.vnf.value} moves to ${this.server.value}`);
      this.clear();
    } catch (error) {
      this.said(`refused: ${[reasonWords(error.message), error.detail].filter(Boolean).join(", ")}`);
    }
  }
}

export class ProposalCard {
  constructor(root, model, said) {
    Object.assign(this, { root, model, said, shown: null });
  }

  update() {
    const { state } = this.model.reading;
    const open = this.model.openProposal;
    this.root.hidden = state?.mode !== "advise";
    if (this.root.hidden) return;
    // buttons stay the same ones while their proposal does: somebody may be about to press them
    if (this.shown !== (open?.id ?? "")) this.#begin(open);
    if (open) this.#renew(open);
    this.account.textContent = account(state.advised);
  }

  #begin(open) {
    this.shown = open?.id ?? "";
    this.why = el("p", open ? "advice" : "hint", open ? "" : "Nothing to propose: staying is best for now, or a move is held back (see the decisions).");
    this.gains = el("div", "gains");
    this.account = el("p", "hint");
    const buttons = open ? el("div", "buttons", this.#button(open.id, "accept", "Accept", "primary"), this.#button(open.id, "dismiss", "Dismiss", "")) : "";
    this.root.replaceChildren(el("h2", "", "Advice"), this.why, this.gains, buttons, this.account);
  }

  #renew(p) {
    const { prediction: g } = p;
    const effect = [gain("delay", g.delay_now_ms, g.delay_after_ms, ms), gain("power", g.power_now_w, g.power_after_w, watts)];
    this.why.replaceChildren(el("b", "", p.vnf), ` from ${p.source} to `, el("b", "", p.target), ` – ${reasonWords(p.reason)}`);
    this.gains.replaceChildren(...effect);
  }

  #button(id, verb, label, look) {
    const button = el("button", look, label);
    button.addEventListener("click", () =>
      ask("POST", `/api/v1/proposals/${id}/${verb}`).catch((error) => this.said(`refused: ${reasonWords(error.message)}`)),
    );
    return button;
  }
}

/** What had been won by now if every proposal had been accepted at once. */
function account(advised) {
  if (!advised || advised.seconds < 1) return "";
  const { seconds, moves, delay_ms, present_delay_ms, energy_j, present_energy_j } = advised;
  const saved = `delay ${ms(delay_ms)} in place of ${ms(present_delay_ms)}, energy ${joules(energy_j)} in place of ${joules(present_energy_j)}`;
  const count = `${moves} ${moves === 1 ? "move" : "moves"}`;
  return `All proposals accepted for ${seconds.toFixed(0)} s (${count}): ${saved} (modelled).`;
}

function gain(label, from, to, unit) {
  return el("span", `gain ${judge(from, to)}`, el("span", "gain-label", label), ` ${pair(from, to, unit)} `, el("b", "", change(from, to)));
}

function option(value, text) {
  const node = el("option", "", text);
  node.value = value;
  return node;
}
