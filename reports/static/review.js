(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const { items } = data;
  /** What is rated at once: one answer, or the two answers of a flip. */
  const units = data.pairs ? Array.from({ length: items.length / 2 }, (_, i) => items.slice(2 * i, 2 * i + 2)) : items.map((item) => [item]);
  const storeKey = `muster-review-${data.sheet}`;
  /** The choices: ratings of the unit's answers, what the button says, its key. */
  const choices = data.pairs
    ? [
        [["pass", "fail"], "Only the first", "1"],
        [["fail", "pass"], "Only the second", "2"],
        [["pass", "pass"], "Both", "3"],
        [["fail", "fail"], "Neither", "4"],
        [["undecided", "undecided"], "Undecided", "5"],
      ]
    : data.passFail
      ? [[["pass"], "Pass", "p"], [["fail"], "Fail", "f"]]
      : Array.from({ length: data.high - data.low + 1 }, (_, i) => [[data.low + i], String(data.low + i), String(data.low + i)]);
  const known = new Set(choices.flatMap(([values]) => values));

  /** Item id to {rating, note}; what is not rated has no entry, or a null rating beside a note. */
  let said = {};
  let at = 0;

  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  // ------------------------------------------------------------------------------------------------ keeping progress

  const save = () => {
    try {
      localStorage.setItem(storeKey, JSON.stringify({ said, at }));
    } catch {
      byId("unsaved").hidden = false;
    }
  };
  const restore = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(storeKey) ?? "{}");
      for (const item of items) {
        const entry = kept.said?.[item.id];
        if (!entry || typeof entry !== "object") continue;
        said[item.id] = { rating: known.has(entry.rating) ? entry.rating : null, note: typeof entry.note === "string" ? entry.note : "" };
      }
      if (Number.isInteger(kept.at) && units[kept.at]) at = kept.at;
      localStorage.setItem(storeKey, JSON.stringify({ said, at }));
    } catch {
      byId("unsaved").hidden = false;
    }
  };

  // ------------------------------------------------------------------------------------------------ showing

  const entry = (item) => said[item.id] ?? { rating: null, note: "" };
  const isRated = (unit) => entry(unit[0]).rating !== null;
  const rated = () => units.filter(isRated).length;
  const part = (title, texts, extra = "") => {
    const shown = texts.filter((text) => text !== "");
    const paragraphs = shown.map((text) => make("p", { class: "text", dir: "auto" }, text));
    return make("section", { class: extra }, make("h2", {}, title), ...(paragraphs.length ? paragraphs : [make("p", { class: "muted" }, "(empty)")]));
  };
  const show = () => {
    const unit = units[at];
    const [item] = unit;
    const parts = [part("Input", [item.input])];
    if (item.context) parts.push(part("Context", item.context));
    if (item.reference) parts.push(part("Reference", item.reference));
    const answers = unit.map(({ answer }, i) => part(data.pairs ? ["First answer", "Second answer"][i] : "Answer", [answer], "answer"));
    parts.push(...(data.pairs ? [make("div", { class: "pair" }, ...answers)] : answers));
    byId("item").replaceChildren(...parts);
    byId("item").dataset.item = item.id;
    byId("where").textContent = `${at + 1} of ${units.length} · ${rated()} rated`;
    byId("progress").value = rated();
    byId("back").disabled = at === 0;
    byId("next").disabled = at === units.length - 1;
    byId("note").value = entry(item).note;
    const chosen = unit.map((one) => entry(one).rating).join(" ");
    for (const button of byId("scale").children) button.setAttribute("aria-pressed", String(button.dataset.value === chosen));
  };
  const go = (to) => {
    if (!units[to]) return;
    at = to;
    save();
    show();
    window.scrollTo({ top: 0 });
  };
  const put = (changes) => {
    units[at].forEach((item, i) => (said[item.id] = { ...entry(item), ...changes[i] }));
    save();
  };
  const rate = (values) => {
    put(units[at].map((_, i) => ({ rating: values === null ? null : values[i] })));
    show();
    if (values !== null) go(at + 1);
  };
  const unrated = () => {
    for (let step = 1; step <= units.length; step += 1) {
      const to = (at + step) % units.length;
      if (!isRated(units[to])) return go(to);
    }
  };

  // ------------------------------------------------------------------------------------------------ giving back

  const cell = (value) => {
    let text = value === null ? "" : String(value);
    if (/^[=+\-@\t\r\n]/.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  /** From 0 to 1, 1 being what a high score of the judge in question stands for; null where there is no rating. */
  const label = (rating) => {
    if (rating === null) return null;
    const share = typeof rating === "string" ? Number(rating === "pass") : (rating - data.low) / (data.high - data.low);
    return data.reverse ? 1 - share : share;
  };
  const lines = () =>
    items.map(({ id, ...texts }) => {
      const { rating, note } = entry({ id });
      const decided = rating === "undecided" ? null : rating;
      return { sheet: data.sheet, item: id, rating: decided, note, id, ...texts, label: label(decided) };
    });
  const flat = (value) => (Array.isArray(value) ? value.join("\n\n") : value);
  const asCsv = () => {
    const columns = Object.keys(lines()[0]);
    return [columns.join(","), ...lines().map((row) => columns.map((name) => cell(flat(row[name]))).join(","))].map((line) => `${line}\r\n`).join("");
  };
  const asJsonl = () => lines().map((row) => `${JSON.stringify(row)}\n`).join("");
  const download = (text, type, ending) => {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = make("a", { href: url, download: `${data.pairs ? "flips" : "ratings"}-${data.sheet}.${ending}` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  };

  // ------------------------------------------------------------------------------------------------ controls

  byId("scale").classList.toggle("words", Boolean(data.pairs));
  for (const [values, text, key] of choices) {
    const button = make("button", { type: "button", "data-value": values.join(" "), "aria-pressed": "false" }, text);
    if (data.passFail) button.append(" ", make("kbd", {}, key));
    button.addEventListener("click", () => rate(button.getAttribute("aria-pressed") === "true" ? null : values));
    byId("scale").append(button);
  }
  byId("back").addEventListener("click", () => go(at - 1));
  byId("next").addEventListener("click", () => go(at + 1));
  byId("note").addEventListener("input", (event) => put(units[at].map(() => ({ note: event.target.value }))));
  byId("csv").addEventListener("click", () => download(asCsv(), "text/csv", "csv"));
  byId("jsonl").addEventListener("click", () => download(asJsonl(), "application/jsonl", "jsonl"));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const chosen = choices.find(([, , key]) => key === event.key);
    const actions = {
      j: () => go(at + 1),
      k: () => go(at - 1),
      u: unrated,
      n: () => byId("note").focus(),
      Backspace: () => rate(null),
    };
    const action = chosen ? () => rate(chosen[0]) : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  restore();
  byId("app").hidden = false;
  show();
  document.documentElement.classList.add("ready");
})();
