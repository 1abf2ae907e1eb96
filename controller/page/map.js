// The network map: switches, servers with their VNFs, links by load, and the way of each chain.

import { lanes } from "./lanes.js";
import { placeAround, placeSwitches } from "./layout.js";
import { Moves } from "./moves.js";
import { mbps, ms, percent, watts } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const HUES = [255, 30, 150, 315, 85, 200, 345, 115, 285, 55];
// by the number of switches and servers: a server's box, a VNF's chip, the gap between lanes, the margin
const SIZES = [
  { most: 24, server: [116, 64], chip: [31, 17], columns: 3, gap: 4.6, margin: [110, 74], text: true },
  { most: 60, server: [92, 52], chip: [25, 14], columns: 3, gap: 3.4, margin: [84, 56], text: true },
  { most: Infinity, server: [38, 24], chip: [6, 6], columns: 5, gap: 2, margin: [44, 34], text: false },
];
const LOADS = [0.2, 0.4, 0.6, 0.8];

export const hue = (index) => (index < HUES.length ? HUES[index] : (index * 137.5) % 360);

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export class NetworkMap {
  /** `chosen({vnf?, server?})` is called when a person picks something; `pointed(chain)` when one is looked at. */
  constructor(root, model, { chosen, pointed }) {
    Object.assign(this, { root, model, chosen, pointed });
    this.layers = {};
    for (const name of ["access", "links", "ways", "moves", "switches", "endpoints", "servers"]) {
      this.layers[name] = root.appendChild(svg("g", { class: `layer-${name}` }));
    }
    this.moves = new Moves(this.layers.moves, this);
    new ResizeObserver(() => this.model.topology && this.#resized()).observe(root);
  }

  /** Draws a topology anew: at the first snapshot, and when the room for it changes. */
  arrange() {
    const { width, height } = this.root.getBoundingClientRect();
    if (width < 50 || height < 50) return;
    this.bounds = [width, height];
    this.root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const { switches, servers, links, chains } = this.model.topology;
    this.size = SIZES.find((s) => switches.length + servers.length <= s.most);
    this.root.classList.toggle("dense", !this.size.text);
    this.hues = new Map(chains.map((chain, i) => [chain.id, hue(i)]));
    this.vnfs = new Map(chains.flatMap((c) => c.vnfs.map((v) => [v.id, { ...v, chain: c.id }])));
    this.chains = new Map(chains.map((chain) => [chain.id, chain]));
    if (this.placed?.switches !== switches) this.placed = { switches, points: placeSwitches(switches, links) };
    this.#place();
    for (const layer of Object.values(this.layers)) layer.replaceChildren();
    this.#drawLinks();
    this.#drawSwitches();
    this.#drawServers();
    this.#drawEndpoints();
    this.ways = new Map();
    this.drawn = "";
    this.moves.reset();
    this.mark({ vnf: this.vnf, server: this.target });
  }

  /** The first snapshot fills what stands below the map: that it got smaller by it is known already. */
  #resized() {
    const { width, height } = this.root.getBoundingClientRect();
    if (width !== this.bounds?.[0] || height !== this.bounds?.[1]) this.arrange();
  }

  #place() {
    const { switches, servers, links } = this.model.topology;
    const [mx, my] = this.size.margin;
    const [w, h] = this.bounds;
    const at = ([x, y]) => [mx + x * (w - 2 * mx), my + y * (h - 2 * my)];
    this.at = new Map(switches.map((s, i) => [s.id, at(this.placed.points[i])]));
    this.ends = new Map(switches.map((s) => [s.id, []]));
    for (const link of links) {
      this.ends.get(link.a).push(this.at.get(link.b));
      this.ends.get(link.b).push(this.at.get(link.a));
    }
    this.boxes = switches.map((s) => ({ x: this.at.get(s.id)[0], y: this.at.get(s.id)[1], w: 34, h: 34 }));
    this.serverAt = new Map();
    for (const server of servers) {
      const box = placeAround(this.at.get(server.at), this.size.server, this.boxes, this.ends.get(server.at), this.bounds);
      this.boxes.push(box);
      this.serverAt.set(server.id, [box.x, box.y]);
    }
  }

  #drawLinks() {
    this.links = new Map();
    for (const link of this.model.topology.links) {
      const [a, b] = [this.at.get(link.a), this.at.get(link.b)];
      const line = svg("line", { x1: a[0], y1: a[1], x2: b[0], y2: b[1], class: "link" }, svg("title"));
      this.links.set(link.id, { line, look: "link", said: "" });
      this.layers.links.append(line);
    }
  }

  #drawSwitches() {
    for (const { id } of this.model.topology.switches) {
      const [x, y] = this.at.get(id);
      const node = svg("g", { class: "switch", transform: `translate(${x} ${y})` }, svg("title"));
      node.firstChild.textContent = `switch ${id}`;
      node.append(svg("circle", { r: this.size.text ? 11 : 5 }));
      if (this.size.text) {
        node.append(svg("text", { y: this.#labelSide(id), class: "label" }));
        node.lastChild.textContent = id;
      }
      this.layers.switches.append(node);
    }
  }

  /** A switch's name stands on the side where fewer links leave it. */
  #labelSide(id) {
    const y = this.at.get(id)[1];
    const below = this.ends.get(id).filter((end) => end[1] > y).length;
    return below * 2 > this.ends.get(id).length ? -17 : 25;
  }

  #drawServers() {
    this.servers = new Map();
    const [w, h] = this.size.server;
    for (const server of this.model.topology.servers) {
      const [x, y] = this.serverAt.get(server.id);
      const hub = this.at.get(server.at);
      this.layers.access.append(svg("line", { x1: hub[0], y1: hub[1], x2: x, y2: y, class: "access" }));
      const node = svg("g", { class: `server ${server.tier}`, transform: `translate(${x} ${y})`, tabindex: 0, role: "button" });
      node.append(svg("rect", { x: -w / 2, y: -h / 2, width: w, height: h, rx: this.size.text ? 9 : 5, class: "box" }));
      const bar = { x: -w / 2 + 6, width: w - 12, y: h / 2 - (this.size.text ? 9 : 6), height: this.size.text ? 4 : 3, rx: 2 };
      node.append(svg("rect", { ...bar, class: "track" }), svg("rect", { ...bar, class: "cpu" }), svg("title"));
      if (this.size.text) {
        node.append(svg("text", { x: -w / 2 + 8, y: -h / 2 + 15, class: "name" }), svg("text", { x: w / 2 - 8, y: -h / 2 + 15, class: "value" }));
        node.querySelector(".name").textContent = server.id;
      }
      node.append(svg("g", { class: "chips" }));
      const choose = () => this.chosen({ server: server.id });
      node.addEventListener("click", choose);
      node.addEventListener("keydown", (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), choose()));
      const [cpu, title, value] = [".cpu", "title", ".value"].map((part) => node.querySelector(part));
      this.servers.set(server.id, { node, cpu, title, value, width: bar.width, chips: "", said: "", chosen: false });
      this.layers.servers.append(node);
    }
  }

  #drawEndpoints() {
    this.endpoints = new Map();
    for (const endpoint of this.model.topology.endpoints) {
      const access = svg("line", { class: "access" });
      const node = svg("g", { class: "endpoint" }, svg("circle", { r: this.size.text ? 6 : 3 }), svg("title"));
      node.lastChild.textContent = `endpoint ${endpoint.id}`;
      if (this.size.text) {
        node.append(svg("text", { y: 19, class: "label" }));
        node.lastChild.textContent = endpoint.id;
      }
      this.layers.access.append(access);
      this.layers.endpoints.append(node);
      this.endpoints.set(endpoint.id, { node, access, home: endpoint.at, at: null, on: "" });
    }
  }

  /** What shows the newest reading, piece by piece: a large network must not take a long frame. */
  parts() {
    const parts = [() => this.#updateLinks(), () => this.#updateServers(), () => this.#updateEndpoints(), () => this.#updateWays(), () => this.moves.update()];
    return parts.map((part) => () => this.at && part());
  }

  #update() {
    if (this.model.reading.state) for (const part of this.parts()) part();
  }

  #updateLinks() {
    for (const link of this.model.reading.links) {
      const shown = this.links.get(link.id);
      const load = Math.max(link.forward_mbps, link.backward_mbps) / link.bandwidth_mbps;
      const level = LOADS.filter((least) => load >= least).length;
      const look = `link ${link.up ? `u${level}` : "down"}`;
      const state = link.up ? `${percent(load)} used, ${mbps(link.forward_mbps)} and ${mbps(link.backward_mbps)} back` : "down";
      const said = `link ${link.id}: ${state}, ${ms(link.delay_ms ?? link.configured_delay_ms)}`;
      if (shown.look !== look) shown.line.setAttribute("class", look);
      if (shown.said !== said) shown.line.firstChild.textContent = said;
      Object.assign(shown, { look, said });
    }
  }

  #updateServers() {
    const { hosted } = this.model;
    for (const server of this.model.reading.servers) {
      const shown = this.servers.get(server.id);
      const vnfs = hosted.get(server.id) ?? [];
      this.#drawChips(shown, vnfs);
      const state = !server.up ? "down" : server.awake ? "awake" : "asleep";
      const said = `server ${server.id}, ${server.tier}, ${state}, CPU ${percent(server.cpu)}, ${watts(server.power_w)}; ${vnfs.join(", ") || "no VNF"}`;
      const chosen = this.target === server.id;
      if (shown.said === said && shown.chosen === chosen) continue;
      Object.assign(shown, { said, chosen });
      const level = server.cpu > 0.85 ? "full" : server.cpu > 0.6 ? "busy" : "";
      shown.node.setAttribute("class", `server ${server.tier} ${state} ${level} ${chosen ? "chosen" : ""}`);
      shown.node.setAttribute("aria-label", said);
      shown.title.textContent = said;
      shown.cpu.setAttribute("width", Math.max(0, Math.min(1, server.cpu)) * shown.width);
      if (shown.value) shown.value.textContent = state === "awake" ? percent(server.cpu) : state === "asleep" ? "☾ asleep" : "down";
    }
  }

  #drawChips(shown, vnfs) {
    const key = `${vnfs.join()}|${this.vnf}`;
    if (shown.chips === key) return;
    shown.chips = key;
    const group = shown.node.querySelector(".chips");
    group.replaceChildren(...vnfs.map((vnf, i) => this.chip(vnf, this.#slot(i, vnfs.length))));
    this.#grow(shown.node, this.#grid(vnfs.length).extra);
    this.drawn = "";
  }

  /** A box that hosts many VNFs is taller, upwards and downwards alike. */
  #grow(node, extra) {
    const h = this.size.server[1] + extra;
    const text = this.size.text;
    node.querySelector(".box").setAttribute("height", h);
    node.querySelector(".box").setAttribute("y", -h / 2);
    for (const bar of node.querySelectorAll(".track, .cpu")) bar.setAttribute("y", h / 2 - (text ? 9 : 6));
    for (const label of node.querySelectorAll("text:not(.chip text)")) label.setAttribute("y", -h / 2 + 15);
  }

  /** Columns and rows of chips, and by how much the box outgrows its size. */
  #grid(count) {
    const columns = this.size.columns;
    const rows = Math.ceil(count / columns);
    const room = this.size.server[1] - (this.size.text ? 32 : 8);
    return { columns, rows, extra: Math.max(0, rows * (this.size.chip[1] + 2) - room) };
  }

  chip(vnf, [x, y], look = "chip") {
    const [w, h] = this.size.chip;
    const { chain, type } = this.vnfs.get(vnf);
    const node = svg("g", { class: `${look} ${this.vnf === vnf ? "chosen" : ""}`, transform: `translate(${x} ${y})`, "data-chain": chain });
    node.style.setProperty("--hue", this.hues.get(chain));
    node.append(svg("rect", { x: -w / 2, y: -h / 2, width: w, height: h, rx: h / 2 }), svg("title"));
    node.querySelector("title").textContent = vnf;
    if (this.size.text) {
      node.append(svg("text", { y: 4 }));
      node.lastChild.textContent = type.slice(0, 3);
    }
    node.addEventListener("click", (event) => (event.stopPropagation(), this.chosen({ vnf })));
    node.addEventListener("pointerenter", () => this.pointed(chain));
    node.addEventListener("pointerleave", () => this.pointed(""));
    return node;
  }

  /** Where the i-th of `count` VNFs sits within its server's box. */
  #slot(i, count) {
    const [cw, ch] = this.size.chip;
    const { columns, rows } = this.#grid(count);
    const [column, row] = [i % columns, Math.floor(i / columns)];
    const inRow = Math.min(columns, count - row * columns);
    const middle = this.size.text ? 4 : -2;
    return [(column - (inRow - 1) / 2) * (cw + 3), middle + (row - (rows - 1) / 2) * (ch + 2)];
  }

  /** The point of a VNF's chip on a server of its own or of another, on the map. */
  chipAt(vnf, server = this.model.host(vnf)) {
    const [x, y] = this.serverAt.get(server);
    const vnfs = this.model.hosted.get(server) ?? [];
    const there = vnfs.includes(vnf) ? vnfs : [...vnfs, vnf];
    const [dx, dy] = this.#slot(there.indexOf(vnf), there.length);
    return [x + dx, y + dy];
  }

  #updateEndpoints() {
    const taken = [...this.boxes];
    for (const [id, shown] of this.endpoints) {
      const on = this.model.reading.endpoints[id] ?? shown.home;
      if (on !== shown.on) {
        const hub = this.at.get(on);
        const size = this.size.text ? [26, 34] : [8, 8];
        const box = placeAround(hub, size, taken, this.ends.get(on), this.bounds);
        Object.assign(shown, { at: [box.x, box.y], on, box });
        shown.node.style.transform = `translate(${box.x}px, ${box.y}px)`;
        Object.entries({ x1: hub[0], y1: hub[1], x2: box.x, y2: box.y }).forEach(([k, v]) => shown.access.setAttribute(k, v));
        this.drawn = "";
      }
      taken.push(shown.box);
    }
  }

  #updateWays() {
    const chains = this.model.reading.state.chains.filter((chain) => chain.path.length);
    const key = JSON.stringify(chains.map((c) => [c.id, c.path, c.servers]));
    if (key === this.drawn) return;
    const first = this.drawn === "";
    this.drawn = key;
    const found = lanes(chains.map((chain) => this.#stops(chain)), this.at, this.size.gap);
    for (const [id, d] of found) this.#drawWay(id, d, first);
  }

  #stops(chain) {
    const { from, to } = this.chains.get(chain.id);
    const inner = chain.vnfs.map((vnf, i) => this.chipAt(vnf, chain.servers[i]));
    // a user that roams is elsewhere before its way has followed
    const end = (id, on) => (this.endpoints.get(id).on === on ? this.endpoints.get(id).at : this.at.get(on));
    const stops = [end(from, chain.path[0][0]), ...inner, end(to, chain.path.at(-1).at(-1))];
    return { id: chain.id, path: chain.path, stops };
  }

  #drawWay(id, d, first) {
    const old = this.ways.get(id);
    if (old?.getAttribute("d") === d) return;
    const path = svg("path", { d, class: `way ${first ? "" : "fresh"}`, "data-chain": id, pathLength: 1 }, svg("title"));
    path.firstChild.textContent = `chain ${id}`;
    path.style.setProperty("--hue", this.hues.get(id));
    path.addEventListener("pointerenter", () => this.pointed(id));
    path.addEventListener("pointerleave", () => this.pointed(""));
    this.layers.ways.append(path);
    this.ways.set(id, path);
    if (!old) return;
    if (first) return old.remove();
    old.classList.add("old");
    setTimeout(() => old.remove(), 1500);
  }

  /** One chain stands out from the others; '' for none. */
  highlight(chain) {
    this.root.classList.toggle("focused", Boolean(chain));
    for (const node of this.root.querySelectorAll(".lit")) node.classList.remove("lit");
    if (chain) for (const node of this.root.querySelectorAll(`[data-chain="${CSS.escape(chain)}"]`)) node.classList.add("lit");
  }

  /** Marks what a person has picked for a what-if. */
  mark({ vnf, server }) {
    Object.assign(this, { vnf, target: server });
    this.moves.preview(vnf, server);
    this.#update();
  }
}
