// Words and numbers for people.

const REFUSALS = {
  not_ready: "the network is not ready yet",
  no_mode: "it cannot move without losing what may not be lost",
  key_reused: "the key belongs to another move",
  closed: "the proposal is not open any more",
  same_server: "it runs there already",
  in_flight: "its chain is changing already",
  server_down: "the server is down",
  memory_full: "not enough memory there",
  cpu_full: "not enough CPU there",
  link_full: "a link on the new path would be full",
  unreachable: "no way leads there",
  delay_exceeded: "its chain would exceed its maximum delay",
  stale_state: "readings are too old to decide on",
  max_parallel: "as many moves are under way as may be",
  cooldown: "it moved a moment ago",
  failed_rest: "its last move failed, it is left alone for a while",
  moves_per_server_minute: "the server has had its moves for this minute",
  moves_per_minute: "there were enough moves in this minute",
  min_gain: "too little to gain",
  min_gain_again: "too little to gain for moving it again",
};

const STEPS = {
  StartVnf: "start",
  CopyState: "copy state",
  TakeOver: "take over",
  Checkpoint: "checkpoint",
  Restore: "restore",
  Halt: "halt",
  InstallRules: "install rules",
  SwapEntry: "swap",
  InstallEntries: "open entry",
  Barrier: "barrier",
  Drain: "drain",
  DeleteRules: "clean up",
  StopVnf: "stop old",
  ConfirmPath: "prove path",
};

/** What a refusal's name means; anything else as it is. */
export const reasonWords = (reason) => REFUSALS[reason] ?? REFUSALS[reason?.split(":")[0]] ?? reason;
export const isRefusal = (reason) => reason in REFUSALS;
export const stepWords = (name) => STEPS[name] ?? name;

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

export const ms = (value) => (known(value) ? `${value.toFixed(value < 9.995 ? 2 : 1)} ms` : "–");
/** Both values of a change with their unit once. */
export const pair = (from, to, unit) => `${unit(from).replace(/ [^ ]+$/, "")} → ${unit(to)}`;
export const watts = (value) => (known(value) ? `${value.toFixed(0)} W` : "–");
export const joules = (value) =>
  !known(value) ? "–" : Math.abs(value) >= 9950 ? `${(value / 1000).toFixed(1)} kJ` : `${value.toFixed(0)} J`;
export const mbps = (value) => (known(value) ? `${value.toFixed(2)} Mbit/s` : "–");
export const percent = (share) => (known(share) ? `${(100 * share).toFixed(0)} %` : "–");

/** A change from one value to another as a signed percentage; a true minus sign. */
export function change(from, to) {
  if (!known(from) || !known(to) || from === 0) return "";
  const share = (100 * (to - from)) / from;
  const sign = share < -0.05 ? "−" : share > 0.05 ? "+" : "±";
  return `${sign}${Math.abs(share).toFixed(Math.abs(share) < 9.95 ? 1 : 0)} %`;
}

/** Seconds since the controller's start as a clock. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Whether a change is good ("win"), bad ("loss") or neither, where less is better. */
export function judge(from, to) {
  if (!known(from) || !known(to)) return "";
  const share = (to - from) / Math.max(Math.abs(from), 1e-9);
  return share < -0.005 ? "win" : share > 0.005 ? "loss" : "";
}

/** An element with classes and text or children. */
export function el(tag, classes = "", ...children) {
  const node = document.createElement(tag);
  if (classes) node.className = classes;
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}
