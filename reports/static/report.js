(() => {
  "use strict";
  const page = document.documentElement;
  page.classList.add("js");
  const byId = (id) => document.getElementById(id);

  /** An element with attributes and children; text goes in as text, never as markup. */
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  };

  // ------------------------------------------------------------------------------------------------ sortable tables

  const sortBy = (header) => {
    const table = header.closest("table");
    const column = [...header.parentElement.children].indexOf(header);
    const current = header.getAttribute("aria-sort");
    const down = current === null ? header.dataset.first !== "ascending" : current === "ascending";
    const value = (row) => row.children[column].dataset.value ?? row.children[column].textContent.trim();
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = Number.isNaN(Number(x)) || Number.isNaN(Number(y)) ? x.localeCompare(y) : Number(x) - Number(y);
      return down ? -order : order;
    });
    for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    table.tBodies[0].append(...rows);
  };
  for (const button of document.querySelectorAll("th button.sort")) {
    button.addEventListener("click", () => sortBy(button.closest("th")));
  }

  // A table wider than the window scrolls; then the keyboard must reach it.
  const reach = () => {
    for (const box of document.querySelectorAll(".scroll, pre.code")) {
      const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
      box.toggleAttribute("tabindex", scrolls);
      if (!scrolls) continue;
      box.setAttribute("tabindex", "0");
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", box.querySelector("caption")?.textContent ?? "Text");
    }
  };
  window.addEventListener("resize", reach);
  document.addEventListener("toggle", reach, true);
  reach();

  // ------------------------------------------------------------------------------------------------ navigation

  const links = new Map([...document.querySelectorAll("nav.sections a")].map((a) => [a.getAttribute("href").slice(1), a]));
  const mark = () => {
    let here = null;
    for (const id of links.keys()) if (byId(id).getBoundingClientRect().top < 140) here = id;
    for (const [id, link] of links) {
      if (id === here && !link.hasAttribute("aria-current")) link.closest("ol").scrollLeft = link.offsetLeft - 40;
      link.toggleAttribute("aria-current", id === here);
    }
  };
  document.addEventListener("scroll", mark, { passive: true });
  mark();

  const help = byId("help");
  const showHelp = () => help.open || help.showModal();
  for (const button of document.querySelectorAll("[data-help]")) button.addEventListener("click", showHelp);
  byId("close-help").addEventListener("click", () => help.close());

  // ------------------------------------------------------------------------------------------------ samples: data

  const about = JSON.parse(byId("report-data").textContent);
  const { candidates, metrics, splits, baseline, chunk: chunkSize } = about;
  const PAGE = 100;
  const KEPT_CHUNKS = 12;
  const SLICE_VALUES = 60;

  const decode = async (id) => {
    const bytes = Uint8Array.from(atob(byId(id).textContent.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };
  const cache = new Map();
  const chunk = (number) => {
    if (!cache.has(number)) {
      if (cache.size >= KEPT_CHUNKS) cache.delete(cache.keys().next().value);
      cache.set(number, decode(`chunk-${number}`));
    }
    return cache.get(number);
  };
  const sample = async (i) => (await chunk(Math.floor(i / chunkSize)))[i % chunkSize];

  let index = null;
  const better = (m) => (metrics[m].direction === "higher" ? 1 : -1);
  const score = (i, c, m) => index.scores[c][m][i];
  const passes = (value, m, cut) => (value - cut) * better(m) >= 0;
  const judges = metrics.flatMap((metric, m) => (metric.human ? [] : [m]));
  const people = metrics.flatMap((metric, m) => (metric.human ? [m] : []));

  // ------------------------------------------------------------------------------------------------ samples: state

  const order = baseline === null ? "worst" : "loss";
  const fresh = () => ({ s: "", m: about.primary, c: about.first, b: baseline, f: "all", x: "", g: "", p: "", o: order, q: "", v: "marks", a: "" });
  let state = fresh();
  let shown = [];
  /** The sample in the detail pane, by place in the file; it may be one that the filters leave out. */
  let current = null;

  const change = (i, m = state.m, c = state.c) => {
    if (state.b === null || c === state.b) return null;
    const [ours, theirs] = [score(i, c, m), score(i, state.b, m)];
    return ours === null || theirs === null ? null : (ours - theirs) * better(m);
  };
  const compared = () => state.b !== null && state.b !== state.c;

  /** How far apart the judges rank each sample of a candidate: largest minus smallest share of the samples below it. */
  const apart = (() => {
    const known = new Map();
    return (c) => {
      if (known.has(c)) return known.get(c);
      const n = index.ids.length;
      const [low, high] = [new Float32Array(n).fill(2), new Float32Array(n).fill(-1)];
      const [lowest, highest] = [new Int16Array(n).fill(-1), new Int16Array(n).fill(-1)];
      for (const m of judges) {
        const of = index.scores[c][m];
        const places = [...of.keys()].filter((i) => of[i] !== null).sort((a, b) => (of[a] - of[b]) * better(m));
        for (let start = 0; start < places.length; ) {
          let end = start;
          while (end + 1 < places.length && of[places[end + 1]] === of[places[start]]) end += 1;
          const share = places.length > 1 ? (start + end) / 2 / (places.length - 1) : 0.5;
          for (; start <= end; start += 1) {
            const i = places[start];
            if (share < low[i]) [low[i], lowest[i]] = [share, m];
            if (share > high[i]) [high[i], highest[i]] = [share, m];
          }
        }
      }
      const found = { low, high, lowest, highest, of: (i) => Math.max(0, high[i] - low[i]) };
      known.set(c, found);
      return found;
    };
  })();
  /** Mean rating by people from 0 to 1, and a judge's score on the same axis, 1 being best; null where one is missing. */
  const rated = (i, c) => {
    const said = people.map((m) => score(i, c, m)).filter((value) => value !== null);
    return said.length ? said.reduce((sum, value) => sum + value, 0) / said.length : null;
  };
  const goodness = (i, c, m) => {
    const [value, { low, high }] = [score(i, c, m), metrics[m]];
    if (value === null || high <= low) return null;
    const share = (value - low) / (high - low);
    return better(m) > 0 ? share : 1 - share;
  };
  const gap = (i) => {
    const [said, judged] = [rated(i, state.c), goodness(i, state.c, state.m)];
    return said === null || judged === null ? null : Math.abs(said - judged);
  };

  /** Whether a sample passes, by the metric's cut or a limit the reader typed; null where it has no score. */
  const verdict = (i, c, cut) => {
    const value = score(i, c, state.m);
    return value === null || cut === null ? null : passes(value, state.m, cut);
  };
  const cutOf = () => metrics[state.m].cut;
  const range = () => metrics[state.m].high - metrics[state.m].low;
  const cutText = (cut) => {
    const { name, rule } = metrics[state.m];
    return `${name} ${better(state.m) > 0 ? "≥" : "≤"} ${number(cut)} (${rule ? "the gate's limit" : "the middle of its scale"})`;
  };
  const names = () => [candidates[state.c], state.b === null ? "" : candidates[state.b]];

  /** The presets: label, which samples, what it takes for granted, its limit (start value and words), and what it says. */
  const PRESETS = {
    all: { label: "All", test: () => true, says: () => "" },
    fell: {
      label: "Pass → fail",
      needs: () => compared() && cutOf() !== null,
      test: (i) => verdict(i, state.b, cutOf()) === true && verdict(i, state.c, cutOf()) === false,
      says: () => `${names()[1]} passes and ${names()[0]} fails: ${cutText(cutOf())}.`,
    },
    rose: {
      label: "Fail → pass",
      needs: () => compared() && cutOf() !== null,
      test: (i) => verdict(i, state.b, cutOf()) === false && verdict(i, state.c, cutOf()) === true,
      says: () => `${names()[1]} fails and ${names()[0]} passes: ${cutText(cutOf())}.`,
    },
    worse: {
      label: "Worse",
      needs: compared,
      limit: () => [range() / 10, "by at least"],
      test: (i, x) => (change(i) ?? 0) <= -Math.max(x, 1e-9),
      says: () => `${names()[0]} scores worse than ${names()[1]} on ${metrics[state.m].name}.`,
    },
    better: {
      label: "Better",
      needs: compared,
      limit: () => [range() / 10, "by at least"],
      test: (i, x) => (change(i) ?? 0) >= Math.max(x, 1e-9),
      says: () => `${names()[0]} scores better than ${names()[1]} on ${metrics[state.m].name}.`,
    },
    fails: {
      label: "Fails",
      limit: () => [cutOf() ?? metrics[state.m].high, better(state.m) > 0 ? "below" : "above"],
      test: (i, x) => verdict(i, state.c, x) === false,
      says: () => `${names()[0]} fails on ${metrics[state.m].name}${cutOf() === null ? "" : `, which passes at ${cutText(cutOf())}`}.`,
    },
    near: {
      label: "Near the limit",
      needs: () => cutOf() !== null,
      limit: () => [range() / 20, "within"],
      test: (i, x) => score(i, state.c, state.m) !== null && Math.abs(score(i, state.c, state.m) - cutOf()) <= x,
      says: () => `A small change of the score of ${names()[0]} would turn the outcome: ${cutText(cutOf())}.`,
    },
    apart: {
      label: "Judges disagree",
      needs: () => judges.length > 1,
      limit: () => [0.9, "by at least"],
      test: (i, x) => apart(state.c).of(i) >= x,
      says: () => `Among the answers of ${names()[0]} one judge ranks it high and another low; 1 is best of all against worst of all.`,
    },
    people: {
      label: "Judge against people",
      needs: () => people.length > 0 && !metrics[state.m].human,
      limit: () => [0.5, "by at least"],
      test: (i, x) => (gap(i) ?? -1) >= x,
      says: () => `${metrics[state.m].name} and the mean rating by people are apart, both laid on 0 to 1, 1 being best.`,
    },
    failed: { label: "No score", test: (i) => index.failed[state.c][i] === 1, says: () => `${names()[0]} has no answer, or some judge has no score for it.` },
    anyfailed: {
      label: "No score, any candidate",
      needs: () => candidates.length > 1,
      test: (i) => index.failed.some((list) => list[i] === 1),
      says: () => "Some candidate has no answer, or some judge has no score for it.",
    },
  };
  const usable = (name) => PRESETS[name].needs?.() ?? true;
  const limitOf = (name) => {
    const start = PRESETS[name].limit?.()[0];
    return name === state.f && state.x !== "" ? Number(state.x) : start;
  };
  const ORDERS = {
    loss: (i) => change(i) ?? Infinity,
    gain: (i) => -(change(i) ?? -Infinity),
    worst: (i) => (score(i, state.c, state.m) ?? Infinity * better(state.m)) * better(state.m),
    best: (i) => -(score(i, state.c, state.m) ?? -Infinity * better(state.m)) * better(state.m),
    near: (i) => (cutOf() === null || score(i, state.c, state.m) === null ? Infinity : Math.abs(score(i, state.c, state.m) - cutOf())),
    apart: (i) => -apart(state.c).of(i),
    report: (i) => i,
    row: (i) => index.rows[i],
  };
  /** Puts back what cannot be: a filter or an order that needs a comparison, where there is none. */
  const settle = () => {
    if (!(state.f in PRESETS) || !usable(state.f)) [state.f, state.x] = ["all", ""];
    if (!(state.o in ORDERS) || (!compared() && ["loss", "gain"].includes(state.o))) state.o = "worst";
  };

  const readHash = () => {
    if (!location.hash.includes("=")) return false;
    const given = new URLSearchParams(location.hash.slice(1));
    const start = fresh();
    state = fresh();
    for (const key of Object.keys(state)) if (given.has(key)) state[key] = given.get(key);
    const named = (list, value, otherwise) => {
      const found = list.indexOf(value);
      return found < 0 ? otherwise : found;
    };
    if (given.has("m")) state.m = named(metrics.map((m) => m.name), state.m, start.m);
    if (given.has("c")) state.c = named(candidates, state.c, start.c);
    if (given.has("b")) state.b = given.get("b") === "" ? null : named(candidates, state.b, start.b);
    if (state.x !== "" && !Number.isFinite(Number(state.x))) state.x = "";
    if (state.v !== "diff") state.v = start.v;
    for (const [key, control] of [["g", "group"], ["p", "split"]]) {
      if (![...byId(control).options].some((option) => option.value === state[key])) state[key] = start[key];
    }
    settle();
    return true;
  };
  const hash = () => {
    const start = fresh();
    const out = new URLSearchParams();
    for (const key of Object.keys(start)) {
      if (state[key] === start[key]) continue;
      out.set(key, key === "m" ? metrics[state.m].name : key === "c" ? candidates[state.c] : key === "b" ? (candidates[state.b] ?? "") : state[key]);
    }
    return `#${out.toString() || "samples"}`;
  };
  const writeHash = () => history.replaceState(null, "", hash());

  // Search reads whole samples, so chunks are decoded once, their texts kept in lower case, and results grow meanwhile.
  const texts = [];
  let search = 0;
  const readTexts = async (mine) => {
    while (texts.length < index.ids.length) {
      const part = await decode(`chunk-${texts.length / chunkSize}`);
      if (mine !== search) return;
      for (const s of part) {
        const turns = s.turns.map((turn) => turn[1]);
        const said = s.answers.map((answer) => answer?.text ?? answer?.error?.[1] ?? "");
        texts.push([s.id, s.input, ...turns, ...s.references, ...s.contexts, ...said].join("\n").toLowerCase());
      }
      if (texts.length % (5 * chunkSize) === 0) refresh();
    }
    refresh();
  };

  /** The samples that fit all filters, in order; beside them how many each preset and each slice would show. */
  const select = () => {
    const words = state.q.toLowerCase().trim();
    const [column, value] = state.g === "" ? [null, null] : state.g.split(".").map(Number);
    const split = state.p === "" ? null : Number(state.p);
    const known = Object.keys(PRESETS).filter(usable);
    const limits = Object.fromEntries(known.map((name) => [name, limitOf(name)]));
    const counts = Object.fromEntries(known.map((name) => [name, 0]));
    const slices = index.slices.map((slice) => new Array(slice.values.length).fill(0));
    const found = [];
    for (let i = 0; i < index.ids.length; i += 1) {
      if (split !== null && index.splits[i] !== split) continue;
      if (words && !(texts[i] ?? `${index.ids[i]}\n${index.snippets[i]}`.toLowerCase()).includes(words)) continue;
      const fits = PRESETS[state.f].test(i, limits[state.f]);
      if (fits) index.slices.forEach((slice, n) => (slices[n][slice.of[i]] += 1));
      if (column !== null && index.slices[column].of[i] !== value) continue;
      for (const name of known) if (name === state.f ? fits : PRESETS[name].test(i, limits[name])) counts[name] += 1;
      if (fits) found.push(i);
    }
    const key = ORDERS[state.o];
    const keys = new Map(found.map((i) => [i, key(i)]));
    found.sort((a, b) => keys.get(a) - keys.get(b) || a - b);
    return { found, counts, slices };
  };

  // ------------------------------------------------------------------------------------------------ samples: list

  const number = (value) => (Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(3)).replace("-", "−");
  const counted = (value) => value.toLocaleString("en");
  const scoreText = (value) => (value === null || value === undefined ? "no score" : number(value));
  const changeText = (value) => {
    if (value === null) return make("span", { class: "delta muted" }, "");
    const word = value > 0 ? "better" : value < 0 ? "worse" : "same";
    const sign = value > 0 ? "▲" : value < 0 ? "▼" : "=";
    const spoken = make("span", { class: "visually-hidden" }, ` ${word}`);
    return make("span", { class: `delta ${value > 0 ? "good" : value < 0 ? "bad" : "muted"}` }, `${sign} ${number(Math.abs(value))}`, spoken);
  };

  /** Why a sample is in the list, where its score does not say it. */
  const why = (i) => {
    if (state.f === "people") return `people ${number(rated(i, state.c))}`;
    if (state.f !== "apart" && state.o !== "apart") return null;
    const { low, high, lowest, highest } = apart(state.c);
    if (highest[i] < 0) return null;
    const place = (share) => `${Math.round(100 * share)} %`;
    return `${metrics[highest[i]].name} above ${place(high[i])} of the samples, ${metrics[lowest[i]].name} above ${place(low[i])}`;
  };
  const listItem = (i) => {
    const reason = why(i);
    const button = make(
      "button",
      { type: "button", "data-at": i, "aria-current": current === i ? "true" : null },
      make("span", { class: "head" }, make("span", {}, `row ${index.rows[i]}`), make("span", {}, make("b", {}, scoreText(score(i, state.c, state.m))), " ", changeText(change(i)))),
      make("span", { class: "say", dir: "auto" }, index.snippets[i] || "(empty input)"),
      reason ? make("span", { class: "why" }, reason) : null,
    );
    return make("li", {}, button);
  };

  const start = () => Math.floor(Math.max(0, shown.indexOf(current)) / PAGE) * PAGE;
  const drawList = () => {
    const from = start();
    const part = shown.slice(from, from + PAGE);
    byId("list").replaceChildren(...part.map(listItem));
    byId("before").disabled = from === 0;
    byId("after").disabled = from + PAGE >= shown.length;
    const total = counted(index.ids.length);
    const reading = state.q && texts.length < index.ids.length ? `, searched ${counted(texts.length)} so far` : "";
    byId("count").textContent = shown.length
      ? shown.length <= PAGE
        ? `${counted(shown.length)} of ${total} samples${reading}`
        : `${counted(from + 1)}–${counted(from + part.length)} of ${counted(shown.length)}${reading}`
      : `no sample of ${total}${reading}`;
  };

  /** Filters anew. What is open stays open where it still fits, or where a link has named it. */
  const refresh = ({ named = false } = {}) => {
    const { found, counts, slices } = select();
    shown = found;
    const before = current;
    if (named) {
      const asked = index.ids.indexOf(state.s);
      current = asked >= 0 ? asked : (shown[0] ?? null);
    } else if (!shown.includes(current)) current = shown[0] ?? null;
    putCounts(counts, slices);
    drawList();
    if (named || current !== before || byId("detail").dataset.drawn !== drawn()) drawDetail();
  };
  /** What the detail pane depends on, beside the sample. */
  const drawn = () => JSON.stringify([current, state.m, state.c, state.b, state.v, state.a]);

  const go = (to, { focus = false } = {}) => {
    if (to < 0 || to >= shown.length) return;
    const inDetail = byId("detail").contains(document.activeElement);
    const from = start();
    current = shown[to];
    state.s = index.ids[current];
    writeHash();
    if (start() !== from) drawList();
    for (const button of byId("list").querySelectorAll("button")) {
      const here = Number(button.dataset.at) === current;
      if (here) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      if (here) {
        button.scrollIntoView({ block: "nearest", behavior: "instant" });
        if (focus && !inDetail) button.focus({ preventScroll: true });
      }
    }
    if (focus && inDetail) byId("detail").focus({ preventScroll: true });
    drawDetail();
  };
  const step = (by) => {
    const here = shown.indexOf(current);
    go(here < 0 ? 0 : here + by, { focus: true });
  };
  const toList = () => {
    const button = byId("list").querySelector("[aria-current]") ?? byId("list").querySelector("button");
    button?.scrollIntoView({ block: "nearest", behavior: "instant" });
    button?.focus({ preventScroll: true });
  };
  const toDetail = () => {
    byId("detail").focus({ preventScroll: true });
    if (byId("detail").getBoundingClientRect().top > innerHeight / 2) byId("detail").scrollIntoView({ behavior: "instant" });
  };

  // ------------------------------------------------------------------------------------------------ samples: texts

  const field = (title, parts, name = "") =>
    parts.length ? make("div", { class: `field ${name}` }, make("h4", {}, title), parts.map((text) => make("p", { class: "text", dir: "auto" }, text))) : null;

  const LONGEST = 4e6;
  /** Words of two texts by longest common subsequence: pairs of (same, del, ins) and text; null where it would take too long. */
  const diff = (from, to) => {
    const [a, b] = [from.match(/\s+|[^\s]+/g) ?? [], to.match(/\s+|[^\s]+/g) ?? []];
    const parts = [];
    const add = (kind, text) => {
      if (!text) return;
      if (parts.length && parts[parts.length - 1][0] === kind) parts[parts.length - 1][1] += text;
      else parts.push([kind, text]);
    };
    let head = 0;
    while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
    let tail = 0;
    while (tail < Math.min(a.length, b.length) - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail += 1;
    const [rows, columns] = [a.length - tail - head, b.length - tail - head];
    if (rows * columns > LONGEST) return null;
    add("same", a.slice(0, head).join(""));
    const table = Array.from({ length: rows + 1 }, () => new Uint16Array(columns + 1));
    for (let i = rows - 1; i >= 0; i -= 1) {
      for (let j = columns - 1; j >= 0; j -= 1) {
        table[i][j] = a[head + i] === b[head + j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
      }
    }
    let [i, j] = [0, 0];
    while (i < rows || j < columns) {
      if (i < rows && j < columns && a[head + i] === b[head + j]) {
        add("same", a[head + i]);
        i += 1;
        j += 1;
      } else if (j >= columns || (i < rows && table[i + 1][j] >= table[i][j + 1])) {
        add("del", a[head + i]);
        i += 1;
      } else {
        add("ins", b[head + j]);
        j += 1;
      }
    }
    add("same", a.slice(a.length - tail).join(""));
    return phrases(parts);
  };
  /** Neighbouring changes as one, first what is gone: white space between two changed words belongs to both texts. */
  const phrases = (parts) => {
    const found = [];
    let changed = { del: "", ins: "" };
    const flush = () => {
      for (const kind of ["del", "ins"]) if (changed[kind]) found.push([kind, changed[kind]]);
      changed = { del: "", ins: "" };
    };
    parts.forEach(([kind, text], n) => {
      if (kind !== "same") changed[kind] += text;
      else if (/^\s+$/.test(text) && (changed.del || changed.ins) && n + 1 < parts.length) {
        changed.del += text;
        changed.ins += text;
      } else {
        flush();
        found.push([kind, text]);
      }
    });
    flush();
    return found;
  };

  // ------------------------------------------------------------------------------------------------ samples: evidence

  const WORDS = {
    entailment: "✓ entailed",
    neutral: "~ neither entailed nor contradicted",
    contradiction: "✕ contradicted",
    not_entailment: "~ not entailed",
  };
  const isNumber = (value) => typeof value === "number";
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const areNumbers = (value) => isObject(value) && Object.keys(value).length > 0 && Object.values(value).every(isNumber);
  const spaced = (name) => name.replaceAll("_", " ");

  const SVG = "http://www.w3.org/2000/svg";
  const bar = (share) => {
    const svg = document.createElementNS(SVG, "svg");
    const rect = document.createElementNS(SVG, "rect");
    for (const [name, value] of [["viewBox", "0 0 100 10"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
    for (const [name, value] of [["class", "bar"], ["width", Math.max(0.5, Math.min(1, share) * 100)], ["height", 10]]) rect.setAttribute(name, value);
    svg.append(rect);
    return svg;
  };
  const bars = (shares) =>
    make("div", { class: "bars" }, Object.entries(shares).flatMap(([name, share]) => [make("span", {}, spaced(name)), bar(share), make("span", {}, number(share))]));

  /** What a sentence's evidence says of it: a class for its look, a word with a sign, and probabilities. */
  const opinion = (row, m) => {
    const shares = Object.fromEntries(Object.keys(WORDS).filter((name) => isNumber(row[name])).map((name) => [name, row[name]]));
    if (areNumbers(row.categories)) Object.assign(shares, row.categories);
    if (row.label in WORDS) return { look: row.label, word: WORDS[row.label], shares };
    if (!isNumber(row.score)) return { look: "neutral", word: row.label ? String(row.label) : "", shares };
    const strong = row.score >= 0.5;
    const harmful = better(m) < 0;
    const look = harmful ? (strong ? "wrong" : "fine") : strong ? "fine" : "weak";
    const sign = look === "wrong" ? "✕" : look === "fine" ? "✓" : "~";
    return { look, word: `${sign} ${row.evasive ? "evasive, " : ""}${row.label ? `${row.label}, ` : ""}score ${number(row.score)}`, shares };
  };
  const rowsOf = (judgement) => {
    const rows = judgement?.evidence?.sentences;
    return Array.isArray(rows) ? rows.filter((row) => isObject(row) && typeof (row.sentence ?? row.text) === "string") : [];
  };

  /** Where sentences stand in a text, in order, whatever white space lies between their words. */
  const places = (text, sentences) => {
    const letters = [];
    for (let n = 0; n < text.length; n += 1) if (!/\s/.test(text[n])) letters.push(n);
    const squeezed = letters.map((n) => text[n]).join("");
    const taken = [];
    let from = 0;
    for (const [row, sentence] of sentences) {
      const wanted = sentence.replaceAll(/\s+/g, "");
      if (!wanted) continue;
      let found = squeezed.indexOf(wanted, from);
      if (found < 0) found = squeezed.indexOf(wanted);
      if (found < 0 || taken.some((one) => found < one.to && found + wanted.length > one.from)) continue;
      taken.push({ row, from: found, to: found + wanted.length });
      from = found + wanted.length;
    }
    return taken.sort((a, b) => a.from - b.from).map(({ row, from: first, to }) => ({ row, start: letters[first], end: letters[to - 1] + 1 }));
  };
  const told = new WeakMap();
  /** A text with the sentences of some evidence marked; hover or focus opens what each was held against. */
  const marked = (text, rows, s, m) => {
    const asked = (sentence) => (s.input && sentence.startsWith(`${s.input.trim()} `) ? sentence.slice(s.input.trim().length + 1) : sentence);
    const spots = places(text, rows.map((row) => [row, asked(row.sentence ?? row.text)]));
    const parts = [];
    let done = 0;
    for (const { row, start: first, end } of spots) {
      parts.push(text.slice(done, first));
      const mark = make("mark", { class: opinion(row, m).look, tabindex: "0" }, text.slice(first, end));
      told.set(mark, { row, m });
      parts.push(mark);
      done = end;
    }
    return [...parts, text.slice(done)].filter((part) => part !== "");
  };

  const MORE = ["answers", "similarity", "words", "type", "whole"];
  const tip = make("div", { id: "tip", role: "tooltip", hidden: true });
  let tipped = null;
  let closing = 0;
  const highlight = (premise) => {
    if (!globalThis.CSS?.highlights || !globalThis.Highlight) return;
    CSS.highlights.delete("premise");
    if (!premise) return;
    for (const place of byId("detail").querySelectorAll(".grounds .text")) {
      const nodes = [];
      const walk = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
      let text = "";
      while (walk.nextNode()) {
        nodes.push([walk.currentNode, text.length]);
        text += walk.currentNode.data;
      }
      const [spot] = places(text, [[null, premise]]);
      if (!spot) continue;
      const at = (n, last) => nodes.findLast(([, from]) => (last ? from < n : from <= n));
      const [[first, one], [final, two]] = [at(spot.start, false), at(spot.end, true)];
      const found = new Range();
      found.setStart(first, spot.start - one);
      found.setEnd(final, spot.end - two);
      CSS.highlights.set("premise", new Highlight(found));
      return;
    }
  };
  const closeTip = () => {
    clearTimeout(closing);
    tipped?.removeAttribute("aria-describedby");
    tipped = null;
    tip.hidden = true;
    highlight(null);
  };
  const openTip = (mark) => {
    clearTimeout(closing);
    if (mark === tipped) return;
    closeTip();
    tipped = mark;
    const { row, m } = told.get(mark);
    const { look, word, shares } = opinion(row, m);
    const facts = MORE.filter((name) => isNumber(row[name]) && !(name in shares)).map((name) => `${name} ${number(row[name])}`);
    const premise = typeof row.premise === "string" ? row.premise : null;
    tip.replaceChildren(
      ...[
        make("p", { class: `verdict-word ${look}` }, `${metrics[m].name}: ${word}`),
        Object.keys(shares).length ? bars(shares) : null,
        facts.length ? make("p", { class: "muted" }, facts.join(" · ")) : null,
        row.read_as ? make("p", { class: "muted", dir: "auto" }, `read as: ${row.read_as}`) : null,
        premise ? make("h5", {}, row.direction === "backward" ? "Held against this of the answer" : "Held against") : null,
        premise ? make("blockquote", { dir: "auto" }, premise) : null,
      ].filter(Boolean),
    );
    byId("detail").append(tip);
    tip.hidden = false;
    mark.setAttribute("aria-describedby", "tip");
    highlight(premise);
    const pane = byId("detail").getBoundingClientRect();
    const rects = [...mark.getClientRects()];
    const [first, last] = [rects[0], rects[rects.length - 1]];
    const below = last.bottom + tip.offsetHeight + 10 < innerHeight || first.top - tip.offsetHeight < 60;
    tip.style.left = `${Math.max(6, Math.min(first.left - pane.left, pane.width - tip.offsetWidth - 6))}px`;
    tip.style.top = `${below ? last.bottom - pane.top + 6 : first.top - pane.top - tip.offsetHeight - 6}px`;
  };

  const TITLES = {
    forward: "Sentences of the answer, held against the reference",
    whole: "The answer as a whole, held against the reference",
    backward: "Sentences of the reference, held against the answer",
  };
  const sentences = (s, rows, m) => {
    const groups = new Map();
    for (const row of rows) groups.set(row.direction ?? "", [...(groups.get(row.direction ?? "") ?? []), row]);
    return [...groups].map(([direction, part]) => {
      let last = null;
      const titled = direction in TITLES;
      const where = (premise) => {
        if (s.references.includes(premise)) return titled ? null : "Held against the reference.";
        if (s.contexts.includes(premise)) return "Held against the context.";
        if (titled && s.answers.some((own) => own?.text === premise)) return null;
        return premise === last ? "Held against the same passage." : `Held against: ${premise}`;
      };
      const items = part.map((row) => {
        const { look, word, shares } = opinion(row, m);
        const parts = Object.entries(shares).map(([name, p]) => `${spaced(name)} ${p.toFixed(2)}`);
        if (row.label in WORDS && isNumber(row.score)) parts.unshift(`score ${number(row.score)}`);
        const held = row.premise ? where(row.premise) : null;
        last = row.premise ?? null;
        return make(
          "li",
          { class: look },
          make("span", { class: "verdict-word" }, [word, parts.join(", ")].filter(Boolean).join(" · ")),
          make("span", { dir: "auto" }, row.sentence ?? row.text ?? ""),
          held ? make("blockquote", { dir: "auto" }, held) : null,
        );
      });
      return make("div", {}, titled ? make("h5", {}, TITLES[direction]) : null, make("ul", {}, items));
    });
  };

  const DEEPEST = 5;
  const plain = (value) => (value === null ? "–" : isNumber(value) && !Number.isInteger(value) ? String(Number(value.toPrecision(4))) : typeof value === "boolean" ? (value ? "yes" : "no") : String(value));
  /** Any evidence as lists people can read: names with values, tables where rows are alike, deeper down as JSON. */
  const readable = (value, depth = 0) => {
    if (value === null || typeof value !== "object") return make("span", { dir: "auto" }, plain(value));
    if (depth >= DEEPEST) return make("code", {}, JSON.stringify(value));
    if (Array.isArray(value)) {
      if (!value.length) return make("span", {}, "none");
      if (value.every((item) => item === null || typeof item !== "object")) {
        const line = value.map(plain).join(", ");
        return line.length < 80 ? make("span", { dir: "auto" }, line) : make("ul", { class: "plain-list" }, value.map((item) => make("li", { dir: "auto" }, plain(item))));
      }
      return make("ol", { class: "plain-list" }, value.map((item) => make("li", {}, readable(item, depth + 1))));
    }
    const entries = Object.entries(value);
    if (!entries.length) return make("span", {}, "none");
    const columns = isObject(entries[0][1]) ? Object.keys(entries[0][1]) : [];
    const alike = entries.length > 1 && columns.length > 0 && columns.length < 5 && entries.every(([, one]) => isObject(one) && Object.keys(one).join("\n") === columns.join("\n") && Object.values(one).every((cell) => cell === null || typeof cell !== "object"));
    if (alike) {
      const head = make("tr", {}, make("th", { scope: "col" }, make("span", { class: "visually-hidden" }, "name")), columns.map((name) => make("th", { scope: "col" }, spaced(name))));
      const rows = entries.map(([name, one]) => make("tr", {}, make("th", { scope: "row" }, spaced(name)), columns.map((column) => make("td", {}, plain(one[column])))));
      return make("table", { class: "facts" }, make("thead", {}, head), make("tbody", {}, rows));
    }
    return make("dl", { class: "facts" }, entries.flatMap(([name, one]) => [make("dt", {}, spaced(name)), make("dd", {}, readable(one, depth + 1))]));
  };

  const steps = (m, name) => {
    const found = metrics[m].steps.find((one) => one.name === name) ?? (metrics[m].steps.length === 1 ? metrics[m].steps[0] : null);
    if (!found) return null;
    return make(
      "div",
      {},
      found.criterion ? make("p", { dir: "auto" }, make("b", {}, "Asked: "), found.criterion) : null,
      make("h5", {}, "Steps the judge followed"),
      make("ol", { class: "steps" }, found.steps.map((text) => make("li", { dir: "auto" }, text))),
    );
  };
  const MODES = { exact: "exact: every grade's probability was computed", topk: "topk: the grades among the likeliest tokens", sampled: "sampled: the share of replies with each grade" };
  /** One grade: its distribution as bars, what was added up, and the steps. */
  const grade = (given, m, name) => {
    const { distribution, mode, valid_mass: mass, raw, ...rest } = given;
    const facts = [isNumber(raw) ? `grade ${number(raw)}` : null, isNumber(mass) ? `valid mass ${number(mass)}` : null, mode ? `mode ${MODES[mode] ?? mode}` : null];
    const spread = Object.fromEntries(Object.entries(distribution).sort(([a], [b]) => Number(a) - Number(b)));
    return [make("h5", {}, "Probability of each grade"), bars(spread), make("p", {}, facts.filter(Boolean).join(" · ")), steps(m, name), Object.keys(rest).length ? readable(rest) : null].filter(Boolean);
  };

  const evidence = (s, judgement, m) => {
    if (judgement.error) return [make("p", { class: "bad" }, `No score: ${judgement.error[0]}. ${judgement.error[1]}`)];
    if (judgement.evidence === null) return [make("p", { class: "muted" }, `The evidence was left out to keep this file small. ${showCommand(s)} prints it.`)];
    const rest = { ...judgement.evidence };
    const parts = [];
    if (areNumbers(rest.distribution)) {
      const { distribution, mode, valid_mass, raw } = rest;
      parts.push(...grade({ distribution, mode, valid_mass, raw }, m, metrics[m].name));
      for (const name of ["distribution", "mode", "valid_mass", "raw"]) delete rest[name];
    }
    if (isObject(rest.criteria) && Object.values(rest.criteria).every((one) => isObject(one) && areNumbers(one.distribution))) {
      for (const [name, one] of Object.entries(rest.criteria)) parts.push(make("h5", { class: "criterion" }, spaced(name)), ...grade(one, m, name));
      delete rest.criteria;
    }
    const labels = Object.fromEntries(Object.keys(WORDS).filter((name) => isNumber(rest[name])).map((name) => [name, rest[name]]));
    if (Object.keys(labels).length) parts.push(bars(labels));
    for (const name of Object.keys(labels)) delete rest[name];
    const rows = rowsOf(judgement);
    if (rows.length && rows.length === rest.sentences.length) {
      parts.push(...sentences(s, rows, m));
      delete rest.sentences;
    }
    if (Object.keys(rest).length) parts.push(readable(rest));
    return parts.length ? parts : [make("p", { class: "muted" }, "This judge gives no evidence beyond its score.")];
  };

  // ------------------------------------------------------------------------------------------------ samples: detail

  const quoted = (word) => (/^[\w.@%+=:,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
  const showCommand = (s) => `muster show ${quoted(about.run)} ${quoted(s.id)}`;

  const answerText = (s, c) => {
    const own = s.answers[c];
    if (!own) return make("p", { class: "failed" }, "No answer was stored.");
    if (own.error) return make("p", { class: "failed", dir: "auto" }, `✕ ${own.error[0]}: ${own.error[1]}`);
    const text = make("p", { class: "text", dir: "auto" });
    const base = state.b === null || c === state.b ? null : s.answers[state.b]?.text;
    if (state.v === "diff") {
      const parts = typeof base === "string" ? diff(base, own.text) : null;
      if (parts) text.append(...parts.map(([kind, words]) => (kind === "same" ? words : make(kind, {}, words))));
      else text.append(own.text || "(an empty answer)");
      const long = typeof base === "string" && !parts;
      return long ? [make("p", { class: "notice" }, "Too long to compare word by word; this is the whole answer."), text] : text;
    }
    const rows = rowsOf(s.judgements[c][state.m]).filter((row) => (row.direction ?? "forward") === "forward");
    text.append(...(own.text ? marked(own.text, rows, s, state.m) : ["(an empty answer)"]));
    return text;
  };

  const scoreLine = (s, i, c, m) => {
    const judgement = s.judgements[c][m];
    if (!judgement) return null;
    const label = judgement.label ? make("span", { class: "label", dir: "auto" }, ` ${judgement.label}`) : null;
    const { cut } = metrics[m];
    const good = judgement.error || cut === null || metrics[m].human ? null : passes(judgement.score, m, cut);
    const sign = good === null ? null : make("span", { class: good ? "good" : "bad" }, good ? "✓" : "✕", make("span", { class: "visually-hidden" }, good ? " passes " : " fails "));
    const summary = make(
      "summary",
      {},
      make("span", { class: "name" }, metrics[m].name, label),
      make("span", { class: judgement.error ? "bad" : "value" }, judgement.error ? "no score" : number(judgement.score), " ", sign),
      changeText(change(i, m, c)),
    );
    const box = make("div", { class: "evidence" });
    const details = make("details", { class: "score", open: m === state.m }, summary, box);
    const fill = () => box.childElementCount || box.append(...evidence(s, judgement, m));
    if (m === state.m) fill();
    details.addEventListener("toggle", fill);
    return details;
  };

  const fold = (title, parts) =>
    parts.length
      ? make(
          "details",
          { class: "score" },
          make("summary", {}, make("span", { class: "name" }, title)),
          make("div", { class: "evidence" }, parts.flatMap(([role, text]) => [role ? make("h5", {}, role) : null, make("p", { class: "quoted", dir: "auto" }, text)])),
        )
      : null;

  const answer = (s, i, c) => {
    const own = s.answers[c];
    const facts = [isNumber(own?.tokens) ? `${own.tokens} tokens` : null, isNumber(own?.seconds) ? `${own.seconds.toFixed(2)} s` : null];
    return make(
      "section",
      { class: "answer", "data-candidate": candidates[c] },
      make(
        "header",
        {},
        make("h4", { dir: "auto" }, candidates[c]),
        c === baseline ? make("span", { class: "tag" }, about.declared ? "baseline" : "compared with") : null,
        make("span", {}, facts.filter(Boolean).join(" · ")),
        own?.finish === "length" ? make("span", { class: "tag" }, "cut at the token limit") : null,
      ),
      answerText(s, c),
      fold("retrieved passages", (own?.contexts ?? []).map((text) => ["", text])),
      fold("prompt", own?.prompt ?? []),
      make("div", { class: "scores" }, metrics.map((_, m) => scoreLine(s, i, c, m))),
    );
  };

  /** Reference and context; the reference's sentences carry what the judge found of them in the candidate's answer. */
  const grounds = (s) => {
    const rows = state.v === "diff" ? [] : rowsOf(s.judgements[state.c][state.m]).filter((row) => row.direction === "backward");
    const references = s.references.map((text) => make("p", { class: "text", dir: "auto" }, marked(text, rows, s, state.m)));
    const covered = references.some((place) => place.querySelector("mark"));
    return make(
      "div",
      { class: "pair grounds" },
      references.length ? make("div", { class: "field" }, make("h4", {}, s.references.length > 1 ? "References (any one will do)" : "Reference"), references, covered ? make("p", { class: "small muted" }, `Marked: what the answer of ${candidates[state.c]} covers of it.`) : null) : null,
      field("Context", s.contexts),
    );
  };
  const legend = (s, shownCandidates) => {
    if (state.v === "diff") {
      return compared() ? make("p", { class: "small muted" }, make("del", {}, "struck out"), ` only in ${candidates[state.b]}, `, make("ins", {}, "underlined"), " only in the other answer") : null;
    }
    const rows = shownCandidates.flatMap((c) => rowsOf(s.judgements[c][state.m]));
    const looks = new Set(rows.map((row) => opinion(row, state.m).look));
    if (!looks.size) return null;
    const WHAT = { entailment: "entailed", fine: better(state.m) > 0 ? "0.5 or more" : "below 0.5", neutral: "neither", not_entailment: "not entailed", weak: "below 0.5", contradiction: "contradicted", wrong: "0.5 or more" };
    const keys = Object.entries(WHAT).filter(([look]) => looks.has(look)).flatMap(([look, word]) => [make("mark", { class: look }, word), " "]);
    return make("p", { class: "small muted legend" }, `Each sentence by ${metrics[state.m].name}: `, keys, "· point at one, or reach it with Tab, to see what it was held against");
  };

  const copy = async (text, button, what) => {
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch {
      const box = make("input", { value: text, "aria-hidden": "true", class: "visually-hidden" });
      document.body.append(box);
      box.select();
      done = document.execCommand("copy");
      box.remove();
      button.focus({ preventScroll: true });
    }
    button.dataset.copied = text;
    byId("said").textContent = done ? `${what} copied` : `This browser does not let the page copy. ${what}: ${text}`;
  };
  const tool = (id, text, pressed, action, extra = {}) => {
    const button = make("button", { type: "button", class: "button", id, "aria-pressed": pressed === null ? null : String(pressed), ...extra }, text);
    button.addEventListener("click", () => action(button));
    return button;
  };
  const set = (changes) => {
    Object.assign(state, changes);
    writeHash();
    drawDetail();
  };
  const setDiff = () => compared() && set({ v: state.v === "diff" ? "marks" : "diff" });
  const setAll = () => candidates.length > 2 && set({ a: state.a ? "" : "1" });

  let drawing = 0;
  const drawDetail = async () => {
    const mine = (drawing += 1);
    const pane = byId("detail");
    const asked = state.s && !index.ids.includes(state.s);
    const missing = asked ? make("p", { class: "notice" }, `Sample ${state.s} is not in this file. muster show ${quoted(about.run)} ${quoted(state.s)} prints it.`) : null;
    if (current === null) {
      pane.replaceChildren(...[missing, make("p", { class: "muted" }, "No sample fits these filters.")].filter(Boolean));
      delete pane.dataset.sample;
      pane.dataset.drawn = drawn();
      return;
    }
    const i = current;
    const s = await sample(i);
    if (mine !== drawing) return;
    closeTip();
    const held = pane.contains(document.activeElement) ? document.activeElement.id : null;
    const place = shown.indexOf(i);
    const tags = index.slices.map((slice) => [slice.name, slice.values[slice.of[i]]]).filter(([, value]) => value !== "");
    const pair = compared() ? [state.b, state.c] : [state.c];
    const listed = state.a ? [...pair, ...candidates.keys()].filter((c, n, all) => all.indexOf(c) === n) : pair;
    const others = candidates.length - pair.length;
    pane.replaceChildren(
      ...[
        missing,
        place < 0 && !asked ? make("p", { class: "notice" }, "This sample is not among those that the filters find.") : null,
        make(
          "div",
          { class: "head" },
          make("h3", { dir: "auto" }, s.id),
          splits.length > 1 ? make("span", { class: "tag" }, splits[index.splits[i]]) : null,
          tags.map(([name, value]) => make("span", { class: "tag", dir: "auto" }, `${name}: ${value}`)),
          s.cluster ? make("span", { class: "tag", dir: "auto" }, `cluster: ${s.cluster}`) : null,
        ),
        make(
          "div",
          { class: "tools" },
          tool("back-to-list", "↑ List", null, toList, { title: "Escape" }),
          tool("previous", "‹", null, () => step(-1), { "aria-label": "Previous sample", title: "k", disabled: place === 0 }),
          tool("next", "›", null, () => step(1), { "aria-label": "Next sample", title: "j", disabled: place === shown.length - 1 }),
          compared() ? tool("diff", `Word diff against ${candidates[state.b]}`, state.v === "diff", setDiff, { title: "d" }) : null,
          others > 0 && candidates.length > 2 ? tool("every", `All ${candidates.length} candidates`, state.a !== "", setAll, { title: "a" }) : null,
          tool("copy-link", "Copy link", null, (button) => {
            state.s = s.id;
            writeHash();
            copy(location.href, button, "Link");
          }),
          tool("copy-command", "Copy command", null, (button) => copy(showCommand(s), button, "Command"), { title: showCommand(s) }),
        ),
        ...(s.turns.length ? s.turns : [["Input", s.input]]).map(([name, text], n, all) => field(name, [text], n === all.length - 1 ? "asked" : "")),
        grounds(s),
        legend(s, listed),
        make("div", { class: "answers" }, listed.map((c) => answer(s, i, c))),
      ].filter(Boolean),
    );
    pane.dataset.sample = s.id;
    pane.dataset.drawn = drawn();
    if (held) byId(held)?.focus({ preventScroll: true });
    else if (held === "") pane.focus({ preventScroll: true });
  };

  // ------------------------------------------------------------------------------------------------ samples: controls

  const controls = { metric: "m", candidate: "c", against: "b", limit: "x", group: "g", split: "p", order: "o", search: "q" };
  const putControls = () => {
    for (const [id, key] of Object.entries(controls)) byId(id).value = String(state[key] ?? "");
    for (const option of byId("order").options) option.disabled = ["loss", "gain"].includes(option.value) && !compared();
    const { limit, says } = PRESETS[state.f];
    byId("limit-box").hidden = !limit;
    if (limit) {
      byId("limit-words").textContent = limit()[1];
      byId("limit").placeholder = String(Number(limit()[0].toFixed(3)));
    }
    byId("explain").textContent = says();
  };
  const putCounts = (counts, slices) => {
    for (const button of byId("presets").querySelectorAll("button")) {
      const name = button.dataset.preset;
      button.hidden = !(name in counts);
      button.setAttribute("aria-pressed", String(name === state.f));
      if (name in counts) button.querySelector("b").textContent = counted(counts[name]);
    }
    for (const option of byId("group").options) {
      if (option.value === "") continue;
      const [column, value] = option.value.split(".").map(Number);
      option.textContent = `${index.slices[column].values[value] || "(none)"} (${counted(slices[column][value])})`;
    }
  };
  const putSlices = () => {
    const groups = index.slices.map((slice, column) => {
      const sizes = new Array(slice.values.length).fill(0);
      for (const value of slice.of) sizes[value] += 1;
      const order_ = [...sizes.keys()].sort((a, b) => sizes[b] - sizes[a]).slice(0, SLICE_VALUES);
      const cut = sizes.length > SLICE_VALUES ? ` (the ${SLICE_VALUES} most frequent of ${counted(sizes.length)})` : "";
      return make("optgroup", { label: `${slice.name}${cut}` }, order_.map((value) => make("option", { value: `${column}.${value}` }, slice.values[value] || "(none)")));
    });
    byId("group").append(...groups);
  };
  const apply = () => {
    settle();
    putControls();
    writeHash();
    refresh();
  };
  let typing = 0;
  const listen = () => {
    for (const [name, { label }] of Object.entries(PRESETS)) {
      const button = make("button", { type: "button", class: "preset", "data-preset": name, "aria-pressed": "false" }, `${label} `, make("b", {}));
      button.addEventListener("click", () => {
        [state.f, state.x] = [name, ""];
        apply();
      });
      byId("presets").append(button);
    }
    for (const [id, key] of Object.entries(controls)) {
      byId(id).addEventListener(id === "search" || id === "limit" ? "input" : "change", (event) => {
        const { value } = event.target;
        state[key] = key === "b" && value === "" ? null : ["m", "c", "b"].includes(key) ? Number(value) : value;
        if (key === "m") state.x = "";
        if (key !== "q") return apply();
        clearTimeout(typing);
        typing = setTimeout(() => {
          apply();
          if (state.q) readTexts((search += 1));
        }, index.ids.length > 2000 ? 200 : 0);
      });
    }
    byId("list").addEventListener("click", (event) => {
      const button = event.target.closest("button[data-at]");
      if (!button) return;
      go(shown.indexOf(Number(button.dataset.at)));
      if (event.detail === 0 || innerWidth <= 900) toDetail();
    });
    byId("before").addEventListener("click", () => go(start() - PAGE));
    byId("after").addEventListener("click", () => go(start() + PAGE));
    byId("reset").addEventListener("click", () => {
      state = fresh();
      current = null;
      apply();
    });
    const pane = byId("detail");
    for (const kind of ["mouseover", "focusin"]) {
      pane.addEventListener(kind, (event) => {
        const mark = event.target.closest("mark");
        if (mark && told.has(mark)) openTip(mark);
        else if (tip.contains(event.target)) clearTimeout(closing);
      });
    }
    pane.addEventListener("focusout", closeTip);
    pane.addEventListener("mouseout", (event) => {
      if (event.target.closest("mark, #tip") && document.activeElement !== tipped) closing = setTimeout(closeTip, 150);
    });
    window.addEventListener("hashchange", follow);
  };
  const follow = () => {
    if (!readHash()) return;
    putControls();
    refresh({ named: true });
    if (state.q) readTexts((search += 1));
    byId("samples").scrollIntoView({ behavior: "instant" });
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (event.target.closest("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      if (event.key === "Enter" && event.target.id === "search" && index) {
        event.preventDefault();
        toList();
      }
      return;
    }
    if (event.key === "Escape") {
      if (!tip.hidden) closeTip();
      else if (index && byId("detail").contains(document.activeElement)) toList();
      return;
    }
    if (event.key === "Enter" && index && event.target === document.body) return toDetail();
    const actions = {
      "?": showHelp,
      "/": () => {
        byId("samples").scrollIntoView({ behavior: "instant" });
        byId("search").focus({ preventScroll: true });
      },
      j: () => step(1),
      k: () => step(-1),
      d: setDiff,
      a: setAll,
    };
    if (event.key in actions && (index || event.key === "?")) {
      event.preventDefault();
      actions[event.key]();
    }
  });

  const begin = async () => {
    if (typeof DecompressionStream === "undefined") throw new Error("this browser has no DecompressionStream");
    page.classList.add("live");
    index = await decode("samples-index");
    putSlices();
    const deep = readHash();
    settle();
    listen();
    putControls();
    refresh({ named: deep });
    if (state.q) readTexts((search += 1));
    if (deep) byId("samples").scrollIntoView({ behavior: "instant" });
    page.classList.add("ready");
  };
  begin().catch((error) => {
    page.classList.remove("live");
    const notice = byId("no-browser");
    notice.textContent = `The sample browser cannot start (${error.message}). A browser from 2023 or later has what it needs; below are the first samples as plain text.`;
  });
})();
