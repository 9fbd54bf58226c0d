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
  const sample = async (at) => (await chunk(Math.floor(at / chunkSize)))[at % chunkSize];

  let index = null;
  const better = (m) => (metrics[m].direction === "higher" ? 1 : -1);
  const score = (at, c, m) => index.scores[c][m][at];
  const change = (at, c, m) => {
    if (baseline === null || c === baseline) return null;
    const [ours, theirs] = [score(at, c, m), score(at, baseline, m)];
    return ours === null || theirs === null ? null : (ours - theirs) * better(m);
  };
  const good = (value, m) => (value - (metrics[m].low + metrics[m].high) / 2) * better(m) >= 0;

  // ------------------------------------------------------------------------------------------------ samples: state

  const KEYS = ["s", "m", "c", "f", "x", "g", "p", "o", "q"];
  const order = baseline === null ? "worst" : "loss";
  const fresh = () => ({ s: "", m: about.primary, c: about.first, f: "all", x: "", g: "", p: "", o: order, q: "" });
  let state = fresh();
  let shown = [];
  let at = 0;
  let diffing = false;

  const readHash = () => {
    if (!location.hash.includes("=")) return false;
    const given = new URLSearchParams(location.hash.slice(1));
    state = fresh();
    for (const key of KEYS) if (given.has(key)) state[key] = given.get(key);
    const named = (list, value, otherwise) => {
      const found = list.indexOf(value);
      return found < 0 ? otherwise : found;
    };
    const start = fresh();
    state.m = named(metrics.map((m) => m.name), state.m, start.m);
    state.c = named(candidates, state.c, start.c);
    for (const [key, control] of [["f", "show"], ["o", "order"], ["g", "group"], ["p", "split"]]) {
      if (![...byId(control).options].some((option) => option.value === state[key])) state[key] = start[key];
    }
    return true;
  };
  const writeHash = () => {
    const start = fresh();
    const out = new URLSearchParams();
    for (const key of KEYS) {
      if (state[key] === start[key] || state[key] === "") continue;
      out.set(key, key === "m" ? metrics[state.m].name : key === "c" ? candidates[state.c] : state[key]);
    }
    history.replaceState(null, "", `#${out.toString() || "samples"}`);
  };
  const threshold = () => {
    const { low, high } = metrics[state.m];
    return state.x === "" ? (state.f === "low" ? (low + high) / 2 : (high - low) / 10) : Number(state.x);
  };

  const tests = {
    all: () => true,
    worse: (i) => (change(i, state.c, state.m) ?? 0) <= -Math.max(threshold(), 1e-9),
    better: (i) => (change(i, state.c, state.m) ?? 0) >= Math.max(threshold(), 1e-9),
    fell: (i) => flipped(i, true),
    rose: (i) => flipped(i, false),
    low: (i) => score(i, state.c, state.m) !== null && score(i, state.c, state.m) < threshold(),
    failed: (i) => index.failed[state.c][i] === 1,
    anyfailed: (i) => index.failed.some((list) => list[i] === 1),
  };
  const flipped = (i, fell) => {
    if (change(i, state.c, state.m) === null) return false;
    const [was, is] = [good(score(i, baseline, state.m), state.m), good(score(i, state.c, state.m), state.m)];
    return fell ? was && !is : is && !was;
  };
  const orders = {
    report: (i) => i,
    row: (i) => index.rows[i],
    worst: (i) => (score(i, state.c, state.m) ?? Infinity * better(state.m)) * better(state.m),
    best: (i) => -(score(i, state.c, state.m) ?? -Infinity * better(state.m)) * better(state.m),
    loss: (i) => change(i, state.c, state.m) ?? Infinity,
    gain: (i) => -(change(i, state.c, state.m) ?? -Infinity),
  };

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
      if (texts.length % (5 * chunkSize) === 0) refresh({ keep: true });
    }
    refresh({ keep: true });
  };

  const select = () => {
    const words = state.q.toLowerCase().trim();
    const [column, value] = state.g === "" ? [null, null] : state.g.split(".").map(Number);
    const split = state.p === "" ? null : Number(state.p);
    const passes = tests[state.f];
    const found = [];
    for (let i = 0; i < index.ids.length; i += 1) {
      if (split !== null && index.splits[i] !== split) continue;
      if (column !== null && index.slices[column].of[i] !== value) continue;
      if (!passes(i)) continue;
      if (words && !(texts[i] ?? `${index.ids[i]}\n${index.snippets[i]}`.toLowerCase()).includes(words)) continue;
      found.push(i);
    }
    const key = orders[state.o];
    const keys = new Map(found.map((i) => [i, key(i)]));
    return found.sort((a, b) => keys.get(a) - keys.get(b) || a - b);
  };

  // ------------------------------------------------------------------------------------------------ samples: list

  const number = (value) => (Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(3)).replace("-", "−");
  const scoreText = (value) => (value === null || value === undefined ? "no score" : number(value));
  const changeText = (value) => {
    if (value === null) return make("span", { class: "delta muted" }, "");
    const word = value > 0 ? "better" : value < 0 ? "worse" : "same";
    const sign = value > 0 ? "▲" : value < 0 ? "▼" : "=";
    const spoken = make("span", { class: "visually-hidden" }, ` ${word}`);
    return make("span", { class: `delta ${value > 0 ? "good" : value < 0 ? "bad" : "muted"}` }, `${sign} ${number(Math.abs(value))}`, spoken);
  };

  const listItem = (i) => {
    const own = score(i, state.c, state.m);
    const button = make(
      "button",
      { type: "button", "data-at": i, "aria-current": shown[at] === i ? "true" : null },
      make("span", { class: "head" }, make("span", {}, `row ${index.rows[i]}`), make("span", {}, make("b", {}, scoreText(own)), " ", changeText(change(i, state.c, state.m)))),
      make("span", { class: "say" }, index.snippets[i] || "(empty input)"),
    );
    return make("li", {}, button);
  };

  const drawList = () => {
    const start = Math.floor(at / PAGE) * PAGE;
    const part = shown.slice(start, start + PAGE);
    byId("list").replaceChildren(...part.map(listItem));
    byId("before").disabled = start === 0;
    byId("after").disabled = start + PAGE >= shown.length;
    const total = index.ids.length.toLocaleString("en");
    const range = `${(start + 1).toLocaleString("en")}–${(start + part.length).toLocaleString("en")}`;
    const reading = state.q && texts.length < index.ids.length ? `, searched ${texts.length.toLocaleString("en")} so far` : "";
    const found = shown.length.toLocaleString("en");
    byId("count").textContent = shown.length
      ? shown.length <= PAGE ? `${found} of ${total} samples${reading}` : `${range} of ${found}${reading}`
      : `no sample of ${total}${reading}`;
  };

  const refresh = ({ keep = false } = {}) => {
    const selected = keep ? shown[at] : index.ids.indexOf(state.s);
    shown = select();
    const place = shown.indexOf(selected);
    at = place < 0 ? 0 : place;
    drawList();
    drawDetail();
  };

  const go = (to, { focus = false } = {}) => {
    if (to < 0 || to >= shown.length) return;
    const turned = Math.floor(to / PAGE) !== Math.floor(at / PAGE);
    at = to;
    state.s = index.ids[shown[at]];
    writeHash();
    if (turned) drawList();
    for (const button of byId("list").querySelectorAll("button")) {
      const here = Number(button.dataset.at) === shown[at];
      if (here) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
      if (here) {
        button.scrollIntoView({ block: "nearest", behavior: "instant" });
        if (focus) button.focus({ preventScroll: true });
      }
    }
    drawDetail();
  };

  // ------------------------------------------------------------------------------------------------ samples: detail

  const field = (title, parts, name = "") =>
    parts.length ? make("div", { class: `field ${name}` }, make("h4", {}, title), parts.map((text) => make("p", { class: "text", dir: "auto" }, text))) : null;

  /** Words of two texts by longest common subsequence: pairs of (same, gone, new) and text. */
  const diff = (from, to) => {
    const [a, b] = [from.match(/\s+|[^\s]+/g) ?? [], to.match(/\s+|[^\s]+/g) ?? []];
    if (a.length * b.length > 4e6) return null;
    const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
    for (let i = a.length - 1; i >= 0; i -= 1) {
      for (let j = b.length - 1; j >= 0; j -= 1) {
        table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
      }
    }
    const parts = [];
    const add = (kind, text) => {
      if (parts.length && parts[parts.length - 1][0] === kind) parts[parts.length - 1][1] += text;
      else parts.push([kind, text]);
    };
    let [i, j] = [0, 0];
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) {
        add("same", a[i]);
        i += 1;
        j += 1;
      } else if (j >= b.length || (i < a.length && table[i + 1][j] >= table[i][j + 1])) {
        add("del", a[i]);
        i += 1;
      } else {
        add("ins", b[j]);
        j += 1;
      }
    }
    return parts;
  };

  const answerText = (s, c) => {
    const own = s.answers[c];
    if (!own) return make("p", { class: "failed" }, "No answer was stored.");
    if (own.error) return make("p", { class: "failed" }, `✕ ${own.error[0]}: ${own.error[1]}`);
    const text = make("p", { class: "text", dir: "auto" });
    const base = baseline === null || c === baseline ? null : s.answers[baseline]?.text;
    const parts = diffing && typeof base === "string" ? diff(base, own.text) : null;
    if (parts) text.append(...parts.map(([kind, words]) => (kind === "same" ? words : make(kind, {}, words))));
    else text.append(own.text || "(an empty answer)");
    return text;
  };

  const WORDS = {
    entailment: "✓ entailed",
    neutral: "~ neither entailed nor contradicted",
    contradiction: "✕ contradicted",
    not_entailment: "~ not entailed",
  };
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
    make("div", { class: "bars" }, Object.entries(shares).flatMap(([name, share]) => [make("span", {}, name), bar(share), make("span", {}, number(share))]));
  const isNumber = (value) => typeof value === "number";
  const areNumbers = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && Object.values(value).every(isNumber);

  const TITLES = {
    forward: "Sentences of the answer, held against the reference",
    backward: "Sentences of the reference, held against the answer",
  };
  const sentences = (s, rows) => {
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
        const said = [WORDS[row.label] ?? row.label, row.evasive ? "evasive" : null, isNumber(row.score) ? `score ${number(row.score)}` : null];
        const parts = Object.keys(WORDS).filter((name) => isNumber(row[name])).map((name) => `${name.replace("_", " ")} ${row[name].toFixed(2)}`);
        if (areNumbers(row.categories)) parts.push(...Object.entries(row.categories).map(([name, p]) => `${name} ${p.toFixed(2)}`));
        const held = row.premise ? where(row.premise) : null;
        last = row.premise ?? null;
        return make(
          "li",
          { class: row.label in WORDS ? row.label : null },
          make("span", { class: "verdict-word" }, [...said.filter(Boolean), parts.join(", ")].filter(Boolean).join(" · ")),
          make("span", { dir: "auto" }, row.sentence ?? row.text ?? ""),
          held ? make("blockquote", { dir: "auto" }, held) : null,
        );
      });
      return make("div", {}, titled ? make("h5", {}, TITLES[direction]) : null, make("ul", {}, items));
    });
  };

  const evidence = (s, judgement) => {
    if (judgement.error) return [make("p", { class: "bad" }, `No score: ${judgement.error[0]}. ${judgement.error[1]}`)];
    if (judgement.evidence === null) return [make("p", { class: "muted" }, `The evidence was left out to keep this file small. muster show ${about.run} ${s.id} prints it.`)];
    const rest = { ...judgement.evidence };
    const parts = [];
    if (areNumbers(rest.distribution)) {
      parts.push(make("h5", {}, "Probability of each grade"), bars(rest.distribution));
      delete rest.distribution;
    }
    const labels = Object.fromEntries(Object.keys(WORDS).filter((name) => isNumber(rest[name])).map((name) => [name, rest[name]]));
    if (Object.keys(labels).length) parts.push(bars(labels));
    for (const name of Object.keys(labels)) delete rest[name];
    if (Array.isArray(rest.sentences) && rest.sentences.every((row) => row !== null && typeof row === "object")) {
      parts.push(...sentences(s, rest.sentences));
      delete rest.sentences;
    }
    const plain = Object.entries(rest).filter(([, value]) => value === null || typeof value !== "object");
    const deep = Object.entries(rest).filter(([, value]) => value !== null && typeof value === "object");
    if (plain.length) parts.push(make("p", { class: "muted" }, plain.map(([name, value]) => `${name.replaceAll("_", " ")}: ${value}`).join(" · ")));
    for (const [name, value] of deep) parts.push(make("h5", {}, name.replaceAll("_", " ")), make("pre", {}, JSON.stringify(value, null, 1)));
    return parts.length ? parts : [make("p", { class: "muted" }, "This judge gives no evidence beyond its score.")];
  };

  const scoreLine = (s, i, c, m) => {
    const judgement = s.judgements[c][m];
    if (!judgement) return null;
    const label = judgement.label ? make("span", { class: "label" }, ` ${judgement.label}`) : null;
    const summary = make(
      "summary",
      {},
      make("span", { class: "name" }, metrics[m].name, label),
      make("span", { class: judgement.error ? "bad" : "value" }, judgement.error ? "no score" : number(judgement.score)),
      changeText(change(i, c, m)),
    );
    const box = make("div", { class: "evidence" });
    const details = make("details", { class: "score", open: m === state.m }, summary, box);
    const fill = () => box.childElementCount || box.append(...evidence(s, judgement));
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
      { class: "answer" },
      make(
        "header",
        {},
        make("h4", {}, candidates[c]),
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

  let drawing = 0;
  const drawDetail = async () => {
    const mine = (drawing += 1);
    const pane = byId("detail");
    if (!shown.length) {
      pane.replaceChildren(make("p", { class: "muted" }, "No sample fits these filters."));
      return;
    }
    const i = shown[at];
    const s = await sample(i);
    if (mine !== drawing) return;
    const tags = index.slices.map((slice) => [slice.name, slice.values[slice.of[i]]]).filter(([, value]) => value !== "");
    const toggle = make("button", { type: "button", class: "button", id: "diff", "aria-pressed": String(diffing) }, baseline === null ? "Diff" : `Diff against ${candidates[baseline]}`);
    toggle.disabled = baseline === null;
    toggle.addEventListener("click", () => setDiff(!diffing));
    pane.replaceChildren(
      make(
        "div",
        { class: "head" },
        make("h3", {}, s.id),
        splits.length > 1 ? make("span", { class: "tag" }, splits[index.splits[i]]) : null,
        tags.map(([name, value]) => make("span", { class: "tag" }, `${name}: ${value}`)),
        s.cluster ? make("span", { class: "tag" }, `cluster: ${s.cluster}`) : null,
        make("span", { class: "tools" }, toggle),
      ),
      ...[
        ...(s.turns.length ? s.turns : [["Input", s.input]]).map(([name, text], n, all) => field(name, [text], n === all.length - 1 ? "asked" : "")),
        make("div", { class: "pair" }, field(s.references.length > 1 ? "References (any one will do)" : "Reference", s.references), field("Context", s.contexts)),
        diffing ? make("p", { class: "small muted" }, make("del", {}, "struck out"), ` only in ${candidates[baseline]}, `, make("ins", {}, "underlined"), " only in this answer") : null,
        make("div", { class: "answers" }, candidates.map((_, c) => answer(s, i, c))),
      ].filter(Boolean),
    );
    pane.dataset.sample = s.id;
  };
  const setDiff = (on) => {
    if (baseline === null) return;
    diffing = on;
    drawDetail();
  };

  // ------------------------------------------------------------------------------------------------ samples: controls

  const controls = { metric: "m", candidate: "c", show: "f", limit: "x", group: "g", split: "p", order: "o", search: "q" };
  const putControls = () => {
    for (const [id, key] of Object.entries(controls)) byId(id).value = String(state[key]);
    byId("limit").disabled = !["worse", "better", "low"].includes(state.f);
    byId("limit").placeholder = byId("limit").disabled ? "" : String(Number(threshold().toFixed(3)));
  };
  const listen = () => {
    for (const [id, key] of Object.entries(controls)) {
      byId(id).addEventListener(id === "search" || id === "limit" ? "input" : "change", (event) => {
        const value = event.target.value;
        state[key] = key === "m" || key === "c" ? Number(value) : value;
        putControls();
        writeHash();
        refresh({ keep: true });
        if (key === "q" && value) readTexts((search += 1));
      });
    }
    byId("list").addEventListener("click", (event) => {
      const button = event.target.closest("button[data-at]");
      if (button) go(shown.indexOf(Number(button.dataset.at)));
    });
    byId("before").addEventListener("click", () => go(Math.floor(at / PAGE) * PAGE - PAGE));
    byId("after").addEventListener("click", () => go(Math.floor(at / PAGE) * PAGE + PAGE));
    byId("reset").addEventListener("click", () => {
      state = fresh();
      putControls();
      writeHash();
      refresh();
    });
    window.addEventListener("hashchange", follow);
  };
  const follow = () => {
    if (!readHash()) return;
    putControls();
    refresh();
    if (state.q) readTexts((search += 1));
    byId("samples").scrollIntoView({ behavior: "instant" });
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (event.target.closest("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const actions = {
      "?": showHelp,
      "/": () => {
        byId("samples").scrollIntoView({ behavior: "instant" });
        byId("search").focus({ preventScroll: true });
      },
      j: () => go(at + 1, { focus: true }),
      k: () => go(at - 1, { focus: true }),
      d: () => setDiff(!diffing),
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
    byId("group").append(
      ...index.slices.map((slice, column) =>
        make("optgroup", { label: slice.name }, slice.values.map((value, v) => make("option", { value: `${column}.${v}` }, value || "(none)"))),
      ),
    );
    const deep = readHash();
    listen();
    putControls();
    refresh();
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
