// The ways of chains over the map, as lanes beside each other: like the lines of a metro, driving on the right.

const TURN = 13; // how far from a switch's centre a lane begins and ends
const BREADTH = 22; // of all lanes of one direction; more of them lie closer together

/**
 * SVG path data by chain.
 * `chains`: [{id, stops: [point, ...], path: [[switch, ...], ...]}], `at`: switch -> point, `gap`: between lanes.
 */
export function lanes(chains, at, gap) {
  const aside = offsets(chains, gap);
  return new Map(chains.map((chain) => [chain.id, way(chain, at, aside)]));
}

/** How far aside each chain drives on each stretch, by `chain|from|to`. */
function offsets(chains, gap) {
  const used = new Map();
  const rank = new Map();
  for (const chain of chains) {
    for (const segment of chain.path) {
      for (let i = 1; i < segment.length; i += 1) {
        const key = `${chain.id}|${segment[i - 1]}|${segment[i]}`;
        if (rank.has(key)) continue;
        const stretch = `${segment[i - 1]}|${segment[i]}`;
        rank.set(key, used.get(stretch) ?? 0);
        used.set(stretch, (used.get(stretch) ?? 0) + 1);
      }
    }
  }
  return (chain, from, to) => {
    const narrowed = Math.min(gap, BREADTH / used.get(`${from}|${to}`));
    return 0.5 * gap + narrowed * (rank.get(`${chain}|${from}|${to}`) + 0.25);
  };
}

function way(chain, at, aside) {
  const parts = [`M${xy(chain.stops[0])}`];
  chain.path.forEach((segment, i) => {
    for (let hop = 1; hop < segment.length; hop += 1) {
      const [from, to] = [segment[hop - 1], segment[hop]];
      const [a, b] = lane(at.get(from), at.get(to), aside(chain.id, from, to));
      parts.push(`Q${xy(at.get(from))} ${xy(a)}`, `L${xy(b)}`);
    }
    parts.push(`Q${xy(at.get(segment.at(-1)))} ${xy(chain.stops[i + 1])}`);
  });
  return parts.join(" ");
}

/** Both ends of a lane, `aside` to the right of the line from a to b. */
function lane(a, b, aside) {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length = Math.hypot(dx, dy) || 1;
  const [ux, uy] = [dx / length, dy / length];
  const turn = Math.min(TURN, length / 3);
  const [ox, oy] = [-uy * aside, ux * aside];
  return [
    [a[0] + ux * turn + ox, a[1] + uy * turn + oy],
    [b[0] - ux * turn + ox, b[1] - uy * turn + oy],
  ];
}

const xy = (point) => `${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
